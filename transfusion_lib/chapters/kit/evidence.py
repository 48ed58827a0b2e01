"""What chapters on speed hand to the judge, in common: contrasts of restricted mean steps, and the arms behind them."""

import math
from collections.abc import Iterable, Mapping

import pandas as pd

from transfusion_lib.chapters.kit.arrivals import BASE, Arm
from transfusion_lib.papers.pilot import Arrival, Evidence
from transfusion_lib.stats import Interval, combine

UNKNOWN = Interval(estimate=math.nan, low=math.nan, high=math.nan, what_varies="seed", n=1, se=math.nan)
"""What a single seed says: the judge calls it too little."""


def contrast(arms: Mapping[str, Arm], weights: Mapping[str, float]) -> Interval:
    """Return the weighted sum of the arms' restricted mean steps, by start; unknown where an arm is a single run."""
    means = [arms[start].times for start in weights]
    known = [one.mean for one in means if one is not None]
    return combine(known, list(weights.values())) if len(known) == len(means) else UNKNOWN


def total(*sums: Mapping[str, float]) -> dict[str, float]:
    """Return the sum of weighted sums, what cancels left out."""
    starts = dict.fromkeys(start for one in sums for start in one)
    added = {start: sum(one.get(start, 0.0) for one in sums) for start in starts}
    return {start: weight for start, weight in added.items() if weight}


def scaled(weights: Mapping[str, float], factor: float) -> dict[str, float]:
    """Return a weighted sum times ``factor``."""
    return {start: factor * weight for start, weight in weights.items()}


def speed_up(start: str, base: str = BASE) -> dict[str, float]:
    """Return the speed-up of a start over the base as a weighted sum of mean steps."""
    return {base: 1.0, start: -1.0}


def evidence(
    parts: Mapping[str, Mapping[str, Interval]],
    curves: pd.DataFrame,
    used: Mapping[str, Mapping[str, Arm]],
    *,
    settled: Iterable[str] = (),
) -> Evidence:
    """Return evidence from ``used``, the arms by network and start; ``settled`` names the starts whose end counts."""
    each = {f"{network}, {start}": (start, arm) for network, arms in used.items() for start, arm in arms.items()}
    chosen = [
        (curves["network"] == network) & (curves["init"] == start) for network, arms in used.items() for start in arms
    ]
    keys = {key for rows in chosen for key in curves.loc[rows, "run"]} if "run" in curves else set()
    return Evidence(
        parts=parts,
        seeds=min(len(arm.steps) for _, arm in each.values()),
        scores={name: sum(arm.finals) / len(arm.finals) for name, (_, arm) in each.items()},
        rises={name: arm.rise for name, (start, arm) in each.items() if start in settled},
        arrivals={
            name: Arrival(
                reached=arm.reached, runs=len(arm.steps), mean=arm.mean_step, grid=arm.grid, base=start == BASE
            )
            for name, (start, arm) in each.items()
        },
        runs=tuple(sorted(keys)),
    )
