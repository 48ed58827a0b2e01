"""The synthetic fundus photographs as a data set: five grades of diabetic retinopathy, or referable against not."""

import hashlib
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from transfusion_lib.data.dataset import Dataset, Split
from transfusion_lib.errors import SpecError, unknown
from transfusion_lib.spec import DataSpec, canonical_json
from transfusion_lib.synthetic import fundus

NAME = "fundus"
TASKS = ("referable", "grade")
DEFAULTS = {"train": 2000, "val": 400, "test": 1000}
FIRST = {"train": 0, "val": 10_000_000, "test": 20_000_000}
"""Index of each split's first picture: changing one split's size leaves the others' patients as they are."""


class Drawn(NamedTuple):
    """Pictures with what is known of each, in the order of their indices."""

    images: Tensor
    """uint8 (n, 3, size, size)."""
    grades: Tensor
    """int64 (n,), 0 to 4."""
    masks: Tensor
    """uint8 (n, regions, size, size) in {0, 1}; the regions are ``synthetic.fundus.REGIONS``."""
    ids: tuple[str, ...]
    units: tuple[str, ...]
    """The patient: two pictures each, right eye and left."""


def generate(*, n: int, size: int, seed: int, first: int = 0, progress: Callable[[int], None] | None = None) -> Drawn:
    """Return ``n`` pictures from index ``first`` on; ``progress`` is called with the number drawn so far."""
    images = np.empty((n, fundus.CHANNELS, size, size), np.uint8)
    masks = np.empty((n, len(fundus.REGIONS), size, size), np.uint8)
    for k in range(n):
        images[k], masks[k] = fundus.draw(seed, first + k, size=size)
        if progress is not None:
            progress(k + 1)
    labels = [fundus.label(seed, first + k) for k in range(n)]
    units = tuple(f"p{label.patient:08d}" for label in labels)
    ids = tuple(f"{unit}-{label.eye}" for unit, label in zip(units, labels, strict=True))
    grades = torch.tensor([label.grade for label in labels])
    return Drawn(torch.from_numpy(images), grades, torch.from_numpy(masks), ids, units)


def fingerprint(spec: DataSpec) -> str:
    """Return what changes whenever a picture, a label or a split changes."""
    counts = {name: getattr(spec, name) or default for name, default in DEFAULTS.items()}
    what = [NAME, fundus.VERSION, spec.size, _task(spec), spec.seed, counts]
    return hashlib.sha256(canonical_json(what).encode()).hexdigest()


def source(spec: DataSpec) -> Dataset:
    """Return the three splits that ``spec`` describes; a smaller training set is the beginning of a larger one."""
    task = _task(spec)
    splits = {}
    for name, default in DEFAULTS.items():
        drawn = generate(n=getattr(spec, name) or default, size=spec.size, seed=spec.seed, first=FIRST[name])
        labels = (drawn.grades >= 2).long() if task == "referable" else drawn.grades
        splits[name] = Split(images=drawn.images, labels=labels, ids=drawn.ids, units=drawn.units, masks=drawn.masks)
    return Dataset(
        name=NAME,
        task=task,
        kind="multiclass",
        classes=("not referable", "referable") if task == "referable" else fundus.GRADES,
        positive=(1,) if task == "referable" else (2, 3, 4),
        regions=fundus.REGIONS,
        fingerprint=fingerprint(spec),
        synthetic=True,
        **splits,
    )


def _task(spec: DataSpec) -> Literal["referable", "grade"]:
    for task in TASKS:
        if spec.task in (None, task):
            return task
    raise SpecError(unknown("task of fundus", str(spec.task), TASKS))
