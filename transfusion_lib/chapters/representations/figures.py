"""The figures of the chapter "Do representations differ?"."""

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transfusion_lib.chapters.kit.stage_figures import row_title, stage_axis, stage_lines
from transfusion_lib.chapters.kit.style import BLUE, GREY, INIT_STYLE, ORANGE, QUIET, drawing, logarithmic, panels

KINDS = {"random, random": GREY, "random, pretrained": ORANGE, "pretrained, pretrained": BLUE}


@drawing
def higher(higher: pd.DataFrame, *, titles: dict[str, str]) -> Figure:
    """Return Figure 2: CCA and CKA of trained networks in the highest two stages, a row per network.

    A bar is the mean over pairs, a dot a pair, a short thick line the floor of that kind of pair.
    """
    networks = list(dict.fromkeys(higher["network"]))
    figure, axes = panels(len(networks), 2, width=8.0, height=2.2, sharey="row", sharex="col")
    for row, network in zip(axes, networks, strict=True):
        part = higher[higher["network"] == network]
        for axis, measure in zip(row, ("cca", "cka"), strict=True):
            _bars(axis, part, measure)
        row_title(row[0], titles[network])
    for axis, measure in zip(axes[-1], ("CCA", "CKA"), strict=True):
        axis.set_xlabel(f"{measure} similarity (higher is more alike)")
    return figure


@drawing
def per_layer(per_layer: pd.DataFrame, *, titles: dict[str, str]) -> Figure:
    """Return Figure 3: similarity of each stage to its start, CCA beside CKA, a row per network, floors as dashes."""
    networks = list(dict.fromkeys(per_layer["network"]))
    measures = list(dict.fromkeys(per_layer["measure"]))
    figure, axes = panels(len(networks), len(measures), width=8.6, height=3.2, sharey=True)
    for row, network in zip(axes, networks, strict=True):
        part = per_layer[per_layer["network"] == network]
        stages = list(dict.fromkeys(part["stage"]))
        for axis, measure in zip(row, measures, strict=True):
            means = part[part["measure"] == measure]
            stage_lines(axis, means, stages=stages, labels=measure == measures[-1])
            _difference(axis, means, stages)
            stage_axis(axis, stages)
            axis.set_ylabel(f"{measure} with the start" if axis is row[0] else measure)
        row_title(row[0], titles[network])
    gaps = [_difference_of(part) for _, part in per_layer.groupby(["network", "measure"])]
    axes[0, 0].set_ylim(min(-0.05, *(gap.min() - 0.05 for gap in gaps if len(gap)), 0), 1.02)
    return figure


@drawing
def start_end(points: pd.DataFrame, predicted: pd.DataFrame, *, title: str) -> Figure:
    """Return Figure 4: CCA of pairs at the start against after training, four panels a network, R^2 with interval."""
    networks = list(dict.fromkeys(points["network"]))
    columns = [(level, kind) for level in ("lowest", "higher") for kind in ("random, random", "random, pretrained")]
    figure, axes = panels(len(networks), len(columns), width=9.4, height=2.7)
    for row, network in zip(axes, networks, strict=True):
        for axis, (level, kind) in zip(row, columns, strict=True):
            chosen = (points["network"] == network) & (points["level"] == level) & (points["kind"] == kind)
            same = (predicted["network"] == network) & (predicted["stage"] == level) & (predicted["kind"] == kind)
            _scatter(axis, points[chosen], predicted[same], KINDS[kind])
            axis.set_title(f"{network}\n{'lowest stage' if level == 'lowest' else 'highest two'}\n({kind})", fontsize=8)
        row[0].set_ylabel("CCA after training")
    for axis in axes[-1]:
        axis.set_xlabel("CCA at the start")
    figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    return figure


@drawing
def travelled(travelled: pd.DataFrame, means: pd.DataFrame, *, titles: dict[str, str]) -> Figure:
    """Return the L2 distance from the start relative to its norm, per stage: the last step, small dots earlier ones."""
    networks = list(dict.fromkeys(travelled["network"]))
    figure, axes = panels(len(networks), height=2.9)
    for axis, network in zip(axes[:, 0], networks, strict=True):
        part = means[means["network"] == network]
        stages = list(dict.fromkeys(part["stage"]))
        stage_lines(axis, part, stages=stages)
        earlier = travelled[(travelled["network"] == network) & (travelled["step"] < travelled["step"].max())]
        for init, rows in earlier.groupby("init", sort=False):
            x = [stages.index(stage) for stage in rows["stage"]]
            axis.scatter(x, rows["moved"], s=5, color=INIT_STYLE[str(init)]["color"])
        stage_axis(axis, stages)
        logarithmic(axis, "y")
        axis.set_ylabel("L2 distance / L2 norm\n(higher is further)")
        axis.set_title(titles[network])
    return figure


def _bars(axis: Axes, part: pd.DataFrame, measure: str) -> None:
    kinds = [kind for kind in KINDS if kind in set(part["kind"])]
    for place, kind in enumerate(kinds):
        rows = part[part["kind"] == kind]
        axis.barh(place, rows[measure].mean(), height=0.6, color=KINDS[kind], alpha=0.35)
        axis.scatter(rows[measure], [place] * len(rows), s=9, color=KINDS[kind], zorder=3)
        floor = rows[f"{measure}_floor"].mean()
        axis.plot([floor, floor], [place - 0.42, place + 0.42], color="black", linewidth=2.2, zorder=4)
        if place == 0:
            axis.annotate("floor", (floor, -0.45), ha="center", va="top", fontsize=7, color=QUIET)
    axis.set_yticks(range(len(kinds)), [f"({kind})" for kind in kinds], fontsize=8)
    axis.set_ylim(-0.9, len(kinds) - 0.4)
    axis.set_xlim(0, 1)


def _difference(axis: Axes, means: pd.DataFrame, stages: list[str]) -> None:
    """Draw pretrained minus random, as the paper does, for the networks that have both."""
    gap = _difference_of(means).reindex(stages)
    if gap.notna().any():
        axis.plot(range(len(stages)), gap, color=QUIET, linewidth=1.2, linestyle=":")
        axis.annotate("difference", (0, gap.iloc[0]), xytext=(4, -10), textcoords="offset points", fontsize=7)
    axis.axhline(0, color=QUIET, linewidth=0.6)


def _difference_of(means: pd.DataFrame) -> pd.Series:
    """Return pretrained minus random by stage; nothing where there is only one of them."""
    wide = means.pivot_table(index="stage", columns="init", values="mean", sort=False)
    both = {"random", "pretrained"} <= set(wide.columns)
    return wide["pretrained"] - wide["random"] if both else pd.Series(dtype=float)


def _scatter(axis: Axes, points: pd.DataFrame, predicted: pd.DataFrame, color: str) -> None:
    axis.scatter(points["cca_start"], points["cca_end"], color=color, s=18)
    axis.tick_params(labelsize=7)
    axis.locator_params(nbins=4)
    if points.empty:
        axis.text(0.5, 0.5, "no pairs", transform=axis.transAxes, ha="center", color=QUIET, fontsize=8)
        return
    found = predicted["interval"].iloc[0]
    if math.isfinite(found.se):
        text = f"R² = {found.estimate:.2f} ({found.low:.2f} to {found.high:.2f})"
    else:
        text = f"{len(points)} pair{'s' if len(points) > 1 else ''}: no interval"
    axis.text(0.02, 0.98, text, transform=axis.transAxes, va="top", fontsize=7, color=QUIET)
    axis.margins(0.15)
