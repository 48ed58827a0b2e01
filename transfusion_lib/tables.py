"""Runs to tidy frames; trains nothing, draws nothing."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

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
    """Return, for each network, init and step, the mean over seeds with a 95 % interval (columns mean, low, high)."""
    rows = []
    for (network, init, step), part in curves.groupby(["network", "init", "step"], sort=False):
        interval = over_seeds(part[score].tolist())
        rows.append((network, init, step, interval.estimate, interval.low, interval.high, len(part)))
    return pd.DataFrame(rows, columns=["network", "init", "step", "mean", "low", "high", "seeds"])


def steps_to(curves: pd.DataFrame, *, threshold: float, in_a_row: int, score: str = "test_auroc") -> pd.DataFrame:
    """Return one row per network and init: each seed's first step at the threshold, and the restricted mean.

    A seed that never got there is kept as ``> last``.
    """
    rows = []
    for (network, init), part in curves.groupby(["network", "init"], sort=False):
        found = [
            time_to_threshold(run["step"].tolist(), run[score].tolist(), threshold=threshold, in_a_row=in_a_row)
            for _, run in part.groupby("seed")
        ]
        rows.append(
            {
                "network": network,
                "init": init,
                "each seed": ", ".join(f"> {one.last}" if one.step is None else str(one.step) for one in found),
                "reached": f"{sum(not one.censored for one in found)} of {len(found)}",
                "mean step": float(np.mean([one.restricted for one in found])),
                "final AUROC": over_seeds(part[part.step == part.step.max()][score].tolist()).estimate,
            }
        )
    return pd.DataFrame(rows)


def order_of(steps: pd.DataFrame, network: str) -> str:
    """Return in words which init of a network reached the threshold first, by the mean step: "a before b before c"."""
    rows = steps[steps["network"] == network].sort_values("mean step", kind="stable")
    words: list[str] = []
    for before, (_, row) in zip([None, *rows["mean step"]], rows.iterrows(), strict=False):
        joint = "" if before is None else " with " if row["mean step"] == before else " before "
        words += [joint, row["init"]]
    return "".join(words)
