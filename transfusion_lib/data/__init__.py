"""Data sets: one table, one way to load them, one fingerprint each.

``load`` gives three splits of uint8 images; where they come from is the business of one module per source.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from transfusion_lib.data.dataset import Dataset, Split
from transfusion_lib.data.reading import archive
from transfusion_lib.data.reading import audit as reading_audit
from transfusion_lib.data.reading.archive import normal, one_look
from transfusion_lib.data.reading.audit import Audit
from transfusion_lib.data.reading.cache import MEMORY
from transfusion_lib.data.reading.catalogue import Info
from transfusion_lib.data.reading.describe import (
    Check,
    Datasheet,
    Line,
    check_files,
    datasheet,
    recognised,
    sheet_of_chosen,
)
from transfusion_lib.data.reading.filesource import FileSource
from transfusion_lib.data.reading.loading import Progress
from transfusion_lib.data.reading.tables import is_table
from transfusion_lib.data.sources import (
    chest_xray,
    chestxray14,
    chexpert,
    csvset,
    folder,
    ham10000,
    knee_oa,
    medmnist,
    retinopathy,
)
from transfusion_lib.data.sources.computed import ComputedSource
from transfusion_lib.data.sources.medmnist import MedMNISTSource
from transfusion_lib.errors import DataError, SpecError, TransfusionError, unknown
from transfusion_lib.paths import from_environment, store_root
from transfusion_lib.spec import DataSpec

__all__ = [
    "TABLE",
    "Check",
    "Dataset",
    "Datasheet",
    "Line",
    "Source",
    "Split",
    "absolute",
    "audit",
    "called",
    "check",
    "datasheet",
    "default_cache",
    "fingerprint",
    "limited",
    "listing",
    "load",
    "one_look",
    "show",
    "spec_for",
    "titles",
]


class Source(Protocol):
    """What an entry of the table can do."""

    @property
    def info(self) -> Info:
        """The lines of the datasheet."""

    def find(self, spec: DataSpec) -> Path | None:
        """Return where the files are; None where none are needed. A ``DataError`` says how to get them."""

    def fingerprint(self, spec: DataSpec, *, cache: Path) -> str:
        """Return the sha256 of what ``load`` would return."""

    def load(self, spec: DataSpec, *, cache: Path, memory: int, progress: Progress | None) -> Dataset:
        """Return the data set."""


FUNDUS = ComputedSource(
    info=Info(
        what="synthetic fundus photographs with diabetic retinopathy",
        called="synthetic fundus photographs",
        asks={"referable": "referable retinopathy", "grade": "retinopathy grade", "lesions": "outlines of the lesions"},
        tasks=("referable", "grade", "lesions"),
        licence="MIT, like this program",
        source="computed by transfusion_lib.data.sources.fundus",
        unit="patient (two eyes)",
        splits="drawn by the generator",
        layout="nothing: the images are computed",
    ),
    module="transfusion_lib.data.sources.fundus",
)
SYNTHETIC_CHEST = ComputedSource(
    info=Info(
        what="synthetic chest x-rays with five pathologies",
        called="synthetic chest x-rays",
        asks={"pathologies": "five pathologies", "lungs": "outline of the lungs"},
        tasks=("pathologies", "lungs"),
        licence="MIT, like this program",
        source="computed by transfusion_lib.data.sources.chest",
        unit="patient",
        splits="drawn by the generator",
        layout="nothing: the images are computed",
    ),
    module="transfusion_lib.data.sources.chest",
)
SYNTHETIC_ADRENAL = ComputedSource(
    info=Info(
        what="synthetic volumes of adrenal-like shapes, some with a mass",
        called="synthetic adrenal shapes",
        tasks=("mass",),
        licence="MIT, like this program",
        source="computed by transfusion_lib.data.sources.adrenal",
        unit="volume",
        splits="drawn by the generator",
        layout="nothing: the volumes are computed",
    ),
    module="transfusion_lib.data.sources.adrenal",
)

TABLE: dict[str, Source] = {
    "fundus": FUNDUS,
    "synthetic_chest": SYNTHETIC_CHEST,
    "synthetic_adrenal": SYNTHETIC_ADRENAL,
    "chest_xray": chest_xray.SOURCE,
    "chexpert": chexpert.SOURCE,
    "chestxray14": chestxray14.SOURCE,
    "eyepacs": retinopathy.EYEPACS,
    "aptos": retinopathy.APTOS,
    "ham10000": ham10000.SOURCE,
    "knee_oa": knee_oa.SOURCE,
    "tiny_imagenet_100": folder.TINY_IMAGENET,
    **medmnist.SOURCES,
    "isic": csvset.SOURCE,  # before folder: a table of labels says more than the folders that its images lie in
    "folder": folder.SOURCE,
}


def load(
    spec: DataSpec, *, cache: Path | None = None, memory: int = MEMORY, progress: Progress | None = None
) -> Dataset:
    """Return the data set that ``spec`` describes, from the cache where it was decoded or computed before.

    ``cache`` is a folder, by default ``default_cache()``. Images beyond ``memory`` bytes are memory-mapped.
    Raises ``SpecError`` for an unknown name or task, and ``DataError`` for files that are missing or malformed and
    for a cache that cannot be written.
    """
    return _source(spec).load(spec, cache=cache or default_cache(), memory=memory, progress=progress)


def fingerprint(spec: DataSpec, *, cache: Path | None = None) -> str:
    """Return the sha256 of what ``load`` would return; remembered per process.

    No image is decoded for it, but those of anyone's own folders and tables once, small, to find copies.
    """
    return _source(spec).fingerprint(spec, cache=cache or default_cache())


def default_cache() -> Path:
    """Return ``TRANSFUSION_CACHE``, or the folder ``data`` in the run store."""
    return from_environment("TRANSFUSION_CACHE") or store_root() / "data"


def spec_for(name_or_path: str, **fields: object) -> DataSpec:
    """Return the spec of a data set by its name or by the place of the user's own folder, zip, csv or npz.

    A place is read as the data set whose layout it has; a ``DataError`` names what was found instead. Behind either
    may stand a task, as in ``chest_xray:three_class`` and ``labels.csv:benign_malignant``.
    """
    if not name_or_path.strip():
        raise SpecError("dataset is empty: give the name of a data set or the place of your own folder, zip or csv")
    name_or_path, task = _with_task(name_or_path)
    fields |= {} if task is None else {"task": task}
    if name_or_path in TABLE:
        return DataSpec(name=name_or_path, **fields)  # type: ignore[arg-type]  # validated by the spec
    path = Path(name_or_path).expanduser()
    if not path.exists():
        raise SpecError(unknown("data set", name_or_path, TABLE) + " Nor is it a folder, zip, csv or npz here.")
    return DataSpec(name=_layout(path), root=str(path), **fields)  # type: ignore[arg-type]  # validated by the spec


def _with_task(name_or_path: str) -> tuple[str, str | None]:
    """Return a name or place, and the task that may stand behind it after a colon."""
    named, colon, task = name_or_path.rpartition(":")
    if not colon or name_or_path in TABLE or Path(name_or_path).expanduser().exists():
        return name_or_path, None
    return named, task


def absolute(name_or_path: str) -> str:
    """Return the name of a data set as it is, and the place of files as an absolute one, with its task behind it."""
    named, task = _with_task(name_or_path)
    place = Path(named).expanduser()
    if named in TABLE or not place.exists():
        return name_or_path
    return str(place.resolve() if ".." in place.parts else place.absolute()) + ("" if task is None else f":{task}")


def limited(spec: DataSpec, *, cache: Path | None = None) -> DataSpec:
    """Return ``spec`` without the limits that its files do not reach: they then say "all", as None does.

    It is for defaults that were made for larger sets. A data set that is not downloaded yet, or that draws as many
    images as are asked for, keeps its limits; so do val and test of a drawn split, which is drawn to that size.
    """
    source = _source(spec)
    asked = {"train": spec.train, "val": spec.val, "test": spec.test}
    if not isinstance(source, FileSource | MedMNISTSource) or not any(asked.values()) or not _at_hand(source, spec):
        return spec
    free = ("train",) if spec.split == "drawn" else ("train", "val", "test")
    parts = source.choose(spec.replace(**dict.fromkeys(free)), cache=cache or default_cache()).parts
    return spec.replace(**{name: None for name, part in parts.items() if (asked[name] or 0) > len(part)})


def _layout(path: Path) -> str:
    """Return the name of the data set whose layout the files at ``path`` have; asked once while they do not change."""
    if path.suffix.lower() == ".npz":
        return medmnist.named(path)[0]
    if is_table(path.name):
        return "isic"
    key = (path.resolve(), archive.stamp(path))
    if key not in _layouts:
        candidates = {name: source for name, source in TABLE.items() if isinstance(source, FileSource)}
        _layouts[key] = recognised(archive.open_files(path), candidates)
    return _layouts[key]


_layouts: dict[tuple[Path, str], str] = {}


def _at_hand(source: Source, spec: DataSpec) -> bool:
    try:
        found = source.find(spec)
    except DataError:
        return False
    return found is not None and found.exists()


def called(name: str) -> str:
    """Return a data set's name as a sentence has it."""
    return TABLE[name].info.called or name.replace("_", " ")


