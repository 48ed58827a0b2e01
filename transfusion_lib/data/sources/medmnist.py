"""MedMNIST v2: all 2D and 3D sets at every size, by the table of the medmnist package.

The package's table gives addresses, checksums, labels and official splits. It is read without importing the package,
which takes seconds and makes a folder in the user's home. A file that exists is used and its MD5 checked; a
missing file is downloaded.
"""

import ast
import hashlib
import http.client
import importlib.util
import re
import shutil
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache as remember
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.lib.format import read_array_header_1_0, read_array_header_2_0, read_magic
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from transfusion_lib.data.dataset import Dataset
from transfusion_lib.data.reading import splits
from transfusion_lib.data.reading.archive import Digests
from transfusion_lib.data.reading.cache import StoredDigests, atomic, content_key, disk_errors
from transfusion_lib.data.reading.catalogue import Catalogue, Info, Item, Problems, SplitName, choose_task
from transfusion_lib.data.reading.describe import Check, sheet_of_chosen
from transfusion_lib.data.reading.filesource import data_folders
from transfusion_lib.data.reading.loading import Chosen, Made, Progress, assemble
from transfusion_lib.errors import DataError, MissingExtraError, TransfusionError
from transfusion_lib.spec import DataSpec, canonical_json

VERSION = 1  # raise when the same file would now give another data set
NAMES = (
    "pathmnist",
    "chestmnist",
    "dermamnist",
    "octmnist",
    "pneumoniamnist",
    "retinamnist",
    "breastmnist",
    "bloodmnist",
    "tissuemnist",
    "organamnist",
    "organcmnist",
    "organsmnist",
    "organmnist3d",
    "nodulemnist3d",
    "adrenalmnist3d",
    "fracturemnist3d",
    "vesselmnist3d",
    "synapsemnist3d",
)
POSITIVE = {"retinamnist": (2, 3, 4), "breastmnist": (0,)}  # referable; malignant. Other binary sets: class 1
CALLED = {
    "retinamnist": ("small fundus photographs", "referable retinopathy"),
    "breastmnist": ("breast ultrasounds", "malignant lesion"),
    "pneumoniamnist": ("small chest x-rays of children", "pneumonia"),
    "dermamnist": ("small pictures of skin lesions", "skin lesion diagnosis"),
    "adrenalmnist3d": ("adrenal glands", "adrenal mass"),
}
"""What a set shows and what it asks, of those that the book has."""
TIMEOUT = 30  # seconds without a byte
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "val", "test")


@remember
def table() -> dict[str, Any]:
    """Return the package's table of sets; a ``MissingExtraError`` holds the line that installs it."""
    package = importlib.util.find_spec("medmnist")
    if package is None or package.origin is None:
        raise MissingExtraError(
            'MedMNIST sets need the package medmnist; install it with: pip install "transfusion-reproduced[book]"'
        )
    module = ast.parse(Path(package.origin).with_name("info.py").read_text(encoding="utf-8"))
    for node in module.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "INFO":
            found: dict[str, Any] = ast.literal_eval(node.value)
            return found
    raise MissingExtraError("this version of the package medmnist has no table INFO; install medmnist==3.0.2")


