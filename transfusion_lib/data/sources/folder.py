"""Anyone's images in class folders: ``<class>/*`` or ``{train,val,test}/<class>/*``, in a folder or zip.

Where the folders lie is the business of ``layout``. A folder for each patient, below or above the classes, is a unit,
as is a number that heads the file names and repeats; otherwise every image is one. ``tiny_imagenet_100`` is the same
layout with names for its classes.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from transfusion_lib.data.reading import layout, units, unread
from transfusion_lib.data.reading.archive import Files
from transfusion_lib.data.reading.catalogue import Catalogue, Info, Item, Problems, choose_positive, with_positive
from transfusion_lib.data.reading.filesource import FileSource
from transfusion_lib.data.reading.layout import Placed
from transfusion_lib.data.reading.tables import read_table
from transfusion_lib.errors import DataError, did_you_mean, printable
from transfusion_lib.spec import DataSpec

TASKS = ("classes",)
SOURCE_NAME = "folder"


def recognise(files: Files) -> bool:
    """Tell whether images lie in at least two class folders, which folders called train and test are not."""
    try:
        labels = {image.label for image in layout.place(files, Problems(raising=False)).images}
    except DataError:  # class folders, of which one must be moved
        return True
    return len(labels) > 1 and not all(layout.split_of(label) for label in labels)


def read(files: Files, spec: DataSpec, problems: Problems) -> Catalogue:
    """Return the catalogue; an image outside the class folders is a problem."""
    task, asked = with_positive(spec, TASKS)
    placed = layout.place(files, problems)
    inside = {image.file for image in placed.images}
    for name in files.images():
        if name not in inside and name not in placed.aside:
            problems.add(f"{files.location(name)}: lies in no class folder; move it into one, or away")
    classes = _classes(placed.images, files)
    items = [_item(image, classes) for image in placed.images]
    told = placed.unit
    if spec.unit is not None:
        items, told = units.by_pattern(items, spec.unit), f"pattern {spec.unit} in the file names"
    elif not any(image.family for image in placed.images):
        told = "image"
        found = units.heads([item.file for item in items], classes=[item.label for item in items], problems=problems)
        if found:
            told = "number at the head of the file name"
            items = [replace(item, unit=found[item.file]) for item in items]
    if spec.name == SOURCE_NAME:
        _check_empty(files, placed, classes, problems)
        unread.remark_unread(files, problems, used={*inside, *placed.aside})
    counts = Counter(item.label for item in items)
    positive = choose_positive(classes, [counts[k] for k in range(len(classes))], asked=asked)
    return Catalogue(
        task=task,
        kind="multiclass",
        classes=classes,
        items=tuple(items),
        channels=3,
        positive=positive.classes if positive else None,
        notes={"unit": told} | ({"positive class": positive.told} if positive else {}),
    )


def _item(image: Placed, classes: tuple[str, ...]) -> Item:
    return Item(
        id=image.path,
        file=image.file,
        label=classes.index(image.label),
        unit=image.unit or image.path,
        family=image.family,
        split=image.split,
    )


def _check_empty(files: Files, placed: layout.Layout, classes: tuple[str, ...], problems: Problems) -> None:
    """Note a class folder none of whose files is read as a problem: a class must not vanish."""
    for label, (what, names) in layout.unread_classes(files, placed).items():
        if label not in classes:
            problems.add(
                f"{files.location(label)}: class folder with {len(names):,} {what}, such as {names[0]}; "
                "without them the class is missing: remove the folder if it is none"
            )


def _classes(placed: Sequence[Placed], files: Files) -> tuple[str, ...]:
    """Return the classes, sorted; a ``DataError`` for one that a later split has and train lacks."""
    trained = {image.label for image in placed if image.split in (None, "train")}
    for image in placed:
        if image.label not in trained:
            raise DataError(
                f"{files.path}: class {printable(image.label)} is in {image.split} but not in train"
                f"{did_you_mean(image.label, trained)} Name the class folders alike in every split"
            )
    for label in trained:
        twin = next((other for other in trained if other != label and other.casefold() == label.casefold()), None)
        if twin is not None:
            first, second = sorted((label, twin))
            raise DataError(
                f'{files.path}: class folders "{printable(first)}" and "{printable(second)}" differ in case alone; '
                "put their images into one, or name them otherwise"
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
    labels = {image.label for image in layout.place(files, Problems(raising=False)).images}
    return len(labels) > 1 and all(re.fullmatch(r"n\d{8}", label) for label in labels)


SOURCE = FileSource(
    info=Info(
        what="your own images in class folders",
        tasks=TASKS,
        licence="yours",
        source="your own",
        unit="the patient's folder or the number at the head of the file names, otherwise the image",
        splits="your train, val and test folders; what is missing is drawn by unit: 20 % test, 10 % of the rest val",
        layout="root/<class>/* or root/{train,val,test}/<class>/*, a folder or zip",
    ),
    places=(),
    recognise=recognise,
    read=read,
    version=2,
    own=True,
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
