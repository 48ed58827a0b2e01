"""Knee x-rays of the Osteoarthritis Initiative: ``{train,val,test}/{0..4}/<patient><L or R>.jpg``.

The folder is the grade of Kellgren and Lawrence; L and R are the two knees of one patient. Kaggle and Mendeley pack the
same knees at several sizes, and beside the three splits a folder ``auto_test``, which is left out.
"""

import re

from transfusion_lib.data.reading.archive import Files
from transfusion_lib.data.reading.catalogue import Catalogue, Info, Item, Problems, SplitName, choose_task
from transfusion_lib.data.reading.filesource import FileSource
from transfusion_lib.spec import DataSpec

TASKS = ("referable", "grade")
GRADES = ("no osteoarthritis", "doubtful", "minimal", "moderate", "severe")
REFERABLE = 2  # minimal or worse: osteoarthritis by the usual definition

PLACE = re.compile(r"(?P<root>.*/)?(?P<split>train|val|test|auto_test)/(?P<grade>[0-4])/(?P<base>[^/]+)", re.IGNORECASE)
NAME = re.compile(r"(?P<patient>\d+)[LR]\.\w+", re.IGNORECASE)
SPLITS: dict[str, SplitName] = {"train": "train", "val": "val", "test": "test"}


def recognise(files: Files) -> bool:
    """Tell whether knees lie in folders of grades within train, val or test."""
    places = map(PLACE.fullmatch, files.images())
    return any(place["split"].lower() in SPLITS and NAME.fullmatch(place["base"]) for place in places if place)


def read(files: Files, spec: DataSpec, problems: Problems) -> Catalogue:
    """Return the catalogue of one tree, the shallowest; a file whose name tells no patient is a problem.

    Both tasks train on five grades: ``referable`` is scored on grade 2 and up, ``grade`` on each grade.
    """
    task = choose_task(spec, TASKS)
    placed = [(name, place) for name in files.images() if (place := PLACE.fullmatch(name))]
    knees = [(name, place) for name, place in placed if place["split"].lower() in SPLITS]
    roots = sorted({place["root"] or "" for _, place in knees}, key=lambda root: (root.count("/"), root))
    items = []
    for name, place in knees:
        if (place["root"] or "") != roots[0]:
            continue
        knee = NAME.fullmatch(place["base"])
        if knee is None:
            problems.add(f"{files.location(name)}: no patient number in the name; name it like 9003175L.jpg")
            continue
        split, grade = SPLITS[place["split"].lower()], int(place["grade"])
        identity = f"{split}/{grade}/{place['base']}"
        items.append(Item(id=identity, file=name, label=grade, unit=knee["patient"], split=split))
    automatic = len(placed) - len(knees)
    copies = sum((place["root"] or "") != roots[0] for _, place in knees)
    unused = [f"{automatic:,} images in auto_test"] * bool(automatic) + [f"{copies:,} in copies"] * bool(copies)
    return Catalogue(
        task=task,
        kind="multiclass",
        classes=GRADES,
        items=tuple(items),
        channels=1,
        positive=tuple(range(REFERABLE, len(GRADES))) if task == "referable" else None,
        notes={"not used": " and ".join(unused)} if unused else {},
    )


SOURCE = FileSource(
    info=Info(
        what="knee x-rays graded for osteoarthritis",
        tasks=TASKS,
        asks={"referable": "knee osteoarthritis of grade 2 and up", "grade": "grade of knee osteoarthritis"},
        licence="CC BY 4.0",
        source="Osteoarthritis Initiative; Chen 2018, doi 10.17632/56rmx5bjcr; Kaggle knee-osteoarthritis-dataset",
        unit="patient (two knees), from the file name",
        splits="official train, val and test, by patient",
        layout="knee_oa/{train,val,test}/{0,1,2,3,4}/<patient><L or R>.jpg, a folder or knee_oa.zip",
    ),
    places=("knee_oa", "knee-osteoarthritis-dataset-with-severity", "KneeXrayData"),
    recognise=recognise,
    read=read,
)
