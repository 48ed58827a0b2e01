"""Every cell of every chapter works for every value that its parameters allow: sets drawn at random, tiny, and run.

Cells run in this process, one shell for all, so that a set costs its runs and not a kernel. A warning is an error here,
as it is to the builder. ``TRANSFUSION_SETS`` draws more sets, ``TRANSFUSION_SEED`` other ones.
"""

import os
import random
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from PIL import Image
from traitlets.config import Config

from transfusion_lib import chapters
from transfusion_lib.book import parameters, project
from transfusion_lib.chapters.convergence.study import CONTROLS
from transfusion_lib.errors import ParameterError

SETS = int(os.environ.get("TRANSFUSION_SETS", "1"))
SEED = int(os.environ.get("TRANSFUSION_SEED", "0"))
HERE = project.find(Path(__file__))
Draw = Callable[[random.Random], Any]


def one(*values: Any) -> Draw:
    """Draw one of the values."""
    return lambda r: r.choice(values)


def some(*values: Any, least: int = 1) -> Draw:
    """Draw some of the values in any order, none twice."""
    return lambda r: r.sample(values, r.randint(least, len(values)))


NETWORKS = ("cbr_tiny", "cbr_small", "cbr_large_t")
"""The last has no pretrained weights."""
SHARED: dict[str, Draw] = {
    "dataset": one("fundus", "fundus:grade", "synthetic_chest", "OWN"),
    "size": one(32, 40),
    "train_images": one(24, 33, 400),
    "val_images": one(8, 12),
    "test_images": one(12, 24),
    "split": one("official", "drawn"),
    "others": one([], ["synthetic_chest"]),
    "augment": one(True, False),
    "pretrained": one("auto", "without_download", "tiny_imagenet_100", "imagenet"),
    "seeds": one([0], [3, 1]),
    "steps": one(1, 2, 3, 5),
    "eval_every": one(1, 2, 7),
    "batch_size": one(4, 8, 64),
    "learning_rate": one(1e-3, 1e-1),
    "precision": one("float32", "bfloat16"),
    "on_bad": one("error", "skip"),
    "networks": some(*NETWORKS),
    "inits": some("random", "pretrained"),
    "threshold": lambda r: round(r.uniform(0.51, 0.99), 2),
    "in_a_row": one(1, 2, 9),
    "examples": one(1, 3),
    "schedule": one("constant", "cosine", "one_cycle", "plateau"),
    "select": one("last", "best"),
    "probe_images": one(None, 16),
    "per_image": one(1, 4, 99),
    "blocks": one([], ["pool2"], ["pool1", "pool3"]),
}
CUTS: dict[str, Draw] = {
    "network": one("cbr_tiny", "cbr_small"),
    "split": one("official", "drawn"),
    "others": one([], ["synthetic_chest"]),
    "augment": one(True, False),
    "pretrained": one("auto", "tiny_imagenet_100"),
    "methods": some("LWFT", "TF", "TTL"),
    "other_blocks": one([], ["pool2"]),
    "reach": one(0, 1, None),
    "refine": some("LWFT", "TF", "TTL", least=0),
    "body_lr_scale": one(0.1, 1.0),
}
OWN: dict[str, dict[str, Draw]] = {
    "own": {
        "dataset": one("OWN", "fundus"),
        "external_dataset": one(None, "fundus"),
        "unit": one(None),
        "networks": one(["cbr_tiny"], ["cbr_tiny", "cbr_small"]),
        "starts": some("random", "pretrained"),
        "steps": one(2, 3),
        "worst_images": one(1, 3),
    },
    "tutorial": {
        "images": one(None, 20, 400),
        "network": one(*NETWORKS),
        "starts": some("random", "mean_var", "pretrained", least=2),
        "dataset": one("OWN", "fundus"),
    },
    "tasks": {
        "datasets": some("fundus", "synthetic_chest", "OWN"),
        "picture_size": one(32, 48),
        "pictures": one(8, 24),
    },
    "convergence": {
        "inits": some("random", "mean_var", "pretrained"),
        "control_networks": some(*NETWORKS, least=0),
        "controls": some(*CONTROLS, least=0),
        "control_seeds": one([0], [4, 5]),
    },
    "performance": {
        "small_networks": some(*NETWORKS, least=0),
        "small_train": one([], [8], [8, 16]),
    },
    "breadth": {
        "split": one("official", "drawn"),
        "others": one([], ["synthetic_chest"]),
        "augment": one(True, False),
        "pretrained": one("auto", "tiny_imagenet_100"),
        "networks": some("cbr_tiny", "cbr_small"),
        "cells": one([{}], [{}, {"dataset": "synthetic_chest"}], [{"seeds": [5]}, {"train_images": 16}, {"size": 48}]),
    },
    "transfusion": {
        "model": one(*NETWORKS),
        "small_model": one(None, "cbr_tiny"),
        "stages": one({}, {"cbr_tiny": ["pool1"]}, {"cbr_small": ["pool3", "pool1"]}),
        "mean_var_above": one({}, {"cbr_tiny": ["pool2"]}),
    },
    "hybrids": {
        "model": one(*NETWORKS),
        "small_model": one(None, "cbr_tiny"),
        "slim_stages": one(1, 2),
        "slim_factor": one(2, 4),
        "orientations": one(1, 8),
    },
    "representations": {
        "dataset": one("fundus", "synthetic_chest"),
        "seeds": one([0, 1], [2, 0, 1]),
        "snapshots": one([], [0, 1]),
        "per_channel": one(1, 8),
    },
    "filters": {
        "shown_filters": one(1, 8, 999),
        "null_filters": one(20),
        "shown_channels": one(1, 2),
        "optimise_steps": one(1, 2),
    },
    "reuse": {
        "seeds": one([0, 1]),
        "probe_train": one(16, 999),
        "probe_test": one(12, 999),
        "neighbours": one(1, 3),
        "test_cases": one(8, 999),
        "points": one(3, 4),
        "blocks": one([16], [16, 8]),
    },
    "differential": CUTS | {"latency_batches": one([1], [2, 1]), "rounds": one(5)},
    "cutpoint": CUTS
    | {
        "methods": some("LWFT", "TF", "TTL"),
        "pooled_images": one(None, 16),
        "keep": one(0.9, 1.0),
        "overlap": one(0.1, 0.9),
        "cam_images": one(None, 3),
    },
    "ablations": {
        "split": one("official", "drawn"),
        "others": one([], ["synthetic_chest"]),
        "augment": one(True, False),
        "pretrained": one("auto", "tiny_imagenet_100"),
        "networks": some("cbr_tiny", "cbr_small"),
        "blocks": one({}, {"cbr_tiny": ["pool3"]}),
        "pooling_network": one("cbr_tiny", "cbr_small"),
        "pooling_blocks": one([], ["pool2", "pool3"]),
        "source_network": one("cbr_tiny"),
        "source_dataset": one("synthetic_chest", "OWN"),
        "source_images": one(None, 16),
        "source_steps": one(1, 2),
        "source_start": one("random", "pretrained"),
    },
    "segmentation": {
        "dataset": one("synthetic_chest", "fundus"),
        "task": one("lungs"),
        "train_images": one(8, 12),
        "network": one("unet_cbr_tiny"),
        "init": one("random", "pretrained"),
        "cuts": some("pool2", "pool3"),
        "batch_size": one(4),
    },
    "volumes": {
        "dataset": one("synthetic_adrenal"),
        "size": one(16),
        "train_images": one(8, 12),
        "network": one("efficientnet_lite0_3d"),
        "cut": one("block2", "conv1"),
        "batch_size": one(4),
        "steps": one(1, 2),
        "seeds": one([0], [0, 1]),
    },
}


