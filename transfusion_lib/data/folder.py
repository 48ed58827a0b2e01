"""Anyone's images in class folders: ``<class>/*`` or ``{train,val,test}/<class>/*``, in a folder or zip.

Where a class has several folders of its own, each is a unit (a patient, say); otherwise every image is one.
``tiny_imagenet_100`` is the same layout with names for its classes.
"""

import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, replace

from transfusion_lib.data.archive import Files
from transfusion_lib.data.catalogue import Catalogue, Info, Item, Problems, SplitName, choose_task
from transfusion_lib.data.filesource import FileSource
from transfusion_lib.data.tables import read_table
from transfusion_lib.errors import DataError, did_you_mean
from transfusion_lib.spec import DataSpec

TASKS = ("classes",)
SPLITS: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True, kw_only=True)
class Placed:
    """An image in a class folder."""

    file: str
    path: str
    """From the split or class folder on."""
    split: SplitName | None
    label: str
    """The class folder."""
    below: tuple[str, ...]
    """The folders between the class and the image."""


def recognise(files: Files) -> bool:
    """Tell whether images lie in at least two class folders, which folders called train and test are not."""
    labels = {image.label for image in _placed(files)}
    return len(labels) > 1 and not all(label.lower() in SPLITS for label in labels)


def read(files: Files, spec: DataSpec, problems: Problems) -> Catalogue:
    """Return the catalogue; an image outside the class folders is a problem."""
    task = choose_task(spec, TASKS)
    placed = _placed(files)
    inside = {image.file for image in placed}
    for name in files.images():
        if name not in inside:
            problems.add(f"{files.location(name)}: lies in no class folder; move it into one, or away")
    classes = _classes(placed, files)
    folders: dict[str, set[str]] = defaultdict(set)
    for image in placed:
        folders[image.label].update(image.below[:1])
    items = []
    for image in placed:
        family = image.below[0] if image.below and len(folders[image.label]) > 1 else None
        unit = f"{image.label}/{family}" if family else image.path
        label = classes.index(image.label)
        items.append(Item(id=image.path, file=image.file, label=label, unit=unit, family=family, split=image.split))
    return Catalogue(
        task=task,
        kind="multiclass",
        classes=classes,
        items=tuple(items),
        channels=3,
        positive=(1,) if len(classes) == 2 else None,
    )


def _placed(files: Files) -> list[Placed]:
    """Return the images in class folders, with the official split where there is a train folder of classes."""
    images = {name: tuple(name.split("/")) for name in files.images()}
    top, official = _top(images.values())
    placed = []
    for name, parts in images.items():
        inner = parts[len(top) :] if parts[: len(top)] == top else ()
        split = SPLITS.get(inner[0].lower()) if official and inner else None
        classed = inner[1:] if split else inner
        if len(classed) > 1 and (split or not official):
            path = "/".join(inner)
            placed.append(Placed(file=name, path=path, split=split, label=classed[0], below=classed[1:-1]))
    return placed


def _top(paths: Collection[tuple[str, ...]]) -> tuple[tuple[str, ...], bool]:
    """Return the folder of the split folders, and True; without any, the folder of the class folders, and False."""
    tops = {
        parts[:depth] for parts in paths for depth, part in enumerate(parts[:-2]) if SPLITS.get(part.lower()) == "train"
    }
    if tops:
        return min(tops, key=lambda top: (len(top), top)), True
    top: tuple[str, ...] = ()
    while len({parts[: len(top) + 1] for parts in paths}) == 1 and all(len(parts) > len(top) + 2 for parts in paths):
        top = next(iter(paths))[: len(top) + 1]  # folders around everything: a zip of one, images/ below a title
    return top, False


def _classes(placed: list[Placed], files: Files) -> tuple[str, ...]:
    """Return the classes, sorted; a ``DataError`` for one that a later split has and train lacks."""
    trained = {image.label for image in placed if image.split in (None, "train")}
    for image in placed:
        if image.label not in trained:
            raise DataError(
                f"{files.path}: class {image.label} is in {image.split} but not in train"
                f"{did_you_mean(image.label, trained)} Name the class folders alike in every split"
            )
    return tuple(sorted(trained))


def read_tiny_imagenet(files: Files, spec: DataSpec, problems: Problems) -> Catalogue:
    """Return the catalogue with class names from ``classes.csv``; the official val is the test split."""
    catalogue = read(files, spec, problems)
    names = {}
    table = files.table("classes.csv")
    if table is not None:
        words = read_table(files, table)
        words.require("wnid", "name")
        names = {row["wnid"]: row["name"].split(",")[0] for row in words.rows(problems)}
    return replace(
        catalogue,
        classes=tuple(names.get(wnid, wnid) for wnid in catalogue.classes),
        items=tuple(replace(item, split="test" if item.split == "val" else item.split) for item in catalogue.items),
    )


def recognise_tiny_imagenet(files: Files) -> bool:
    """Tell whether the classes are WordNet ids."""
    labels = {image.label for image in _placed(files)}
    return len(labels) > 1 and all(re.fullmatch(r"n\d{8}", label) for label in labels)


SOURCE = FileSource(
    info=Info(
        what="your own images in class folders",
        tasks=TASKS,
        licence="yours",
        source="your own",
        unit="the folder below the class folder where a class has several, otherwise the image",
        splits="your train, val and test folders; what is missing is drawn by unit: 20 % test, 10 % of the rest val",
        layout="root/<class>/* or root/{train,val,test}/<class>/*, a folder or zip",
    ),
    places=(),
    recognise=recognise,
    read=read,
)
TINY_IMAGENET = FileSource(
    info=Info(
        what="natural photographs of 100 ImageNet classes at 64 px",
        tasks=TASKS,
        licence="ImageNet terms: non-commercial research",
        source="Russakovsky et al., IJCV 115 (2015) 211-252",
        unit="image",
        splits="the official val is the test split; val is 10 % of train",
        layout="tiny-imagenet-100/{train,val}/<wnid>/*.JPEG and classes.csv, a folder or zip",
    ),
    places=("tiny-imagenet-100", "tiny_imagenet_100"),
    recognise=recognise_tiny_imagenet,
    read=read_tiny_imagenet,
)
