"""The figures of the chapter "Tasks and data"."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from transfusion_lib.chapters.kit.style import BLUE, GREY, ORANGE, QUIET, SKY, drawing, panels

OUTLINE = "#ffe14d"  # stands out from red fundus and grey film alike


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture to show."""

    pixels: NDArray[np.uint8]
    """(height, width) or (height, width, 3)."""
    title: str
    outline: NDArray[np.bool_] | None = None
    """(height, width): where the findings are."""


@drawing
def side_by_side(pictures: Sequence[Picture], *, title: str) -> Figure:
    """Return pictures in a row, each under its name."""
    figure, axes = panels(1, len(pictures), width=2.4 * len(pictures), height=2.9)
    for axis, picture in zip(axes[0], pictures, strict=True):
        _show(axis, picture.pixels)
        axis.set_title(picture.title, fontsize=9, fontweight="normal", pad=5)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    return figure


@drawing
def contact_sheet(rows: Mapping[str, Sequence[Picture]], *, title: str) -> Figure:
    """Return a row of pictures per class; what the masks mark as a finding is outlined in yellow.

    A class without a picture keeps its row, which says so.
    """
    columns = max(len(row) for row in rows.values())
    figure, axes = panels(len(rows), columns, width=1.55 * columns + 1.0, height=1.6)
    for line, (name, row) in zip(axes, rows.items(), strict=True):
        for axis, picture in zip(line, [*row, *[None] * (columns - len(row))], strict=True):
            axis.axis("off")
            if picture is not None:
                _show(axis, picture.pixels)
                if picture.outline is not None and picture.outline.any():
                    axis.contour(picture.outline, levels=[0.5], colors=OUTLINE, linewidths=0.8)
        if not row:
            line[0].text(0.0, 0.5, "none among these pictures", transform=line[0].transAxes, va="center", fontsize=8)
        line[0].text(-0.06, 0.5, name, transform=line[0].transAxes, ha="right", va="center", fontsize=9)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    return figure


@drawing
def balance(counts: pd.DataFrame, *, titles: Mapping[str, str]) -> Figure:
    """Return the share of each class in each split, a panel per data set; ``counts`` is that of ``tables``."""
    names = list(dict.fromkeys(counts["data"]))
    splits = list(dict.fromkeys(counts["split"]))
    heights = [counts[counts["data"] == name]["class"].nunique() + 1.2 for name in names]
    figure, axes = panels(
        len(names), height=0.42 * sum(heights) / len(names), gridspec_kw={"height_ratios": heights}, sharex=True
    )
    colors = dict(zip(splits, (BLUE, ORANGE, SKY, GREY), strict=False))
    for axis, name in zip(axes[:, 0], names, strict=True):
        part = counts[counts["data"] == name]
        classes = list(dict.fromkeys(part["class"]))
        for k, split in enumerate(splits):
            rows = part[part["split"] == split].set_index("class").loc[classes]
            places = np.arange(len(classes)) + (k - 1) * 0.26
            axis.barh(places, rows["share"], height=0.24, color=colors[split], label=split)
            for place, share, images in zip(places, rows["share"], rows["images"], strict=True):
                axis.annotate(f"{images:,}", (share, place), xytext=(3, 0), textcoords="offset points",
                              va="center", fontsize=7, color=QUIET)  # fmt: skip
        axis.set_yticks(range(len(classes)), [text.replace("_", " ") for text in classes])
        axis.invert_yaxis()
        axis.set_title(titles[name])
    axes[0, 0].legend(loc="upper right", fontsize=8)
    axes[-1, 0].set_xlabel("share of the split's images; numbers: images")
    return figure


def _show(axis: Axes, pixels: NDArray[np.uint8]) -> None:
    # "none" stores the pixels as they are; resampled to the figure's they are several times larger.
    axis.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="none")
    axis.axis("off")
