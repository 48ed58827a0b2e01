"""On a cluster's own image: run, todo, train and bench work with the core packages alone, from a plain checkout."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from transfusion_lib.spec import RunSpec

ROOT = Path(__file__).resolve().parents[1]

# What the extras bring, by the names under which they are imported; scipy, joblib and the like belong to scikit-learn.
BOOK = {"IPython", "ipykernel", "ipywidgets", "jupyter_book", "lifelines", "matplotlib", "medmnist", "myst_nb",
        "nbclient", "nbformat", "pandas", "papermill", "seaborn", "sphinx", "statsmodels"}  # fmt: skip
OTHERS = {
    "monai",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "playwright",
    "psutil",
    "pypdf",
    "ray",
    "segmentation_models_pytorch",
}
OPTIONAL = BOOK | OTHERS

BLOCKER = """
from importlib.machinery import PathFinder
whole = PathFinder.find_spec
def without(cls, name, path=None, target=None):
    return None if name.partition(".")[0] in {names} else whole(name, path, target)
PathFinder.find_spec = classmethod(without)
"""


@pytest.fixture
def light(tmp_path: Path) -> dict[str, str]:
    """An environment in whose Pythons nothing optional can be imported."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BLOCKER.replace("{names}", repr(OPTIONAL)))
    keep = {name: value for name, value in os.environ.items() if not name.startswith("TRANSFUSION_")}
    return keep | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(ROOT)]),
        "TRANSFUSION_STORE": str(tmp_path / "store"),
        "TRANSFUSION_DEVICE": "cpu",
    }


def call(light: dict[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    """Run ``python -m transfusion_lib`` with words."""
    command = [sys.executable, "-m", "transfusion_lib", *words]
    return subprocess.run(command, env=light, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_blocked_are_the_extras() -> None:
    """A package that moves from an extra into the core, or is new in one, is noticed here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = {re.split(r"[\[<>=]", text)[0].replace("-", "_").lower() for text in project["dependencies"]}
    assert not core & {name.lower() for name in OPTIONAL}
    extras = {re.split(r"[\[<>=]", text)[0].replace("-", "_").lower()
              for name, texts in project["optional-dependencies"].items() if name not in ("dev", "lab")
              for text in texts}  # fmt: skip
    assert extras - {name.lower() for name in OPTIONAL} <= {"scipy"}


def test_run_todo_and_status_need_the_core_only(light: dict[str, str], small: RunSpec) -> None:
    done = call(light, "run", small.to_json(), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["curve"]["step"] == [0, 5, 10, 12]
    plan = call(light, "todo", "convergence", "--commands")
    assert plan.returncode == 0, plan.stderr
    assert plan.stdout.startswith("transfusion run ")
    checked = call(light, "verify", "--seed", "1").stdout
    assert checked.endswith("1 runs checked, 0 damaged\n1 trained again (seed 1), 0 differ\n")


def test_workers_need_the_core_only(light: dict[str, str]) -> None:
    few = [f"-p{word}" for word in ("seeds=[0,1]", "steps=2", "size=32", "train_images=64", "inits=['random']",
                                    "networks=['cbr_tiny']", "eval_every=2", "controls=[]")]  # fmt: skip
    done = call(light, "train", "convergence", *few, "--engine", "processes", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(": trained in") == 2


def test_what_is_missing_says_how_to_install_it(light: dict[str, str]) -> None:
    done = call(light, "train", "convergence", "--engine", "ray")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    assert 'pip install "transfusion-reproduced[ray]"' in done.stderr
    before = built()
    done = call(light, "book", "--only", "convergence")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    assert 'pip install "transfusion-reproduced[book]"' in done.stderr
    assert built() == before, "the last book is still there"


def built() -> list[tuple[str, int]]:
    """Return the files of this checkout's last book, with their times."""
    return sorted((str(path), path.stat().st_mtime_ns) for path in (ROOT / "build" / "book").rglob("*"))


def test_benchmarks_need_the_core_only(light: dict[str, str]) -> None:
    modules = "benchmarks.train, benchmarks.peer, benchmarks.store, benchmarks.data, benchmarks.similarity"
    code = f"import {modules}, benchmarks.book, transfusion_lib.runs.engines"
    done = subprocess.run([sys.executable, "-c", code], env=light, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "no folder benchmarks" not in call(light, "bench", "nothing").stderr
