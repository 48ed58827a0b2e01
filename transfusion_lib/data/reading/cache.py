"""What was decoded or computed once, on disk.

``Shelf`` holds resized images one by one, keyed by the content of their files, so that every split, task and subset
of a data set shares them. ``keep`` holds whole data sets, for those that are computed. Both check what they read
and are safe to delete.

A shelf is two files. ``images.bin`` is images of equal size, one after the other, only ever appended to.
``index.npy`` says which they are and holds their checksums; it is replaced in one step after the images are written,
so what an interrupted writer left behind is not in it and is overwritten.
"""

import hashlib
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor

from transfusion_lib.data.dataset import Dataset, Split
from transfusion_lib.data.reading.archive import Digests
from transfusion_lib.errors import DataError

MEMORY = 2 * 2**30  # bytes of images that a load may hold in memory; more is memory-mapped
BATCH = 64 * 2**20  # bytes of images between two commits

Images = Iterator[tuple[int, NDArray[np.uint8]]]
"""Keys and their images."""

ENTRY = np.dtype([("key", "<u8"), ("crc", "<u4")])


class Shelf:
    """Images of one shape by content key."""

    def __init__(self, folder: Path, *, shape: tuple[int, ...]) -> None:
        """Open or create the shelf in ``folder`` for uint8 images of ``shape``."""
        self.folder = folder
        self.shape = shape
        self.stride = int(np.prod(shape))
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def missing(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which ``keys`` have no image here."""
        return ~np.isin(keys, self._index()["key"])

    def fill(self, keys: NDArray[np.uint64], make: Callable[[NDArray[np.bool_]], Images]) -> None:
        """Append the images that ``make`` yields for the keys that are missing, committed every ``BATCH`` bytes.

        Another writer waits, and then finds them here.
        """
        if not self.missing(keys).any():
            return
        with disk_errors(self.folder), FileLock(self.folder / "lock"):
            missing = self.missing(keys)
            if missing.any():
                self._append(make(missing))

    def _append(self, images: Images) -> None:
        index = self._index()
        with self._images.open("ab") as file:
            file.truncate(len(index) * self.stride)
            pending: list[tuple[int, int]] = []
            for key, image in images:
                data = image.tobytes()
                file.write(data)
                pending.append((key, zlib.crc32(data)))
                if len(pending) * self.stride >= BATCH:
                    index = self._commit(file, index, pending)
                    pending = []
            self._commit(file, index, pending)

    def read(self, keys: NDArray[np.uint64], *, out: Path | None = None) -> Tensor | None:
        """Return the images of ``keys``, uint8 (n, *shape), or None where one is damaged or missing.

        With ``out`` they are written there first and memory-mapped: for what does not fit in memory.
        """
        if len(keys) == 0:
            return torch.empty((0, *self.shape), dtype=torch.uint8)
        index = self._index()
        order = np.argsort(index["key"], kind="stable")
        where = np.searchsorted(index["key"], keys, sorter=order)
        if len(index) == 0 or (where == len(index)).any():
            return None
        rows = order[where]
        if (index["key"][rows] != keys).any():
            return None
        checksums = index["crc"][rows]
        if out is None:
            images = np.empty((len(keys), self.stride), np.uint8)
            whole = self._gather(rows, checksums, into=images)
            return torch.from_numpy(images.reshape(-1, *self.shape)) if whole else None
        return self._mapped(rows, checksums, out)

    def clear(self) -> None:
        """Forget every image: after damage."""
        with disk_errors(self.folder), FileLock(self.folder / "lock"):
            (self.folder / "index.npy").unlink(missing_ok=True)

    @property
    def _images(self) -> Path:
        return self.folder / "images.bin"

    def _index(self) -> NDArray[Any]:
        """Return the committed entries; an unreadable index counts as empty."""
        try:
            index: NDArray[Any] = np.load(self.folder / "index.npy", allow_pickle=False)
            size = self._images.stat().st_size
        except (OSError, ValueError, EOFError):
            return np.empty(0, ENTRY)
        return index if index.dtype == ENTRY and size >= len(index) * self.stride else np.empty(0, ENTRY)

    def _commit(self, file: BinaryIO, index: NDArray[Any], pending: Sequence[tuple[int, int]]) -> NDArray[Any]:
        file.flush()
        os.fsync(file.fileno())
        index = np.concatenate([index, np.array(pending, ENTRY)])
        with atomic(self.folder / "index.npy") as partial, partial.open("wb") as target:
            np.save(target, index)
        return index

    def _gather(self, rows: NDArray[np.intp], checksums: NDArray[np.uint32], *, into: NDArray[np.uint8]) -> bool:
        """Copy the rows into the rows of ``into``, (n, stride); False if one differs from its checksum."""
        starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)  # neighbours are read together
        with self._images.open("rb", buffering=0) as file:
            for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
                file.seek(int(rows[start]) * self.stride)
                if _read_into(file, into[start:stop].reshape(-1).data) != (stop - start) * self.stride:
                    return False
        return all(zlib.crc32(row) == checksum for row, checksum in zip(into, checksums.tolist(), strict=True))

    def _mapped(self, rows: NDArray[np.intp], checksums: NDArray[np.uint32], out: Path) -> Tensor | None:
        """Return the rows as a memory map of ``out``, which is made or checked first."""
        if not _holds(out, checksums, stride=self.stride):
            step = max(1, BATCH // self.stride)
            buffer = np.empty((step, self.stride), np.uint8)
            with disk_errors(out), atomic(out) as partial, partial.open("wb") as target:
                for start in range(0, len(rows), step):
                    part = slice(start, start + step)
                    block = buffer[: len(rows[part])]
                    if not self._gather(rows[part], checksums[part], into=block):
                        return None
                    target.write(block.data)
        flat = torch.from_file(str(out), shared=False, size=len(rows) * self.stride, dtype=torch.uint8)
        return flat.reshape(-1, *self.shape)


def _read_into(file: FileIO, buffer: memoryview) -> int:
    """Fill ``buffer`` from a raw file, which may give less than was asked for; return the bytes read."""
    count = 0
    while count < len(buffer) and (got := file.readinto(buffer[count:])):
        count += got
    return count


def _holds(path: Path, checksums: NDArray[np.uint32], *, stride: int) -> bool:
    """Tell whether a file is images with these checksums, one after the other."""
    if not path.is_file() or path.stat().st_size != len(checksums) * stride:
        return False
    with path.open("rb") as file:
        return all(zlib.crc32(file.read(stride)) == checksum for checksum in checksums.tolist())


def content_key(*parts: object) -> int:
    """Return 64 bits of a hash of ``parts``."""
    text = "\0".join(map(str, parts)).encode(errors="surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def keep(folder: Path, make: Callable[[], Dataset], *, memory: int = MEMORY) -> Dataset:
    """Return the data set kept in ``folder``, which is first made if it is missing or damaged.

    Images and masks of more than ``memory`` bytes together are memory-mapped.
    """
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{folder.name}.lock")):
            known = _load_dataset(folder, memory=memory)
            if known is not None:
                return known
            dataset = make()
            shutil.rmtree(folder, ignore_errors=True)
            with atomic(folder) as partial:
                _save_dataset(dataset, partial)
            return _load_dataset(folder, memory=memory) or dataset


class Rooms:
    """Arrays to draw a data set into, of which those in memory hold a limited number of bytes together."""

    def __init__(self, folder: Path, *, memory: int) -> None:
        """Keep what does not fit in ``memory`` bytes in files in ``folder``."""
        self.folder = folder
        self.left = memory

    def __call__(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Return a uint8 array of ``shape``, in memory if it fits, else mapped to a temporary file."""
        count = int(np.prod(shape))
        if count <= self.left:
            self.left -= count
            return np.empty(shape, np.uint8)
        with disk_errors(self.folder), tempfile.TemporaryFile(dir=self.folder) as file:
            file.truncate(count)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, count)  # a full disk is an error here, not a bus error later
            return np.memmap(file, np.uint8, "r+", shape=shape)


