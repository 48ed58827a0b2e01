"""Time to a threshold on a fixed grid of evaluations, those that never arrive included."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from transfusion_lib.errors import MeasureError
from transfusion_lib.stats.interval import Interval, proper_share, vector
from transfusion_lib.stats.seeds import over_seeds

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Time:
    """When one run reached a threshold, on its fixed grid of evaluations."""

    step: float
    """The step; where it was not reached, the last step: the time is censored there."""
    reached: bool


@dataclass(frozen=True, kw_only=True)
class Survival:
    """Times to a threshold of several runs, those that never reached it included."""

    times: tuple[Time, ...]
    horizon: float
    """Nobody is censored before it."""
    mean: Interval
    """Mean of the time or the horizon, whichever comes first (restricted mean), in steps."""

    @property
    def reached(self) -> int:
        """How many runs arrived by the horizon."""
        return sum(time.reached and time.step <= self.horizon for time in self.times)

    def curve(self, *, level: float = 0.95) -> "pd.DataFrame":
        """Return the Kaplan-Meier share of runs still below the threshold, by step: share, low, high (pointwise)."""
        import pandas as pd
        from lifelines import KaplanMeierFitter

        fitter = KaplanMeierFitter(alpha=1 - proper_share(level, "level"))
        fitter.fit([time.step for time in self.times], [time.reached for time in self.times])
        curve: pd.DataFrame = pd.concat([fitter.survival_function_, fitter.confidence_interval_], axis=1)
        curve.columns = pd.Index(["share", "low", "high"])
        return curve


def time_to_threshold(steps: ArrayLike, scores: ArrayLike, *, threshold: float, consecutive: int = 2) -> Time:
    """Return the first grid step from which ``consecutive`` evaluations in a row are at or above ``threshold``.

    One evaluation wobbles, so a bare first crossing is noise; the step reported is the first of the row. A row that
    the last step cuts short does not count: the run is then censored at its last step.
    """
    grid, values = vector(steps, "steps"), vector(scores, "scores")
    if len(grid) != len(values):
        raise MeasureError(f"{len(grid)} steps need as many scores, got {len(values)}")
    if np.any(np.diff(grid) <= 0):
        raise MeasureError("steps must increase")
    if consecutive < 1:
        raise MeasureError(f"consecutive is at least 1, got {consecutive}")
    above = np.concatenate([[0], np.cumsum(values >= threshold)])
    in_a_row = above[consecutive:] - above[:-consecutive] == consecutive
    reached = bool(in_a_row.any())
    return Time(step=float(grid[in_a_row.argmax() if reached else -1]), reached=reached)


def survival(
    times: Sequence[Time], *, grid: float = 0.0, horizon: float | None = None, level: float = 0.95
) -> Survival:
    """Return the restricted mean, over seeds, of times to a threshold, with Student's interval.

    ``horizon`` defaults to the shortest censored run, or the latest arrival if all arrived; groups that are compared
    need the same one. As nobody is censored before it, the area under the Kaplan-Meier curve is a plain mean.
    ``grid`` is the number of steps between evaluations: seeds that arrive at the same evaluation did not arrive at
    the same step, so the variance is at least that of a uniform variable on the grid, grid^2 / 12 (unless no run
    arrived).
    """
    if len(times) < 2:
        raise MeasureError(f"times over seeds need at least 2 runs, got {len(times)}")
    censored = [time.step for time in times if not time.reached]
    end = float(horizon if horizon is not None else min(censored, default=max(time.step for time in times)))
    if any(step < end for step in censored):
        raise MeasureError(
            f"a run was stopped at step {min(censored):g}, before the horizon {end:g}: shorten the horizon"
        )
    # Not lifelines' restricted_mean_survival_time: it integrates the step function numerically, slowly and with
    # warnings, and the variance it returns is that of one time, not of their mean.
    plain = over_seeds([min(time.step, end) for time in times], level=level)
    least = grid / math.sqrt(12 * len(times)) if any(time.reached and time.step <= end for time in times) else 0.0
    return Survival(times=tuple(times), horizon=end, mean=replace(plain, se=max(plain.se, least)).at(level))
