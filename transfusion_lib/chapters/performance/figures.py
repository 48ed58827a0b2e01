"""The figures of the chapter "Performance": effects of transfer, training-set size, costs, source accuracy."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transfusion_lib.chapters.kit.style import BLUE, ORANGE, QUIET, RULE, drawing, label_ends, logarithmic, panels


@drawing
def forest(effects: pd.DataFrame, paper: pd.DataFrame, *, margin: float, title: str) -> Figure:
    """Return the effect of transfer on the final AUROC: ours with 95 % intervals over seeds, the paper's below, quiet.

    Of the paper's, diamonds are RETINA and circles the five pathologies of CheXpert. The band is the margin within
    which a difference counts as none.
    """
    names = [f"{row['network']}, {row['task']}" for _, row in effects.iterrows()]
    theirs = paper[paper["task"] != "RETINA, small"]
    networks = list(dict.fromkeys(theirs["network"]))
    figure, axes = panels(1, width=8.0, height=1.1 + 0.32 * len(names) + 0.26 * len(networks))
    axis = axes[0, 0]
    axis.axvspan(-margin, margin, color=RULE, alpha=0.7, linewidth=0)
    axis.axvline(0, color=QUIET, linewidth=0.8)
    for place, (_, row) in enumerate(effects.iterrows()):
        axis.plot([row["low"], row["high"]], [place, place], color=_color(row["network"]), linewidth=2)
        axis.plot(row["effect"], place, "s", color=_color(row["network"]), markersize=7)
    places = [len(names) + 0.2 + 0.8 * k for k in range(len(networks))]
    for height, network in zip(places, networks, strict=True):
        rows = theirs[theirs["network"] == network]
        for name, mark in (("RETINA", "D"), ("chest", "o")):
            one = rows[(rows["task"] == "RETINA") == (name == "RETINA")]
            axis.plot(one["effect"], [height] * len(one), mark, color=QUIET, mfc="none", markersize=4.5)
    axis.set_yticks([*range(len(names)), *places], [*names, *(f"{network} (paper)" for network in networks)])
    for label in axis.get_yticklabels()[len(names) :]:
        label.set_fontsize(8.5)
        label.set_color(QUIET)
    axis.set_ylim(places[-1] + 0.6, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel(f"test AUROC, pretrained minus random (grey: within {margin:g} of none)")
    axis.set_title(title)
    return figure


@drawing
def small_data(effects: pd.DataFrame, paper: pd.DataFrame, *, title: str) -> Figure:
    """Return the effect of transfer over the size of the training set; the paper's two sizes as quiet marks.

    ``paper`` has the columns network, images, effect. Networks of one size are drawn a little apart.
    """
    figure, axes = panels(1, width=8.0, height=3.8)
    axis = axes[0, 0]
    logarithmic(axis, "x")
    axis.axhline(0, color=QUIET, linewidth=0.8)
    ends = []
    alike = effects.groupby("images")["network"]
    placed = effects.assign(x=effects["images"] * 1.1 ** (alike.cumcount() - (alike.transform("size") - 1) / 2))
    for (network, task), part in placed.groupby(["network", "task"], sort=False):
        rows, color = part.sort_values("images"), _color(str(network))
        axis.vlines(rows["x"], rows["low"], rows["high"], color=color, linewidth=1.6)
        axis.plot(rows["x"], rows["effect"], "o-", color=color, markersize=6)
        name = f"{network}, {task}" if effects["task"].nunique() > 1 else str(network)
        ends.append((float(rows["effect"].iloc[-1]), name, color))
    for _, part in paper.groupby("network", sort=False):
        axis.plot(part["images"], part["effect"], "D--", color=QUIET, mfc="none", markersize=4, linewidth=0.6)
    last = paper.nlargest(1, ["images", "effect"]).iloc[0]
    _name(axis, last["images"], last["effect"], f"{last['network']} and CBRs in the paper", side="above")
    axis.margins(x=0.12, y=0.12)
    label_ends(axis, ends, x=1.1 * float(placed["x"].max()))
    axis.set_xlabel("training images (log scale)")
    axis.set_ylabel("test AUROC,\npretrained minus random")
    axis.set_title(title)
    return figure


@drawing
def costs(table: pd.DataFrame, paper: pd.DataFrame, *, title: str) -> Figure:
    """Return each network's final AUROC, parameters and latency side by side, the highest AUROC on top.

    ``paper`` has the columns network, AUROC: quiet marks in the rows of the same networks.
    """
    ordered = table.sort_values("AUROC").reset_index(drop=True)
    figure, axes = panels(1, 3, width=9.5, height=1.4 + 0.42 * len(ordered), sharey=True)
    score, size, time = axes[0]
    theirs = paper.set_index("network")["AUROC"]
    for height, (_, row) in enumerate(ordered.iterrows()):
        color = _color(row["network"])
        score.plot([row["AUROC low"], row["AUROC high"]], [height] * 2, color=color, linewidth=1.6)
        score.plot(row["AUROC"], height, "s", color=color, markersize=7)
        parameters, latency = row["parameters as in Table 1"], row["latency in ms"]
        size.plot(parameters, height, "s", color=color, markersize=7)
        _name(size, parameters, height, f"{parameters / 1e6:.1f} M", color=color, side="right")
        quartiles = [row["latency in ms, lower quartile"], row["latency in ms, upper quartile"]]
        time.plot(quartiles, [height] * 2, color=color, linewidth=1.6)
        time.plot(latency, height, "s", color=color, markersize=7)
        _name(time, quartiles[1], height, f"{latency:.2g} ms", color=color, side="right")
    same = ordered[ordered["network"].isin(theirs.index)]
    score.plot(theirs[same["network"]], same.index, "D", color=QUIET, mfc="none", markersize=5)
    if len(same):
        _name(score, theirs[same["network"].iloc[-1]], same.index[-1], "paper (RETINA)")
    score.set_yticks(ordered.index, ordered["network"] + ", " + ordered["start"])
    score.margins(x=0.15)
    score.set_ylim(-0.7, len(ordered) - 0.4)
    logarithmic(size, "x")
    size.set_xlim(table["parameters as in Table 1"].min() / 2, table["parameters as in Table 1"].max() * 3)
    time.set_xlim(0, 1.3 * float(table["latency in ms, upper quartile"].max()))
    score.set_xlabel("test AUROC\n(higher is better)")
    size.set_xlabel("parameters as in Table 1\n(log scale, fewer is better)")
    time.set_xlabel("time for one image, ms\n(less is better)")
    figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    return figure


@drawing
def source_accuracy(table: pd.DataFrame, *, title: str) -> Figure:
    """Return final AUROC of the pretrained start against top-5 accuracy on its source task; the paper's quiet."""
    figure, axes = panels(1, width=7.0, height=3.6)
    axis = axes[0, 0]
    known = table.dropna(subset=["source top-5 share", "AUROC"]).sort_values("source top-5 share")
    known["rank"] = known.groupby(known["from"].str.contains("Table 1")).cumcount()
    for _, row in known.iterrows():
        theirs = "Table 1" in row["from"]
        color = QUIET if theirs else _color(row["network"])
        axis.plot(
            row["source top-5 share"],
            row["AUROC"],
            "D" if theirs else "s",
            color=color,
            mfc="none" if theirs else color,
        )
        label = row["network"] if theirs else f"{row['network']} ({row['source task'].replace('_', ' ')})"
        _name(
            axis,
            row["source top-5 share"],
            row["AUROC"],
            label,
            color=color,
            side=("below", "above")[row["rank"] % 2] if theirs else "right",
        )
    axis.margins(x=0.22, y=0.15)
    axis.set_xlabel("top-5 accuracy on the source task")
    axis.set_ylabel("test AUROC, pretrained start\n(higher is better)")
    axis.set_title(title)
    return figure


def _color(network: str) -> str:
    """Return the colour of a small (CBR) or large network."""
    return ORANGE if network.startswith("CBR") else BLUE


def _name(axis: Axes, x: float, y: float, text: str, *, color: str = QUIET, side: str = "below") -> None:
    """Write a quiet name beside a mark."""
    offset, ha, va = {
        "below": ((0, -6), "center", "top"),
        "above": ((0, 6), "center", "bottom"),
        "right": ((7, 0), "left", "center"),
    }[side]
    axis.annotate(text, (x, y), xytext=offset, textcoords="offset points", color=color, fontsize=8, ha=ha, va=va)
