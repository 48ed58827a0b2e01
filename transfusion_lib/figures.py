"""Frames to figures in one style; computes nothing, reads nothing."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, QUIET, RULE = "#1d2a30", "#5d6b73", "#d8dfe2"
# Okabe and Ito's colours, told apart with any colour vision; the line styles repeat the distinction.
INIT_STYLE: dict[str, dict[str, Any]] = {
    "random": {"color": "#6b7780", "linestyle": (0, (4, 1.5))},
    "Mean Var": {"color": "#d55e00", "linestyle": (0, (1.2, 1))},
    "pretrained": {"color": "#0072b2", "linestyle": "-"},
}
STYLE: dict[Any, Any] = {
    "figure.dpi": 100,
    "figure.facecolor": "none",
    "svg.hashsalt": "transfusion",  # the same data give the same file
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.titleweight": "bold",
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "legend.frameon": False,
}


def svg(figure: Figure) -> str:
    """Return the figure as SVG: sharp at any zoom, and the same text for the same data."""
    buffer = io.StringIO()
    with plt.rc_context(STYLE):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    return buffer.getvalue()


def convergence(curves: pd.DataFrame, means: pd.DataFrame, *, threshold: float, titles: dict[str, str]) -> Figure:
    """Return test AUROC over training steps: a panel per network, a thin line per seed, mean and 95 % band per init.

    ``curves`` and ``means`` are those of ``tables``; ``titles`` gives each network's finding.
    """
    networks = list(dict.fromkeys(curves["network"]))
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            len(networks),
            1,
            figsize=(7.0, 3.6 * len(networks)),
            sharex=True,
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        axes[0, 0].set_ylim(float(curves["test_auroc"].min()) - 0.02, 1.0)
        for axis, network in zip(axes[:, 0], networks, strict=True):
            _panel(axis, curves[curves["network"] == network], means[means["network"] == network])
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
            axis.set_title(titles[network])
            axis.set_ylabel("test AUROC (higher is better)")
        axes[-1, 0].set_xlabel("training step")
        plt.close(figure)
    return figure


def _panel(axis: Axes, curves: pd.DataFrame, means: pd.DataFrame) -> None:
    ends: list[tuple[float, str]] = []
    for init in dict.fromkeys(curves["init"]):
        style = INIT_STYLE[init]
        for _, run in curves[curves["init"] == init].groupby("seed"):
            axis.plot(run["step"], run["test_auroc"], color=style["color"], linewidth=0.7, alpha=0.45)
        mean = means[means["init"] == init]
        low, high = mean["low"].clip(0, 1), mean["high"].clip(0, 1)
        axis.fill_between(mean["step"], low, high, color=style["color"], alpha=0.13, linewidth=0)
        axis.plot(mean["step"], mean["mean"], linewidth=2.2, **style)
        ends.append((float(mean["mean"].iloc[-1]), init))
    axis.margins(x=0.01)
    last = float(curves["step"].max())
    for height, (_, init) in zip(_apart(sorted(ends), axis.get_ylim()), sorted(ends), strict=True):
        axis.annotate(
            init,
            (last, height),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            annotation_clip=False,
            color=INIT_STYLE[init]["color"],
            fontweight="bold",
        )


def _apart(ends: Sequence[tuple[float, str]], limits: tuple[float, float]) -> list[float]:
    """Return heights for labels near the curves' ends, moved so that they do not overlap."""
    gap = (limits[1] - limits[0]) * 0.075
    heights = [height for height, _ in ends]
    for k in range(1, len(heights)):
        heights[k] = max(heights[k], heights[k - 1] + gap)
    excess = max(0.0, heights[-1] - limits[1]) if heights else 0.0
    return [height - excess for height in heights]