def titles(specs: Sequence[DataSpec]) -> list[str]:
    """Return what each data set of a page is called: its name, or that of one's own folder; no two alike.

    Folders of one name have those above them in front, and tasks of one set stand behind it.
    """
    owned = [spec.root is not None and getattr(TABLE[spec.name], "own", False) for spec in specs]
    parts = [Path(spec.root or "").parts if own else (spec.name,) for spec, own in zip(specs, owned, strict=True)]
    places = {tuple(each) for each in parts}
    depth = 1
    while len({each[-depth:] for each in places}) < len(places):
        depth += 1
    names = [normal("/".join(each[-depth:])) for each in parts]
    alike = [names.count(name) > 1 and spec.task is not None for name, spec in zip(names, specs, strict=True)]
    return [f"{name}, {spec.task}" if same else name for name, spec, same in zip(names, specs, alike, strict=True)]


def listing() -> list[Line]:
    """Return every data set: what it is, its tasks, where its files were found or how to get them."""
    return [_line(name, source) for name, source in TABLE.items()]


def show(name_or_path: str, *, cache: Path | None = None, **fields: object) -> Datasheet:
    """Return the datasheet of a data set, without decoding an image; counts are empty where no file was found."""
    spec = spec_for(name_or_path, **fields)
    source = _source(spec)
    line = _line(spec.name, source)
    if isinstance(source, FileSource | MedMNISTSource) and (line.where or spec.root):
        where = spec.root or str(line.where)
        return sheet_of_chosen(source.choose(spec, cache=cache or default_cache()), where=where)
    lines = source.info.notes() | {"tasks": ", ".join(source.info.tasks), "where": line.where or "not found"}
    return Datasheet(name=spec.name, lines=lines, counts={}, images={}, units={})


