"""The figures of the chapter "Where to cut"."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from transfusion_lib.chapters.differential.figures import METHOD_STYLE
from transfusion_lib.chapters.kit.style import BLUE, GREY, ORANGE, QUIET, drawing, label_ends, panels
from transfusion_lib.chapters.tasks.figures import OUTLINE


@dataclass(frozen=True, kw_only=True)
class Looked:
    """One test image and each arm's map of it."""

    name: str
    pixels: NDArray[np.uint8] | None
    """(height, width) or (height, width, 3); None where the data are not at hand."""
    outline: NDArray[np.bool_] | None
    maps: Mapping[str, NDArray[np.float32]]


@drawing
def reuse(frame: pd.DataFrame, *, title: str) -> Figure:
    """Return similarity before against after, above chance, over depth: a line per arm, a thin one per seed.

    ``frame`` is that of ``tables``; 0 is what unrelated images give, 1 the same features.
    """
    figure, axes = panels(1, height=3.8)
    axis = axes[0, 0]
    ends: list[tuple[float, str, str, float]] = []
    for arm, rows in frame.groupby("arm", sort=False):
        style = METHOD_STYLE[rows["method"].iloc[0]]
        for _, one in rows.groupby("seed"):
            axis.plot(one["place"], one["above"], color=style["color"], linewidth=0.6, alpha=0.4)
        mean = rows.groupby("place")["above"].mean()
        axis.plot(mean.index, mean, linewidth=2, markersize=5, **style)
        ends.append((float(mean.iloc[-1]), str(arm), style["color"], float(mean.index[-1])))
    axis.axhline(0, color=QUIET, linewidth=0.8, linestyle=":")
    axis.annotate("unrelated images", (0, 0), xytext=(2, 3), textcoords="offset points", fontsize=8, color=QUIET)
    _stages(axis, frame)
    last = max(end[3] for end in ends)
    label_ends(axis, [end[:3] for end in ends if end[3] == last], x=last)
    for height, arm, color, place in ends:
        if place < last:
            axis.annotate(arm, (place, height), xytext=(5, 5), textcoords="offset points", color=color,
                          fontweight="bold")  # fmt: skip
    axis.set_ylabel("SVCCA before/after, above chance (1 is unchanged)")
    axis.set_title(title)
    return figure


@drawing
def coefficients(frame: pd.DataFrame, *, title: str) -> Figure:
    """Return the SVCCA coefficients from the largest on, a row per arm and a column per stage (Figure 4 i).

    Bold: before against after. Light: the floor, features of unrelated images. Means over seeds.
    """
    arms = list(dict.fromkeys(frame["arm"]))
    stages = list(dict.fromkeys(frame.sort_values("place")["stage"]))
    figure, axes = panels(len(arms), len(stages), width=1.0 + 1.05 * len(stages), height=1.25, sharex=True, sharey=True)
    for line, arm in zip(axes, arms, strict=True):
        style = METHOD_STYLE[frame.loc[frame["arm"] == arm, "method"].iloc[0]]
        for axis, stage in zip(line, stages, strict=True):
            rows = frame[(frame["arm"] == arm) & (frame["stage"] == stage)]
            if rows.empty:
                axis.text(0.5, 0.5, "removed", ha="center", va="center", fontsize=7, color=QUIET)
                continue
            found, floor = (np.mean(np.stack(rows[name]), axis=0) for name in ("coefficients", "floor_coefficients"))
            x = np.linspace(0, 1, len(found))
            axis.fill_between(x, floor, found, color=style["color"], alpha=0.15, linewidth=0)
            axis.plot(x, floor, color=GREY, linewidth=1)
            axis.plot(x, found, color=style["color"], linewidth=2)
        line[0].set_ylabel(arm, rotation=0, ha="right", va="center", color=style["color"], fontweight="bold")
    for axis, stage in zip(axes[0], stages, strict=True):
        axis.set_title(stage, fontsize=8, fontweight="normal", loc="center", pad=4)
    for axis in axes.flat:
        axis.set_ylim(0, 1.02)
        axis.tick_params(labelsize=7)
        axis.set_xticks([0, 1])
    figure.supxlabel("index of the coefficient, as a share of all", fontsize=9)
    figure.supylabel("SVCCA coefficient", fontsize=9)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    return figure


