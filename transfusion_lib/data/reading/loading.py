"""From the images that a catalogue names to three splits in memory: decode new ones, read the rest, check all."""

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from transfusion_lib.data.dataset import Dataset, Split
from transfusion_lib.data.reading import decode, splits
from transfusion_lib.data.reading.archive import Files
from transfusion_lib.data.reading.cache import Images, Shelf, content_key
from transfusion_lib.data.reading.catalogue import Catalogue, Info, Item, Problems
from transfusion_lib.errors import DataError, StoreError
from transfusion_lib.spec import DataSpec

Progress = Callable[[int, int], None]
"""Called with the images done and their number; where none is given, a bar is drawn if stderr is a terminal."""

AHEAD = 64  # images decoded ahead of the writer: bounds the memory

Made = tuple[Item, NDArray[np.uint8] | DataError]
"""An image, or why there is none."""


class Pictures(Protocol):
    """Images of one shape that items have: decoded files, masks, rows of an array."""

    @property
    def shelf(self) -> str:
        """Return the name of the folder in the cache."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of one image, channels first."""

    def key(self, item: Item) -> int:
        """Return 64 bits that stand for the content of an item's image."""

    def make(self, items: Sequence[Item]) -> Iterator[Made]:
        """Yield the image of each item, in any order."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The items of a spec, and where their pixels come from."""

    spec: DataSpec
    info: Info
    catalogue: Catalogue
    parts: splits.Parts
    problems: Problems
    fingerprint: str
    images: Pictures
    masks: Pictures | None = None
    files: Files | None = None
    """Where the images lie; None where they are rows of an array."""
    leaks: tuple[str, ...] = ()
    """A line for each two splits that share pictures."""

    @property
    def items(self) -> list[Item]:
        """Return the items of all splits."""
        return [item for part in self.parts.values() for item in part]

    @property
    def notes(self) -> dict[str, str]:
        """Return the lines of the datasheet that are known before an image is decoded."""
        lines = self.info.notes() | dict(self.catalogue.notes)
        if self.spec.split == "drawn":
            lines["splits"] = f"drawn by unit over all images from seed {self.spec.seed}; official splits are not used"
        return lines


def assemble(chosen: Chosen, *, cache: Path, memory: int, progress: Progress | None) -> Dataset:
    """Return the data set, with images beyond ``memory`` bytes memory-mapped."""
    pictures = [chosen.images, *([chosen.masks] if chosen.masks else [])]
    bad: set[str] = set()
    for each in pictures:
        bad |= _decode_missing(chosen, each, cache=cache, progress=progress)
    parts: splits.Parts = {name: [item for item in part if item.id not in bad] for name, part in chosen.parts.items()}
    splits.check_classes(parts, chosen.catalogue, name=chosen.spec.name)
    count = sum(map(len, parts.values()))
    mapped = count * sum(int(np.prod(each.shape)) for each in pictures) > memory
    loaded = {name: _split(chosen, part, cache=cache, mapped=mapped) for name, part in parts.items()}
    catalogue = chosen.catalogue
    return Dataset(
        name=chosen.spec.name,
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
        remarks=catalogue.remarks,
        leaks=chosen.leaks,
        decoding={"fit": catalogue.fit, "white": catalogue.white},
        notes=chosen.notes,
    )


def _split(chosen: Chosen, items: Sequence[Item], *, cache: Path, mapped: bool) -> Split:
    kind = chosen.catalogue.kind
    masks = _read(chosen.masks, items, cache=cache, mapped=mapped) if chosen.masks else None
    labels = torch.tensor([item.label for item in items], dtype=torch.float32 if kind == "multilabel" else torch.int64)
    return Split(
        images=_read(chosen.images, items, cache=cache, mapped=mapped),
        labels=masks if kind == "segmentation" and masks is not None else labels,
        ids=tuple(item.id for item in items),
        units=tuple(item.unit for item in items),
        masks=masks,
    )


def _keys(pictures: Pictures, items: Sequence[Item]) -> NDArray[np.uint64]:
    return np.array([pictures.key(item) for item in items], np.uint64)


def _decode_missing(chosen: Chosen, pictures: Pictures, *, cache: Path, progress: Progress | None) -> set[str]:
    """Decode what the cache lacks, and return the ids of what cannot be decoded."""
    items, bad = chosen.items, set[str]()

    def make(missing: NDArray[np.bool_]) -> Images:
        todo = [item for item, lacks in zip(items, missing, strict=True) if lacks]
        return _good(chosen, pictures, todo, bad, progress=progress)

    with quiet():
        _shelf(pictures, cache).fill(_keys(pictures, items), make)
    return bad


def _shelf(pictures: Pictures, cache: Path) -> Shelf:
    return Shelf(cache / "images" / pictures.shelf, shape=pictures.shape)


