"""CheXpert-v1.0 and -small (Irvin et al. 2019): chest x-rays with five pathologies, some labels uncertain.

``train.csv`` and ``valid.csv`` name images by paths that begin with the folder's original name; files are found
by patient, study and view, so renamed folders and the separate batches of the full release work too. A blank label is
absent, -1 is uncertain. Without the labels of the hidden test set, ``valid.csv`` (radiologists' labels) is the test
split and a validation split is drawn from train by patient.
"""

import re

import torch

from transfusion_lib.data import uncertainty
from transfusion_lib.data.reading.archive import Files
from transfusion_lib.data.reading.catalogue import Catalogue, Info, Item, Problems, SplitName, choose_task
from transfusion_lib.data.reading.filesource import FileSource
from transfusion_lib.data.reading.tables import Row, Table, read_table
from transfusion_lib.spec import DataSpec

TASKS = ("pathologies", "pathologies_all_views")
PATHOLOGIES = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
Meaning = dict[str, dict[float, float]]
"""By pathology and number in the table: 0, 1 or NaN."""
TABLES = {"train": ("train.csv",), "valid": ("valid.csv",), "test": ("test_labels.csv", "groundtruth.csv", "test.csv")}
PLACE = re.compile(r"(?P<patient>patient\d+)/(?P<study>study\d+)/(?P<view>view\d+_(?P<side>\w+?))\.\w+$", re.IGNORECASE)


def recognise(files: Files) -> bool:
    """Tell whether train.csv has CheXpert's columns."""
    name = files.table(*TABLES["train"])
    return name is not None and {"path", "edema", "pleural effusion"} <= set(read_table(files, name).columns)


def read(files: Files, spec: DataSpec, problems: Problems) -> Catalogue:
    """Return the catalogue, frontal views only unless the task says otherwise."""
    task = choose_task(spec, TASKS)
    names = {split: files.table(*candidates) for split, candidates in TABLES.items()}
    tables = {split: read_table(files, name) for split, name in names.items() if name is not None}
    if "test" in tables and "edema" not in tables["test"].columns:  # a list of images without labels
        del tables["test"]
    meaning = _meaning(spec)
    role: dict[str, SplitName] = {"train": "train", "valid": "val" if "test" in tables else "test", "test": "test"}
    items: list[Item] = []
    for split, table in tables.items():
        table.require("path", *map(str.lower, PATHOLOGIES))
        for row in table.rows(problems):
            item = _item(row, table, files, meaning, problems, split=role[split], frontal=task == "pathologies")
            if item is not None:
                items.append(item)
    return Catalogue(
        task=task,
        kind="multilabel",
        classes=PATHOLOGIES,
        items=tuple(items),
        channels=1,
        notes={"uncertain labels": spec.uncertain},
    )


def _item(
    row: Row, table: Table, files: Files, meaning: Meaning, problems: Problems, *, split: SplitName, frontal: bool
) -> Item | None:
    """Return the item of a row; None for a view that is not wanted, or where a problem was found."""
    place = PLACE.search(row["path"])
    if place is None:
        problems.add(f'{row.where}: Path "{row["path"]}" is not .../patientN/studyN/viewN_side.jpg; correct it')
        return None
    view = row["frontal/lateral"] if "frontal/lateral" in table.columns else place["side"]
    if frontal and view.lower() != "frontal":
        return None
    labels = tuple(_label(row, pathology, meaning, problems) for pathology in PATHOLOGIES)
    short = f"{place['patient']}/{place['study']}/{place['view']}"
    file = files.find(row["path"]) or files.find(short)
    if file is None:
        problems.add(f"{row.where}: image {row['path']} is not in {files.path}; add the file or remove the row")
    known = [label for label in labels if label is not None]
    if file is None or len(known) < len(labels):
        return None
    patient = place["patient"].lower()
    return Item(id=f"{split}/{short}", file=file, label=tuple(known), unit=patient, split=split, row=row.where)


def _label(row: Row, pathology: str, meaning: Meaning, problems: Problems) -> float | None:
    """Return 0, 1 or NaN (ignored); None, and a problem, for anything that CheXpert does not write."""
    text = row[pathology.lower()]
    try:
        return meaning[pathology][float(text or 0)]
    except (ValueError, KeyError):
        problems.add(f'{row.where}: {pathology} is "{text}"; it must be 1, 0, -1 (uncertain) or blank')
        return None


def _meaning(spec: DataSpec) -> Meaning:
    """Return what a number in the table means for each pathology, under the policy of ``spec``."""
    unsure = uncertainty.resolve(-torch.ones(1, len(PATHOLOGIES)), pathologies=PATHOLOGIES, policy=spec.uncertain)[0]
    return {
        pathology: {0.0: 0.0, 1.0: 1.0, -1.0: value}
        for pathology, value in zip(PATHOLOGIES, unsure.tolist(), strict=True)
    }


SOURCE = FileSource(
    info=Info(
        what="chest x-rays with five pathologies, several at once",
        tasks=TASKS,
        licence="Stanford University Dataset Research Use Agreement: no redistribution",
        source="Irvin et al., AAAI 2019, arXiv 1901.07031",
        unit="patient",
        splits="valid.csv is test and val is drawn from train by patient; with test labels, valid.csv is val",
        layout="CheXpert-v1.0-small/{train.csv,valid.csv,train/,valid/}, a folder or zip",
    ),
    places=("CheXpert-v1.0-small", "CheXpert-v1.0", "chexpert"),
    recognise=recognise,
    read=read,
)
