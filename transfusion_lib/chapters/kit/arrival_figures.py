"""Figures of the chapters on speed: learning curves beside times of arrival, controls, marginal gains."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from transfusion_lib.chapters.kit.curve_figures import curves_panel
from transfusion_lib.chapters.kit.style import (
    BLUE,
    GREEN,
    INIT_STYLE,
    ORANGE,
    PINK,
    QUIET,
    SKY,
    drawing,
    label_ends,
    panels,
)

STYLES: dict[str, dict[str, Any]] = INIT_STYLE | {
    "Gabor conv1": {"color": PINK, "linestyle": (0, (6, 1.5, 1.2, 1.5))},
    "Slim": {"color": GREEN, "linestyle": "-"},
    "covariance": {"color": PINK, "linestyle": (0, (4, 1, 1, 1))},
    "bootstrap": {"color": SKY, "linestyle": (0, (1.2, 1))},
    "permutation": {"color": GREEN, "linestyle": (0, (1.2, 1))},
    "Mean Var, batch norm kept": {"color": PINK, "linestyle": (0, (1.2, 1))},
}


def styles(starts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return a colour and line for each start; stages that pretrained weights reach go from yellow to dark blue."""
    inner = [start for start in starts if start not in STYLES and "above" not in start]
    ramp = colormaps["viridis_r"]
    found = dict(STYLES)
    for number, start in enumerate(inner):
        place = 0.25 + 0.5 * number / max(1, len(inner) - 1)
        found[start] = {"color": SKY if len(inner) == 1 else to_hex(ramp(place)), "linestyle": "-"}
    for start in starts:
        if "above" in start:
            found[start] = {"color": ORANGE, "linestyle": (0, (1.2, 1))}
    return {start: found[start] for start in starts}


@drawing
def curves_and_arrivals(
    curves: pd.DataFrame,
    means: pd.DataFrame,
    arrivals: pd.DataFrame,
    steps: pd.DataFrame,
    *,
    threshold: float,
    titles: Mapping[str, str],
    paper: Mapping[str, Mapping[str, float]],
) -> Figure:
    """Return, a row per network, learning curves on the left and steps to the threshold on the right.

    ``paper`` gives, for each network, the paper's steps as fractions of its random start's: they are drawn as quiet
    diamonds, scaled so that its random start stands where ours does.
    """
    networks = list(dict.fromkeys(curves["network"]))
    figure, axes = panels(len(networks), 2, width=10.0, height=3.5, sharex="col")
    for (left, right), network in zip(axes, networks, strict=True):
        rows = [frame[frame["network"] == network] for frame in (curves, means, arrivals, steps)]
        style = styles(list(dict.fromkeys(rows[0]["init"])))
        curves_panel(left, rows[0], rows[1], threshold=threshold, styles=style)
        left.set_title(titles[network], fontsize=9.5)
        left.set_ylabel("validation AUROC (higher is better)")
        _arrivals_panel(right, rows[2], rows[3], style, paper.get(network, {}))
        right.set_xlim(0, 1.06 * float(curves["step"].max()))
    axes[-1, 0].set_xlabel("training step")
    axes[-1, 1].set_xlabel(f"steps to AUROC {threshold:g} (fewer is faster)")
    return figure


@drawing
def starts(arrivals: pd.DataFrame, steps: pd.DataFrame, ways: pd.DataFrame, *, threshold: float, title: str) -> Figure:
    """Return, a row per network, each start's steps to the threshold and its mean AUROC on the way."""
    networks = list(dict.fromkeys(steps["network"]))
    figure, axes = panels(len(networks), 2, width=10.0, height=2.9, sharex="col")
    for (left, right), network in zip(axes, networks, strict=True):
        rows = [frame[frame["network"] == network] for frame in (arrivals, steps, ways)]
        style = styles(list(rows[1]["init"]))
        _arrivals_panel(left, rows[0], rows[1], style, {})
        left.set_title(network)
        left.set_xlim(0, 1.06 * float(arrivals["step"].max()))
        for place, (_, row) in enumerate(rows[2].iterrows()):
            _interval(right, row["way"], row["way_low"], row["way_high"], place, style[row["init"]]["color"])
        _categories(right, list(rows[2]["init"]), labels=False)
    axes[-1, 0].set_xlabel(f"steps to AUROC {threshold:g} (fewer is faster)")
    axes[-1, 1].set_xlabel("mean AUROC on the way (higher is faster)")
    figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    return figure


