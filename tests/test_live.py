"""What a notebook shows: curves while training, specs, runs, claims and verdicts; progress as lines of a log."""

from pathlib import Path
from typing import Any

import pytest

from transfusion_lib import markup, runs
from transfusion_lib.book.learning import learning
from transfusion_lib.book.live import Reporter
from transfusion_lib.chapters.kit import style
from transfusion_lib.runs.store import Store
from transfusion_lib.spec import RunSpec
from transfusion_lib.stats import over_seeds
from transfusion_lib.training.train import Progress


def shown(value: Any) -> str:
    """Return what a notebook's cell shows of a value."""
    return str(value._repr_html_())


def test_a_spec_shows_every_field_with_its_path(small: RunSpec) -> None:
    text = shown(small)
    assert "<th>train.steps</th><td>12</td>" in text
    assert "<th>model.name</th><td>cbr_tiny</td>" in text
    assert "slim" not in text, "what is not set is left out"


def test_a_run_shows_its_score_and_curve(small: RunSpec, store: Store) -> None:
    [run] = runs.ensure([small], store=store)
    text = shown(run)
    assert run.key[:12] in text
    assert f"{run.final['test_auroc']:.3f} after 12 steps" in text
    assert "<polyline" in text


def test_an_interval_shows_what_varies() -> None:
    interval = over_seeds([0.8, 0.82, 0.84])
    assert str(interval).startswith("0.82 (0.77")
    assert "seed varies, n = 3" in shown(interval)


def test_words_never_become_markup() -> None:
    assert markup.table({"<a>": "<b>"}) == "<table><tr><th>&lt;a&gt;</th><td>&lt;b&gt;</td></tr></table>"
    assert markup.sparkline([1.0]) == ""
    assert "falls to 0.500" in markup.sparkline([0.7, 0.5])


def test_learning_curves_name_the_last_runs() -> None:
    curves = {f"run {k}": ([0, 5], [0.5, 0.6 + k / 100]) for k in range(12)}
    figure = learning(curves, score="test_auroc", steps=40)
    assert style.svg(figure).startswith("<?xml")
    axis = figure.axes[0]
    assert axis.get_xlim() == (0, 40), "a growing curve shows how far it is"
    legend = axis.get_legend()
    assert legend is not None
    assert [one.get_text() for one in legend.get_texts()] == [f"run {k}" for k in range(4, 12)]


def test_under_the_builder_progress_is_lines_of_its_log(
    small: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRANSFUSION_PROGRESS", str(tmp_path / "log"))
    reporter = Reporter()
    reporter.say("[1/1] a: trained in 2 s, 0123456789ab")
    reporter.said -= 60
    reporter.report(small, Progress(step=5, curve={"step": [0, 5], "val_auroc": [0.5, 0.625]}))
    assert (tmp_path / "log").read_text().splitlines() == [
        "[1/1] a: trained in 2 s, 0123456789ab",
        f"    {runs.label(small)}: step 5 of 12, val_auroc 0.625",
    ]
    assert "1 run: 1 trained now, 0 from the store" in reporter.summary()
