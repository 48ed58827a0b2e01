"""The figures of the chapter "Ablations"."""

from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from transfusion_lib.chapters.kit.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PINK,
    QUIET,
    bars,
    drawing,
    label_ends,
    logarithmic,
    panels,
)

HEADS: dict[str, dict[str, Any]] = {
    "pooled": {"color": BLUE, "marker": "o"},
    "not pooled": {"color": ORANGE, "marker": "s"},
}
SOURCES: dict[str, dict[str, Any]] = {
    "no source": {"color": GREY, "linestyle": (0, (4, 1.5))},
    "natural images": {"color": BLUE, "linestyle": "-"},
    "medical images": {"color": ORANGE, "linestyle": (0, (1.2, 1))},
}


@drawing
def pooling(frame: pd.DataFrame, *, title: str) -> Figure:
    """Return test AUROC over cut points with and without pooling; a filled mark is validation's choice."""
    figure, axes = panels(1, height=3.6)
    axis = axes[0, 0]
    cuts = list(dict.fromkeys(frame["cut"]))
    ends = []
    for shift, (head, rows) in enumerate(frame.groupby("head", sort=False)):
        style = HEADS[str(head)]
        places = [cuts.index(cut) + 0.06 * shift for cut in rows["cut"]]
        axis.plot(places, rows["auroc"], color=style["color"], linewidth=1, alpha=0.5)
        for place, row in zip(places, rows.to_dict("records"), strict=True):
            face = style["color"] if row["chosen"] else "white"
            reach = bars(row["auroc"], row["low"], row["high"])
            axis.errorbar(
                place,
                row["auroc"],
                yerr=reach,
                markerfacecolor=face,
                linewidth=1,
                capsize=2,
                markersize=7,
                **style,
            )
        ends.append((float(rows["auroc"].iloc[-1]), str(head), str(style["color"])))
    axis.set_xticks(range(len(cuts)), cuts)
    axis.margins(x=0.12)
    label_ends(axis, ends, x=len(cuts) - 1 + 0.12)
    axis.set_xlabel("cut point")
    axis.set_ylabel("test AUROC (higher is better)")
    axis.set_title(title)
    return figure


@drawing
def architectures(frame: pd.DataFrame, *, title: str) -> Figure:
    """Return test AUROC against parameters, a panel per network: an arrow from full fine-tuning to its truncation."""
    networks = list(frame.groupby("network", sort=False))
    figure, axes = panels(1, len(networks), width=2.7 * len(networks) + 1.2, height=3.4, sharex=True, sharey=True)
    for axis, (network, rows), color in zip(axes[0], networks, cycle((BLUE, ORANGE, GREEN, PINK, GREY))):
        points = []
        for row, filled in zip(rows.to_dict("records"), (False, True), strict=True):
            points.append((row["parameters"] / 1e6, row["auroc"]))
            axis.errorbar(
                *points[-1],
                yerr=bars(row["auroc"], row["low"], row["high"]),
                marker="D" if filled else "o",
                color=color,
                markerfacecolor=color if filled else "white",
                linewidth=1,
                capsize=2,
                markersize=7,
            )
            axis.annotate(
                row["arm"] + (f"\nat {row['cut']}" if row["cut"] else ""),
                (points[-1][0], np.nanmin([max(row["low"], 0.0), row["auroc"]])),
                xytext=(0, -6),
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=8,
                color=color,
            )
        axis.annotate("", points[1], xytext=points[0], arrowprops={"arrowstyle": "->", "color": color, "alpha": 0.6})
        axis.set_title(str(network), fontsize=9, color=color)
    first = axes[0, 0]
    logarithmic(first, "x")
    first.margins(x=0.2, y=0.22)
    first.set_ylabel("test AUROC (higher is better)")
    figure.supxlabel("parameters, millions (logarithmic; fewer is cheaper)", fontsize=9)
    figure.suptitle(title.replace("; ", ";\n"), x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    return figure


@drawing
def sources(frame: pd.DataFrame, *, title: str) -> Figure:
    """Return test AUROC over training steps from each source: thin lines are seeds, thick ones their mean."""
    figure, axes = panels(1, height=3.6)
    axis = axes[0, 0]
    ends = []
    for source, rows in frame.groupby("source", sort=False):
        style = SOURCES[str(source)]
        for _, one in rows.groupby("seed"):
            axis.plot(one["step"], one["auroc"], color=style["color"], linewidth=0.6, alpha=0.45)
        mean = rows.groupby("step")["auroc"].mean()
        axis.plot(mean.index, mean, linewidth=2.2, **style)
        ends.append((float(mean.iloc[-1]), str(source), str(style["color"])))
    label_ends(axis, ends, x=float(frame["step"].max()))
    axis.axhline(0.5, color=QUIET, linewidth=0.8, linestyle=":")
    axis.margins(x=0.01)
    axis.set_xlabel("training step on the target")
    axis.set_ylabel("test AUROC (higher is better)")
    axis.set_title(title)
    return figure
