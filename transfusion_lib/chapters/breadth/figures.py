"""The figure of the chapter "Other tasks": the lead of a pretrained start early and at the end, cell by cell."""

import textwrap

import pandas as pd
from matplotlib.figure import Figure

from transfusion_lib.chapters.kit.style import BLUE, GREY, INK, QUIET, RULE, drawing, panels

APART = 0.13
"""How far the early and the last mark of a row stand from its middle, so that their intervals can be told apart."""

LINE = 90
"""Characters of a title that fit on a line above the figure."""


@drawing
def leads(found: pd.DataFrame, *, early: int, margin: float, title: str) -> Figure:
    """Return the lead in test AUROC early (open circles) and at the end (squares), with 95 % intervals.

    Rows stand under their cell, of ``found`` in order; the band is the margin within which a difference counts as none.
    """
    labels: list[tuple[float, str, bool]] = []
    places: list[float] = []
    height = 0.0
    for cell, rows in found.groupby("cell", sort=False):
        labels.append((height, str(cell), True))
        for network in rows["network"]:
            height += 0.8
            labels.append((height, str(network), False))
            places.append(height)
        height += 1.1
    figure, axes = panels(1, width=8.0, height=1.3 + 0.3 * height)
    axis = axes[0, 0]
    axis.axvspan(-margin, margin, color=RULE, alpha=0.7, linewidth=0)
    axis.axvline(0, color=QUIET, linewidth=0.8)
    ordered = pd.concat([rows for _, rows in found.groupby("cell", sort=False)])
    for name, mark, color, fill, shift, text in (
        ("early", "o", GREY, "none", -APART, f"after {early} steps"),
        ("end", "s", BLUE, BLUE, APART, "at the end"),
    ):
        heights = [place + shift for place in places]
        axis.hlines(heights, ordered[f"{name} low"], ordered[f"{name} high"], color=color, linewidth=1.6)
        axis.plot(ordered[name], heights, mark, color=color, mfc=fill, markersize=6, label=text)
    axis.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, handlelength=1.5, borderaxespad=0.2)
    axis.set_yticks([place for place, *_ in labels], [text for _, text, _ in labels])
    for tick, (_, _, heading) in zip(axis.get_yticklabels(), labels, strict=True):
        tick.set_color(INK if heading else QUIET)
        tick.set_fontweight("bold" if heading else "normal")
        tick.set_fontsize(8.5)
    axis.tick_params(axis="y", length=0)
    axis.set_ylim(height - 0.6, -0.8)
    axis.set_xlabel("test AUROC, pretrained minus random start (right of 0: transfer is ahead)")
    figure.suptitle(textwrap.fill(title, LINE), x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    return figure
