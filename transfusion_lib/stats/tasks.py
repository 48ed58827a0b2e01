"""Effects pooled over tasks: random effects with Hartung and Knapp's interval, and a prediction interval.

Not statsmodels' ``combine_effects``: it has neither REML nor a prediction interval, and takes one set at a time, where
the power of a plan takes thousands.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from transfusion_lib.errors import MeasureError
from transfusion_lib.stats.interval import Interval, Vector, interval, vector
from transfusion_lib.stats.seeds import combine

Array = NDArray[np.float64]
MIN_TASKS = 3
"""Two tasks give Hartung and Knapp's interval one degree of freedom: it would decide nothing."""


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """An effect over several tasks."""

    mean: Interval
    """Of the average effect."""
    predicted: Interval | None
    """Where the effect in a further task of this kind may lie; None with fewer than 3 tasks."""
    tau: float
    """Standard deviation of the effect between tasks (REML); 0 with fewer than 3 tasks."""
    tasks: int


def pooled(effects: Sequence[Interval], *, level: float = 0.95) -> Pooled:
    """Return the average effect over tasks, one independent interval each.

    Three tasks and more: random effects, ``random_effects``. Two: the plain average over these two, with an interval
    that says nothing of other tasks. One: its own interval.
    """
    k = len(effects)
    if not k:
        raise MeasureError("an average over tasks needs at least one task")
    if k < MIN_TASKS:
        mean = combine(effects, [1 / k] * k, level=level) if k > 1 else effects[0].at(level)
        return Pooled(mean=mean, predicted=None, tau=0.0, tasks=k)
    if any(effect.scale != "linear" for effect in effects):
        raise MeasureError("random effects need linear estimates")
    y = vector([effect.estimate for effect in effects], "effects")
    centre, se, tau2 = (float(part) for part in random_effects(y, vector([e.se**2 for e in effects], "variances")))
    average = interval(centre, se, df=k - 1, level=level, n=k, varies="task")
    further = interval(centre, float(np.sqrt(tau2 + se**2)), df=k - 1, level=level, n=k, varies="task")
    return Pooled(mean=average, predicted=further, tau=float(np.sqrt(tau2)), tasks=k)


def random_effects(effects: ArrayLike, variances: ArrayLike, *, floor: bool = True) -> tuple[Array, Array, Array]:
    """Return the mean effect, its Hartung-Knapp standard error (Student's t, k - 1), and the variance between tasks.

    ``effects`` and their sampling ``variances`` (..., k), k at least 2; the leading axes are separate sets. The
    variance between tasks is REML's (Fisher scoring, 0 where it would be negative). With ``floor`` the standard error
    is never below that of the usual random-effects interval: effects that happen to agree would else give an interval
    narrower than their own (Röver et al. 2015). Same numbers as ``rma(yi, vi, test="knha")`` of R's metafor without
    the floor, and as its ``predict`` for the prediction interval, sqrt(tau^2 + se^2) with k - 1.
    """
    y, v = np.asarray(effects, np.float64), np.asarray(variances, np.float64)
    if y.shape != v.shape or y.shape[-1] < 2 or not (v > 0).all() or not np.isfinite(y).all():
        raise MeasureError("random effects need 2 or more finite effects, each with its variance above 0")
    k = y.shape[-1]
    tau2: Vector = np.maximum(y.var(-1, ddof=1) - v.mean(-1), 0.0)
    for _ in range(200):
        w = 1 / (v + tau2[..., None])
        s1, s2, s3 = (np.sum(w**power, -1) for power in (1, 2, 3))
        rest = np.sum((w * (y - _mean(y, w)[..., None])) ** 2, -1)
        step = (rest - (s1 - s2 / s1)) / (s2 - 2 * s3 / s1 + (s2 / s1) ** 2)
        moved = np.maximum(tau2 + step, 0.0)
        done = np.abs(moved - tau2) <= 1e-10 * (moved + v.mean(-1))
        tau2 = moved
        if done.all():
            break
    w = 1 / (v + tau2[..., None])
    mean = _mean(y, w)
    q = np.sum(w * (y - mean[..., None]) ** 2, -1) / (k - 1)
    se = np.sqrt((np.maximum(q, 1.0) if floor else q) / w.sum(-1))
    return mean, se, tau2


def _mean(y: Array, w: Array) -> Array:
    mean: Array = (w * y).sum(-1) / w.sum(-1)
    return mean
