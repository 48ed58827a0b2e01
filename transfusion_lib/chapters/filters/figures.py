"""The figures of the chapter "What do the filters keep?"."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from transfusion_lib.chapters.kit.style import BLUE, GREEN, GREY, INIT_STYLE, QUIET, drawing, logarithmic, panels

DEVIATIONS = 3.0
"""Half the range of the one colour scale, in standard deviations of a start's first weights."""


class Pictured(Protocol):
    """conv1 of a run: ``tables.Filters``."""

    network: str
    init: str
    before: Tensor
    after: Tensor


class Excited(Protocol):
    """What excites a run's stages: ``tables.Favourites``."""

    network: str
    init: str
    stages: tuple[str, ...]
    images: Tensor


@drawing
def first_filters(found: Sequence[Pictured], *, moved: dict[tuple[str, str], float]) -> Figure:
    """Return Figure 5: conv1 before and after training, a row per network and start, one colour scale.

    Grey is 0; the scale is in standard deviations of the row's weights before training, for every panel the same.
    ``moved`` gives the median relative movement of each row.
    """
    figure, axes = panels(len(found), 2, width=7.0, height=2.3)
    for row, one in zip(axes, found, strict=True):
        deviation = float(one.before.std())
        for axis, weights, when in zip(row, (one.before, one.after), ("before", "after"), strict=True):
            axis.imshow(_mosaic(weights, deviation), interpolation="nearest")
            axis.set_axis_off()
            axis.set_title(f"{one.network}, {one.init}: {when}", fontsize=8.5, pad=4)
        text = f"filters move {moved[one.network, one.init]:.1%}"
        row[1].text(1.02, 0.5, text, transform=row[1].transAxes, rotation=90, va="center", fontsize=7.5, color=QUIET)
    return figure


@drawing
def filter_movement(movement: pd.DataFrame, *, title: str) -> Figure:
    """Return how far the filters of conv1 moved: the share of filters that moved less, a thin line per seed."""
    networks = list(dict.fromkeys(movement["network"]))
    figure, axes = panels(1, len(networks), width=7.6, height=3.0, sharex=True, sharey=True)
    for axis, network in zip(axes[0], networks, strict=True):
        part = movement[movement["network"] == network]
        for (init, _), rows in part.groupby(["init", "seed"], sort=False):
            moved = np.sort(rows["moved"])
            share = (np.arange(len(moved)) + 1) / len(moved)
            axis.step(moved, share, where="post", linewidth=1.1, **INIT_STYLE[str(init)])
        medians = part.groupby("init")["moved"].median().sort_values()
        for place, (init, median) in enumerate(medians.items()):
            left = place == 0 and len(medians) > 1  # the upper left and the lower right of rising curves are free
            axis.annotate(
                str(init), (median, 0.7 if left else 0.25), xytext=(-4 if left else 4, 0), textcoords="offset points",
                ha="right" if left else "left", color=INIT_STYLE[str(init)]["color"], fontweight="bold", fontsize=8.5,
            )  # fmt: skip
        axis.set_title(network)
        logarithmic(axis, "x")
        axis.set_xlabel("distance / first norm of a filter")
    axes[0, 0].set_ylabel("share of filters that moved less")
    figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    return figure


@drawing
def gabor_scores(scores: pd.DataFrame, *, titles: dict[str, str]) -> Figure:
    """Return the Gabor score of every filter, a panel per network, against random filters and their 95 % line."""
    networks = list(dict.fromkeys(scores["network"]))
    figure, axes = panels(len(networks), height=2.7, sharex=True)
    for axis, network in zip(axes[:, 0], networks, strict=True):
        part = scores[scores["network"] == network]
        groups = [("null", "random", "random filters", GREEN)]
        groups += [
            (when, init, f"{init}, {when}", BLUE if init == "pretrained" else GREY)
            for init in dict.fromkeys(part["init"])
            for when in ("before", "after")
        ]
        for place, (when, init, _, color) in enumerate(groups):
            rows = part[(part["when"] == when) & (part["init"] == init)]
            height = place + np.linspace(-0.28, 0.28, len(rows))
            axis.scatter(rows["score"], height, s=7, color=color, alpha=0.6, linewidth=0)
            share = f"{rows['is_gabor'].mean():.0%}"
            axis.annotate(share, (1.0, place), xytext=(8, 0), textcoords="offset points", va="center", fontsize=8)
        threshold = float(part["threshold"].iloc[0])
        axis.axvline(threshold, color=QUIET, linewidth=0.9, linestyle=":")
        axis.set_yticks(range(len(groups)), [label for *_, label, _ in groups], fontsize=8)
        axis.invert_yaxis()
        axis.set_xlim(0, 1.0)
        axis.set_title(titles[network])
    axes[-1, 0].set_xlabel("variance that the best Gabor explains (right: share beyond the dotted line)")
    return figure


@drawing
def favourites(found: Sequence[Excited]) -> Figure:
    """Return what excites each stage: a column per stage from the input on, a row per network and start."""
    columns = max(len(one.stages) for one in found)
    shown = found[0].images.shape[1]
    figure, axes = panels(len(found), columns, width=max(5.0, 1.05 * columns), height=0.95 * shown + 0.35)
    for row, one in zip(axes, found, strict=True):
        for axis in row:
            axis.set_axis_off()
        for axis, stage, images in zip(row, one.stages, one.images, strict=False):
            axis.imshow(_stacked(images), interpolation="none")  # as they are: resampled they are far larger
            axis.set_title(stage, fontsize=7.5, loc="center", pad=3, fontweight="normal")
        label = f"{one.network}\n{one.init}"
        row[0].text(-0.12, 0.5, label, transform=row[0].transAxes, rotation=90, ha="right", va="center", fontsize=8)
    return figure


def _mosaic(weights: Tensor, deviation: float, *, columns: int = 8) -> NDArray[np.float64]:
    """Return filters (n, channels, h, w) as one picture (height, width, 3), a pixel of white between them."""
    scaled = (0.5 + weights.double() / (2 * DEVIATIONS * deviation)).clamp(0, 1)
    scaled = scaled.expand(-1, 3, -1, -1) if scaled.shape[1] == 1 else scaled
    n, _, height, width = scaled.shape
    rows = -(-n // columns)
    picture = np.ones((rows * (height + 1) - 1, min(n, columns) * (width + 1) - 1, 3))
    for place, one in enumerate(scaled.permute(0, 2, 3, 1).numpy()):
        top, left = (place // columns) * (height + 1), (place % columns) * (width + 1)
        picture[top : top + height, left : left + width] = one
    return picture


def _stacked(images: Tensor) -> NDArray[np.uint8]:
    """Return images (n, colours, height, width) one below the other, with a gap of white, in 32 levels of each colour.

    Such pictures are noise, which no format packs: eight bits of it made a page of a megabyte and a half.
    """
    colour = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
    padded = [np.pad(one.permute(1, 2, 0).numpy(), ((0, 3), (0, 0), (0, 0)), constant_values=255) for one in colour]
    stacked: NDArray[np.uint8] = np.concatenate(padded)[:-3] | np.uint8(7)
    return stacked
