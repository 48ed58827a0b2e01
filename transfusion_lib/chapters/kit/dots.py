"""A score for each of several networks: every seed, the mean, and its interval."""

import pandas as pd
from matplotlib.figure import Figure

from transfusion_lib.chapters.kit.style import BLUE, GREY, QUIET, drawing, panels


@drawing
def dots(runs: pd.DataFrame, means: pd.DataFrame, *, by: str, score: str, mean: str, label: str, title: str) -> Figure:
    """Return a row per value of ``by``: a dot per run, their mean with its interval, and the size in parameters.

    Columns: ``score`` of ``runs``; ``mean``, low and high of ``means``. ``label`` names the axis, with units and
    direction; the last row is the reference, its mean a dotted line.
    """
    names = means[by].tolist()
    figure, axes = panels(1, height=1.2 + 0.45 * len(names))
    axis = axes[0, 0]
    for place, (_, row) in enumerate(means.iterrows()):
        values = runs[runs[by] == row[by]][score]
        axis.plot(values, [place] * len(values), "o", color=GREY, markersize=4, alpha=0.7)
        axis.plot([row["low"], row["high"]], [place, place], color=BLUE, linewidth=2)
        axis.plot(row[mean], place, "D", color=BLUE, markersize=7)
    axis.axvline(means[mean].iloc[-1], color=QUIET, linewidth=1.5, linestyle=":")
    sizes = [f"{value:.2f} M" for value in means["parameters (M)"]]
    axis.set_yticks(range(len(names)), [f"{name}\n{size}" for name, size in zip(names, sizes, strict=True)])
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_xlabel(label)
    axis.set_title(title)
    return figure
