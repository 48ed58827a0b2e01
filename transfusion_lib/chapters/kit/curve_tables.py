"""Learning curves and times to a threshold, which most chapters read."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from transfusion_lib import data
from transfusion_lib.chapters.kit.page_table import page_table
from transfusion_lib.networks import UNET, VOLUME, base
from transfusion_lib.runs import Run
from transfusion_lib.spec import RunSpec
from transfusion_lib.stats import over_seeds

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
STARTS = {
    "random": "random",
    "mean_var": "Mean Var",
    "covariance": "covariance",
    "pretrained": "pretrained",
    "bootstrap": "bootstrap",
    "permutation": "permutation",
}
LARGE = frozenset(name for name in NETWORKS.values() if not name.startswith("CBR"))
"""The standard architectures; the paper calls the CBR networks small, its CBR-Large among them."""


def called(network: str) -> str:
    """Return a network's display name; a U-Net's and a volume network's name their encoder or 2D twin."""
    name = NETWORKS.get(base(network), base(network))
    if network.startswith(UNET):
        return f"U-Net over {name}"
    return f"{name} in 3D" if network.endswith(VOLUME) else name


def start_of(spec: RunSpec) -> str:
    """Return in a word or two how a run starts and what was done to its network: one arm of a comparison."""
    init = spec.init
    if init.gabor is not None:
        return "Gabor conv1"
    if spec.model.slim is not None:
        return "Slim"
    if init.up_to is not None:
        return init.up_to if init.above == "random" else f"{init.up_to}, {STARTS[init.above]} above"
    kept = ", batch norm kept" if init.batch_norm == "keep" else ""
    return STARTS[init.method] + kept


def panels_of(runs: Sequence[Run]) -> list[str]:
    """Return the panel of each run: its network, and its task where runs have several."""
    several = len({data_of(run) for run in runs}) > 1
    return [
        f"{NETWORKS[run.spec.model.name]}, {task_of(run)}" if several else NETWORKS[run.spec.model.name] for run in runs
    ]


def of_network(frame: pd.DataFrame, name: str) -> list[str]:
    """Return the panels of a network, by its name in the table, that a frame has."""
    label = NETWORKS[name]
    return [panel for panel in dict.fromkeys(frame["network"]) if panel == label or panel.startswith(f"{label}, ")]


def subject(run: Run) -> str:
    """Return what a case of a claim is about, in English: the data, what is asked of them, and the network."""
    return f"{data_of(run)}, {NETWORKS[run.spec.model.name]}"


def data_of(run: Run) -> str:
    """Return a run's data and what is asked of them, in English; the data once where the question names them."""
    [title], asked = data.titles([run.spec.data]), task_of(run)
    called = data.called(title) if title in data.TABLE else title
    return asked if called.removesuffix("s") in asked else f"{called}, {asked}"


def task_of(run: Run) -> str:
    """Return what is asked of a run's images, in English; "(shift)" behind it where its scores measure that."""
    info = data.TABLE[run.spec.data.name].info
    return info.asked(run.spec.data.task or info.tasks[0], split=run.spec.data.split)


def curves(runs: Sequence[Run]) -> pd.DataFrame:
    """Return one row per run and evaluation: network, init, seed, step, auroc (see ``Run.on_the_way``), run.

    ``network`` names a panel (``panels_of``).
    """
    rows = [
        {
            "network": panel,
            "init": start_of(run.spec),
            "seed": run.spec.seed,
            "step": step,
            "auroc": score,
            "run": run.key,
        }
        for run, panel in zip(runs, panels_of(runs), strict=True)
        for step, score in zip(run.curve["step"], run.on_the_way, strict=True)
    ]
    return pd.DataFrame(rows)


def mean_curves(curves: pd.DataFrame, *, score: str = "auroc") -> pd.DataFrame:
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


def styled(frame: pd.DataFrame) -> Styler:
    """Return a table for a page: numbers rounded, scores and shares to three places, no row numbers, blanks empty."""
    numbers = frame.select_dtypes("number").columns
    formats = {
        name: "{:.3f}" if any(word in name for word in ("AUROC", "share", " p", "SD", "ms")) else "{:,.0f}"
        for name in numbers
    }
    return page_table(frame, formats, blank="")