def _save_dataset(dataset: Dataset, folder: Path) -> None:
    folder.mkdir()
    plain = {f.name: getattr(dataset, f.name) for f in fields(dataset) if f.name not in ("train", "val", "test")}
    description: dict[str, Any] = {"dataset": plain, "splits": {}, "checksums": {}}
    for name, split in dataset.splits().items():
        description["splits"][name] = {"ids": split.ids, "units": split.units}
        for part in ("images", "labels", "masks"):
            tensor = getattr(split, part)
            if tensor is not None:
                file = folder / f"{name}_{part}.npy"
                np.save(file, tensor.numpy())
                description["checksums"][file.name] = _checksum(file)
    (folder / "dataset.json").write_text(sealed(description))


def _load_dataset(folder: Path, *, memory: int) -> Dataset | None:
    """Return the data set in ``folder``, or None where it is absent, of another version or damaged."""
    try:
        description = unsealed((folder / "dataset.json").read_text())
        files = [folder / name for name in description["checksums"]]
        if any(_checksum(file) != description["checksums"][file.name] for file in files):
            return None
        mapped = sum(file.stat().st_size for file in files) > memory
        splits: dict[str, Any] = {
            name: _load_split(folder, name, names, mapped=mapped) for name, names in description["splits"].items()
        }
        plain = description["dataset"]
        plain |= {name: tuple(plain[name]) for name in ("classes", "regions", "left_out", "remarks", "leaks")}
        plain["positive"] = None if plain["positive"] is None else tuple(plain["positive"])
        return Dataset(**plain, **splits)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _load_split(folder: Path, name: str, names: dict[str, list[str]], *, mapped: bool) -> Split:
    tensors = {
        part: torch.from_numpy(
            np.load(folder / f"{name}_{part}.npy", mmap_mode="c" if mapped else None, allow_pickle=False)
        )
        for part in ("images", "labels", "masks")
        if (folder / f"{name}_{part}.npy").exists()
    }
    return Split(
        images=tensors["images"],
        labels=tensors["labels"],
        ids=tuple(names["ids"]),
        units=tuple(names["units"]),
        masks=tensors.get("masks"),
    )


