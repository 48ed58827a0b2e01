"""Paediatric chest x-rays of Kermany et al. 2018: ``{train,val,test}/{NORMAL,PNEUMONIA}/*.jpeg``.

A patient is ``personNNN_bacteria``, ``personNNN_virus``, ``IM-NNNN`` or ``NORMAL2-IM-NNNN``: person numbers are counted
apart for bacteria and virus. 170 numbers occur in train and in test, never with the same pathogen, and
within a pathogen numbers and images rise together through contiguous blocks of train and test. Where this library
draws a split it keeps the bare number together all the same.
"""

import re

from transfusion_lib.data.reading.archive import Files
from transfusion_lib.data.reading.catalogue import Catalogue, Info, Item, Problems, SplitName, choose_task
from transfusion_lib.data.reading.filesource import FileSource
from transfusion_lib.spec import DataSpec

TASKS = ("pneumonia", "three_class", "bacterial_viral")
CLASSES = {
    "pneumonia": ("normal", "pneumonia"),
    "three_class": ("normal", "bacterial", "viral"),
    "bacterial_viral": ("bacterial", "viral"),
}
POSITIVE = {"pneumonia": (1,), "three_class": (1, 2), "bacterial_viral": (1,)}  # viral: the rarer of the two
KINDS = {"normal": "normal", "bacteria": "bacterial", "virus": "viral"}

# Kaggle and Mendeley v2, then Mendeley v3: BACTERIA-1008087-0001.jpeg.
NAMES = (
    re.compile(r"(?P<unit>(?P<family>person\d+)_(?P<kind>bacteria|virus))_\d+", re.IGNORECASE),
    re.compile(r"(?P<unit>(?:NORMAL2-)?(?P<family>IM-\d+))-", re.IGNORECASE),
    re.compile(r"(?P<unit>(?P<kind>bacteria|virus|normal)-(?P<family>\d+))-", re.IGNORECASE),
)
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")


def recognise(files: Files) -> bool:
    """Tell whether the files lie as Kermany's do."""
    return {folder for _, _, folder in _placed(files)} == {"normal", "pneumonia"}


def read(files: Files, spec: DataSpec, problems: Problems) -> Catalogue:
    """Return the catalogue; a file whose name tells no patient or kind is a problem.

    Bacterial or viral is asked of the PNEUMONIA images alone.
    """
    task = choose_task(spec, TASKS)
    items = []
    for name, split, folder in _placed(files):
        if task == "bacterial_viral" and folder == "normal":
            continue
        base = name.rsplit("/", 1)[-1]
        named = next((found for pattern in NAMES if (found := pattern.match(base))), None)
        kind = KINDS[(named.groupdict().get("kind") or "normal").lower()] if named else None
        if named is None or (kind == "normal") != (folder == "normal"):
            shape = "IM-NNNN-NNNN" if folder == "normal" else "personNNN_bacteria_N or personNNN_virus_N"
            problems.add(f"{files.location(name)}: not the name of a {folder} image; name it like {shape}")
            continue
        label = CLASSES[task].index("pneumonia" if task == "pneumonia" and kind != "normal" else kind)
        items.append(
            Item(
                id=f"{split}/{folder.upper()}/{base}",
                file=name,
                label=label,
                unit=named["unit"].lower(),
                family=named["family"].lower(),
                split=split,
            )
        )
    return Catalogue(
        task=task,
        kind="multiclass",
        classes=CLASSES[task],
        items=tuple(items),
        channels=1,
        positive=POSITIVE[task],
        top_up_val=True,
    )


def _placed(files: Files) -> list[tuple[str, SplitName, str]]:
    """Return (image, split, class folder) in the shallowest tree: Kaggle's zip holds a second copy further down."""
    found = []
    for name in files.images():
        parts = name.lower().split("/")
        split = next((split for split in SPLITS if parts[-3:-2] == [split]), None)
        if split and parts[-2] in ("normal", "pneumonia"):
            found.append((name, split, parts[-2]))
    depth = min((name.count("/") for name, _, _ in found), default=0)
    return [each for each in found if each[0].count("/") == depth]


SOURCE = FileSource(
    info=Info(
        called="chest x-rays of children",
        asks={
            "pneumonia": "pneumonia",
            "three_class": "bacterial or viral pneumonia",
            "bacterial_viral": "viral or bacterial pneumonia",
        },
        shifted=TASKS,  # the official test folder; scores inside are near 1, there 0.90 to 0.95
        what="paediatric chest x-rays, normal or pneumonia, bacterial or viral",
        tasks=TASKS,
        licence="CC BY 4.0",
        source="Kermany et al., Cell 172 (2018) 1122-1131; doi 10.17632/rscbjbr9sj; Kaggle chest-xray-pneumonia",
        unit="patient, from the file name",
        splits="official train and test; the official val of 16 images is topped up to 10 % of train by patient",
        layout="chest_xray/{train,val,test}/{NORMAL,PNEUMONIA}/*.jpeg, a folder or chest_xray.zip",
    ),
    places=("chest_xray", "chest-xray-pneumonia"),
    recognise=recognise,
    read=read,
)
