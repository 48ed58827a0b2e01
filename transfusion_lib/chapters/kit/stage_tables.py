"""What the chapters on representations share: values per run and stage, and their means over seeds."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from transfusion_lib.chapters.kit.curve_tables import LARGE, NETWORKS, STARTS
from transfusion_lib.runs import Run
from transfusion_lib.stats import Interval, over_seeds


def described(run: Run) -> dict[str, object]:
    """Return the columns that name a run: network, init, seed."""
    init = run.spec.init.method
    return {"network": NETWORKS[run.spec.model.name], "init": STARTS[init], "seed": run.spec.seed}


def by_network(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Return the runs of each network, in order."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(NETWORKS[run.spec.model.name], []).append(run)
    return found


def over_stages(frame: pd.DataFrame, value: str, *, keys: Sequence[str] = ("network", "init", "stage")) -> pd.DataFrame:
    """Return the mean of a column over seeds for each of ``keys``, with a 95 % interval (columns mean, low, high).

    One seed has no interval: low and high are then missing.
    """
    rows = []
    for names, part in frame.groupby(list(keys), sort=False):
        values = part[value].dropna().tolist()
        interval = over_seeds(values) if len(values) > 1 else None
        low, high = (interval.low, interval.high) if interval else (math.nan, math.nan)
        mean = float(np.mean(values)) if values else math.nan
        rows.append((*names, mean, low, high, len(values)))
    return pd.DataFrame(rows, columns=[*keys, "mean", "low", "high", "seeds"])


def kinds_of_network(frame: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Return a frame's large networks and its small ones."""
    networks = list(dict.fromkeys(frame["network"]))
    return [name for name in networks if name in LARGE], [name for name in networks if name not in LARGE]


def seeds_of(frame: pd.DataFrame) -> int:
    """Return the smallest number of seeds of any network and start."""
    return int(frame.groupby(["network", "init"])["seed"].nunique().min())


def cases_or_none(parts: Mapping[str, Mapping[str, Interval]]) -> dict[str, dict[str, Interval]] | None:
    """Return the parts that have a case, None where none has: then nothing was measured."""
    found = {name: dict(cases) for name, cases in parts.items() if cases}
    return found or None
