"""Paediatric chest x-rays of Kermany et al. 2018: ``{train,val,test}/{NORMAL,PNEUMONIA}/*.jpeg``.

A patient is ``personNNN_bacteria``, ``personNNN_virus``, ``IM-NNNN`` or ``NORMAL2-IM-NNNN``: person numbers are counted
apart for bacteria and virus. 170 numbers occur in train and in test, never with the same pathogen, and
within a pathogen numbers and images rise together through contiguous blocks of train and test. Where this library
draws a split it keeps the bare number together all the same.
"""

import re

from transfusion_lib.data.archive import Files
from transfusion_lib.data.catalogue import Catalogue, Info, Item, Problems, SplitName, choose_task
from transfusion_lib.data.loading import FileSource
from transfusion_lib.spec import DataSpec

TASKS = ("pneumonia", "three_class")
CLASSES = {"pneumonia": ("normal", "pneumonia"), "three_class": ("normal", "bacterial", "viral")}
KINDS = {"normal": "normal", "bacteria": "bacterial", "virus": "viral"}

# Kaggle and Mendeley v2, then Mendeley v3: BACTERIA-1008087-0001.jpeg.
NAMES = (
    re.compile(r"(?P<unit>(?P<family>person\d+)_(?P<kind>bacteria|virus))_\d+", re.IGNORECASE),
    re.compile(r"(?P<unit>(?:NORMAL2-)?(?P<family>IM-\d+))-", re.IGNORECASE),
    re.compile(r"(?P<unit>(?P<kind>bacteria|virus|normal)-(?P<family>\d+))-", re.IGNORECASE),
)
FOLDERS = re.compile(r"(?:.*/)?(?P<split>train|val|test)/(?P<folder>normal|pneumonia)/[^/]+", re.IGNORECASE)


def recognise(files: Files) -> bool:
    """Tell whether the files lie as Kermany's do."""
    found = [match for name in files.images() if (match := FOLDERS.fullmatch(name))]
    return {match["folder"].lower() for match in found} == {"normal", "pneumonia"}


def read(files: Files, spec: DataSpec, problems: Problems) -> Catalogue:
    """Return the catalogue; a file whose name tells no patient or kind is a problem."""
    task = choose_task(spec, TASKS)
    items = []
    for name, match in _originals(files):
        named = next((found for pattern in NAMES if (found := pattern.match(name.rsplit("/", 1)[-1]))), None)
        sick = match["folder"].lower() == "pneumonia"
        if named is None or (sick and "kind" not in named.groupdict()):
            shape = "personNNN_bacteria_N or personNNN_virus_N" if sick else "IM-NNNN-NNNN"
            problems.add(f"{files.location(name)}: the name tells no patient; name it like {shape}")
            continue
        kind = KINDS[named["kind"].lower()] if sick else "normal"
        label = CLASSES[task].index("pneumonia" if sick and task == "pneumonia" else kind)
        split: SplitName = match["split"].lower()  # type: ignore[assignment]  # the pattern allows nothing else
        items.append(
            Item(
                id=f"{split}/{match['folder'].upper()}/{name.rsplit('/', 1)[-1]}",
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
        positive=(1,) if task == "pneumonia" else (1, 2),
        top_up_val=True,
    )


def _originals(files: Files) -> list[tuple[str, re.Match[str]]]:
    """Return the images in the shallowest tree: Kaggle's zip holds a second copy one folder further down."""
    found = [(name, match) for name in files.images() if (match := FOLDERS.fullmatch(name))]
    depth = min((name.count("/") for name, _ in found), default=0)
    return [(name, match) for name, match in found if name.count("/") == depth]


SOURCE = FileSource(
    info=Info(
        what="paediatric chest x-rays, normal or pneumonia",
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
