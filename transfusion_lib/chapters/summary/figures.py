"""The landing page's figure: how much sooner, and how much of a network can go."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transfusion_lib.chapters.kit.style import BLUE, GREEN, GREY, INK, ORANGE, PINK, QUIET, RULE, drawing, panels

COLORS = {"random": GREY, "pretrained": BLUE}
CUT_COLORS = (GREEN, ORANGE, PINK, BLUE)


@drawing
def summary(way: pd.DataFrame, rows: pd.DataFrame, *, titles: dict[str, str]) -> Figure:
    """Return two panels: scores early and late by start, a pair of lines a task; change of score by share kept."""
    figure, axes = panels(2, width=6.2, height=3.5)
    _sooner(axes[0, 0], way)
    _kept(axes[1, 0], rows)
    for axis, name in zip(axes[:, 0], ("sooner", "kept"), strict=True):
        axis.set_title(titles[name])
    return figure


def _sooner(axis: Axes, way: pd.DataFrame) -> None:
    groups = list(way.groupby(["task", "network"], sort=False))
    early, late = int(way["step"].min()), int(way["step"].max())
    for place, ((task, network), part) in enumerate(groups):
        axis.text(0, place - 0.33, f"{task}, {network}", fontsize=9, color=INK, transform=axis.get_yaxis_transform())
        for shift, start in ((-0.02, "pretrained"), (0.24, "random")):
            rows = part[part["start"] == start].sort_values("step")
            height, color = place + shift, COLORS[start]
            axis.plot(rows["mean"], [height] * len(rows), color=color, linewidth=2, zorder=1)
            for row, face in zip(rows.to_dict("records"), ("white", color), strict=False):
                axis.plot([row["low"], row["high"]], [height] * 2, color=color, linewidth=5, alpha=0.25, zorder=2)
                axis.plot(row["mean"], height, "o", markersize=8, markeredgecolor=color, markerfacecolor=face, zorder=3)
            if place == 0 and len(rows):
                right = float(rows["mean"].iloc[-1])
                note = axis.annotate(
                    start, (right, height), (12, 0), textcoords="offset points", va="center", color=color, weight="bold"
                )
                note.set_in_layout(False)
    axis.set_ylim(len(groups) - 0.4, -0.6)
    axis.set_yticks([])
    axis.spines["left"].set_visible(False)
    axis.grid(axis="x", color=RULE, linewidth=0.8)
    low, high = float(way["mean"].min()), float(way["mean"].max())
    axis.set_xlim(low - 0.05, high + 0.35 * (high - low) + 0.02)
    axis.set_xlabel(f"validation AUROC at step {early} (hollow) and {late} (filled)")


def _kept(axis: Axes, rows: pd.DataFrame) -> None:
    axis.axhline(0, color=QUIET, linewidth=1)
    axis.annotate(
        "the whole network", (1, 0), (0, -12), textcoords="offset points", ha="right", color=QUIET, fontsize=9
    )
    for color, ((task, network), part) in zip(CUT_COLORS, rows.groupby(["task", "network"], sort=False), strict=False):
        part = part.sort_values("share")
        axis.plot(part["share"], part["mean"], color=color, linewidth=1, alpha=0.6)
        axis.errorbar(
            part["share"],
            part["mean"],
            yerr=[part["mean"] - part["low"], part["high"] - part["mean"]],
            fmt="o",
            color=color,
            markersize=6,
            linewidth=1.6,
        )
        top = part.iloc[int(part["mean"].argmax())]
        note = axis.annotate(
            f"{network}, {task}",
            (top["share"], top["high"]),
            (0, 6),
            textcoords="offset points",
            color=color,
            fontsize=9,
        )
        note.set_in_layout(False)
    axis.set_xlim(0, 1)
    axis.margins(y=0.18)
    axis.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axis.set_xlabel("share of the parameters that the cut network keeps")
    axis.set_ylabel("change of the test score")