@dataclass(frozen=True, kw_only=True)
class MedMNISTSource:
    """One set of MedMNIST."""

    name: str

    @property
    def info(self) -> Info:
        """The lines of the datasheet; the package adds the rest when the data are loaded."""
        dimensions = "3D" if self.name.endswith("3d") else "2D"
        called, asks = CALLED.get(self.name, (self.name, "classes"))
        return Info(
            called=called,
            asks={"classes": asks},
            shifted=("classes",) if self.name == "pneumoniamnist" else (),  # Kermany's official test folder
            what=f"MedMNIST v2, {dimensions}, 28 px and up",
            tasks=("classes",),
            licence="CC BY-NC 4.0" if self.name == "dermamnist" else "CC BY 4.0",
            source="Yang et al., Scientific Data 10 (2023) 41; doi 10.5281/zenodo.10519652",
            unit="image (no patient is named)",
            splits="official",
            layout=f"{self.name}.npz or {self.name}_64.npz and so on, in the folder or in medmnist/ below it",
        )

    def find(self, spec: DataSpec) -> Path | None:
        """Return the file that serves ``spec`` best, or None where one must be downloaded.

        The best is the smallest of at least the asked size, otherwise the largest.
        """
        found = {size: path for size in self._sizes() if (path := self._at(spec, size)) is not None}
        if not found:
            return None
        enough = [size for size in found if size >= spec.size]
        return found[min(enough) if enough else max(found)]

    def fingerprint(self, spec: DataSpec, *, cache: Path) -> str:
        """Return the sha256 of the file's checksum and the settings."""
        return self._fingerprint(spec, self._verified(spec, cache=cache))

    def load(self, spec: DataSpec, *, cache: Path, memory: int, progress: Progress | None) -> Dataset:
        """Return the data set that ``spec`` describes."""
        return assemble(self.choose(spec, cache=cache), cache=cache, memory=memory, progress=progress)

    def choose(self, spec: DataSpec, *, cache: Path) -> Chosen:
        """Return the items of ``spec``, split and checked, not decoded."""
        file = self._verified(spec, cache=cache)
        problems = Problems(raising=spec.on_bad == "error")
        catalogue = self._catalogue(spec, file, problems)
        return Chosen(
            spec=spec,
            info=self.info,
            catalogue=catalogue,
            parts=splits.assign(catalogue, spec),
            problems=problems,
            fingerprint=self._fingerprint(spec, file),
            images=ArrayPictures(
                name=self.name,
                file=file,
                size=spec.size,
                channels=catalogue.channels,
                volume=self.name.endswith("3d"),
            ),
        )

    def _sizes(self) -> list[int]:
        """Return the edges, in pixels, at which the set is published."""
        keys = (re.fullmatch(r"MD5(?:_(\d+))?", key) for key in table()[self.name])
        return sorted(int(match[1] or 28) for match in keys if match)

    def _at(self, spec: DataSpec, size: int) -> Path | None:
        """Return the file of one size, or None."""
        if spec.root is not None:
            root = Path(spec.root).expanduser()
            if root.is_file():
                return root if root.name == self._file(size) else None
            folders = [root]
        else:
            folders = [*data_folders(), Path.home() / ".medmnist"]
        places = (path / self._file(size) for folder in folders for path in (folder, folder / "medmnist"))
        return next((path for path in places if path.is_file()), None)

    def _file(self, size: int) -> str:
        return f"{self.name}{_suffix(size)}.npz"

    def _verified(self, spec: DataSpec, *, cache: Path) -> "ArrayFile":
        """Return the file, found or downloaded, with the checksum that the package's table holds."""
        path = self.find(spec)
        downloaded = cache / "medmnist"
        if path is None:
            path = self.find(spec.replace(root=str(downloaded))) if downloaded.is_dir() else None
        if path is None:
            size = next((size for size in self._sizes() if size >= spec.size), self._sizes()[-1])
            path = self._download(size, downloaded)
        size = next(size for size in self._sizes() if self._file(size) == path.name)
        digests = StoredDigests(cache, root=path.resolve())
        md5 = _md5(path, digests)
        digests.save()
        expected = table()[self.name][f"MD5{_suffix(size)}"]
        if md5 != expected:
            raise DataError(
                f"{path}: wrong checksum (MD5 {md5}, not {expected}): half-downloaded or changed; "
                f"delete it and download {table()[self.name][f'url{_suffix(size)}']}"
            )
        return ArrayFile(path, size, md5)

    def _download(self, size: int, folder: Path) -> Path:
        """Return the file of one size, downloaded; a ``DataError`` says how to do it by hand."""
        url, md5 = (str(table()[self.name][f"{what}{_suffix(size)}"]) for what in ("url", "MD5"))
        target = folder / self._file(size)
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with atomic(target) as partial:
            try:
                with urllib.request.urlopen(url, timeout=TIMEOUT) as response, partial.open("wb") as file:
                    shutil.copyfileobj(response, file, 2**20)
                with partial.open("rb") as file:
                    found = hashlib.file_digest(file, "md5").hexdigest()
                if found != md5:
                    raise ValueError(f"the MD5 of what came is {found}")
            except (OSError, ValueError, http.client.HTTPException) as error:
                places = " or ".join(map(str, data_folders())) or "a folder, and set TRANSFUSION_DATA to it"
                raise DataError(
                    f"{target.name}: not found, and not downloaded ({error}); download {url} (MD5 {md5}) to {places}"
                ) from None
        return target

    def _fingerprint(self, spec: DataSpec, file: "ArrayFile") -> str:
        task = choose_task(spec, self.info.tasks)
        settings = [self.name, file.md5, spec.size, task, spec.train, spec.val, spec.test, spec.seed]
        settings += [spec.split] if spec.split == "drawn" else []
        return hashlib.sha256(canonical_json([VERSION, splits.VERSION, settings]).encode()).hexdigest()

    def _catalogue(self, spec: DataSpec, file: "ArrayFile", problems: Problems) -> Catalogue:
        about = table()[self.name]
        names = tuple(about["label"][str(index)] for index in range(len(about["label"])))
        multilabel = about["task"].startswith("multi-label")
        items: list[Item] = []
        for split in SPLIT_NAMES:
            for index, cells in enumerate(file.labels(split)):
                label = _label(cells, multilabel=multilabel, classes=len(names))
                if label is None:
                    problems.add(
                        f"{file.path}: {split}_labels row {index}: {cells.tolist()} is no label of {self.name}"
                    )
                else:
                    name = f"{split}-{index}"
                    items.append(Item(id=name, file=name, label=label, unit=name, split=split))
        binary = len(names) == 2 and not multilabel
        return Catalogue(
            task=choose_task(spec, self.info.tasks),
            kind="multilabel" if multilabel else "multiclass",
            classes=names,
            items=tuple(items),
            channels=about["n_channels"],
            positive=POSITIVE.get(self.name, (1,) if binary else None),
            notes={"description": about["description"], "resolution": _resolution(file.size, spec.size)},
        )