def _checksum(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "blake2b").hexdigest()


def sealed(value: object) -> str:
    """Return a value as JSON below the BLAKE2b of its text."""
    text = json.dumps(value)
    return f"{hashlib.blake2b(text.encode()).hexdigest()}\n{text}"


def unsealed(text: str) -> Any:
    """Return the value in a ``sealed`` text; a ``ValueError`` if any bit of it changed."""
    seal, _, content = text.partition("\n")
    if hashlib.blake2b(content.encode()).hexdigest() != seal:
        raise ValueError("not what was written")
    return json.loads(content)


class StoredDigests(Digests):
    """Digests of a folder's files that outlive the process."""

    def __init__(self, cache: Path, *, root: Path) -> None:
        """Read the known digests of ``root``; an unreadable file counts as unknown."""
        self.path = cache / "digests" / f"{content_key(root):016x}.json"
        try:
            rows = unsealed(self.path.read_text())
            known = {
                (str(name), int(size), int(changed), int(status)): str(digest)
                for name, size, changed, status, digest in rows
            }
        except (OSError, ValueError, TypeError):
            known = {}
        super().__init__(known)

    def save(self) -> None:
        """Write the known digests in one step."""
        if self.changed:
            with disk_errors(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with atomic(self.path) as partial:
                    partial.write_text(sealed([[*stamp, digest] for stamp, digest in self.known.items()]))
            self.changed = False


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; it takes its place at the end and vanishes on an error."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        if partial.exists():
            partial.replace(path)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink(missing_ok=True)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into a ``DataError`` that says so."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{path}: the data cache cannot be written ({error.strerror or error}); "
            "free space there, or set TRANSFUSION_CACHE to another folder"
        ) from None
