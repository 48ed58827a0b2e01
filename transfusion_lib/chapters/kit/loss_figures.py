"""Figures of the training loss: what each start gains over the random one, and the curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from transfusion_lib.chapters.kit import losses
from transfusion_lib.chapters.kit.arrival_figures import styles
from transfusion_lib.chapters.kit.curve_tables import styled
from transfusion_lib.chapters.kit.style import QUIET, RULE, drawing, label_ends, panels
from transfusion_lib.runs import Run


@dataclass(frozen=True)
class Answer:
    """What the training losses of some runs say: a figure, its finding, its table."""

    gains: pd.DataFrame

    @property
    def shown(self) -> dict[str, Any]:
        """What ``Chapter.show`` takes."""
        titles = losses.gain_titles(self.gains)
        counts = sorted(set(self.gains["runs"]))
        runs = " or ".join(map(str, counts)) or "no"
        caption = f"Dots, lines: mean and 95 % interval of the difference; {runs} runs of a start, one has no interval."
        alt = ". ".join(titles.values()) or "No start has runs beside those from random weights."
        return {"figure": gains(self.gains, titles=titles), "alt": alt, "caption": caption, "data": self.gains}

    @property
    def finding(self) -> str:
        """The finding in words."""
        return losses.gain_finding(self.gains)

    @property
    def table(self) -> Styler:
        """The numbers, for a page."""
        return styled(losses.gain_table(self.gains))


def answer(runs: Sequence[Run]) -> Answer:
    """Return what the mean training losses of ``runs`` say of their starts."""
    return Answer(losses.gains(losses.mean_losses(runs)))


@drawing
def gains(rows: pd.DataFrame, *, titles: Mapping[str, str]) -> Figure:
    """Return, a panel per network, by how much each start lowers the mean training loss of the random one."""
    networks = list(dict.fromkeys(rows["network"]))
    most = max(rows.groupby("network").size())
    figure, axes = panels(len(networks), width=6.4, height=0.9 + 0.3 * most, sharex=True)
    for axis, network in zip(axes[:, 0], networks, strict=True):
        part = rows[rows["network"] == network]
        style = styles(list(part["init"]))
        for place, row in enumerate(part.itertuples()):
            color = style[str(row.init)]["color"]
            axis.plot([row.low, row.high], [place, place], color=color, linewidth=2.4, solid_capstyle="butt")
            axis.plot(row.gain, place, "o", color=color, markersize=7)
        axis.axvline(0, color=QUIET, linewidth=1)
        axis.annotate("random", (0, 1), (3, 2), xycoords=("data", "axes fraction"), textcoords="offset points",
                      color=QUIET, fontsize=9)  # fmt: skip
        axis.set_yticks(range(len(part)), list(part["init"]))
        axis.set_ylim(len(part) - 0.5, -0.5)
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", color=RULE, linewidth=0.8)
        axis.set_title(titles[network])
    axes[-1, 0].set_xlabel("mean training loss below that of random weights (right is faster)")
    return figure


@drawing
def curves(rows: pd.DataFrame) -> Figure:
    """Return, a panel per network, the training loss of each start over the steps, averaged over runs."""
    networks = list(dict.fromkeys(rows["network"]))
    figure, axes = panels(len(networks), width=6.4, height=3.2, sharex=True)
    for axis, network in zip(axes[:, 0], networks, strict=True):
        part = rows[rows["network"] == network]
        style = styles(list(dict.fromkeys(part["init"])))
        ends = []
        for init, line in part.groupby("init", sort=False):
            axis.plot(line["step"], line["loss"], linewidth=2, **style[init])
            ends.append((float(line["loss"].iloc[-1]), str(init), style[init]["color"]))
        axis.margins(x=0.01)
        label_ends(axis, ends, x=float(part["step"].max()))
        axis.set_title(network)
        axis.set_ylabel("training loss (lower is better)")
    axes[-1, 0].set_xlabel("training step")
    return figure
