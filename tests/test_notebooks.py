"""The chapters as a person runs them: opened by hand, from any folder, without the builder."""

import json
import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from transfusion_lib import chapters
from transfusion_lib.runs.store import Store

RUNS = {name: bool(study.model_fields.get("seeds")) for name, study in chapters.TABLE.items()}
ROOT = Path(__file__).parent.parent
SMALL: dict[str, Any] = {
    "size": 32, "train_images": 32, "val_images": 16, "test_images": 24, "seeds": [0, 1], "steps": 4, "eval_every": 2,
    "batch_size": 8,
}  # fmt: skip
FEW: dict[str, Any] = {
    "size": 32, "train_images": 32, "val_images": 16, "test_images": 24, "seeds": [0, 1], "steps": 2, "eval_every": 1,
    "batch_size": 8,
}  # fmt: skip
CUT: dict[str, Any] = {
    **FEW, "network": "cbr_tiny", "blocks": ["pool2", "pool3"], "other_blocks": ["pool2"], "reach": 1,
}  # fmt: skip
TINY: dict[str, dict[str, Any]] = {
    "differential": {**CUT, "latency_batches": [1, 2], "rounds": 5},
    "cutpoint": {**CUT, "probe_images": 24, "pooled_images": 24, "per_image": 4, "cam_images": 4, "examples": 2},
    "ablations": {
        **FEW, "networks": ["cbr_tiny"], "blocks": {"cbr_tiny": ["pool3"]}, "pooling_network": "cbr_tiny",
        "pooling_blocks": ["pool3"], "source_network": "cbr_tiny", "source_images": 16, "source_steps": 2,
    },
    "convergence": SMALL | {
        "networks": ["cbr_tiny"], "control_networks": ["cbr_tiny"], "controls": ["permutation"], "inits": ["random",
        "pretrained"],
    },
    "representations": {
        "size": 32, "train_images": 32, "val_images": 16, "test_images": 24, "networks": ["cbr_tiny"], "seeds": [0, 1],
        "steps": 4, "eval_every": 2, "batch_size": 8,
    },
    "filters": {
        "size": 32, "train_images": 32, "val_images": 16, "test_images": 24, "networks": ["cbr_tiny"], "seeds": [0, 1],
        "steps": 4, "eval_every": 2, "batch_size": 8, "shown_filters": 8, "null_filters": 20,
        "shown_channels": 1, "optimise_steps": 2,
    },
    "reuse": {
        "size": 32, "train_images": 32, "val_images": 16, "test_images": 24, "networks": ["cbr_tiny"], "seeds": [0, 1],
        "steps": 4, "eval_every": 2, "batch_size": 8, "probe_train": 32, "probe_test": 24,
        "neighbours": 3, "test_cases": 24, "points": 3, "blocks": [16, 8],
    },
    "segmentation": {
        "size": 32, "train_images": 16, "val_images": 8, "test_images": 8, "network": "unet_cbr_tiny", "init": "random",
        "cuts": ["pool2", "pool3"], "seeds": [0, 1], "steps": 2, "eval_every": 2, "batch_size": 4, "examples": 2,
    },
    "volumes": {
        "size": 16, "train_images": 16, "val_images": 8, "test_images": 12, "network": "efficientnet_lite0_3d",
        "cut": "block2", "seeds": [0, 1], "steps": 2, "eval_every": 2, "batch_size": 4,
    },
    "performance": SMALL | {
        "networks": ["cbr_tiny"], "small_networks": ["cbr_tiny"], "small_train": [16], "small_steps": 2,
    },
    "breadth": SMALL | {
        "networks": ["cbr_tiny"], "early": 2, "cells": [{}, {"dataset": "synthetic_chest"}],
    },
    "transfusion": SMALL | {
        "model": "cbr_tiny", "small_model": None, "stages": {"cbr_tiny": ["pool1"]}, "mean_var_above": {},
    },
    "hybrids": SMALL | {"model": "cbr_tiny", "small_model": None, "slim_stages": 2},
    "tutorial": {"size": 32, "images": 32, "seeds": [0, 1], "steps": 4},
    "own": SMALL | {"networks": ["cbr_tiny"], "starts": ["random", "pretrained"], "worst_images": 3},
    "tasks": {
        "size": 32, "train_images": 40, "val_images": 20, "test_images": 20, "picture_size": 48, "pictures": 40,
        "examples": 2,
    },
}  # fmt: skip


def run_by_hand(chapter: str, folder: Path) -> Any:
    """Execute a chapter's notebook from ``folder`` with small parameters appended to its parameters cell."""
    (path,) = (ROOT / "notebooks").glob(f"*-{chapter}.ipynb")
    notebook: Any = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    cell.source += "".join(f"\n{name} = {value!r}" for name, value in TINY[chapter].items())
    NotebookClient(notebook, timeout=240, kernel_name="python3").execute(cwd=str(folder))
    return notebook


# The book executes every chapter too; by hand, these few see what the others would.
OFTEN = ("convergence", "tasks", "segmentation", "tutorial")


@pytest.mark.parametrize(
    "chapter", [name if name in OFTEN else pytest.param(name, marks=pytest.mark.slow) for name in TINY]
)
def test_a_notebook_runs_by_hand_and_finds_its_runs_again(
    chapter: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRANSFUSION_PROFILE", raising=False)
    monkeypatch.delenv("TRANSFUSION_PROGRESS", raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    first, again = run_by_hand(chapter, ROOT / "notebooks"), run_by_hand(chapter, tmp_path)
    trained = [
        int(found) for notebook in (first, again) for found in re.findall(r"(\d+) trained now", outputs(notebook))
    ]
    assert not any(trained[len(trained) // 2 :]), "the second time everything comes from the store"
    if RUNS[chapter]:
        assert trained, "the chapter says where its runs came from"
    figures = [drawn(notebook) for notebook in (first, again)]
    assert figures[0]
    assert figures[0] == figures[1], "the same runs draw the same figures"
    assert all(len(alt) > 20 for _, alt in figures[0])


def outputs(notebook: Any) -> str:
    """Return everything that an executed notebook shows, as text."""
    return json.dumps([cell.get("outputs", []) for cell in notebook.cells])


def drawn(notebook: Any) -> list[tuple[str, str]]:
    """Return each figure of an executed notebook with its alt text."""
    return [
        (output["data"]["image/svg+xml"], output["metadata"]["image/svg+xml"]["alt"])
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/svg+xml" in output.get("data", {})
    ]


def test_every_chapter_is_tried() -> None:
    assert {path.stem.partition("-")[2] for path in (ROOT / "notebooks").glob("*.ipynb")} == set(TINY)