def drawn(chapter: str, number: int, own: Path) -> dict[str, Any]:
    """Return a set of parameters of a chapter: the same for the same number."""
    r = random.Random(f"{chapter} {number} {SEED}")
    space = {one.name: SHARED.get(one.name) for one in parameters.declared(HERE.chapter(chapter))} | OWN[chapter]
    found = {name: draw(r) for name, draw in space.items() if draw is not None}
    found = {name: put(value, str(own)) for name, value in found.items()}
    if found.get("dataset") != str(own):  # drawing hundreds of pictures takes minutes; own ones are few
        found |= {name: 24 for name in ("images", "train_images") if found.get(name, 24) in (None, 400)}
    found |= {"task": "lesions"} if chapter == "segmentation" and found["dataset"] == "fundus" else {}
    grid = sorted({*range(0, found.get("steps", 0) + 1, found.get("eval_every", 1)), found.get("steps", 0)} - {0})
    found |= {"small_steps": r.choice(grid)} if chapter == "performance" else {}
    found |= {"early": r.choice(grid)} if chapter == "breadth" else {}
    if "snapshots" in found:
        found["snapshots"] = [step for step in found["snapshots"] if step <= found["steps"]]
    return found


def draws(chapter: str, number: int, own: Path) -> Iterator[dict[str, Any]]:
    """Yield sets of parameters without an end."""
    return (drawn(chapter, number + SETS * again, own) for again in count())


def allowed(chapter: str, values: dict[str, Any]) -> bool:
    """Whether a chapter takes these values; one that it refuses, it refuses before anything is trained."""
    try:
        chapters.TABLE[chapter].of(values)
    except ParameterError:
        return False
    return True


def put(value: Any, own: str) -> Any:
    """Return a value with the place of own images where it names them."""
    return [put(one, own) for one in value] if isinstance(value, list) else own if value == "OWN" else value


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 58 images of two classes."""
    folder = tmp_path_factory.mktemp("own")
    r = np.random.default_rng(0)
    for name, base in (("benign", 90), ("malignant", 140)):
        (folder / name).mkdir()
        for number in range(29):
            pixels = np.clip(r.normal(base, 60, (40, 40, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module", autouse=True)
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One store for all sets: they share runs and images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFUSION_STORE", str(tmp_path_factory.mktemp("store")))
        patch.setenv("TRANSFUSION_DEVICE", "cpu")
        for name in ("TRANSFUSION_PROFILE", "TRANSFUSION_PROGRESS"):
            patch.delenv(name, raising=False)
        yield


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("number", range(SETS))
@pytest.mark.parametrize("chapter", list(chapters.TABLE))
def test_a_chapter_runs_with_parameters_drawn_at_random(chapter: str, number: int, own: Path) -> None:
    values = next(values for values in draws(chapter, number, own) if allowed(chapter, values))
    code = [cell for cell in HERE.chapter(chapter).cells if cell["cell_type"] == "code"]
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    shell.reset()
    injected = "\n".join(f"{name} = {value!r}" for name, value in values.items())
    for cell in code:
        source = cell["source"] + ("\n" + injected if "parameters" in cell["metadata"].get("tags", []) else "")
        with capture_output() as shown:
            result = shell.run_cell(source)
        fault = result.error_before_exec or result.error_in_exec
        assert fault is None, f"{injected}\n\n{source}\n\n{type(fault).__name__}: {fault}\n{shown.stdout[-4000:]}"


def test_every_chapter_has_a_space_to_draw_from_and_every_parameter_is_drawn(tmp_path: Path) -> None:
    assert set(OWN) == set(chapters.TABLE)
    for name, study in chapters.TABLE.items():
        left = set(study.model_fields) - set(drawn(name, 0, tmp_path))
        assert not left, f"{name}: {left}"
