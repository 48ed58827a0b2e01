"""The synthetic fundus photographs as a data set: referable diabetic retinopathy, its five grades, its lesions."""

from typing import NamedTuple

import torch
from torch import Tensor

from transfusion_lib.data.dataset import Dataset, Split
from transfusion_lib.data.synthetic import fundus
from transfusion_lib.data.synthetic.drawn import (
    FIRST,
    PLAIN,
    Drawing,
    SplitName,
    counts,
    digest,
    draw_many,
    segmentation,
    task_of,
    union,
)
from transfusion_lib.data.synthetic.fundus import GRADES, LESIONS, REGIONS, VERSION
from transfusion_lib.spec import DataSpec

TASKS = ("referable", "grade", "lesions")
DEFAULTS: dict[SplitName, int] = {"train": 2000, "val": 400, "test": 1000}
REFERABLE = 2
"""The lowest grade that is sent to an ophthalmologist: moderate."""


class Drawn(NamedTuple):
    """Pictures, labels and units, in the order of their indices."""

    images: Tensor
    """uint8 (n, 3, size, size)."""
    labels: Tensor
    """Grades, int64 (n,), 0 to 4."""
    masks: Tensor
    """uint8 (n, regions, size, size) in {0, 1}; the regions are ``REGIONS``."""
    ids: tuple[str, ...]
    units: tuple[str, ...]
    """The patient: two pictures each, the right eye's and the left eye's."""


def generate(*, n: int, size: int, seed: int, first: int = 0, how: Drawing = PLAIN) -> Drawn:
    """Return the ``n`` photographs from index ``first`` on, of any size from 16 pixels."""
    images, masks = draw_many(fundus.draw, n=n, size=size, seed=seed, first=first, how=how)
    labels = [fundus.label(seed, first + k) for k in range(n)]
    units = tuple(f"p{label.patient:08d}" for label in labels)
    ids = tuple(f"{unit}-{label.eye}" for unit, label in zip(units, labels, strict=True))
    return Drawn(images, torch.tensor([label.grade for label in labels]), masks, ids, units)


def fingerprint(spec: DataSpec) -> str:
    """Return what changes whenever a picture, a label or a split changes; draws nothing."""
    return digest("fundus", VERSION, task_of(spec, TASKS), spec.size, spec.seed, dict(counts(spec, DEFAULTS)))


def source(spec: DataSpec, *, how: Drawing = PLAIN) -> Dataset:
    """Return the three splits that ``spec`` describes; a smaller training set is the beginning of a larger one."""
    task = task_of(spec, TASKS)
    if task == "lesions":
        return _segmentation(spec, how=how)
    referable = task == "referable"
    splits: dict[SplitName, Split] = {}
    for name, n in counts(spec, DEFAULTS).items():
        drawn = generate(n=n, size=spec.size, seed=spec.seed, first=FIRST[name], how=how)
        labels = (drawn.labels >= REFERABLE).long() if referable else drawn.labels
        splits[name] = Split(images=drawn.images, labels=labels, ids=drawn.ids, units=drawn.units, masks=drawn.masks)
    return Dataset(
        name=spec.name,
        task=task_of(spec, TASKS),
        kind="multiclass",
        classes=("not referable", "referable") if referable else GRADES,
        positive=(1,) if referable else tuple(range(REFERABLE, len(GRADES))),
        regions=REGIONS,
        fingerprint=fingerprint(spec),
        synthetic=True,
        notes=NOTES,
        train=splits["train"],
        val=splits["val"],
        test=splits["test"],
    )


def _segmentation(spec: DataSpec, *, how: Drawing) -> Dataset:
    """Return the splits of the task "lesions": every pixel that a lesion of any kind covers."""
    splits: dict[SplitName, Split] = {}
    for name, n in counts(spec, DEFAULTS).items():
        drawn = generate(n=n, size=spec.size, seed=spec.seed, first=FIRST[name], how=how)
        masks = union(drawn.masks[:, : len(LESIONS)], room=how.room)
        splits[name] = Split(images=drawn.images, labels=masks, ids=drawn.ids, units=drawn.units, masks=masks)
    return segmentation(spec, splits, task="lesions", fingerprint=fingerprint(spec), notes=NOTES)


NOTES = {
    "source": "computed by this package (transfusion_lib.data.synthetic.fundus); no patient's picture",
    "licence": "that of this package",
    "labels": "International Clinical Diabetic Retinopathy scale, 0 to 4, known exactly; referable is 2 and up",
    "split unit": "patient, with one picture of each eye",
}
