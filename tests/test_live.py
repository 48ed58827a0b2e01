"""A notebook opened by hand: curves while training, a stop that loses nothing, representations of what it shows."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from transfusion_lib import markup, runs
from transfusion_lib.book.learning import learning
from transfusion_lib.book.live import Reporter
from transfusion_lib.chapters.kit import style
from transfusion_lib.runs.store import Store
from transfusion_lib.spec import RunSpec
from transfusion_lib.stats import over_seeds
from transfusion_lib.training.train import Progress

ROOT = Path(__file__).resolve().parents[1]


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
    text = style.svg(learning(curves, score="test_auroc"))
    assert text.startswith("<?xml")
    axis = learning(curves, score="test_auroc").axes[0]
    legend = axis.get_legend()
    assert legend is not None
    assert [one.get_text() for one in legend.get_texts()] == [f"run {k}" for k in range(4, 12)]


def test_under_the_builder_progress_is_lines_of_its_log(
    small: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRANSFUSION_PROGRESS", str(tmp_path / "log"))
    with Reporter() as reporter:
        reporter.say("[1/1] a: trained in 2 s, 0123")
        reporter.said -= 60
        reporter.report(small, Progress(step=5, curve={"step": [0, 5], "val_auroc": [0.5, 0.625]}))
    assert (tmp_path / "log").read_text().splitlines() == [
        "[1/1] a: trained in 2 s, 0123",
        f"    {runs.label(small)}: step 5 of 12, val_auroc 0.625",
    ]
    assert "1 runs: 1 trained now, 0 from the store" in reporter.summary()


CELL = """\
from transfusion_lib.book import live
from transfusion_lib.spec import RunSpec
[run] = live.train([RunSpec.from_json('''{spec}''')])
print(run.curve['step'][-1])"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_stop_button_keeps_a_checkpoint_and_the_cell_goes_on(
    small: RunSpec, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.delenv("TRANSFUSION_PROGRESS", raising=False)
    spec = small.replace(train=small.train.replace(steps=400, eval_every=10))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL.format(spec=spec.to_json()))])  # type: ignore[no-untyped-call]
    client = NotebookClient(notebook, timeout=280, kernel_name="python3")

    def stop() -> None:
        while not any("<svg" in str(cell.get("outputs")) for cell in notebook.cells):
            time.sleep(0.2)
        manager: Any = client.km
        import asyncio

        asyncio.run(manager.interrupt_kernel())

    with client.setup_kernel():
        presser = threading.Thread(target=stop)
        presser.start()
        with pytest.raises(CellExecutionError, match=r"stopped on request at step \d+ of 400"):
            client.execute_cell(notebook.cells[0], 0)
        presser.join()
        assert store.keys("runs") == []
        assert list((store.root / "work").iterdir()), "a checkpoint is kept"
        client.execute_cell(notebook.cells[0], 0)
    outputs = str(notebook.cells[0].outputs)
    assert "400" in outputs
    assert "<svg" not in outputs, "the curves make room for the summary"
    assert len(list(store.keys("runs"))) == 1
