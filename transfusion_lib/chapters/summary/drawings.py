"""Two drawings that need no runs: what each method does to a network, and how an interval is judged."""

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from transfusion_lib.chapters.kit.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PINK,
    QUIET,
    RULE,
    SKY,
    drawing,
    panels,
)

STAGES = ("conv1", "block1", "block2", "block3", "block4", "head")
METHODS = {
    "random": "rrrrrr",
    "Mean Var": "mmmmmr",
    "weight transfusion": "ppprrr",
    "Slim, TF": "ppphhr",
    "Gabor conv1": "grrrrr",
    "FTL, full transfer": "pppppr",
    "FE": "fffffr",
    "LWFT": "fffppr",
    "TTL": "ppp__r",
}
"""What each method makes of each stage; the head is always new."""
KINDS = {
    "p": ("pretrained, trained on", BLUE, 0.62),
    "f": ("pretrained, frozen", SKY, 0.62),
    "m": ("random with pretrained statistics", ORANGE, 0.62),
    "r": ("random", GREY, 0.62),
    "h": ("random, half the channels", GREEN, 0.31),
    "g": ("Gabor filters", PINK, 0.62),
}


@drawing
def methods() -> Figure:
    """Return a row per method, a box per stage: what starts pretrained, random or frozen, what is halved or removed."""
    figure, axes = panels(1, width=6.6, height=4.6)
    axis = axes[0, 0]
    for row, (_name, kinds) in enumerate(METHODS.items()):
        for column, kind in enumerate(kinds):
            if kind == "_":
                axis.text(column + 0.45, row, "removed", ha="center", va="center", color=QUIET, fontsize=8)
                continue
            _, color, height = KINDS[kind]
            axis.add_patch(Rectangle((column, row - height / 2), 0.9, height, color=color, linewidth=0))
    for place, (label, color, _) in enumerate({one[0]: one for one in KINDS.values()}.values()):
        left, middle = 3.1 * (place % 2), len(METHODS) + 0.2 + 0.75 * (place // 2)
        axis.add_patch(Rectangle((left, middle - 0.2), 0.35, 0.4, color=color, linewidth=0))
        axis.text(left + 0.5, middle, label, va="center", color=INK, fontsize=9)
    axis.set_xlim(-0.1, len(STAGES))
    axis.set_ylim(len(METHODS) + 2.2, -0.7)
    axis.set_yticks(range(len(METHODS)), list(METHODS))
    axis.set_xticks([place + 0.45 for place in range(len(STAGES))], STAGES)
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    for side in axis.spines.values():
        side.set_visible(False)
    return figure


OUTCOMES = (
    ("supported", ((0.006, 0.008),)),
    ("contradicted", ((0.035, 0.010),)),
    ("undecided", ((0.014, 0.016),)),
    ("partly", ((-0.004, 0.008), (0.034, 0.009))),
)
"""An outcome and intervals (middle, half width) that lead to it, for "no change" with a margin of 0.02."""


@drawing
def verdicts() -> Figure:
    """Return four cartoons of intervals beside the margin of "no change"."""
    figure, axes = panels(1, width=6.6, height=2.9)
    axis = axes[0, 0]
    axis.axvspan(-0.02, 0.02, color=BLUE, alpha=0.12, linewidth=0)
    axis.axvline(0, color=RULE)
    axis.text(0, -0.72, "the claim: within 0.02", ha="center", color=BLUE, fontsize=9)
    for row, (_, intervals) in enumerate(OUTCOMES):
        for place, (middle, half) in enumerate(intervals):
            height = row + 0.26 * (place - (len(intervals) - 1) / 2)
            axis.plot([middle - half, middle + half], [height] * 2, color=INK, linewidth=2.4, solid_capstyle="butt")
            axis.plot(middle, height, "o", color=INK, markersize=6)
    axis.set_yticks(range(len(OUTCOMES)), [name for name, _ in OUTCOMES])
    axis.set_ylim(len(OUTCOMES) - 0.4, -1)
    axis.set_xlim(-0.055, 0.055)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.set_xlabel("difference of two scores, with its 95 % interval")
    return figure
