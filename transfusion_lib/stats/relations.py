"""Correlations and trends."""

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from transfusion_lib.errors import MeasureError
from transfusion_lib.stats.interval import Interval, Varies, Vector, interval, midranks, vector


def r_squared(
    x: ArrayLike, y: ArrayLike, *, pairs: Sequence[tuple[Hashable, Hashable]] | None = None, level: float = 0.95
) -> Interval:
    """Return the squared correlation of two (n,) vectors with an interval.

    Independent points: Fisher's z. Where each point is a pair of networks, as in the paper's figure 4, points that
    share a network are not independent: ``pairs`` names them, and the interval comes from leaving out one network
    after the other (jackknife on Fisher's z, Student's t).
    """
    a, b = vector(x, "x", least=4), vector(y, "y", least=4)
    if len(a) != len(b):
        raise MeasureError(f"x and y need the same length, got {len(a)} and {len(b)}")
    if pairs is None:
        return _squared(_correlation(a, b), 1 / math.sqrt(len(a) - 3), math.inf, len(a), "point", level)
    if len(pairs) != len(a):
        raise MeasureError(f"{len(a)} points need as many pairs, got {len(pairs)}")
    networks = list(dict.fromkeys(name for pair in pairs for name in pair))
    n = len(networks)
    if n < 4:
        raise MeasureError(f"an interval over networks needs at least 4 networks, got {n}")
    without = [np.array([name not in pair for pair in pairs]) for name in networks]
    left_out = np.arctanh(np.clip([_correlation(a[rows], b[rows]) for rows in without], -1 + 1e-12, 1 - 1e-12))
    se = math.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum())
    return _squared(_correlation(a, b), se, n - 1, n, "network", level)


def spearman(x: ArrayLike, y: ArrayLike, *, level: float = 0.95) -> Interval:
    """Return Spearman's rank correlation of two (n,) vectors, n at least 4, with Bonett and Wright's interval (2000).

    A perfect order counts as half a step below 1, the smallest change that n ranks can show, so that its interval
    is not a point.
    """
    a, b = vector(x, "x", least=4), vector(y, "y", least=4)
    if len(a) != len(b):
        raise MeasureError(f"x and y need the same length, got {len(a)} and {len(b)}")
    r, n = _correlation(midranks(a), midranks(b)), len(a)
    se = math.sqrt((1 + r**2 / 2) / (n - 3))
    plain = Interval(estimate=r, low=r, high=r, what_varies="point", n=n, se=se, scale="rank correlation")
    return plain.at(level)


def trend(x: ArrayLike, y: ArrayLike, *, level: float = 0.95) -> Interval:
    """Return the least-squares slope of ``y`` on ``x``, one point per run, with Student's interval."""
    a, b = vector(x, "x", least=3), vector(y, "y", least=3)
    if len(a) != len(b):
        raise MeasureError(f"x and y need the same length, got {len(a)} and {len(b)}")
    spread = ((a - a.mean()) ** 2).sum()
    if spread == 0:
        raise MeasureError("a trend needs x to vary")
    slope = float((a - a.mean()) @ (b - b.mean()) / spread)
    rest = b - b.mean() - slope * (a - a.mean())
    se = math.sqrt(float(rest @ rest) / (len(a) - 2) / spread)
    return interval(slope, se, df=len(a) - 2, level=level, n=len(a), varies="seed")


def slope_over_networks(
    x: ArrayLike,
    y: ArrayLike,
    *,
    networks: Sequence[Hashable],
    tasks: Sequence[Hashable],
    level: float = 0.95,
) -> Interval:
    """Return the slope of ``y`` on ``x`` within tasks, over points of which several belong to one network.

    Points (n,) are means of runs: one for each network, length of its source's training, and task. Each task has its
    own intercept. Points of a network resemble each other, so the interval leaves out one network after the other
    (cluster jackknife, CV3; Student's t with one degree of freedom less than networks): the simple robust equivalent
    of a mixed model with a random intercept for each network, whose own variance five networks do not determine.
    Needs 4 networks.
    """
    a, b = vector(x, "x", least=4), vector(y, "y", least=4)
    if not len(a) == len(b) == len(networks) == len(tasks):
        raise MeasureError("every point needs its x, y, network and task")
    names = list(dict.fromkeys(networks))
    if len(names) < 4:
        raise MeasureError(f"a slope over networks needs at least 4 networks, got {len(names)}")
    of = np.array([names.index(name) for name in networks])
    kinds = list(dict.fromkeys(tasks))
    task = np.array([kinds.index(name) for name in tasks])

    def slope(rows: NDArray[np.bool_]) -> float:
        u, v = a[rows].copy(), b[rows].copy()
        for kind in range(len(kinds)):
            its = task[rows] == kind
            if its.any():
                u[its] -= u[its].mean()
                v[its] -= v[its].mean()
        spread = float(u @ u)
        if spread <= 1e-24 * max(1.0, float(a @ a)):
            raise MeasureError("a slope needs x to vary within tasks, whichever network is left out")
        return float(u @ v) / spread

    without = np.array([slope(of != one) for one in range(len(names))])
    whole, g = slope(np.ones(len(a), bool)), len(names)
    se = math.sqrt((g - 1) / g * float(((without - whole) ** 2).sum()))
    return interval(whole, se, df=g - 1, level=level, n=g, varies="network")


def _squared(r: float, se: float, df: float, n: int, varies: Varies, level: float) -> Interval:
    """Return r squared with its interval from the standard error of Fisher's z."""
    plain = Interval(
        estimate=r**2, low=0.0, high=1.0, what_varies=varies, n=n, se=se, df=df, scale="squared correlation"
    )
    return plain.at(level)


def _correlation(x: Vector, y: Vector) -> float:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        raise MeasureError("a correlation needs both x and y to vary")
    return float(np.clip(np.corrcoef(x, y)[0, 1], -1, 1))
