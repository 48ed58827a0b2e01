"""Intervals over seeds: means, their weighted sums, ratios and shares; exact counts; families of tests."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from transfusion_lib.errors import MeasureError
from transfusion_lib.stats.interval import (
    Interval,
    Varies,
    Vector,
    interval,
    proper_share,
    satterthwaite,
    t_quantile,
    vector,
)


def combine(parts: Sequence[Interval], weights: Sequence[float], *, level: float = 0.95) -> Interval:
    """Return the weighted sum of independent estimates that vary alike; Satterthwaite's degrees of freedom (Welch).

    ``combine([a, b], [1, -1])`` is the difference of two groups of seeds that may differ in size and spread.
    """
    if len(parts) != len(weights) or not parts:
        raise MeasureError(f"{len(parts)} estimates need as many weights, got {len(weights)}")
    kinds = {part.what_varies for part in parts}
    if len(kinds) > 1 or any(part.scale != "linear" for part in parts):
        raise MeasureError(f"a sum needs linear estimates that vary alike, got {', '.join(sorted(kinds))}")
    pairs = list(zip(parts, weights, strict=True))
    variances = np.array([(weight * part.se) ** 2 for part, weight in pairs])
    df = satterthwaite(variances, np.array([part.df for part in parts]))
    return interval(
        float(sum(weight * part.estimate for part, weight in pairs)),
        math.sqrt(variances.sum()),
        df=df,
        level=level,
        n=min(part.n for part in parts),
        varies=parts[0].what_varies,
    )


def over_seeds(values: ArrayLike, *, what_varies: Varies = "seed", level: float = 0.95) -> Interval:
    """Return the mean of one value per seed with Student's interval. Its standard deviation is ``se * sqrt(n)``.

    Needs at least 2 values: one seed says nothing of how seeds vary. ``what_varies`` names another kind of
    repetition, of a time measurement for example.
    """
    v = vector(values, "values over seeds", least=2)
    # Rounding gives equal values a deviation of 1e-17, from which a rule would conclude with certainty.
    se = float(v.std(ddof=1)) / math.sqrt(len(v)) if np.ptp(v) > 0 else 0.0
    return interval(float(v.mean()), se, df=len(v) - 1, level=level, n=len(v), varies=what_varies)


def contrast(groups: Sequence[ArrayLike], weights: Sequence[float], *, level: float = 0.95) -> Interval:
    """Return the weighted sum of the groups' means, each group one value per seed; Welch's interval."""
    return combine([over_seeds(group) for group in groups], weights, level=level)


def difference(a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> Interval:
    """Return the mean of ``a`` minus the mean of ``b``, one value per seed; Welch's interval."""
    return contrast([a, b], [1.0, -1.0], level=level)


def ratio(a: Interval, b: Interval) -> Interval:
    """Return ``a / b`` of two independent positive estimates, by the delta method on logarithms, at ``a``'s level."""
    if a.estimate <= 0 or b.estimate <= 0:
        raise MeasureError(f"a ratio needs two positive estimates, got {a.estimate:g} and {b.estimate:g}")
    parts = np.array([(part.se / part.estimate) ** 2 for part in (a, b)])
    df, se = satterthwaite(parts, np.array([a.df, b.df])), math.sqrt(parts.sum())
    value = a.estimate / b.estimate
    return replace(a, estimate=value, se=se, df=df, n=min(a.n, b.n), scale="log").at(a.level)


def share_of_gain(base: ArrayLike, part: ArrayLike, full: ArrayLike, *, level: float = 0.95) -> Interval:
    """Return (base - part) / (base - full), means over seeds: the share of the full gain that ``part`` gives.

    Fieller's interval, which is honest when the full gain is uncertain: where that cannot be told from 0, the share
    can be anything and the interval is infinite. The standard error is the delta method's, and so is ``at``; a rule
    on the share should test the contrast ``(base - part) - share * (base - full)`` instead.
    """
    groups = [vector(group, "a group of seeds", least=2) for group in (base, part, full)]
    variance = [group.var(ddof=1) / len(group) for group in groups]
    top, bottom = (float(groups[0].mean() - group.mean()) for group in groups[1:])
    df = satterthwaite(np.array(variance), np.array([len(group) - 1 for group in groups]))
    t = t_quantile((1 + proper_share(level, "level")) / 2, df)
    # Solve (top - share * bottom)^2 = t^2 Var(top - share * bottom); the base is in both, hence the covariance.
    v_top, v_bottom, covariance = variance[0] + variance[1], variance[0] + variance[2], variance[0]
    a = bottom**2 - t**2 * v_bottom
    b = top * bottom - t**2 * covariance
    c = top**2 - t**2 * v_top
    if bottom == 0:
        raise MeasureError("there is no gain to take a share of: base and full have the same mean")
    root = math.sqrt(max(0.0, b**2 - a * c))
    low, high = ((b - root) / a, (b + root) / a) if a > 0 else (-math.inf, math.inf)
    share, n = top / bottom, min(len(group) for group in groups)
    se = math.sqrt(max(0.0, v_top - 2 * share * covariance + share**2 * v_bottom)) / abs(bottom)
    return Interval(estimate=share, low=low, high=high, what_varies="seed", n=n, se=se, df=df, level=level)


def exact(value: float) -> Interval:
    """Return a number that nothing varies, a count of parameters for example, in the shape of an interval."""
    return Interval(estimate=value, low=value, high=value, what_varies="nothing", n=1, se=0.0)


def share(successes: int, n: int, *, what_varies: Varies = "seed", level: float = 0.95) -> Interval:
    """Return ``successes / n`` with Clopper and Pearson's exact interval."""
    if not 0 <= successes <= n or n < 1:
        raise MeasureError(f"a share needs between 0 and n successes, got {successes} of {n}")
    p = successes / n
    plain = Interval(
        estimate=p, low=p, high=p, what_varies=what_varies, n=n, se=math.sqrt(p * (1 - p) / n), scale="proportion"
    )
    return plain.at(level)


def holm(p_values: ArrayLike) -> Vector:
    """Return Holm's adjusted p values, in the order given: reject those at most alpha, at family-wise level alpha."""
    p = vector(p_values, "p values")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
