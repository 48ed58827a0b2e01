"""Data sets in files: found, catalogued, split and fingerprinted before a pixel is decoded."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from transfusion_lib.data.dataset import Dataset
from transfusion_lib.data.reading import archive, copies, decode, leakage, splits
from transfusion_lib.data.reading.archive import Files
from transfusion_lib.data.reading.cache import StoredDigests, atomic, content_key, disk_errors, sealed, unsealed
from transfusion_lib.data.reading.catalogue import Catalogue, Info, Item, Problems
from transfusion_lib.data.reading.loading import Chosen, FilePictures, Progress, assemble, white_levels
from transfusion_lib.errors import DataError
from transfusion_lib.spec import DataSpec, canonical_json

VERSION = 2  # raise when every fingerprint must change

ROUNDS = 10  # draws of splits until no copies are parted: with a limit each draw may bring other images
LISTS = 4  # catalogues kept in a process


@dataclass(frozen=True)
class Listed:
    """The files and the catalogue of a data set, before any split."""

    files: Files
    catalogue: Catalogue
    left_out: tuple[str, ...]
    digests: StoredDigests


_lists: dict[tuple[object, ...], Listed] = {}
_fingerprints: dict[tuple[DataSpec, Path, str], str] = {}


@dataclass(frozen=True, kw_only=True)
class FileSource:
    """How to recognise a data set in files, and how to read its catalogue."""

    info: Info
    places: tuple[str, ...]
    """Folder names (or zips of that name) to look for under ``TRANSFUSION_DATA``."""
    recognise: Callable[[Files], bool]
    read: Callable[[Files, DataSpec, Problems], Catalogue]
    version: int = 1
    """Raise when the same files would now give other items."""
    own: bool = False
    """Anyone's files: nobody knows which of their images are copies of each other."""

    def find(self, spec: DataSpec) -> Path:
        """Return the folder or zip that holds the files; a ``DataError`` says where it was looked for."""
        if spec.root is not None:
            root = Path(spec.root).expanduser()
            inside = archive.locate(self.places, folders=[root]) if root.is_dir() else None
            return inside or root
        if not self.places:
            raise DataError(f"{spec.name}: give root, the place of the files: {self.info.layout}")
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
            _fingerprints[key] = self.choose(spec, cache=cache).fingerprint
        return _fingerprints[key]

    def load(self, spec: DataSpec, *, cache: Path, memory: int, progress: Progress | None) -> Dataset:
        """Return the data set that ``spec`` describes."""
        return assemble(self.choose(spec, cache=cache), cache=cache, memory=memory, progress=progress)

    def choose(self, spec: DataSpec, *, cache: Path) -> Chosen:
        """Return the items of ``spec``, split and checked, not decoded."""
        listed = self._listed(spec, cache=cache)
        files = listed.files
        catalogue, parts, leaks = self.parted(files, listed.catalogue, spec, cache=cache)
        images = pictures_of(catalogue, files, name=spec.name, size=spec.size)
        chosen = Chosen(
            spec=spec,
            info=self.info,
            catalogue=catalogue,
            parts=parts,
            problems=Problems(raising=spec.on_bad == "error", found=listed.left_out),
            fingerprint=self._fingerprint(spec, catalogue, parts, files),
            images=images,
            files=files,
            leaks=leaks,
            masks=replace(images, channels=1, masks=True, white=None) if catalogue.regions else None,
        )
        listed.digests.save()
        return chosen

    def parted(
        self, files: Files, catalogue: Catalogue, spec: DataSpec, *, cache: Path
    ) -> tuple[Catalogue, splits.Parts, tuple[str, ...]]:
        """Return the catalogue, its splits, and a line for each two of them that share pictures.

        In anyone's own files the copies that would fall into two splits drawn here get one unit, and the splits are
        drawn again; official splits stay as they are.
        """
        parts = splits.assign(catalogue, spec)
        leakage.check_units({name: [item.unit for item in part] for name, part in parts.items()}, name=spec.name)
        before = catalogue
        for _ in range(ROUNDS):
            items = [item for part in parts.values() for item in part]
            alike = copies.groups(files, items, catalogue, cache=cache, nearly=self.own)
            united = copies.joined(catalogue, alike) if self.own else None
            if united is None:
                break
            catalogue, parts = united, splits.assign(united, spec)
            if not all(parts.values()):
                line = copies.told(alike, before=before)[0]
                raise DataError(f"{spec.name}: too few different pictures to draw splits from: {line}")
        remarks = copies.told(alike, before=before) if self.own else ()
        if self.own and len(items) > copies.LARGEST:
            remarks += (f"near copies were not looked for among {len(items):,} images, identical files were",)
        return replace(catalogue, remarks=(*catalogue.remarks, *remarks)), parts, copies.across(parts, alike)

    def _listed(self, spec: DataSpec, *, cache: Path) -> "Listed":
        """Return the files and the catalogue, read once while they do not change: a study asks for many splits."""
        path = self.find(spec)
        what = (spec.name, spec.task, spec.uncertain, spec.on_bad, spec.root, *filter(None, [spec.unit]))
        seen = (path.resolve(), archive.stamp(path))
        key = (what, seen, cache)
        if key not in _lists:
            digests = StoredDigests(cache, root=path.resolve())
            files = archive.open_files(path, digests=digests)
            problems = Problems(raising=spec.on_bad == "error")
            known = content_key(decode.VERSION, self.version, *what, *seen)
            catalogue = self.catalogue(files, spec, problems, white_at=cache / "whites" / f"{known:016x}.json")
            while len(_lists) >= LISTS:
                del _lists[next(iter(_lists))]
            _lists[key] = Listed(files, catalogue, tuple(problems.found), digests)
        return _lists[key]

    def catalogue(self, files: Files, spec: DataSpec, problems: Problems, *, white_at: Path | None = None) -> Catalogue:
        """Return the items in ``files``, each id once, with their white; a ``DataError`` if there are none.

        ``white_at`` is a file that remembers the white of these files.
        """
        collected = Problems(raising=False, found=files.refused)
        try:
            catalogue = self.read(files, spec, collected)
            items = _once(catalogue.items, collected, where=str(files.path))
        except DataError:
            problems.settle(collected)  # the first fault is the nearer one
            raise
        problems.settle(collected)
        if not items:
            reason = f"; the first of {len(problems.found)} faults: {problems.found[0]}" if problems.found else ""
            raise DataError(f"{files.path}: no image of {spec.name} in it; expected {self.info.layout}{reason}")
        catalogue = replace(catalogue, remarks=(*catalogue.remarks, *problems.remarks))
        white = _white(files, items, at=white_at)
        if white is None:
            return replace(catalogue, items=items)
        notes = {"grey images of more than 8 bits": f"white is {white:,.0f} in each, by the brightest of all"}
        return replace(catalogue, items=items, white=white, notes=dict(catalogue.notes) | notes)

    def _fingerprint(self, spec: DataSpec, catalogue: Catalogue, parts: splits.Parts, files: Files) -> str:
        versions = [VERSION, decode.VERSION, splits.VERSION, self.version]
        outputs = [catalogue.task, catalogue.kind, catalogue.classes, catalogue.positive, catalogue.regions]
        form = [spec.name, spec.size, catalogue.channels, catalogue.fit]
        form += [catalogue.white] if catalogue.white else []  # it may come from an image that is in no part
        digest = hashlib.sha256(canonical_json([versions, outputs, form]).encode())
        for name, part in parts.items():
            for item in part:
                contents = [_content(files, file, spec) for file in (item.file, item.mask) if file]
                line = [name, item.id, item.label, item.unit, contents]  # labels to be ignored are NaN
                digest.update(f"{json.dumps(line)}\n".encode())
        return digest.hexdigest()


