"""Power of every claim for its planned runs, before they are made."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transfusion_lib import stats
from transfusion_lib.papers.claims import Claim, Part
from transfusion_lib.papers.evidence import MIN_RUNS, Relation
from transfusion_lib.papers.rules import ALPHA, Region

ENOUGH = 0.8
STUDIES = 4000
"""Simulated studies of each claim: a power of 0.8 is then known to 0.013."""
Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Power:
    """How probable it is that a claim which is true comes out as supported."""

    whole: float
    """All its parts and cases, Holm's correction included."""
    parts: dict[str, float]

    @property
    def underpowered(self) -> bool:
        """Whether the plan is underpowered by design."""
        return self.whole < ENOUGH

    def __str__(self) -> str:
        """Say it in words."""
        return f"{self.whole:.2f}{', underpowered by design' if self.underpowered else ''}"


def power(claim: Claim, *, alpha: float = ALPHA, studies: int = STUDIES, seed: int = 0) -> Power:
    """Return the power of a claim's rule if each part's planned effect is the truth, from simulated studies.

    Contrasts of one case share its arms; cases are independent, which understates the power where they share runs or
    images. Counts have no error. Of R^2 over pairs each network counts once, the least that its pairs are worth.
    """
    generator = np.random.default_rng(seed)
    planned = [(name, part) for name, part in claim.asked.items() if part.plan is not None]
    columns = [_p_values(part, studies, generator) for _, part in planned]
    inside = _holm_inside(np.concatenate(columns, axis=1), alpha)
    ends = np.cumsum([column.shape[1] for column in columns])
    parts = {
        name: float(inside[:, end - column.shape[1] : end].all(1).mean())
        for (name, _), column, end in zip(planned, columns, ends, strict=True)
    }
    return Power(whole=float(inside.all(1).mean()), parts=parts)


def _p_values(part: Part, studies: int, generator: np.random.Generator) -> Array:
    """Return p values against each case lying outside (studies, cases)."""
    plan = part.plan
    assert plan is not None
    if plan.runs < MIN_RUNS:
        return np.ones((studies, plan.cases))
    if part.takes is Relation:  # on Fisher's scale, pairs worth no more than their networks
        se = np.full((studies, plan.cases), (plan.runs - 3) ** -0.5)
        estimate = generator.normal(_z(plan.effect), se)
        return _worst(estimate, se, np.inf, Region(low=_z(part.region.low), high=_z(part.region.high)))
    names = sorted({name for one in part.contrasts.values() for name in one})
    weights = np.array([[one.get(name, 0.0) for name in names] for one in part.contrasts.values()])
    shape = (studies, math.ceil(plan.cases / len(weights)), plan.tasks)
    runs = generator.normal(0, plan.sd, (*shape, len(names), plan.runs))
    images = generator.normal(0, plan.images_se / math.sqrt(float((weights[0] ** 2).sum())), (*shape, len(names)))
    contrasts = np.einsum("va,sctar->scvtr", weights, runs)
    estimate = plan.effect + contrasts.mean(-1) + np.einsum("va,scta->scvt", weights, images)
    if plan.tasks >= stats.MIN_TASKS:
        estimate += generator.normal(0, plan.tau, (*shape[:2], 1, plan.tasks))
    of_runs, of_images = contrasts.var(-1, ddof=1) / plan.runs, plan.images_se**2
    df: Array | float
    if plan.tasks >= stats.MIN_TASKS:
        mean, se, _ = stats.random_effects(estimate, of_runs + of_images)
        df = plan.tasks - 1
    else:
        mean, se = estimate.mean(-1), np.sqrt((of_runs + of_images).sum(-1)) / plan.tasks
        df = (of_runs + of_images).sum(-1) ** 2 / (of_runs**2 / (plan.runs - 1)).sum(-1)
    return _worst(mean, se, df, part.region).reshape(studies, -1)


def _worst(mean: Array, se: Array, df: Array | float, region: Region) -> Array:
    """Return the larger one-sided p value against the truth lying beyond either bound."""
    from scipy.special import stdtr

    low = stdtr(df, (region.low - mean) / se) if math.isfinite(region.low) else np.zeros_like(mean)
    high = stdtr(df, (mean - region.high) / se) if math.isfinite(region.high) else np.zeros_like(mean)
    worst: Array = np.maximum(low, high)
    return worst


def _holm_inside(p: Array, alpha: float) -> NDArray[np.bool_]:
    """Return which cases Holm's correction calls inside, row by row."""
    order = np.argsort(p, axis=1)
    steps = np.take_along_axis(p, order, 1) * np.arange(p.shape[1], 0, -1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.maximum.accumulate(steps, axis=1), 1)
    return adjusted <= alpha


def _z(squared: float) -> float:
    return math.atanh(math.sqrt(squared)) if math.isfinite(squared) else squared