def check(path: str | Path) -> Check:
    """Return every fault in a folder, zip, csv or MedMNIST file: the layout is recognised, every image decoded.

    A task may stand behind the place, as in ``labels.csv:risk``.
    """
    named, task = _with_task(str(path))
    place = Path(named).expanduser()
    if not place.exists():
        raise DataError(f"{place}: no such file or folder; give the place of the data")
    if place.suffix.lower() == ".npz":
        return medmnist.check(place)
    if is_table(place.name):
        return check_files(place, {"isic": csvset.SOURCE}, task=task)
    candidates = {name: source for name, source in TABLE.items() if isinstance(source, FileSource)}
    return check_files(place, candidates, task=task)


def audit(spec: DataSpec, *, cache: Path | None = None) -> tuple[Datasheet, Audit] | None:
    """Return the audit of a user's own files, as a run of ``spec`` reads them; None for other data."""
    source = _source(spec)
    if not isinstance(source, FileSource) or not source.own:
        return None
    cache = cache or default_cache()
    chosen = source.choose(spec.replace(on_bad="skip"), cache=cache)
    assert chosen.files is not None  # a source of files
    sheet = sheet_of_chosen(chosen, where=spec.root or spec.name)
    return sheet, reading_audit.of(chosen.files, chosen.catalogue, chosen.parts, cache=cache, nearly=True)


def _line(name: str, source: Source) -> Line:
    where: str | None
    try:
        found = source.find(DataSpec(name=name))
        where = str(found) if found else None
    except TransfusionError:
        where = None
    if isinstance(source, ComputedSource):
        where = "computed"
    return Line(name=name, what=source.info.what, tasks=source.info.tasks, where=where, get=source.info.layout)


def _source(spec: DataSpec) -> Source:
    if spec.name not in TABLE:
        raise SpecError(unknown("data set", spec.name, TABLE))
    source = TABLE[spec.name]
    if spec.unit is not None and not (isinstance(source, FileSource) and source.own):
        raise SpecError(f"{spec.name}: unit is for your own folder or csv; the unit of this set is {source.info.unit}")
    return source
