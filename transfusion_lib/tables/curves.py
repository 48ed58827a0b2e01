"""Learning curves and times to a threshold, which most chapters read."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from transfusion_lib.runs import Run
from transfusion_lib.stats import over_seeds, time_to_threshold

NETWORKS = {
    "cbr_large_t": "CBR-LargeT",
    "cbr_large_w": "CBR-LargeW",
    "cbr_small": "CBR-Small",
    "cbr_tiny": "CBR-Tiny",
    "resnet18": "ResNet-18",
    "resnet34": "ResNet-34",
    "resnet50": "ResNet-50",
    "inception_v3": "Inception-v3",
    "densenet121": "DenseNet-121",
    "efficientnet_b0": "EfficientNet-B0",
    "efficientnet_lite0": "EfficientNet-Lite0",
}
INITS = {"random": "random", "mean_var": "Mean Var", "pretrained": "pretrained"}


def curves(runs: Sequence[Run]) -> pd.DataFrame:
    """Return one row per run and evaluation: network, init, seed, step, and the scores."""
    rows = [
        {
            "network": NETWORKS[run.spec.model.name],
            "init": INITS.get(run.spec.init.method, run.spec.init.method),
            "seed": run.spec.seed,
            **{name: values[k] for name, values in run.curve.items() if not isinstance(values[k], list)},
        }
        for run in runs
        for k in range(len(run.curve["step"]))
    ]
    return pd.DataFrame(rows)


def mean_curves(curves: pd.DataFrame, *, score: str = "test_auroc") -> pd.DataFrame:
    """Return, for each network, init and step, the mean over seeds with a 95 % interval (columns mean, low, high).

    One seed has no interval: low and high are then missing.
    """
    rows = []
    for (network, init, step), part in curves.groupby(["network", "init", "step"], sort=False):
        values = part[score].tolist()
        interval = over_seeds(values) if len(values) > 1 else None
        low, high = (interval.low, interval.high) if interval else (math.nan, math.nan)
        rows.append((network, init, step, float(np.mean(values)), low, high))
    return pd.DataFrame(rows, columns=["network", "init", "step", "mean", "low", "high"])


def steps_to(curves: pd.DataFrame, *, threshold: float, in_a_row: int, score: str = "test_auroc") -> pd.DataFrame:
    """Return one row per network and init: each seed's first step at the threshold, and their restricted mean.

    A seed that never got there is kept as ``> last`` and enters the mean with the last step, where all are censored.
    """
    rows = []
    for (network, init), part in curves.groupby(["network", "init"], sort=False):
        times = [
            time_to_threshold(run["step"].tolist(), run[score].tolist(), threshold=threshold, consecutive=in_a_row)
            for _, run in part.groupby("seed")
        ]
        rows.append(
            {
                "network": network,
                "init": init,
                "step of each seed": ", ".join(f"{'' if one.reached else '> '}{one.step:.0f}" for one in times),
                "reached": f"{sum(one.reached for one in times)} of {len(times)}",
                "mean step": float(np.mean([one.step for one in times])),
                "last AUROC": float(part[part.step == part.step.max()][score].mean()),
            }
        )
    return pd.DataFrame(rows)


def styled(frame: pd.DataFrame) -> Styler:
    """Return a table for a page: numbers rounded, no row numbers."""
    formats: dict[Any, Any] = {
        name: "{:.3f}" if "AUROC" in name else "{:.0f}" for name in frame.select_dtypes("number").columns
    }
    return frame.style.format(formats).hide(axis="index")
