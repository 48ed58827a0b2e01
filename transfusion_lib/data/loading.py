"""From the files of a data set to three splits of uint8 images: locate, catalogue, split, decode once, check."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from transfusion_lib.data import archive, decode, leakage, splits
from transfusion_lib.data.archive import Files
from transfusion_lib.data.cache import Shelf, StoredChecksums, content_key
from transfusion_lib.data.catalogue import Catalogue, Info, Item, Problems
from transfusion_lib.data.dataset import Dataset, Split
from transfusion_lib.errors import DataError, StoreError
from transfusion_lib.spec import DataSpec, canonical_json

VERSION = 1  # raise when every fingerprint must change
AHEAD = 64  # images decoded ahead of the writer: bounds the memory

Progress = Callable[[int, int], None]
"""Called with the images done and their number; where none is given, a bar is drawn if stderr is a terminal."""

_fingerprints: dict[tuple[DataSpec, Path, str], str] = {}


@dataclass(frozen=True, kw_only=True)
class FileSource:
    """A data set in files: how to recognise it and how to read its catalogue."""

    info: Info
    places: tuple[str, ...]
    """Folder names (or zips of that name) to look for under ``TRANSFUSION_DATA``."""
    recognise: Callable[[Files], bool]
    read: Callable[[Files, DataSpec, Problems], Catalogue]
    version: int = 1
    """Raise when the same files would now give other items."""

    def find(self, spec: DataSpec) -> Path:
        """Return the folder or zip that holds the files; a ``DataError`` says where it was looked for."""
        if spec.root is not None:
            root = Path(spec.root).expanduser()
            inside = archive.locate(self.places, folders=[root]) if root.is_dir() else None
            return inside or root
        found = archive.locate(self.places, folders=data_folders())
        if found is None:
            where = " or ".join(map(str, data_folders())) or "nowhere: TRANSFUSION_DATA is not set"
            raise DataError(
                f"{spec.name}: not found (looked in {where}); expected {self.info.layout}; "
                "set TRANSFUSION_DATA to the folder that holds it, or root to its place"
            )
        return found

    def fingerprint(self, spec: DataSpec, *, cache: Path) -> str:
        """Return the sha256 of everything that makes the data set: contents, labels, units, splits, settings."""
        path = self.find(spec)
        key = (spec, path, archive.stamp(path))
        if key not in _fingerprints:
            _fingerprints[key] = _prepare(self, spec, cache=cache).fingerprint
        return _fingerprints[key]

    def load(self, spec: DataSpec, *, cache: Path, memory: int, progress: Progress | None) -> Dataset:
        """Return the data set that ``spec`` describes."""
        chosen = _prepare(self, spec, cache=cache)
        catalogue = chosen.catalogue
        parts = _decodable(chosen, cache=cache, progress=progress)
        splits.check_classes(parts, catalogue, name=spec.name)
        loaded = {
            name: _split(chosen, part, cache=cache, mapped=_bytes(parts, catalogue, spec) > memory)
            for name, part in parts.items()
        }
        return Dataset(
            name=spec.name,
            task=catalogue.task,
            kind=catalogue.kind,
            classes=catalogue.classes,
            train=loaded["train"],
            val=loaded["val"],
            test=loaded["test"],
            fingerprint=chosen.fingerprint,
            positive=catalogue.positive,
            regions=catalogue.regions,
            left_out=tuple(chosen.problems.found),
            notes=self.info.notes() | dict(catalogue.notes),
        )


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    """The items of a spec, not yet decoded."""

    spec: DataSpec
    files: Files
    catalogue: Catalogue
    parts: splits.Parts
    problems: Problems
    fingerprint: str


def data_folders() -> list[Path]:
    """Return the folders that ``TRANSFUSION_DATA`` names."""
    return [Path(part).expanduser() for part in os.environ.get("TRANSFUSION_DATA", "").split(os.pathsep) if part]


def _prepare(source: FileSource, spec: DataSpec, *, cache: Path) -> _Chosen:
    path = source.find(spec)
    checksums = StoredChecksums(cache, root=path.resolve())
    files = archive.open_files(path, checksums=checksums)
    problems = Problems(raising=spec.on_bad == "error")
    for message in files.refused:
        problems.add(message)
    catalogue = source.read(files, spec, problems)
    if not catalogue.items:
        raise DataError(f"{path}: no image of {spec.name} in it; expected {source.info.layout}")
    parts = splits.assign(catalogue, spec)
    leakage.check_units({name: [item.unit for item in part] for name, part in parts.items()}, name=spec.name)
    fingerprint = _fingerprint(source, spec, catalogue, parts, files)
    checksums.save()
    return _Chosen(spec=spec, files=files, catalogue=catalogue, parts=parts, problems=problems, fingerprint=fingerprint)


def _fingerprint(source: FileSource, spec: DataSpec, catalogue: Catalogue, parts: splits.Parts, files: Files) -> str:
    settings = [VERSION, decode.VERSION, splits.VERSION, source.version, spec.name, spec.size, catalogue.task]
    outputs = [catalogue.kind, catalogue.classes, catalogue.positive, catalogue.regions]
    digest = hashlib.sha256(canonical_json([settings, outputs, catalogue.channels, catalogue.fit]).encode())
    for name, part in parts.items():
        for item in part:
            contents = [(files.sizes[file], files.checksum(file)) for file in (item.file, item.mask) if file]
            digest.update(repr((name, item.id, item.label, item.unit, contents)).encode(errors="surrogateescape"))
    return digest.hexdigest()


def _decodable(chosen: _Chosen, *, cache: Path, progress: Progress | None) -> splits.Parts:
    """Decode what the cache lacks, and return the parts without the items that cannot be decoded."""
    items = [item for part in chosen.parts.values() for item in part]
    bad: set[str] = set()
    for masks in (False, True) if chosen.catalogue.regions else (False,):
        shelf, keys = _shelf(chosen, cache, masks=masks), _keys(chosen.files, items, masks=masks)
        lacking = shelf.missing(keys)
        todo = {int(key): item for key, item, lacks in zip(keys, items, lacking, strict=True) if lacks}
        if todo:
            shelf.add(_decoded(chosen, todo, bad, masks=masks, progress=progress))
    return {name: [item for item in part if item.id not in bad] for name, part in chosen.parts.items()}


def _decoded(
    chosen: _Chosen, todo: dict[int, Item], bad: set[str], *, masks: bool, progress: Progress | None
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield (key, image) in order, decoded in parallel; bad ones go to the problems, their ids to ``bad``."""
    what = f"{chosen.spec.name}: decoding {'masks' if masks else 'images'} at {chosen.spec.size} px"
    hidden = None if progress is None else True  # None: drawn only where stderr is a terminal
    with ThreadPoolExecutor(_workers()) as pool, tqdm(total=len(todo), desc=what, disable=hidden) as bar:
        waiting: deque[tuple[int, Item, Future[NDArray[np.uint8]]]] = deque()
        left = iter(todo.items())
        for done in range(len(todo)):
            while len(waiting) < AHEAD and (following := next(left, None)) is not None:
                key, item = following
                waiting.append((key, item, pool.submit(_decode, chosen, item, mask=masks)))
            key, item, future = waiting.popleft()
            try:
                yield key, future.result()
            except DataError as error:
                chosen.problems.add(str(error))
                bad.add(item.id)
            bar.update()
            if progress is not None:
                progress(done + 1, len(todo))