def _good(
    chosen: Chosen, pictures: Pictures, todo: Sequence[Item], bad: set[str], *, progress: Progress | None
) -> Images:
    """Yield (key, image); what cannot be decoded goes to the problems, and its id to ``bad``."""
    hidden = None if progress is None else True  # None: drawn only where stderr is a terminal
    with tqdm(total=len(todo), desc=f"decoding {pictures.shelf}", disable=hidden) as bar:
        for done, (item, image) in enumerate(pictures.make(todo), start=1):
            if isinstance(image, DataError):
                chosen.problems.add(str(image))
                bad.add(item.id)
            else:
                yield pictures.key(item), image
            bar.update()
            if progress is not None:
                progress(done, len(todo))


def _read(pictures: Pictures, items: Sequence[Item], *, cache: Path, mapped: bool) -> Tensor:
    """Return the images of ``items`` from the cache; a damaged cache is made again, once."""
    keys, shelf = _keys(pictures, items), _shelf(pictures, cache)
    out = shelf.folder / f"{content_key(*keys.tolist()):016x}.bin" if mapped else None
    images = shelf.read(keys, out=out)
    if images is None:
        shelf.clear()
        again = ((pictures.key(item), image) for item, image in pictures.make(items))
        shelf.fill(keys, lambda _: ((key, image) for key, image in again if not isinstance(image, DataError)))
        images = shelf.read(keys, out=out)
    if images is None:
        raise StoreError(f"{shelf.folder}: what was written there reads back differently; check the disk")
    return images


def readable(pictures: Pictures, items: Sequence[Item], *, cache: Path) -> tuple[list[Item], Tensor]:
    """Return the items whose images can be read, and these images; the others will be told of where they are used."""

    def make(missing: NDArray[np.bool_]) -> Images:
        todo = [item for item, lacks in zip(items, missing, strict=True) if lacks]
        return ((pictures.key(item), image) for item, image in pictures.make(todo) if not isinstance(image, DataError))

    keys, shelf = _keys(pictures, items), _shelf(pictures, cache)
    with quiet():
        shelf.fill(keys, make)
    good = [item for item, lacks in zip(items, shelf.missing(keys), strict=True) if not lacks]
    return good, _read(pictures, good, cache=cache, mapped=False)


@dataclass(frozen=True, kw_only=True)
class FilePictures:
    """Image files decoded in parallel; with ``masks`` the items' masks."""

    name: str
    files: Files
    size: int
    channels: int
    fit: decode.Fit
    masks: bool = False
    white: float | None = None
    """That of the catalogue."""

    @property
    def shelf(self) -> str:
        """Return a name that holds every setting of the decoding."""
        kind = "mask" if self.masks else self.fit
        white = "" if self.white is None else f"-white{self.white:g}"
        return f"{self.name}-{kind}-{self.channels}x{self.size}{white}-v{decode.VERSION}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (channels, size, size)."""
        return (self.channels, self.size, self.size)

    def key(self, item: Item) -> int:
        """Return a hash of the file's content; one that no image has if it cannot be read."""
        try:
            return content_key(self.files.digest(self._file(item)))
        except DataError:
            return content_key("")

    def make(self, items: Sequence[Item]) -> Iterator[Made]:
        """Yield each image in order, decoded by threads: Pillow works without holding Python's lock."""
        with ThreadPoolExecutor(_workers()) as pool:
            waiting: deque[tuple[Item, Future[NDArray[np.uint8] | DataError]]] = deque()
            for item in items:
                waiting.append((item, pool.submit(self._decode, item)))
                if len(waiting) > AHEAD:
                    first, future = waiting.popleft()
                    yield first, future.result()
            for first, future in waiting:
                yield first, future.result()

    def _file(self, item: Item) -> str:
        file = item.mask if self.masks else item.file
        assert file is not None  # a catalogue with regions names a mask for every item
        return file

    def _decode(self, item: Item) -> NDArray[np.uint8] | DataError:
        file = self._file(item)
        name = self.files.location(file) + (f" ({item.row})" if item.row else "")
        try:
            data = self.files.verified(file)
            if self.masks:
                return decode.mask(data, name=name, size=self.size)
            return decode.image(data, name=name, size=self.size, channels=self.channels, fit=self.fit, white=self.white)
        except DataError as error:
            return error


def white_levels(files: Files, names: Sequence[str]) -> list[float | DataError | None]:
    """Return the white of each image file (see ``decode.white_level``), or why it is not known."""

    def level(name: str) -> float | DataError | None:
        try:
            if decode.shallow(files.head(name)):
                return None
            return decode.white_level(files.read(name), name=files.location(name))
        except DataError as error:
            return error

    with quiet(), ThreadPoolExecutor(_workers()) as pool:
        return list(pool.map(level, names))


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Pillow's warnings of odd metadata; for the main thread, since the filters are the process's."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        yield


def _workers() -> int:
    """Return how many threads decode."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(16, usable or 1)
