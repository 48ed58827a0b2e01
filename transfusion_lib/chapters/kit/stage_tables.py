"""What the chapters on representations share: values per run and stage, and their means over seeds."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from transfusion_lib.chapters.kit.curve_tables import NETWORKS, STARTS
from transfusion_lib.runs import Run
from transfusion_lib.stats import over_seeds


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
