"""What the chapter "Weight transfusion" says of its curves."""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pandas as pd

from transfusion_lib.chapters.hybrids.tables import GABOR, SLIM
from transfusion_lib.chapters.kit.arrivals import BASE, FULL, Arm, Arms, gain
from transfusion_lib.chapters.kit.curve_tables import STARTS
from transfusion_lib.papers import transfusion as paper
from transfusion_lib.stats import Interval, combine, over_seeds
from transfusion_lib.stats.words import direction, listed, told

LOWEST = "block2"
"""The stage up to which the paper calls a ResNet's stages the lowest, conv1 included."""


OTHER = {*STARTS.values(), SLIM, GABOR}
"""Starts that are not a stage that pretrained weights reach."""


def reached(arms: Mapping[str, Arm]) -> list[str]:
    """Return the starts of a network in the order in which pretrained weights reach: random, the stages, all."""
    inner = [start for start in arms if start not in OTHER and "above" not in start]
    return [start for start in (BASE, *inner, FULL) if start in arms]


def marginal_gains(arms: Arms) -> pd.DataFrame:
    """Return what each further stage gains over the one before it, with 95 % intervals over seeds.

    Columns: network, stage, steps, steps_low, steps_high, way, way_low, way_high (mean AUROC on the way).
    """
    rows = []
    for network, found in arms.items():
        order = reached(found)
        for before, stage in pairwise(order):
            steps, way = gain(found[stage], found[before]), _ways(found[stage], found[before])
            rows.append(
                (network, stage, steps.estimate, steps.low, steps.high, way.estimate, way.low, way.high)
                if steps
                else (network, stage, *(math.nan,) * 6)
            )
    names = ["network", "stage", "steps", "steps_low", "steps_high", "way", "way_low", "way_high"]
    return pd.DataFrame(rows, columns=names)


def marginal_title(gains: pd.DataFrame) -> str:
    """Return which further stages change the steps to the threshold and the score on the way, by their intervals."""
    said = []
    for network, rows in gains.groupby("network", sort=False):
        for name, what in (("steps", "steps saved"), ("way", "AUROC on the way gained")):
            clear = [row for row in rows.to_dict("records") if direction(row[f"{name}_low"], row[f"{name}_high"])]
            one_by_one = listed([_gained(row, name) for row in clear]) if clear else "by no stage clearly"
            said.append(f"{network}, {what}: {one_by_one}")
    return "; ".join(said) or "One start, no further stage"


def paper_figure_7(arms: Arms) -> dict[str, dict[str, float]]:
    """Return, for each network but CBRs, the paper's steps of ResNet-50 as a fraction of the random start's."""
    return {
        network: {s: paper.FIGURE_7[s] / paper.FIGURE_7[BASE] for s in reached(found) if s in paper.FIGURE_7}
        for network, found in arms.items()
        if not network.startswith("CBR")
    }


def _gained(row: Mapping[Any, Any], name: str) -> str:
    gained = told((row[name], row[f"{name}_low"], row[f"{name}_high"]), signed=True)
    return f"{'the rest' if row['stage'] == FULL else row['stage']} {gained}"


def _ways(a: Arm, b: Arm) -> Interval:
    if min(len(a.ways), len(b.ways)) < 2:
        return Interval(estimate=math.nan, low=math.nan, high=math.nan, what_varies="seed", n=1, se=math.nan)
    return combine([over_seeds(a.ways), over_seeds(b.ways)], [1, -1])