def _content(files: Files, name: str, spec: DataSpec) -> str | None:
    """Return the digest of a file; None for one that cannot be read and will be left out."""
    try:
        return files.digest(name)
    except DataError:
        if spec.on_bad == "skip":
            return None
        raise


def pictures_of(catalogue: Catalogue, files: Files, *, name: str, size: int) -> FilePictures:
    """Return the images of a catalogue, ``size`` pixels wide and high."""
    return FilePictures(
        name=name, files=files, size=size, channels=catalogue.channels, fit=catalogue.fit, white=catalogue.white
    )


def _white(files: Files, items: Sequence[Item], *, at: Path | None) -> float | None:
    """Return the brightest white of the deep grey images of a whole set; None where all have 8 bits.

    A dark image among images of 12 bits, decoded by itself, would come out sixteen times too bright; and a subset
    would differ from the set. Every file is opened for it, so the file ``at`` remembers it.
    """
    if at is not None:
        with contextlib.suppress(OSError, ValueError):
            known: float | None = unsealed(at.read_text())
            return known
    levels = white_levels(files, sorted({item.file for item in items}))
    white = max((level for level in levels if isinstance(level, float)), default=None)
    if at is not None and not any(isinstance(level, DataError) for level in levels):  # the next read may succeed
        with disk_errors(at):
            at.parent.mkdir(parents=True, exist_ok=True)
            with atomic(at) as partial:
                partial.write_text(sealed(white))
    return white


def data_folders() -> list[Path]:
    """Return the folders that ``TRANSFUSION_DATA`` names."""
    parts = os.environ.get("TRANSFUSION_DATA", "").split(os.pathsep)
    return [Path(part.strip()).expanduser().absolute() for part in parts if part.strip()]


def _once(items: tuple[Item, ...], problems: Problems, *, where: str) -> tuple[Item, ...]:
    """Return ``items`` with each id once; all of an id are left out if their labels or units differ."""
    first: dict[str, Item] = {}
    contradicted: set[str] = set()
    for item in items:
        known = first.setdefault(item.id, item)
        if known is item:
            continue
        places = f"{known.row or known.file} and {item.row or item.file}"
        if (known.label, known.unit, known.split) == (item.label, item.unit, item.split):
            problems.add(f"{where}: {item.id} occurs twice, in {places}; remove one")
        else:
            problems.add(f"{where}: {item.id} occurs twice and differently, in {places}; keep the right one")
            contradicted.add(item.id)
    return tuple(item for item in first.values() if item.id not in contradicted)
