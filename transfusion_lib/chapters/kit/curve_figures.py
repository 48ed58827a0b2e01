"""The learning curves of the chapter "Mean Var", and the panel that other chapters share."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transfusion_lib.chapters.kit.style import INIT_STYLE, QUIET, drawing, label_ends, panels

MOST_BANDS = 3
"""With more starts the bands of intervals would hide each other; the figures of arrivals show intervals instead."""


@drawing
def convergence(curves: pd.DataFrame, means: pd.DataFrame, *, threshold: float, titles: dict[str, str]) -> Figure:
    """Return validation AUROC over the steps: a panel per network, a thin line per seed, mean and 95 % band.

    ``curves`` and ``means`` are those of ``tables``; ``titles`` gives each network's finding.
    """
    networks = list(dict.fromkeys(curves["network"]))
    figure, axes = panels(len(networks), sharex=True, sharey=True)
    for axis, network in zip(axes[:, 0], networks, strict=True):
        rows = [frame[frame["network"] == network] for frame in (curves, means)]
        curves_panel(axis, rows[0], rows[1], threshold=threshold, styles=INIT_STYLE)
        axis.set_title(titles[network])
        axis.set_ylabel("validation AUROC (higher is better)")
    axes[0, 0].set_ylim(_bottom(curves, threshold), 1.0)
    axes[-1, 0].set_xlabel("training step")
    return figure


def curves_panel(
    axis: Axes, curves: pd.DataFrame, means: pd.DataFrame, *, threshold: float, styles: Mapping[str, Mapping[str, Any]]
) -> None:
    """Draw one network's curves, thin for a seed, thick for the mean, with bands, labels and the threshold."""
    axis.set_ylim(_bottom(curves, threshold), 1.0)
    ends: list[tuple[float, str, str]] = []
    for init in dict.fromkeys(curves["init"]):
        style: dict[str, Any] = dict(styles[init])
        for _, run in curves[curves["init"] == init].groupby("seed"):
            axis.plot(run["step"], run["auroc"], color=style["color"], linewidth=0.7, alpha=0.45)
        mean = means[means["init"] == init]
        if curves["init"].nunique() <= MOST_BANDS:
            low, high = mean["low"].clip(0, 1), mean["high"].clip(0, 1)
            axis.fill_between(mean["step"], low, high, color=style["color"], alpha=0.13, linewidth=0)
        axis.plot(mean["step"], mean["mean"], linewidth=2.2, **style)
        ends.append((float(mean["mean"].iloc[-1]), init, style["color"]))
    axis.margins(x=0.01)
    label_ends(axis, ends, x=float(curves["step"].max()))
    axis.axhline(threshold, color=QUIET, linewidth=0.8, linestyle=":")
    axis.annotate(
        f"threshold {threshold:g}",
        (0.01, threshold),  # curves start low, so the upper left is free
        xycoords=("axes fraction", "data"),
        color=QUIET,
        fontsize=8,
        ha="left",
        va="bottom",
    )


def _bottom(curves: pd.DataFrame, threshold: float) -> float:
    """Return where the axis begins: below every curve and below the threshold, whose words must lie inside."""
    return float(np.nanmin([*curves["auroc"], threshold])) - 0.02