@drawing
def waiting(shares: pd.DataFrame, *, threshold: float, titles: Mapping[str, str]) -> Figure:
    """Return, a panel per network, the share of each start's runs that have not reached the threshold yet.

    Lines that would lie on each other are drawn a little apart.
    """
    networks = list(dict.fromkeys(shares["network"]))
    figure, axes = panels(len(networks), height=2.7, sharex=True, sharey=True)
    for axis, network in zip(axes[:, 0], networks, strict=True):
        part = shares[shares["network"] == network]
        style = styles(list(dict.fromkeys(part["init"])))
        axis.set_ylim(-0.06, 1.1)
        ends = []
        for place, (init, curve) in enumerate(part.groupby("init", sort=False)):
            height = curve["share"] + 0.015 * (place - 1)
            axis.step(curve["step"], height, where="post", linewidth=2.2, **style[init])
            ends.append((float(height.iloc[-1]), str(init), style[init]["color"]))
        axis.margins(x=0.01)
        label_ends(axis, ends, x=float(shares["step"].max()))
        axis.set_yticks([0, 0.5, 1], ["none", "half", "all"])
        axis.set_title(titles[network])
        axis.set_ylabel(f"runs below {threshold:g}")
    axes[-1, 0].set_xlabel("training step (a line that falls early is a fast start)")
    return figure


@drawing
def marginal(gains: pd.DataFrame, *, title: str) -> Figure:
    """Return, a row per network, what each further pretrained stage gains: in steps, and in mean AUROC on the way."""
    networks = list(dict.fromkeys(gains["network"]))
    figure, axes = panels(len(networks), 2, width=9.0, height=2.3, sharex="col")
    for row, network in zip(axes, networks, strict=True):
        part = gains[gains["network"] == network]
        for axis, name in zip(row, ("steps", "way"), strict=True):
            for place, (_, one) in enumerate(part.iterrows()):
                _interval(axis, one[name], one[f"{name}_low"], one[f"{name}_high"], place, BLUE)
            axis.axvline(0, color=QUIET, linewidth=0.8)
            _categories(
                axis,
                ["+ the rest" if stage == "pretrained" else f"+ {stage}" for stage in part["stage"]],
                labels=axis is row[0],
            )
        row[0].set_title(network)
    axes[-1, 0].set_xlabel("steps gained (higher is faster)")
    axes[-1, 1].set_xlabel("mean AUROC on the way gained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    return figure


def _arrivals_panel(
    axis: Axes,
    arrivals: pd.DataFrame,
    steps: pd.DataFrame,
    style: Mapping[str, Mapping[str, Any]],
    paper: Mapping[str, float],
) -> None:
    """Draw each seed, hollow and pointing on where it never arrived, and the restricted mean with its interval."""
    order = list(steps["init"])
    for place, (_, row) in enumerate(steps.iterrows()):
        color = style[row["init"]]["color"]
        seeds = arrivals[arrivals["init"] == row["init"]]
        for spread, (_, one) in enumerate(seeds.iterrows()):
            height = place + 0.28 - 0.07 * spread
            face = color if one["reached"] else "none"
            axis.plot(one["step"], height, "o" if one["reached"] else ">", color=color, mfc=face, markersize=4)
        _interval(axis, row["mean"], row["low"], row["high"], place, color)
    base = steps.loc[steps["init"] == "random", "mean"]
    known = [(order.index(start), share) for start, share in paper.items() if start in order]
    if known and len(base):
        for place, share in known:
            axis.plot(share * float(base.iloc[0]), place - 0.25, "D", color=QUIET, mfc="none", markersize=4.5)
        place, share = known[-1]
        axis.annotate(
            "paper, scaled",
            (share * float(base.iloc[0]), place - 0.25),
            xytext=(7, 0),
            textcoords="offset points",
            color=QUIET,
            fontsize=8,
            va="center",
        )
    _categories(axis, order)


def _interval(axis: Axes, estimate: float, low: float, high: float, place: float, color: str) -> None:
    """Draw an estimate and its interval; a single seed has none."""
    axis.plot([low, high], [place, place], color=color, linewidth=1.8, solid_capstyle="butt")
    axis.plot(estimate, place, "s", color=color, markersize=6)


def _categories(axis: Axes, names: Sequence[str], *, labels: bool = True) -> None:
    """Write the categories from the top down."""
    axis.set_yticks(range(len(names)), list(names) if labels else [""] * len(names))
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", color=QUIET, alpha=0.15, linewidth=0.6)
