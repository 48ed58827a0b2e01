"""The figures of the chapter "Your images"."""

import pandas as pd
from matplotlib.figure import Figure

from transfusion_lib.analysis.evaluation import Report
from transfusion_lib.chapters.kit.style import BLUE, GREY, INIT_STYLE, QUIET, drawing, panels
from transfusion_lib.data.dataset import Split

NAME = 22  # characters of a name below a picture


@drawing
def arms(table: pd.DataFrame, *, title: str) -> Figure:
    """Return each arm's validation AUROC with its interval; hollow where it has not converged."""
    figure, axes = panels(1, height=1.0 + 0.42 * len(table))
    axis = axes[0, 0]
    for place, row in enumerate(table.to_dict("records")):
        colour = INIT_STYLE.get(row["start"], {"color": GREY})["color"]
        face = "none" if row[""] == "not converged" else colour
        axis.plot([max(0.0, row["low"]), min(1.0, row["high"])], [place, place], color=colour, linewidth=2)
        axis.plot(row["validation AUROC"], place, "D", color=colour, markerfacecolor=face, markersize=7)
    axis.axvline(0.5, color=QUIET, linewidth=0.8, linestyle=":")
    marks = [" \N{LEFTWARDS ARROW} recommended" if mark == "recommended" else "" for mark in table[""]]
    names = [f"{network}, {start}" for network, start in zip(table["network"], table["start"], strict=True)]
    axis.set_yticks(range(len(table)), [name + mark for name, mark in zip(names, marks, strict=True)])
    axis.set_ylim(len(table) - 0.5, -0.5)
    axis.set_xlabel("validation AUROC (higher is better)")
    axis.set_title(title)
    return figure


@drawing
def calibration(report: Report) -> Figure:
    """Return the reliability curve: the share of cases that came true against their probability."""
    figure, axes = panels(1, width=4.6, height=4.0)
    axis = axes[0, 0]
    axis.plot([0, 1], [0, 1], color=QUIET, linewidth=0.8, linestyle=":")
    chance, true, count = zip(*report.reliability, strict=True)
    axis.plot(chance, true, color=BLUE, linewidth=1)
    axis.scatter(chance, true, s=[20 + 200 * each / sum(count) for each in count], color=BLUE)
    axis.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    axis.set_xlabel("mean probability")
    axis.set_ylabel("share that came true")
    axis.set_title("Calibration on test images")
    return figure


@drawing
def worst(split: Split, table: pd.DataFrame) -> Figure:
    """Return the pictures of a split that ``table`` names, with true class and loss; names are shown as they are."""
    columns = 4
    rows = -(-len(table) // columns)
    figure, axes = panels(rows, columns, height=2.3)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, row in zip(axes.flat, table.to_dict("records"), strict=False):
        picture = split.images[row["row"]].permute(1, 2, 0)
        axis.imshow(picture.expand(-1, -1, 3).numpy())
        name = row["image"][-NAME:]
        axis.set_title(f"{name}\n{row['true'][:NAME]}, loss {row['loss']:.1f}", fontsize=7)
    return figure
