"""Lines over the stages of a network, which several chapters draw."""

import pandas as pd
from matplotlib.axes import Axes

from transfusion_lib.chapters.kit.style import INIT_STYLE, QUIET, label_ends


def row_title(axis: Axes, title: str) -> None:
    """Put a row's finding above its first panel; it may reach over the others, so no panel makes room for it."""
    axis.set_title(title).set_in_layout(False)


def stage_axis(axis: Axes, stages: list[str]) -> None:
    """Put the names of the stages below an axis, from the input on."""
    axis.set_xticks(range(len(stages)), stages, rotation=45 if len(stages) > 5 else 0, fontsize=8)
    axis.set_xlim(-0.3, len(stages) - 0.7)


def stage_lines(axis: Axes, means: pd.DataFrame, *, stages: list[str], labels: bool = True) -> None:
    """Draw mean and interval over the stages for each start; the column of floors, if any, in small dots."""
    ends: list[tuple[float, str, str]] = []
    for init, part in means.groupby("init", sort=False):
        style = INIT_STYLE[str(init)]
        x = [stages.index(stage) for stage in part["stage"]]
        errors = [(part["mean"] - part["low"]).fillna(0), (part["high"] - part["mean"]).fillna(0)]
        axis.errorbar(x, part["mean"], yerr=errors, elinewidth=1, capsize=2, marker="o", markersize=3.5, **style)
        if "floor" in part:
            axis.plot(x, part["floor"], color=style["color"], linewidth=0, marker="_", markersize=9, markeredgewidth=2)
        ends.append((float(part["mean"].iloc[-1]), str(init), style["color"]))
    if labels:
        label_ends(axis, ends, x=len(stages) - 1)
    axis.grid(axis="y", color=QUIET, alpha=0.15)
