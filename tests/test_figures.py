"""What every figure has in common: one style, nothing left open, its own code at hand."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.figure import Figure

from transfusion_lib.chapters.kit import arrival_figures, style
from transfusion_lib.chapters.kit import style as kit_style


@kit_style.drawing
def two_curves() -> Figure:
    """Draw two curves that end close together."""
    figure, axes = style.panels(1)
    axes[0, 0].plot([0, 1], [0.0, 0.50], [0, 1], [0.0, 0.51])
    style.label_ends(axes[0, 0], [(0.50, "a", style.BLUE), (0.51, "b", style.ORANGE)], x=1)
    return figure


def test_a_drawing_has_the_style_is_closed_and_shows_its_code() -> None:
    figure = two_curves()
    assert plt.get_fignums() == []
    assert not figure.axes[0].spines["top"].get_visible()
    assert kit_style.svg(figure) == kit_style.svg(two_curves()), "the same data draw the same file"
    where, code = kit_style.source(figure) or ("", "")
    assert where.endswith("test_figures.py, two_curves")
    assert "end close together" in code
    assert kit_style.source(Figure()) is None


def test_labels_of_close_ends_do_not_overlap() -> None:
    axis = two_curves().axes[0]
    first, second = (text.xy[1] for text in axis.texts)  # type: ignore[attr-defined]
    low, high = axis.get_ylim()
    assert second - first == pytest.approx(0.075 * (high - low))


def test_a_figure_of_nothing_says_so() -> None:
    frame = pd.DataFrame(columns=["network", "init", "step", "share"])
    figure = arrival_figures.waiting(frame, threshold=0.8, titles={})
    assert "Nothing to draw" in figure.axes[0].texts[0].get_text()