def _workers() -> int:
    """Return how many threads decode: Pillow decodes and resizes without holding Python's lock."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(16, usable or 1)


def _decode(chosen: _Chosen, item: Item, *, mask: bool) -> NDArray[np.uint8]:
    """Return one decoded image or mask; the error names the table's row too."""
    file = item.mask if mask else item.file
    assert file is not None  # the catalogue names a mask for every item where it names regions
    name = chosen.files.location(file) + (f" ({item.row})" if item.row else "")
    data = chosen.files.read(file)
    if mask:
        return decode.mask(data, name=name, size=chosen.spec.size)
    return decode.image(
        data, name=name, size=chosen.spec.size, channels=chosen.catalogue.channels, fit=chosen.catalogue.fit
    )


def _shelf(chosen: _Chosen, cache: Path, *, masks: bool) -> Shelf:
    """Return where the images (or masks) of the data set lie decoded."""
    size, channels = chosen.spec.size, 1 if masks else chosen.catalogue.channels
    kind = "mask" if masks else chosen.catalogue.fit
    name = f"{chosen.spec.name}-{kind}-{channels}x{size}-v{decode.VERSION}"
    return Shelf(cache / "images" / name, shape=(channels, size, size))


def _keys(files: Files, items: Sequence[Item], *, masks: bool) -> NDArray[np.uint64]:
    """Return the content key of each item's image (or mask): uint64 (n,)."""
    names = [item.mask if masks else item.file for item in items]
    return np.array([content_key(name, files.sizes[name], files.checksum(name)) for name in names if name], np.uint64)


def _bytes(parts: splits.Parts, catalogue: Catalogue, spec: DataSpec) -> int:
    planes = catalogue.channels + len(catalogue.regions)
    return sum(map(len, parts.values())) * planes * spec.size**2


def _split(chosen: _Chosen, items: Sequence[Item], *, cache: Path, mapped: bool) -> Split:
    """Return decoded items as a split."""
    multilabel = chosen.catalogue.kind == "multilabel"
    labels = torch.tensor([item.label for item in items], dtype=torch.float32 if multilabel else torch.int64)
    return Split(
        images=_read(chosen, items, cache=cache, mapped=mapped, masks=False),
        labels=labels,
        ids=tuple(item.id for item in items),
        units=tuple(item.unit for item in items),
        masks=_read(chosen, items, cache=cache, mapped=mapped, masks=True) if chosen.catalogue.regions else None,
    )


def _read(chosen: _Chosen, items: Sequence[Item], *, cache: Path, mapped: bool, masks: bool) -> Tensor:
    """Return the images (or masks) of ``items`` from the cache; a damaged cache is made again, once."""
    keys = _keys(chosen.files, items, masks=masks)
    shelf = _shelf(chosen, cache, masks=masks)
    out = shelf.folder / f"{content_key(*keys.tolist()):016x}.bin" if mapped else None
    images = shelf.read(keys, out=out)
    if images is None:
        shelf.clear()
        shelf.add(_decoded(chosen, dict(zip(keys.tolist(), items, strict=True)), set(), masks=masks, progress=None))
        images = shelf.read(keys, out=out)
    if images is None:
        raise StoreError(f"{shelf.folder}: what was just written reads back differently; the disk is failing")
    return images
