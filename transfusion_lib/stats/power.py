"""Power of a test before the runs, and the number of runs that it takes."""

import bisect
import math

import numpy as np

from transfusion_lib.errors import MeasureError
from transfusion_lib.stats.interval import proper_share, t_quantile

MOST = 1000
"""Nobody makes more runs of an arm."""


def power(
    *, effect: float, se: float, df: float, low: float = -math.inf, high: float = math.inf, alpha: float = 0.025
) -> float:
    """Return the probability that the whole interval lies between ``low`` and ``high``.

    The interval has the level 1 - 2 ``alpha``: a one-sided test of each bound (TOST where both are finite). ``effect``
    is the truth, ``se`` the true standard error of its estimate, with ``df`` degrees of freedom.
    """
    proper_share(alpha, "alpha")
    if not low < high or not se > 0 or not df >= 1:
        raise MeasureError(f"power needs low < high, a standard error and 1 degree of freedom, got {low}, {high}, {se}")
    from scipy.special import gammaincinv, ndtr

    # The estimate is normal, its variance chi-squared and independent of it: average over the quantiles of the latter.
    share = (np.arange(4000) + 0.5) / 4000
    ratio = np.ones(1) if math.isinf(df) else np.sqrt(2 * gammaincinv(df / 2, share) / df)
    half = t_quantile(1 - alpha, df) * se * ratio
    upper, lower = (high - half - effect) / se, (low + half - effect) / se
    return float(np.maximum(ndtr(upper) - ndtr(lower), 0.0).mean())


def runs_needed(
    *,
    sd: float,
    margin: float,
    kind: str = "equivalence",
    effect: float = 0.0,
    share: float = 0.9,
    alpha: float = 0.025,
) -> int:
    """Return how many runs an arm give two arms of deviation ``sd`` the power ``share`` (Welch, 2 n - 2).

    ``kind`` is "equivalence" (within the margin), "non-inferiority" (above minus the margin) or "superiority" (above
    the margin). More than 1,000 raise a ``MeasureError``.
    """
    regions = {
        "equivalence": (-margin, margin),
        "non-inferiority": (-margin, math.inf),
        "superiority": (margin, math.inf),
    }
    if kind not in regions:
        raise MeasureError(f'unknown kind of test "{kind}"; known: {", ".join(regions)}')
    low, high = regions[kind]

    def enough(n: int) -> bool:
        se = sd * math.sqrt(2 / n)
        return power(effect=effect, se=se, df=2 * n - 2, low=low, high=high, alpha=alpha) >= share

    candidates = range(2, MOST + 1)
    n = bisect.bisect_left(candidates, True, key=enough)
    if n < len(candidates):
        return candidates[n]
    raise MeasureError(f"more than {MOST} runs an arm: the effect {effect:g} lies too near the margin {margin:g}")


def levels(alpha: float, *, first: int, last: int, share: float | None = None) -> tuple[float, float]:
    """Return the one-sided levels of a first look at ``first`` runs and a second at ``last``, ``alpha`` together.

    The first look spends ``share`` of alpha; by default what Lan and DeMets' Pocock-type function spends at that part
    of the runs, ln(1 + (e - 1) first / last), 0.76 for 8 of 12: most of it, because most claims shall be decided then.
    The second level makes the probability that either look errs exactly alpha, given that the second look contains
    the runs of the first (correlation sqrt(first / last) of normal statistics).
    """
    if not 0 < first < last:
        raise MeasureError(f"an extension has more runs than the first look, got {first} and {last}")
    proper_share(alpha, "alpha")
    from scipy.optimize import brentq
    from scipy.special import ndtri
    from scipy.stats import multivariate_normal

    part = math.log1p((math.e - 1) * first / last) if share is None else proper_share(share, "share of alpha")
    spent = part * alpha
    together = multivariate_normal([0.0, 0.0], [[1.0, math.sqrt(first / last)], [math.sqrt(first / last), 1.0]])

    def error(level: float) -> float:
        return float(1 - together.cdf([ndtri(1 - spent), ndtri(1 - level)]) - alpha)

    return spent, float(brentq(error, alpha * 1e-3, alpha, xtol=1e-9))
