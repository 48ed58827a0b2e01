"""The figures of the chapter "Where does feature reuse happen?"."""

import pandas as pd
from matplotlib.figure import Figure

from transfusion_lib.chapters.kit.stage_figures import row_title, stage_axis, stage_lines
from transfusion_lib.chapters.kit.style import INIT_STYLE, QUIET, drawing, label_ends, panels


@drawing
def probe_scores(means: pd.DataFrame, *, titles: dict[str, str]) -> Figure:
    """Return what probes read from each stage after training; short dashes are the same probes before training."""
    return _over_stages(means, column="probe", titles=titles, label="test AUROC\n(higher is better)", chance=0.5)


@drawing
def set_back(means: pd.DataFrame, *, titles: dict[str, str]) -> Figure:
    """Return how much test AUROC is lost when one stage is reset, a column per way of resetting it."""
    return _over_stages(means, column="reset", titles=titles, label="test AUROC lost\n(lower is more robust)", chance=0)


@drawing
def paths(paths: pd.DataFrame, *, titles: dict[str, str]) -> Figure:
    """Return test loss and AUROC on the line between two runs, a line per pair, a row per network."""
    networks = list(dict.fromkeys(paths["network"]))
    figure, axes = panels(len(networks), 2, width=8.0, height=2.7, sharex=True)
    for row, network in zip(axes, networks, strict=True):
        part = paths[paths["network"] == network]
        for axis, measure in zip(row, ("loss", "auroc"), strict=True):
            ends: list[tuple[float, str, str]] = []
            for init, rows in part.groupby("init", sort=False):
                for _, pair in rows.groupby("pair", sort=False):
                    axis.plot(
                        pair["at"], pair[measure], marker="o", markersize=3, linewidth=1.2, **INIT_STYLE[str(init)]
                    )
                last = float(rows[rows["at"] == 1][measure].mean())
                ends.append((last, str(init), INIT_STYLE[str(init)]["color"]))
            if measure == "auroc":
                label_ends(axis, ends, x=1.0)
        row_title(row[0], titles[network])
        row[0].set_ylabel("test loss (lower is better)")
        row[1].set_ylabel("test AUROC (higher is better)")
    for axis in axes[-1]:
        axis.set_xlabel("from the first run (0) to the second (1)")
    return figure


@drawing
def shuffled(means: pd.DataFrame, *, titles: dict[str, str]) -> Figure:
    """Return test AUROC over the edge of shuffled blocks, from the whole image to the smallest, a panel per network."""
    networks = list(dict.fromkeys(means["network"]))
    blocks = sorted(set(means["block"]), reverse=True)
    figure, axes = panels(len(networks), height=2.8, sharex=True, sharey=True)
    for axis, network in zip(axes[:, 0], networks, strict=True):
        part = means[means["network"] == network]
        stages = [str(block) for block in blocks]
        stage_lines(axis, part.assign(stage=part["block"].astype(str)), stages=stages)
        stage_axis(axis, ["whole image", *stages[1:]])
        axis.axhline(0.5, color=QUIET, linewidth=0.8, linestyle=":")
        axis.set_title(titles[network])
        axis.set_ylabel("test AUROC\n(higher is better)")
    axes[-1, 0].set_xlabel("edge of the shuffled blocks, in pixels")
    return figure


def _over_stages(means: pd.DataFrame, *, column: str, titles: dict[str, str], label: str, chance: float) -> Figure:
    """Return a row per network and a panel per value of ``column``, lines over the stages."""
    networks, kinds = (list(dict.fromkeys(means[name])) for name in ("network", column))
    figure, axes = panels(len(networks), len(kinds), width=8.6, height=3.0, sharey=True)
    for row, network in zip(axes, networks, strict=True):
        part = means[means["network"] == network]
        stages = list(dict.fromkeys(part["stage"]))
        for axis, kind in zip(row, kinds, strict=True):
            stage_lines(axis, part[part[column] == kind], stages=stages, labels=kind == kinds[-1])
            stage_axis(axis, stages)
            axis.axhline(chance, color=QUIET, linewidth=0.8, linestyle=":")
            axis.set_xlabel(kind)
        row[0].set_ylabel(label)
        row_title(row[0], titles[network])
    return figure
