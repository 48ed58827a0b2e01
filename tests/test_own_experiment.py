"""The page "Your own experiment", word for word, in a fresh notebook far from the repository."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from transfusion_lib import DataSpec, ModelSpec, RunSpec, TrainSpec, runs
from transfusion_lib.book.live import Runs
from transfusion_lib.errors import SpecError
from transfusion_lib.runs.store import Store

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "book" / "own-experiment.md").read_text(encoding="utf-8")
CELLS = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)


@pytest.mark.slow
def test_the_page_runs_word_for_word_from_another_folder(tmp_path: Path) -> None:
    notebook: Any = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])  # type: ignore[no-untyped-call]
    nbformat.write(notebook, tmp_path / "mine.ipynb")  # type: ignore[no-untyped-call]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRANSFUSION_")}
    words = ["nbconvert", "--to", "notebook", "--execute", "--inplace", "mine.ipynb"]
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(ROOT), "TRANSFUSION_STORE": str(tmp_path / "store")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    spec, trained, table, plot = nbformat.read(tmp_path / "mine.ipynb", as_version=4).cells  # type: ignore[no-untyped-call]
    assert "<th>train.steps</th><td>20</td>" in str(spec.outputs)
    assert "4 runs: 4 trained now, 0 from the store" in str(trained.outputs)
    assert "fundus 32 px, cbr_tiny, pretrained, seed 1" in trained.outputs[-1].data["text/html"]
    assert "val_auroc" in table.outputs[0].data["text/html"]
    assert "image/png" in plot.outputs[-1].data


def test_runs_have_a_table_of_the_fields_in_which_they_differ(small: RunSpec, store: Store) -> None:
    other = small.replace(data=small.data.replace(train=40), train=small.train.replace(snapshots=(5,)))
    found = Runs(runs.ensure([small, other], store=store))
    frame = found.frame()
    assert {
        "model.name",
        "init.method",
        "seed",
        "data.train",
        "train.snapshots",
        "step",
        "val_auroc",
        "train_loss",
    } <= set(frame)
    assert "data.size" not in frame, "the same in both"
    assert frame.groupby("data.train")["step"].apply(list).tolist() == [[0, 5, 10, 12]] * 2
    assert found._repr_html_().count("<tr>") == 3
    assert found[0].key[:12] in found._repr_html_()
    assert Runs().frame().empty


def test_the_fields_of_a_spec_are_explained_where_a_notebook_shows_them() -> None:
    assert "eval_every: Evaluate at step 0, every multiple of this, and the last step." in str(TrainSpec.__doc__)
    assert "batch_size = 32" in str(TrainSpec.__doc__)


def test_a_value_without_a_name_is_told_its_name() -> None:
    kinds: list[Any] = [RunSpec, ModelSpec]
    with pytest.raises(SpecError, match=r"RunSpec takes its fields by name: RunSpec\(data=..., model=...\)"):
        kinds[0](DataSpec(name="fundus"), ModelSpec(name="cbr_tiny"))
    with pytest.raises(SpecError, match=r"ModelSpec\(name=...\)"):
        kinds[1]("cbr_tiny")
