"""Times to a threshold: when each run arrived, restricted means, and what a start gains over the random one.

A run has arrived at the first step from which ``in_a_row`` evaluations are at the threshold. One that never does is
censored at the last step. "Mean AUROC on the way", the area under the learning curve, needs no threshold.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from transfusion_lib.chapters.kit.curve_tables import curves, mean_curves, of_network
from transfusion_lib.errors import MeasureError
from transfusion_lib.runs import Run
from transfusion_lib.stats import Interval, Survival, combine, over_seeds, share_of_gain, survival, time_to_threshold
from transfusion_lib.stats.words import in_order, listed, number, order, share, told

BASE, FULL = "random", "pretrained"


@dataclass(frozen=True, kw_only=True)
class Arm:
    """The runs of one network from one start."""

    times: Survival | None
    """None for a single run, which says nothing of how runs vary."""
    steps: tuple[float, ...]
    """Of each seed: its arrival, or the last step."""
    arrived: tuple[bool, ...]
    ways: tuple[float, ...]
    """Of each seed: the mean AUROC on the way."""
    finals: tuple[float, ...]
    """Of each seed: the AUROC at the last step."""
    rise: float
    """By how much the mean AUROC rose over the last third of the steps."""
    grid: float

    @property
    def reached(self) -> int:
        """How many seeds arrived."""
        return sum(self.arrived)

    @property
    def mean_step(self) -> float:
        """The restricted mean, in steps."""
        return float(np.mean(self.steps))


Arms = Mapping[str, Mapping[str, Arm]]
"""By network and start."""


def arms(curves: pd.DataFrame, *, threshold: float, in_a_row: int, score: str = "auroc") -> dict[str, dict[str, Arm]]:
    """Return every arm of ``curves``, by network and start, in order; all are restricted to the same last step."""
    horizon = float(curves.groupby(["network", "init", "seed"])["step"].max().min())
    found: dict[str, dict[str, Arm]] = {}
    for (network, init), part in curves[curves["step"] <= horizon].groupby(["network", "init"], sort=False):
        found.setdefault(str(network), {})[str(init)] = _arm(part, threshold=threshold, in_a_row=in_a_row, score=score)
    return found


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Learning curves, and when their runs arrived at a threshold: what a chapter on speed draws."""

    curves: pd.DataFrame
    arms: Arms

    @property
    def frames(self) -> dict[str, pd.DataFrame]:
        """What a figure of curves and arrivals takes."""
        return {
            "curves": self.curves,
            "means": mean_curves(self.curves),
            "arrivals": arrivals(self.arms),
            "steps": mean_steps(self.arms),
        }

    @property
    def table(self) -> pd.DataFrame:
        """Steps to the threshold, a row per network and start."""
        return _table(self.arms)

    def only(self, networks: Sequence[str]) -> "Speed":
        """Return the panels of some networks, or all panels if none is of these networks."""
        asked = [panel for network in networks for panel in of_network(self.curves, network)]
        chosen = asked or list(self.arms)
        rows = self.curves[self.curves["network"].isin(chosen)]
        return Speed(curves=rows, arms={name: arms for name, arms in self.arms.items() if name in chosen})


def speed(runs: Sequence[Run], *, threshold: float, in_a_row: int) -> Speed:
    """Return the curves of ``runs`` and their arrivals at ``threshold``."""
    found = curves(runs)
    return Speed(curves=found, arms=arms(found, threshold=threshold, in_a_row=in_a_row))


def _arm(part: pd.DataFrame, *, threshold: float, in_a_row: int, score: str) -> Arm:
    seeds = [run.sort_values("step") for _, run in part.groupby("seed")]
    times = [
        time_to_threshold(run["step"].tolist(), run[score].tolist(), threshold=threshold, consecutive=in_a_row)
        for run in seeds
    ]
    grid = float(np.diff(sorted(part["step"].unique())).min())
    last = float(part["step"].max())
    return Arm(
        times=survival(times, grid=grid, horizon=last) if len(times) > 1 else None,
        steps=tuple(one.step for one in times),
        arrived=tuple(one.reached for one in times),
        ways=tuple(float(np.trapezoid(run[score], run["step"]) / np.ptp(run["step"])) for run in seeds),
        finals=tuple(float(run[score].iloc[-1]) for run in seeds),
        rise=rise(part, score=score),
        grid=grid,
    )


