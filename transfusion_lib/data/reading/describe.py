"""What the command line says of data: the list of sets, the datasheet of one, the faults of a folder.

Plain values; the command line renders them.
"""

import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from transfusion_lib.data.dataset import Dataset
from transfusion_lib.data.reading import archive, audit, decode, splits, unread
from transfusion_lib.data.reading.archive import Files
from transfusion_lib.data.reading.audit import Audit
from transfusion_lib.data.reading.catalogue import Catalogue, Info, Item, Problems, grouped
from transfusion_lib.data.reading.filesource import FileSource, pictures_of
from transfusion_lib.data.reading.loading import Chosen, quiet
from transfusion_lib.data.reading.tables import is_table, read_table
from transfusion_lib.errors import DataError, TransfusionError, printable
from transfusion_lib.spec import DataSpec


@dataclass(frozen=True, kw_only=True)
class Line:
    """A data set in the list."""

    name: str
    what: str
    tasks: tuple[str, ...]
    where: str | None
    """The place of its files, "computed" for a synthetic set, None where they were not found."""
    get: str
    """How the files must lie, and where they come from."""


@dataclass(frozen=True, kw_only=True)
class Datasheet:
    """What a reader must know of a data set."""

    name: str
    lines: dict[str, str]
    """Source, licence, unit, fingerprint and so on, by name."""
    classes: tuple[str, ...] = ()
    counts: dict[str, tuple[int, ...]]
    """Images of each class (or with each label) in each split."""
    images: dict[str, int]
    units: dict[str, int]
    left_out: tuple[str, ...] = ()
    """Each file that was left out, with its reason."""
    remarks: tuple[str, ...] = ()
    """What was left aside, merged or read otherwise than it is written."""
    leaks: tuple[str, ...] = ()
    """What the splits share."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """What was found in a folder or file."""

    path: Path
    name: str | None
    """The data set whose layout it has, or None."""
    images: int
    problems: tuple[str, ...]
    """One line for each fault: file, row, repair."""
    notes: tuple[str, ...]
    """What is worth knowing and does no harm."""
    sheet: Datasheet | None = None
    """How the files were understood: classes, splits, units; None where they were not."""
    audit: Audit | None = None
    """Copies by name, sizes and depths, contact sheets; None where the files were not understood."""

    def without_pictures(self) -> Self:
        """Return the check without its contact sheets, for a program."""
        return self if self.audit is None else replace(self, audit=replace(self.audit, pictures={}))

    @property
    def ok(self) -> bool:
        """Tell whether the data can be used as they are."""
        return not self.problems


def datasheet(dataset: Dataset) -> Datasheet:
    """Return the datasheet of a loaded data set."""
    split_labels = {name: split.labels for name, split in dataset.splits().items()}
    if dataset.kind == "multiclass":
        counts = {
            name: tuple(int((labels == k).sum()) for k in range(len(dataset.classes)))
            for name, labels in split_labels.items()
        }
    else:
        if dataset.kind == "segmentation":  # images that have any of a region
            split_labels = {name: masks.flatten(2).amax(2) for name, masks in split_labels.items()}
        counts = {name: tuple(map(int, (labels == 1).sum(0))) for name, labels in split_labels.items()}
    size = " x ".join(map(str, dataset.train.images.shape[2:]))
    lines = {
        **dataset.notes,
        "task": dataset.task,
        "size": f"{size}, {dataset.train.images.shape[1]} channel(s)",
        "synthetic": "yes" if dataset.synthetic else "no",
        "left out": str(len(dataset.left_out)),
        "fingerprint": dataset.fingerprint,
    }
    return Datasheet(
        name=dataset.name,
        lines=lines,
        classes=dataset.classes,
        counts=counts,
        images={name: len(split) for name, split in dataset.splits().items()},
        units={name: len(set(split.units)) for name, split in dataset.splits().items()},
        left_out=dataset.left_out,
        remarks=dataset.remarks,
        leaks=dataset.leaks,
    )


def sheet_of_chosen(chosen: Chosen, *, where: str) -> Datasheet:
    """Return the datasheet of a data set whose images were not decoded."""
    sheet = _sheet(chosen.info, chosen.catalogue, chosen.parts, name=chosen.spec.name)
    left_out = tuple(chosen.problems.found)
    lines = (
        sheet.lines | chosen.notes | {"where": where, "left out": str(len(left_out)), "fingerprint": chosen.fingerprint}
    )
    return replace(sheet, lines=lines, left_out=left_out, remarks=chosen.catalogue.remarks, leaks=chosen.leaks)


def _sheet(info: Info, catalogue: Catalogue, parts: splits.Parts, *, name: str) -> Datasheet:
    """Return what the catalogue alone tells."""
    return Datasheet(
        name=name,
        lines=info.notes() | dict(catalogue.notes) | {"task": catalogue.task},
        classes=catalogue.classes,
        counts={split: _counts(part, catalogue) for split, part in parts.items()},
        images={split: len(part) for split, part in parts.items()},
        units={split: len({item.unit for item in part}) for split, part in parts.items()},
    )


def _counts(items: Sequence[Item], catalogue: Catalogue) -> tuple[int, ...]:
    if catalogue.kind == "multilabel":
        columns = zip(*(item.label for item in items if isinstance(item.label, tuple)), strict=True)
        return tuple(column.count(1) for column in columns)
    if catalogue.kind == "segmentation":  # whether a mask is empty is known only once it is decoded
        return (len(items),) * len(catalogue.classes)
    counted = Counter(item.label for item in items)
    return tuple(counted[k] for k in range(len(catalogue.classes)))


def recognised(files: Files, candidates: Mapping[str, FileSource]) -> str:
    """Return the first of ``candidates`` whose layout ``files`` have; a ``DataError`` names what was found instead."""
    broken: list[DataError] = []
    for name, source in candidates.items():
        try:
            if source.recognise(files):
                return name
        except DataError as error:  # a table that cannot be read: the fault, if nothing else is recognised
            broken.append(error)
    if broken:
        raise broken[0]
    raise DataError(
        f"{printable(str(files.path))}: no known layout: found {_there(files)}. Expected a folder for each class, or "
        "{train,val,test}/<class>/*, or a csv with a column of image names and one called label; "
        "for the layouts of public sets: transfusion data list"
    )


def _there(files: Files) -> str:
    """Return in words what a folder or zip holds: images and their folders, tables and their columns, the rest."""
    folders = sorted({printable(file.rpartition("/")[0]) or "." for file in files.images()})
    tables = [file for file in sorted(files.sizes) if is_table(file)]
    places = ", ".join(folders[:4]) + (f" and {len(folders) - 4:,} folders more" if len(folders) > 4 else "")
    found = [f"{len(files.images()):,} images in {places}"] if folders else []
    found += [f"{table} with columns {', '.join(read_table(files, table).header)}" for table in tables[:2]]
    found += [*unread.lines(files), *files.refused[:1]]
    return "; ".join(found) or "0 images"


def check_files(path: Path, candidates: Mapping[str, FileSource], *, task: str | None = None) -> Check:
    """Return every fault of the images in a folder, zip or csv.

    The first candidate that recognises its layout is taken; a single one need not.
    """
    problems = Problems(raising=False)
    name: str | None = None
    items: tuple[Item, ...] = ()
    notes: list[str] = []
    sheet = seen = None
    try:
        files = archive.open_files(path)
        name = next(iter(candidates)) if len(candidates) == 1 else recognised(files, candidates)
        spec = DataSpec(name=name, root=str(path), task=task, on_bad="skip")
        catalogue = candidates[name].catalogue(files, spec, problems)
        items = catalogue.items
        with quiet():
            notes += _decode_all(files, catalogue, spec, problems)
        with tempfile.TemporaryDirectory() as scratch:
            catalogue, parts, leaks = candidates[name].parted(files, catalogue, spec, cache=Path(scratch))
            seen = audit.of(files, catalogue, parts, cache=Path(scratch), nearly=candidates[name].own)
        sheet = _sheet(candidates[name].info, catalogue, parts, name=name)
        sheet = replace(sheet, remarks=catalogue.remarks, leaks=leaks)
        notes += [*_repeated(files, parts), *catalogue.remarks, *leaks]
        splits.check_classes(parts, catalogue, name=name)
    except TransfusionError as error:
        problems.found.append(str(error))
    found = tuple(grouped(problems.found))
    return Check(path=path, name=name, images=len(items), problems=found, notes=tuple(notes), sheet=sheet, audit=seen)


def _decode_all(files: Files, catalogue: Catalogue, spec: DataSpec, problems: Problems) -> list[str]:
    """Decode every image and mask, and return notes on names that belie the content, which does no harm here."""
    pictures = pictures_of(catalogue, files, name="check", size=spec.size)
    whole = {item.file for item in catalogue.items}
    for each in (pictures, replace(pictures, masks=True)) if catalogue.regions else (pictures,):
        for item, image in each.make(catalogue.items):
            if isinstance(image, DataError):
                problems.add(str(image))
                whole.discard(item.file)
    misnamed = [file for file in sorted(whole) if not decode.named_rightly(files.read(file), file)]
    note = f"{len(misnamed):,} file(s) hold another image format than their name says; read by their content"
    return [f"{note}: {', '.join(misnamed[:3])}"] if misnamed else []


def _repeated(files: Files, parts: splits.Parts) -> list[str]:
    """Return a note on files with the same content: how many groups, across splits, with conflicting labels."""
    groups: dict[str, list[tuple[str, Item]]] = defaultdict(list)
    for split, part in parts.items():
        for item in part:
            groups[files.digest(item.file)].append((split, item))
    repeated = [group for group in groups.values() if len(group) > 1]
    if not repeated:
        return []
    across = sum(len({split for split, _ in group}) > 1 for group in repeated)
    conflicting = sum(len({str(item.label) for _, item in group}) > 1 for group in repeated)
    return [
        f"{len(repeated):,} group(s) of identical files, {across:,} across splits, {conflicting:,} with other labels"
    ]
