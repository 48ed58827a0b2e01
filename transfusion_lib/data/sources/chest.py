"""The synthetic chest x-rays as a data set: five pathologies, any number of which a picture may show."""

from typing import NamedTuple

import torch
from torch import Tensor

from transfusion_lib.data.dataset import Dataset, Split
from transfusion_lib.data.synthetic import chest
from transfusion_lib.data.synthetic.chest import PATHOLOGIES, REGIONS, VERSION
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
from transfusion_lib.data.uncertainty import resolve
from transfusion_lib.spec import DataSpec

TASKS = ("pathologies", "lungs")
LUNGS = REGIONS[:2]
DEFAULTS: dict[SplitName, int] = {"train": 2000, "val": 400, "test": 1000}


class Drawn(NamedTuple):
    """Pictures, labels and units, in the order of their indices."""

    images: Tensor
    """uint8 (n, 1, size, size)."""
    labels: Tensor
    """What the report says, int64 (n, 5): 0, 1, or -1 for uncertain."""
    masks: Tensor
    """uint8 (n, regions, size, size) in {0, 1}; the regions are ``REGIONS``."""
    ids: tuple[str, ...]
    units: tuple[str, ...]
    """The patient, who has one to three studies."""
    truth: Tensor
    """What the patient has, int64 (n, 5): 0 or 1."""


def generate(*, n: int, size: int, seed: int, first: int = 0, how: Drawing = PLAIN) -> Drawn:
    """Return the ``n`` radiographs from index ``first`` on, of any size from 16 pixels."""
    images, masks = draw_many(chest.draw, n=n, size=size, seed=seed, first=first, how=how)
    labels = [chest.label(seed, first + k) for k in range(n)]
    units = tuple(f"p{label.patient:08d}" for label in labels)
    ids = tuple(f"{unit}-study{label.study}" for unit, label in zip(units, labels, strict=True))
    reported, truth = (torch.tensor(rows) for rows in zip(*((x.reported, x.truth) for x in labels), strict=True))
    return Drawn(images, reported, masks, ids, units, truth)


def fingerprint(spec: DataSpec) -> str:
    """Return what changes whenever a picture, a label or a split changes; draws nothing."""
    what = task_of(spec, TASKS), spec.size, spec.seed, spec.uncertain, dict(counts(spec, DEFAULTS))
    return digest("chest", VERSION, *what)


def source(spec: DataSpec, *, how: Drawing = PLAIN) -> Dataset:
    """Return the three splits that ``spec`` describes; a smaller training set is the beginning of a larger one.

    As in CheXpert, training labels come from reports, so some are uncertain and go by ``spec.uncertain``; validation
    and test labels are the truth.
    """
    lungs = task_of(spec, TASKS) == "lungs"
    splits: dict[SplitName, Split] = {}
    for name, n in counts(spec, DEFAULTS).items():
        drawn = generate(n=n, size=spec.size, seed=spec.seed, first=FIRST[name], how=how)
        if lungs:
            both = union(drawn.masks[:, : len(LUNGS)], room=how.room)
            splits[name] = Split(images=drawn.images, labels=both, ids=drawn.ids, units=drawn.units, masks=both)
            continue
        reported = resolve(drawn.labels, pathologies=PATHOLOGIES, policy=spec.uncertain)
        labels = reported if name == "train" else drawn.truth.float()
        splits[name] = Split(images=drawn.images, labels=labels, ids=drawn.ids, units=drawn.units, masks=drawn.masks)
    if lungs:
        return segmentation(spec, splits, task="lungs", fingerprint=fingerprint(spec), notes=NOTES)
    return Dataset(
        name=spec.name,
        task=task_of(spec, TASKS),
        kind="multilabel",
        classes=PATHOLOGIES,
        regions=REGIONS,
        fingerprint=fingerprint(spec),
        synthetic=True,
        notes=NOTES,
        train=splits["train"],
        val=splits["val"],
        test=splits["test"],
    )


NOTES = {
    "source": "computed by this package (transfusion_lib.data.synthetic.chest); no patient's picture",
    "licence": "that of this package",
    "labels": "training: simulated reports, uncertain where severity is near its threshold; otherwise the truth",
    "split unit": "patient, with one to three studies",
}