@drawing
def pairs(frame: pd.DataFrame, *, title: str) -> Figure:
    """Return SVCCA above chance of block against block: before, after, their difference; seeds' means (Figure 4 ii)."""
    blocks = list(dict.fromkeys(frame["second"]))
    means = frame.groupby(["moment", "first", "second"])["above"].mean()
    tables = {
        moment: np.array([[means.get((moment, *_order(a, b, blocks)), np.nan) for b in blocks] for a in blocks])
        for moment in ("before", "after")
    }
    change = (tables["after"] - tables["before"]).round(2) + 0.0  # no minus before a zero
    widest = max(0.05, float(np.nanmax(np.abs(change))))
    figure, axes = panels(1, 3, width=9.2, height=3.5)
    shown = (
        ("before", tables["before"], "cividis", 0.0, 1.0),
        ("after", tables["after"], "cividis", 0.0, 1.0),
        ("after minus before", change, "PuOr_r", -widest, widest),
    )
    for axis, (name, values, cmap, low, high) in zip(axes[0], shown, strict=True):
        image = axis.imshow(values, cmap=cmap, vmin=low, vmax=high)
        for (row, column), value in np.ndenumerate(values):
            dark = name != "after minus before" and value < 0.55
            axis.text(column, row, f"{value:.2f}".replace("-", "\N{MINUS SIGN}"), ha="center", va="center",
                      fontsize=6.5, color="white" if dark else "black")  # fmt: skip
        axis.set_xticks(range(len(blocks)), blocks, rotation=45, ha="right", fontsize=7)
        axis.set_yticks(range(len(blocks)), blocks, fontsize=7)
        axis.set_title(name, fontsize=9, fontweight="normal")
        axis.spines[:].set_visible(False)
        figure.colorbar(image, ax=axis, shrink=0.7).ax.tick_params(labelsize=7)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    figure.supxlabel("SVCCA above chance (0: independent features, 1: the same space)", fontsize=9)
    return figure


@drawing
def probes(frame: pd.DataFrame, *, title: str) -> Figure:
    """Return the scores of a classifier on each stage's features: validation AUPRC and test AUROC, seeds thin."""
    figure, axes = panels(1, height=3.6)
    axis = axes[0, 0]
    ends = []
    for name, label, color, marker in (
        ("val_auprc", "validation\nAUPRC", ORANGE, "s"),
        ("test_auroc", "test AUROC", BLUE, "o"),
    ):
        for _, one in frame.groupby("seed"):
            axis.plot(one["place"], one[name], color=color, linewidth=0.6, alpha=0.4)
        mean = frame.groupby("place")[name].mean()
        axis.plot(mean.index, mean, color=color, marker=marker, markersize=5, linewidth=2)
        best = int(mean.to_numpy().argmax())
        axis.plot(mean.index[best], mean.iloc[best], marker=marker, color=color, markersize=10, markerfacecolor="none")
        ends.append((float(mean.iloc[-1]), label, color))
    _stages(axis, frame)
    label_ends(axis, ends, x=float(frame["place"].max()))
    axis.set_ylabel("score (higher is better)")
    axis.set_title(title)
    return figure


