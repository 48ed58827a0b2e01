"""Statistics that know only numbers: intervals over seeds, steps to a threshold with censoring."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats as scipy_stats


@dataclass(frozen=True)
class Interval:
    """An estimate with an interval, and what varies in it."""

    estimate: float
    low: float
    high: float
    what_varies: str
    level: float = 0.95


def over_seeds(values: Sequence[float], *, level: float = 0.95) -> Interval:
    """Return the mean over seeds with Student's t interval; with one seed the interval is infinite."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, -math.inf, math.inf, "seed", level)
    half = float(np.std(values, ddof=1)) / math.sqrt(len(values)) * float(
        scipy_stats.t.ppf((1 + level) / 2, len(values) - 1)
    )
    return Interval(mean, mean - half, mean + half, "seed", level)


@dataclass(frozen=True)
class Reached:
    """The first step from which a score held a threshold, or that it did not until the last."""

    step: int | None
    last: int

    @property
    def censored(self) -> bool:
        """Whether the threshold was not reached."""
        return self.step is None

    @property
    def restricted(self) -> int:
        """The step, or the last step where the threshold was not reached.

        Every run is censored at the same last step, so the mean of this is the restricted mean time to the
        threshold, with no model behind it.
        """
        return self.last if self.step is None else self.step


def time_to_threshold(
    steps: Sequence[int], scores: Sequence[float], *, threshold: float, in_a_row: int = 2
) -> Reached:
    """Return the first step of ``in_a_row`` consecutive evaluations at or above ``threshold``.

    One evaluation above it is noise: test AUROC wobbles by several hundredths from one evaluation to the next.
    The rule is fixed here before any run. The steps are those of the evaluation grid, so the answer is a multiple of it.
    """
    above = [score >= threshold for score in scores]
    for first in range(len(steps) - in_a_row + 1):
        if all(above[first : first + in_a_row]):
            return Reached(steps[first], steps[-1])
    return Reached(None, steps[-1])
