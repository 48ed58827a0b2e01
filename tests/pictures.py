"""Small data sets made for tests: pictures, tables, folders and zips."""

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def gradient(seed: int = 0, *, size: int = 24) -> NDArray[np.uint8]:
    """Return a smooth colour picture (size, size, 3), another one for each seed."""
    across, down = np.meshgrid(np.linspace(0, 1, size), np.linspace(0, 1, size))
    phase = np.random.default_rng(seed).uniform(0, 6.28, 3)
    waves = [0.5 + 0.3 * np.sin(4 * across + phase[k]) + 0.2 * np.cos(3 * down + 2 * phase[k]) for k in range(3)]
    return (255 * np.stack(waves, -1)).clip(0, 255).astype(np.uint8)


def encoded(pixels: NDArray[np.generic] | Image.Image, form: str = "PNG", **options: object) -> bytes:
    """Return a picture as the bytes of a file."""
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    target = io.BytesIO()
    picture.save(target, form, **options)
    return target.getvalue()


def png(seed: int = 0, *, size: int = 24) -> bytes:
    """Return a small colour PNG, another one for each seed."""
    return encoded(gradient(seed, size=size))


def twins() -> tuple[bytes, bytes]:
    """Return two BMP files of one size and one CRC-32 whose pixels differ."""
    first = encoded(np.frombuffer(b"plumless" * 32, np.uint8).reshape(16, 16), "BMP")
    second = first[:-8] + b"buckeroo"
    assert zlib.crc32(first) == zlib.crc32(second)
    return first, second


def write_files(root: Path, files: Mapping[str, bytes | str]) -> Path:
    """Write ``files`` below ``root`` and return it."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def write_zip(path: Path, files: Mapping[str, bytes | str]) -> Path:
    """Write ``files`` as a zip and return its path."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def class_folders(*, per_class: int = 20, classes: tuple[str, ...] = ("cat", "dog")) -> dict[str, bytes | str]:
    """Return a picture folder with ``per_class`` different pictures in each class."""
    return {
        f"{name}/{index:03d}.png": png(1000 * number + index)
        for number, name in enumerate(classes)
        for index in range(per_class)
    }