@dataclass(frozen=True)
class ArrayFile:
    """An npz file of MedMNIST, its published edge in pixels and its checked MD5."""

    path: Path
    size: int
    md5: str

    def labels(self, split: SplitName) -> NDArray[np.int64]:
        """Return the labels of a split: int64 (n, labels)."""
        with self.member(f"{split}_labels") as (stream, shape, dtype):
            flat = np.frombuffer(stream.read(), dtype)
        return flat.reshape(shape).astype(np.int64)

    def images(self, split: SplitName) -> Iterator[NDArray[np.uint8]]:
        """Yield the images of a split one by one, whatever the size of the file."""
        with self.member(f"{split}_images") as (stream, shape, dtype):
            if dtype != np.uint8:
                raise DataError(f"{self.path}: {split}_images is {dtype}, not uint8; download the file again")
            length = int(np.prod(shape[1:]))
            for _ in range(shape[0]):
                yield np.frombuffer(stream.read(length), np.uint8).reshape(shape[1:])

    @contextmanager
    def member(self, name: str) -> Iterator[tuple[IO[bytes], tuple[int, ...], np.dtype[Any]]]:
        """Yield an array's bytes, shape and type; a ``DataError`` for a file that is cut short or lacks it."""
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{name}.npy") as stream:
                read = {(1, 0): read_array_header_1_0, (2, 0): read_array_header_2_0}[read_magic(stream)]
                shape, fortran, dtype = read(stream)
                if fortran or dtype.hasobject:
                    raise ValueError("not a plain array")
                yield stream, shape, dtype
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, KeyError, ValueError) as error:
            raise DataError(
                f"{self.path}: cannot read {name} ({error}); delete the file and download it again"
            ) from None


