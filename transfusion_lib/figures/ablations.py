"""The figures of the chapter "Ablations"."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from transfusion_lib.figures.style import BLUE, GREEN, GREY, ORANGE, PINK, QUIET, bars, drawing, label_ends, panels

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
    """Return test AUROC against parameters: an arrow per network, from full fine-tuning to its truncation."""
    figure, axes = panels(1, height=3.8)
    axis = axes[0, 0]
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    for number, (network, rows) in enumerate(frame.groupby("network", sort=False)):
        color = (BLUE, ORANGE, GREEN, PINK, GREY)[number % 5]
        for row, filled in zip(rows.to_dict("records"), (False, True), strict=True):
            reach = bars(row["auroc"], row["low"], row["high"])
            axis.errorbar(
                row["parameters"] / 1e6,
                row["auroc"],
                yerr=reach,
                marker="D" if filled else "o",
                color=color,
                markerfacecolor=color if filled else "white",
                linewidth=1,
                capsize=2,
                markersize=7,
            )
            label = f"{network}, {row['arm']}" + (f" at {row['cut']}" if row["cut"] else "")
            axis.annotate(
                label,
                (row["parameters"] / 1e6, row["auroc"]),
                xytext=(7, -12 if filled else 6),
                textcoords="offset points",
                fontsize=8,
                color=color,
            )
        points = [(row["parameters"] / 1e6, row["auroc"]) for row in rows.to_dict("records")]
        axis.annotate("", points[1], xytext=points[0], arrowprops={"arrowstyle": "->", "color": color, "alpha": 0.6})
    axis.margins(x=0.25)
    axis.set_xlabel("parameters, millions (logarithmic; fewer is cheaper)")
    axis.set_ylabel("test AUROC (higher is better)")
    axis.set_title(title.replace("; ", ";\n"))
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
