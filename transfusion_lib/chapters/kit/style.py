"""One style for all figures, what several of them share, and where a figure's code is."""

import functools
import inspect
import io
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib import style as mpl_style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, NullFormatter

INK, QUIET, RULE = "#1d2a30", "#5d6b73", "#d8dfe2"
# Okabe and Ito's colours, told apart with any colour vision; line styles and markers repeat the distinction.
BLUE, ORANGE, GREEN, PINK, SKY, GREY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#6b7780"
INIT_STYLE: dict[str, dict[str, Any]] = {
    "random": {"color": GREY, "linestyle": (0, (4, 1.5))},
    "Mean Var": {"color": ORANGE, "linestyle": (0, (1.2, 1))},
    "pretrained": {"color": BLUE, "linestyle": "-"},
}
STYLE: dict[Any, Any] = {
    "figure.dpi": 100,
    "figure.facecolor": "white",  # a sheet of its own: dark editors show what is transparent on black
    "svg.hashsalt": "transfusion",  # the same data give the same file
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.parse_math": False,  # names of files and classes may hold any sign
    "text.color": INK,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.titleweight": "bold",
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "legend.frameon": False,
}

P = ParamSpec("P")
_SOURCES: "WeakKeyDictionary[Figure, Callable[..., Figure]]" = WeakKeyDictionary()


def drawing(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Wrap a function that draws a figure: in the book's style, its source at hand for readers.

    Where its first table is empty, of pairs of one run for instance, the figure says that there is nothing to draw.

    Nothing here touches pyplot: a notebook's backend, its settings and its own figures stay as they were.
    """

    @functools.wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with _style():
            empty = bool(args) and isinstance(args[0], pd.DataFrame) and args[0].empty
            figure = _nothing() if empty else draw(*args, **kwargs)
            _wrap_titles(figure)
        _SOURCES[figure] = draw
        return figure

    return styled


def _wrap_titles(figure: Figure) -> None:
    """Break titles that are longer than their panel, or the figure, is wide: they would stretch the page's image."""
    width = figure.get_figwidth() * 72
    if figure.get_suptitle():
        _wrap(figure._suptitle, width)  # type: ignore[attr-defined]
    for axis in figure.axes:
        grid = axis.get_subplotspec()
        share = 1.0 if grid is None else len(grid.colspan) / grid.get_gridspec().ncols
        for title in (axis.title, axis._left_title):  # type: ignore[attr-defined]
            _wrap(title, width if not title.get_in_layout() else width * share)


def _wrap(title: Text, points: float) -> None:
    """Break each line of a title where it would be wider than ``points``; a bold letter is 0.62 of its height wide."""
    letters = max(12, int(points / (0.62 * float(title.get_fontsize()))))
    title.set_text("\n".join(textwrap.fill(line, letters) for line in title.get_text().split("\n")))


def _nothing() -> Figure:
    """Return a figure that says that there is none."""
    figure, axes = panels(1, height=1.0)
    axes[0, 0].set_axis_off()
    text = "Nothing to draw: these parameters ask for too few runs, starts or networks."
    axes[0, 0].text(0, 0.5, text, va="center", color=QUIET)
    return figure


def source(figure: Figure) -> tuple[str, str] | None:
    """Return where the function that drew ``figure`` is (``chapters/breadth/figures.py``) and its code, if ours."""
    draw = _SOURCES.get(figure)
    if draw is None:
        return None
    file = Path(inspect.getsourcefile(draw) or "")
    return f"{'/'.join(file.parts[-3:])}, {draw.__name__}", inspect.getsource(draw)


def svg(figure: Figure) -> str:
    """Return the figure as SVG: sharp at any zoom, and the same text for the same data."""
    text, missing = _saved(figure, "path")
    if missing:  # names in another script: the reader's browser has a font for them
        text, _ = _saved(figure, "none")
    return _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _saved(figure: Figure, text: str) -> tuple[str, bool]:
    """Return the figure as SVG, its ``text`` drawn ("path") or written ("none"), and whether glyphs were missing."""
    buffer = io.StringIO()
    with _style() as glyphs, rc_context({"svg.fonttype": text}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    return buffer.getvalue(), bool(glyphs)


_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""Characters that XML cannot hold."""
_GLYPHS = re.compile(r"Glyph .* missing from|Matplotlib currently does not support")


@contextmanager
def _style() -> Iterator[list[str]]:
    """Draw in the book's style, whatever the user's own settings are; yield what it complains of missing glyphs."""
    glyphs: list[str] = []
    show = warnings.showwarning

    def caught(*about: Any, **more: Any) -> None:
        if _GLYPHS.match(str(about[0])):
            glyphs.append(str(about[0]))
        else:
            show(*about, **more)

    with mpl_style.context("default"), rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("always", _GLYPHS.pattern)
        warnings.showwarning = caught
        yield glyphs


def panels(
    rows: int, columns: int = 1, *, width: float = 7.0, height: float = 3.6, **options: Any
) -> tuple[Figure, Any]:
    """Return a figure and its axes (rows, columns); ``height`` in inches is a row's, ``options`` go to ``subplots``."""
    figure = Figure(figsize=(width, height * rows))
    figure.set_layout_engine("constrained", h_pad=0.12)  # inches: below an axis' label stands the next one's title
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def logarithmic(axis: Axes, which: str) -> None:
    """Give the axis ``which`` ("x" or "y") a logarithmic scale, with plain numbers at 1 and 3 of each decade."""
    axis.set(**{f"{which}scale": "log"})
    scale = getattr(axis, f"{which}axis")
    scale.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    scale.set_major_formatter("{x:,.10g}")
    scale.set_minor_formatter(NullFormatter())


def bars(value: float, low: float, high: float) -> Any:
    """Return the lengths below and above ``value`` of an interval of a score in [0, 1], (2, 1); none where unknown."""
    return np.nan_to_num([[value - max(low, 0.0)], [min(high, 1.0) - value]])


def label_ends(axis: Axes, ends: Sequence[tuple[float, str, str]], *, x: float) -> None:
    """Write (height, text, colour) to the right of the curves' ends at ``x``, moved apart where they would overlap."""
    ordered = sorted(ends)
    heights = _apart([height for height, *_ in ordered], axis.get_ylim())
    for height, (_, text, color) in zip(heights, ordered, strict=True):
        axis.annotate(
            text,
            (x, height),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            annotation_clip=False,
            color=color,
            fontweight="bold",
        )


def _apart(heights: list[float], limits: tuple[float, float]) -> list[float]:
    """Return rising ``heights``, moved so that labels do not overlap."""
    gap = (limits[1] - limits[0]) * 0.075
    moved = list(heights)
    for k in range(1, len(moved)):
        moved[k] = max(moved[k], moved[k - 1] + gap)
    excess = max(0.0, moved[-1] - limits[1]) if moved else 0.0
    return [height - excess for height in moved]
