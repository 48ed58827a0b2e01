"""The figures of the chapter "Differential transfer"."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from transfusion_lib.chapters.kit.style import BLUE, GREEN, GREY, ORANGE, PINK, QUIET, bars, drawing, panels

METHOD_STYLE: dict[str, dict[str, Any]] = {
    "FTL": {"color": GREY, "marker": "o"},
    "FE": {"color": PINK, "marker": "X"},
    "LWFT": {"color": ORANGE, "marker": "s"},
    "TF": {"color": GREEN, "marker": "^"},
    "TTL": {"color": BLUE, "marker": "D"},
}


@drawing
def frontier(methods: pd.DataFrame, *, kept: Sequence[str], title: str) -> Figure:
    """Return test AUROC against multiply-adds, a mark per arm; marks on the frontier are filled and joined.

    ``methods`` is that of ``tables``; bars are 95 % intervals over seeds.
    """
    figure, axes = panels(1, height=4.2)
    axis = axes[0, 0]
    marks = methods.groupby(["method", "macs", "auroc"], sort=False).first().reset_index()  # one mark for the same runs
    names = methods.groupby(["method", "macs", "auroc"], sort=False)["arm"].agg(", ".join).tolist()
    edge = methods[methods["arm"].isin(kept)].sort_values(["macs", "auroc"])
    axis.plot(edge["macs"] / 1e6, edge["auroc"], color=QUIET, linewidth=1, linestyle=":", zorder=1)
    for row, name, place in zip(marks.to_dict("records"), names, _spread(marks), strict=True):
        style = METHOD_STYLE[row["method"]]
        face = style["color"] if row["arm"] in kept else "white"
        reach = bars(row["auroc"], row["auroc_low"], row["auroc_high"])
        axis.errorbar(
            place, row["auroc"], yerr=reach, **style, markerfacecolor=face, markersize=7, linewidth=1, capsize=2
        )
        axis.annotate(
            name, (place, row["auroc"]), xytext=(6, 5), textcoords="offset points", fontsize=8, color=style["color"],
            fontweight="bold",
        )  # fmt: skip
    axis.set_xlabel("multiply-adds for one image, millions (fewer is cheaper; marks at one value are set apart)")
    axis.set_ylabel("test AUROC (higher is better)")
    axis.set_title(title)
    axis.margins(x=0.1)
    return figure


@drawing
def search(searched: pd.DataFrame, *, titles: Mapping[str, str]) -> Figure:
    """Return the judge's score over cut points, a panel per method; the chosen cut point is filled.

    ``searched`` is that of ``tables``; bars are 95 % intervals over seeds. Squares are blocks, circles single layers.
    """
    methods = list(dict.fromkeys(searched["method"]))
    figure, axes = panels(1, len(methods), width=2.9 * len(methods) + 0.6, height=3.4, sharey=True)
    for axis, method in zip(axes[0], methods, strict=True):
        rows = searched[searched["method"] == method]
        color = METHOD_STYLE[method]["color"]
        axis.plot(range(len(rows)), rows["score"], color=color, linewidth=1, alpha=0.5, zorder=1)
        for place, row in enumerate(rows.to_dict("records")):
            reach = bars(row["score"], row["low"], row["high"])
            axis.errorbar(
                place,
                row["score"],
                yerr=reach,
                marker="s" if row["stage"] == "blocks" else "o",
                color=color,
                markerfacecolor=color if row["chosen"] else "white",
                markersize=8 if row["chosen"] else 6,
                linewidth=1,
                capsize=2,
            )
        axis.set_xticks(range(len(rows)), rows["cut"], rotation=45, ha="right", fontsize=8)
        axis.set_title(titles[method], fontsize=9.5)
        axis.margins(x=0.15)
    axes[0, 0].set_ylabel("validation AUPRC (higher is better)")
    figure.supxlabel("cut point, from the input on", fontsize=10)
    return figure


def _spread(methods: pd.DataFrame) -> list[float]:
    """Return each arm's place on the axis in millions, those at one value a little apart."""
    macs = methods["macs"] / 1e6
    step = 0.06 * (macs.max() - macs.min() or 1.0)
    seen: dict[float, int] = {}
    places = []
    for value in macs:
        places.append(value + step * seen.get(value, 0))
        seen[value] = seen.get(value, 0) + 1
    return places