@dataclass(frozen=True, kw_only=True)
class ArrayPictures:
    """The images of an ``ArrayFile``, resized."""

    name: str
    file: ArrayFile
    size: int
    channels: int
    volume: bool

    @property
    def shelf(self) -> str:
        """Return a name that holds every setting of the resizing."""
        return f"{self.name}-{self.channels}x{self.size}-v{VERSION}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (channels, [size,] size, size)."""
        return (self.channels,) + (self.size,) * (3 if self.volume else 2)

    def key(self, item: Item) -> int:
        """Return a hash of the file's checksum and the row."""
        return content_key(self.file.md5, item.id)

    def make(self, items: Sequence[Item]) -> Iterator[Made]:
        """Yield the wanted rows in the order of the file."""
        wanted = {item.id: item for item in items}
        for split in SPLIT_NAMES:
            if any(item.split == split for item in items):
                for index, pixels in enumerate(self.file.images(split)):
                    item = wanted.get(f"{split}-{index}")
                    if item is not None:
                        yield item, (_volume if self.volume else _picture)(pixels, size=self.size)


def _picture(pixels: NDArray[np.uint8], *, size: int) -> NDArray[np.uint8]:
    """Return (height, width[, 3]) as (channels, size, size)."""
    picture = Image.fromarray(pixels)
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(picture).reshape(size, size, -1).transpose(2, 0, 1))


def _volume(pixels: NDArray[np.uint8], *, size: int) -> NDArray[np.uint8]:
    """Return (depth, height, width) as (1, size, size, size): averaged to shrink, trilinear to grow."""
    if pixels.shape == (size,) * 3:
        return pixels[None]
    grid = torch.from_numpy(pixels.astype(np.float32))[None, None]
    shrinks = size < pixels.shape[0]
    cube = (
        functional.adaptive_avg_pool3d(grid, size)
        if shrinks
        else functional.interpolate(grid, size=(size,) * 3, mode="trilinear")
    )
    return cube[0].round().to(torch.uint8).numpy()


def _label(cells: NDArray[np.int64], *, multilabel: bool, classes: int) -> int | tuple[float, ...] | None:
    """Return a row of labels, or None where it is out of range."""
    if multilabel:
        return tuple(map(float, cells)) if len(cells) == classes and set(cells.tolist()) <= {0, 1} else None
    return int(cells[0]) if len(cells) == 1 and 0 <= cells[0] < classes else None


def _resolution(published: int, asked: int) -> str:
    if published == asked:
        return f"{asked} px as published"
    change = "reduced" if published > asked else "enlarged, so without more detail,"
    return f"{change} from {published} to {asked} px"


def _suffix(size: int) -> str:
    """Return what the file name of a size ends in."""
    return "" if size == 28 else f"_{size}"


def _md5(path: Path, digests: Digests) -> str:
    """Return the MD5 of a file, computed once per (path, size, time of change)."""
    status = path.stat()
    stamp = (str(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    known = digests.get(stamp)
    if known is None:
        with path.open("rb") as file:
            known = digests.put(stamp, hashlib.file_digest(file, "md5").hexdigest())
    return known


def named(path: Path) -> tuple[str, int]:
    """Return the set and the edge in pixels that the name of a file of MedMNIST says, or raise a ``DataError``."""
    match = re.fullmatch(r"(\w+?mnist(?:3d)?)(?:_(\d+))?", path.stem)
    if match is None or match[1] not in NAMES:
        raise DataError(
            f"{path}: not named like a file of MedMNIST, such as retinamnist.npz or retinamnist_64.npz; rename it"
        )
    return match[1], int(match[2] or 28)


def check(path: Path) -> Check:
    """Return the faults of a file of MedMNIST: its name, checksum, labels and images."""
    name: str | None = None
    try:
        name, size = named(path)
        source, spec = MedMNISTSource(name=name), DataSpec(name=name, root=str(path), size=size, on_bad="skip")
        with tempfile.TemporaryDirectory() as scratch:
            chosen = source.choose(spec, cache=Path(scratch))
        images = sum(1 for _ in chosen.images.make(chosen.items))
    except TransfusionError as error:
        return Check(path=path, name=name, images=0, problems=(str(error),), notes=())
    sheet = sheet_of_chosen(chosen, where=str(path))
    return Check(path=path, name=name, images=images, problems=sheet.left_out, notes=(), sheet=sheet)


SOURCES = {name: MedMNISTSource(name=name) for name in NAMES}
