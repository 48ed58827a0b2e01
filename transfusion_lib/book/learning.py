"""Learning curves while they are made."""

from collections.abc import Mapping, Sequence
from itertools import cycle

from matplotlib.figure import Figure

from transfusion_lib.chapters.kit.style import BLUE, GREEN, GREY, ORANGE, PINK, SKY, drawing, panels

MOST_NAMED = 8


@drawing
def learning(curves: Mapping[str, tuple[Sequence[int], Sequence[float]]], *, score: str, steps: int) -> Figure:
    """Return a score over training steps, a line per run; the last few to have begun are named.

    The axis across is that of all ``steps`` from the beginning, so that a growing curve shows how far it is.
    """
    figure, axes = panels(1, height=2.8)
    axis = axes[0, 0]
    named = list(curves)[-MOST_NAMED:]
    for (name, (at, values)), color in zip(curves.items(), cycle((BLUE, ORANGE, GREEN, PINK, SKY)), strict=False):
        shown = {"color": color, "label": name} if name in named else {"color": GREY, "alpha": 0.4}
        axis.plot(at, values, marker=".", clip_on=False, **shown)
    axis.set_xlim(0, steps)
    axis.set_xlabel("training step")
    axis.set_ylabel(score.replace("_", " "))
    axis.legend(loc="upper left", bbox_to_anchor=(0, -0.25), fontsize=8)
    return figure