def rise(part: pd.DataFrame, *, score: str = "auroc") -> float:
    """Return the mean score at the last step minus that at the last evaluation within two thirds of the steps."""
    means = part.groupby("step")[score].mean()
    last = means.index.max()
    return float(means[last] - means[means.index <= 2 / 3 * last].iloc[-1])


def arrival_order(found: Mapping[str, Arm]) -> str:
    """Return the order in which the starts of one network arrive at the threshold, as far as there is one.

    A start is before another only where the interval of the difference of their restricted means leaves 0 out, and no
    smaller share of its runs arrives. Starts of which no run arrives are said apart.
    """
    never = [start for start, arm in found.items() if not arm.reached]
    if len(never) == len(found):
        return "no run reaches the threshold"
    means = {start: arm.times.mean for start, arm in found.items() if arm.times and start not in never}
    shares = {start: arm.reached / len(arm.steps) for start, arm in found.items()}
    said = in_order(order(means, unless=lambda first, second: shares[first] < shares[second]))
    if said:
        return f"at the threshold {said}" + (f"; no run of {listed(never)} gets there" if never else "")
    if never:
        there = [f"{arm.reached} of {len(arm.steps)} runs of {start}" for start, arm in found.items() if arm.reached]
        return f"{listed(there)} reach the threshold, none of {listed(never)}"
    return "one start" if len(found) == 1 else "no clear order of arrival"


def arrivals(found: Arms) -> pd.DataFrame:
    """Return one row per run: network, init, the step at which it arrived, and whether it did (a figure's dots)."""
    rows = [
        (network, init, step, reached)
        for network, by_init in found.items()
        for init, arm in by_init.items()
        for step, reached in zip(arm.steps, arm.arrived, strict=True)
    ]
    return pd.DataFrame(rows, columns=["network", "init", "step", "reached"])


def mean_steps(found: Arms) -> pd.DataFrame:
    """Return one row per network and start: restricted mean step, 95 % interval over seeds, how many arrived."""
    rows = []
    for network, by_init in found.items():
        for init, arm in by_init.items():
            mean = arm.times.mean if arm.times else None
            low, high = (mean.low, mean.high) if mean else (math.nan, math.nan)
            rows.append((network, init, arm.mean_step, low, high, arm.reached, len(arm.steps)))
    return pd.DataFrame(rows, columns=["network", "init", "mean", "low", "high", "reached", "runs"])


def mean_ways(found: Arms) -> pd.DataFrame:
    """Return one row per network and start: the mean AUROC on the way and its 95 % interval over seeds."""
    rows = []
    for network, by_init in found.items():
        for init, arm in by_init.items():
            one = over_seeds(arm.ways) if len(arm.ways) > 1 else None
            low, high = (one.low, one.high) if one else (math.nan, math.nan)
            rows.append((network, init, float(np.mean(arm.ways)), low, high))
    return pd.DataFrame(rows, columns=["network", "init", "way", "way_low", "way_high"])


def steps_to(curves: pd.DataFrame, *, threshold: float, in_a_row: int, score: str = "auroc") -> pd.DataFrame:
    """Return one row per network and init: each seed's first step at the threshold, and their restricted mean.

    A seed that never got there is kept as ``> last`` and enters the mean with the last step, where all are censored.
    """
    return _table(arms(curves, threshold=threshold, in_a_row=in_a_row, score=score))


def _table(found: Arms) -> pd.DataFrame:
    rows = []
    for network, by_init in found.items():
        for init, arm in by_init.items():
            seeds = zip(arm.steps, arm.arrived, strict=True)
            rows.append(
                {
                    "network": network,
                    "init": init,
                    "step of each seed": ", ".join(f"{'' if arrived else '> '}{step:.0f}" for step, arrived in seeds),
                    "reached": f"{arm.reached} of {len(arm.steps)}",
                    "mean step": arm.mean_step,
                    "mean AUROC on the way": float(np.mean(arm.ways)),
                    "last AUROC": float(np.mean(arm.finals)),
                }
            )
    return pd.DataFrame(rows)


