"""The synthetic adrenal-like volumes as a data set: with a mass or without."""

import torch

from transfusion_lib.data.dataset import Dataset, Split
from transfusion_lib.data.synthetic import adrenal
from transfusion_lib.data.synthetic.adrenal import VERSION
from transfusion_lib.data.synthetic.drawn import FIRST, PLAIN, Drawing, SplitName, counts, digest, task_of
from transfusion_lib.spec import DataSpec

TASKS = ("mass",)
DEFAULTS: dict[SplitName, int] = {"train": 1000, "val": 100, "test": 300}
AT_ONCE = 50  # volumes between two reports


def fingerprint(spec: DataSpec) -> str:
    """Return what changes whenever a volume, a label or a split changes; draws nothing."""
    return digest("adrenal", VERSION, task_of(spec, TASKS), spec.size, spec.seed, dict(counts(spec, DEFAULTS)))


def source(spec: DataSpec, *, how: Drawing = PLAIN) -> Dataset:
    """Return the three splits that ``spec`` describes; a smaller training set is the beginning of a larger one."""
    splits: dict[SplitName, Split] = {}
    for name, n in counts(spec, DEFAULTS).items():
        places = range(FIRST[name], FIRST[name] + n)
        volumes = how.room((n, 1, spec.size, spec.size, spec.size))
        for start in range(0, n, AT_ONCE):
            volumes[start : start + AT_ONCE] = adrenal.draw(spec.seed, places[start : start + AT_ONCE], size=spec.size)
            if how.progress is not None:
                how.progress(min(n, start + AT_ONCE))
        ids = tuple(f"v{place:08d}" for place in places)
        labels = torch.tensor([adrenal.label(spec.seed, place) for place in places])
        splits[name] = Split(images=torch.from_numpy(volumes), labels=labels, ids=ids, units=ids)
    return Dataset(
        name=spec.name,
        task=task_of(spec, TASKS),
        kind="multiclass",
        classes=("normal", "mass"),
        positive=(1,),
        fingerprint=fingerprint(spec),
        synthetic=True,
        notes=NOTES,
        train=splits["train"],
        val=splits["val"],
        test=splits["test"],
    )


NOTES = {
    "source": "computed by this package (transfusion_lib.data.synthetic.adrenal); no patient's gland",
    "licence": "that of this package",
    "labels": "known exactly: whether a ball was drawn onto a limb",
    "split unit": "volume",
}