@drawing
def overlap(frame: pd.DataFrame, *, threshold: float, ruled: str, searched: str, title: str) -> Figure:
    """Return the overlap with unrelated features over cut points, and where the rule and the search cut."""
    figure, axes = panels(1, height=3.6)
    axis = axes[0, 0]
    for _, one in frame.groupby("seed"):
        axis.plot(one["place"], one["overlap"], color=GREY, linewidth=0.6, alpha=0.5)
    mean = frame.groupby("place")["overlap"].mean()
    axis.plot(mean.index, mean, color=GREY, marker="o", markersize=4, linewidth=2)
    axis.axhline(threshold, color=QUIET, linewidth=0.8, linestyle=":")
    axis.annotate(f"threshold {threshold:g}", (0.01, threshold), xycoords=("axes fraction", "data"), fontsize=8,
                  color=QUIET, va="bottom")  # fmt: skip
    cuts = dict(zip(frame["cut"], frame["place"], strict=True))
    marks = (("SVCCA rule", ruled, ORANGE, 0.94), ("search", searched, BLUE, 0.84))
    for (name, cut, color, height), (_, other, *_) in zip(marks, reversed(marks), strict=True):
        axis.axvline(cuts[cut], color=color, linewidth=1.5)
        left = _label_left(cuts[cut], cuts[other], len(cuts))
        axis.annotate(f"{name}: {cut}", (cuts[cut], height), xycoords=("data", "axes fraction"),
                      xytext=(-4 if left else 4, 0), textcoords="offset points", ha="right" if left else "left",
                      color=color, fontweight="bold", fontsize=9)  # fmt: skip
    axis.set_xticks(list(cuts.values()), list(cuts), rotation=45, ha="right", fontsize=8)
    axis.set_xlabel("cut point, from the input on")
    axis.set_ylabel("overlap with unrelated features\n(1: nothing is reused)")
    axis.set_ylim(0, 1.02)
    axis.set_title(title)
    return figure


@drawing
def looked(examples: Sequence[Looked], *, title: str) -> Figure:
    """Return test images with their findings outlined, and each arm's Grad-CAM map of them."""
    arms = list(examples[0].maps)
    figure, axes = panels(1 + len(arms), len(examples), width=0.9 + 1.5 * len(examples), height=1.6)
    for column, example in enumerate(examples):
        if example.pixels is not None:
            axes[0, column].imshow(example.pixels, cmap="gray", interpolation="none")
        for row, arm in enumerate(arms, start=1):
            if example.pixels is not None:
                axes[row, column].imshow(_grey(example.pixels), cmap="gray", interpolation="none")
            axes[row, column].imshow(example.maps[arm], cmap="inferno", alpha=0.6, vmin=0, vmax=1, interpolation="none")
            if not example.maps[arm].any():
                axes[row, column].text(0.5, 0.05, "no map", transform=axes[row, column].transAxes, ha="center",
                                       fontsize=7, color="white")  # fmt: skip
                continue
            place = np.unravel_index(int(np.argmax(example.maps[arm])), example.maps[arm].shape)
            axes[row, column].plot(place[1], place[0], marker="+", color="white", markersize=9, markeredgewidth=2)
        if example.outline is not None and example.outline.any():
            for axis in axes[:, column]:
                axis.contour(example.outline, levels=[0.5], colors=OUTLINE, linewidths=0.8)
    for line, name in zip(axes, ("image", *arms), strict=True):
        line[0].text(-0.08, 0.5, name, transform=line[0].transAxes, ha="right", va="center", fontsize=9)
    for axis in axes.flat:
        axis.axis("off")
    figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    return figure


def _grey(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.asarray(pixels, np.float64) if pixels.ndim == 2 else pixels.mean(axis=2)


def _label_left(place: int, other: int, count: int) -> bool:
    """Whether a line's label goes to its left: away from the other line, but not out of the axes."""
    away = place < other if place != other else place > count / 2
    return place > 0.75 * count or (away and place > 0.25 * count)


def _order(a: str, b: str, blocks: Sequence[str]) -> tuple[str, str]:
    return (a, b) if blocks.index(a) <= blocks.index(b) else (b, a)


def _stages(axis: Axes, frame: pd.DataFrame) -> None:
    """Name the stages on the x axis, from the input on."""
    names: dict[Any, Any] = dict(zip(frame["place"], frame["stage"], strict=True))
    axis.set_xticks(sorted(names), [names[place] for place in sorted(names)], rotation=45, ha="right", fontsize=8)
    axis.set_xlabel("stage, from the input on")
    axis.margins(x=0.02)