def speed_ups(found: Arms) -> pd.DataFrame:
    """Return what each start gains over the random one, in steps and in mean AUROC on the way, as numbers.

    Columns: network, init, gain, low, high (steps; 95 % over seeds), lower_bound (whether half or more of the random
    runs never arrived, so that the gain is larger), share, share_low, share_high (of the gain of full transfer; missing
    where that is unknown, and for full transfer itself), way, way_low, way_high, way_share, way_share_low and
    way_share_high.
    """
    rows = []
    for network, by_init in found.items():
        base, full = by_init.get(BASE), by_init.get(FULL)
        for init, arm in by_init.items():
            if base is None or init == BASE:
                continue
            other = None if init == FULL else full
            steps, ways = (other.steps, other.ways) if other else (None, None)
            bound = 2 * base.reached <= len(base.steps)
            rows.append(
                {
                    "network": network,
                    "init": init,
                    **_named("gain", gain(arm, base)),
                    "lower_bound": bound,
                    **_named("share", None if bound else _share(base.steps, arm.steps, steps)),
                    **_named("way", _difference(arm.ways, base.ways)),
                    **_named("way_share", _share(base.ways, arm.ways, ways)),
                }
            )
    return pd.DataFrame(rows)


def gain(arm: Arm, base: Arm) -> Interval | None:
    """Return the restricted mean steps of ``base`` minus those of ``arm``, None with a single run in one."""
    if arm.times is None or base.times is None:
        return None
    return combine([base.times.mean, arm.times.mean], [1, -1])


def _difference(a: tuple[float, ...], b: tuple[float, ...]) -> Interval | None:
    if min(len(a), len(b)) < 2:
        return None
    return combine([over_seeds(a), over_seeds(b)], [1, -1])


def _share(base: tuple[float, ...], part: tuple[float, ...], full: tuple[float, ...] | None) -> Interval | None:
    if full is None or min(len(base), len(part), len(full)) < 2:
        return None
    try:
        return share_of_gain(base, part, full)
    except MeasureError:  # there is no gain to share
        return None


def _named(name: str, interval: Interval | None) -> dict[str, float]:
    low = "low" if name == "gain" else f"{name}_low"
    high = "high" if name == "gain" else f"{name}_high"
    values = (interval.estimate, interval.low, interval.high) if interval else (math.nan,) * 3
    return dict(zip((name, low, high), values, strict=True))


def speed_up_table(found: Arms) -> pd.DataFrame:
    """Return ``speed_ups`` for a page: an estimate with its interval in one cell, and words where it is unknown."""
    rows = []
    for _, row in speed_ups(found).iterrows():
        arm, base = (found[row["network"]][start] for start in (row["init"], BASE))
        steps = told((row["gain"], row["low"], row["high"]), signed=True)
        way = told((row["way"], row["way_low"], row["way_high"]), signed=True)
        part, way_part = (_share_cell(row, name) for name in ("share", "way_share"))
        if row["lower_bound"]:
            steps = f"at least {number(row['gain'], places=0)}" if arm.reached else "neither arrives"
            part = "not known: random too late"
        if row["init"] == FULL:
            part = way_part = ""
        cells = {
            "speed-up in steps": steps,
            "share of full transfer's": part,
            "gain in mean AUROC on the way": way,
            "share of full transfer's gain": way_part,
        }
        if min(len(arm.steps), len(base.steps)) < 2:
            cells = {name: "one seed" if cell else "" for name, cell in cells.items()}
        rows.append({"network": row["network"], "init": row["init"], **cells})
    return pd.DataFrame(rows)


def _share_cell(row: "pd.Series[Any]", name: str) -> str:
    """Return a share with its interval, or that it is not known where the whole may be nothing."""
    estimate, low, high = (float(row[column]) for column in (name, f"{name}_low", f"{name}_high"))
    if math.isnan(estimate) or math.isinf(low) or math.isinf(high):
        return "not known: full transfer's gain is open"
    return f"{share(estimate)} ({share(low)} to {share(high)})"
