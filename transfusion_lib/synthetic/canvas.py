"""What both painters share: spots, smooth noise, blur, and the random streams.

Everything is elementwise numpy in float32 (no BLAS, no threads), so that a picture has the same bytes whoever
draws it, alone or in a crowd.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import lru_cache
from statistics import NormalDist
from typing import Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
NORMAL = NormalDist()
REFERENCE = 587
"""Edge in pixels of the largest picture: the camera's own resolution, whose pixels carry the noise."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Where the scene lies on the picture: a square of ``size`` pixels, ``scale`` pixels per unit."""

    size: int
    scale: float
    x0: float
    """Column of the scene's origin."""
    y0: float

    def grid(self) -> tuple[Array, Array]:
        """Return x as (1, size) and y as (size, 1): the scene's coordinates of every pixel's centre."""
        steps = np.arange(self.size, dtype=np.float32)
        return ((steps - self.x0) / self.scale)[None, :], ((steps - self.y0) / self.scale)[:, None]


@dataclass(frozen=True, kw_only=True)
class Spots:
    """Discs with soft edges, the one brush: a vessel is a row of them, a lesion a heap. All arrays are (n,)."""

    x: Array
    """To the right, in units of the scene."""
    y: Array
    """Downwards."""
    radius: Array
    soft: Array
    """Width of the edge; the pixel's own width is the least."""
    strength: Array
    """Coverage at the centre, from 0 to 1."""

    def __len__(self) -> int:
        return len(self.x)

    @classmethod
    def of(cls, x: Array, y: Array, radius: Array | float, *, soft: Array | float = 0.0, strength: Array | float = 1.0) -> Self:
        """Return spots from arrays and scalars of broadcastable shapes."""
        parts = np.broadcast_arrays(x, y, radius, soft, strength)
        return cls(**{f.name: np.ravel(part).astype(np.float32) for f, part in zip(fields(cls), parts, strict=True)})

    @classmethod
    def join(cls, parts: Iterable[Self]) -> Self:
        """Return all spots of ``parts`` as one heap."""
        parts = list(parts)
        return cls(**{f.name: np.concatenate([getattr(p, f.name) for p in parts] or [_NONE]) for f in fields(cls)})

    def take(self, index: NDArray[np.bool_] | NDArray[np.intp]) -> Self:
        """Return the spots at ``index``."""
        return type(self)(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


@dataclass(frozen=True, kw_only=True)
class Strokes:
    """Straight pieces of vessels, from one point and radius to another. All arrays are (n,), in units of the scene."""

    x0: Array
    y0: Array
    x1: Array
    y1: Array
    r0: Array
    r1: Array

    def spots(self, frame: Frame) -> Spots:
        """Return the discs that draw the strokes without gaps on ``frame``."""
        length = np.hypot(self.x1 - self.x0, self.y1 - self.y0) * np.float32(frame.scale)
        number = np.maximum(np.ceil(length / 0.7), 1).astype(np.intp)
        piece = np.repeat(np.arange(len(number)), number)
        step = np.arange(len(piece)) - np.repeat(np.cumsum(number) - number, number)
        t = ((step + 0.5) / number[piece]).astype(np.float32)
        x, y, r = (a[piece] * (1 - t) + b[piece] * t for a, b in ((self.x0, self.x1), (self.y0, self.y1), (self.r0, self.r1)))
        return Spots.of(x, y, r)

    def take(self, index: NDArray[np.bool_]) -> Self:
        """Return the strokes at ``index``."""
        return type(self)(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    @classmethod
    def join(cls, parts: Iterable[Self]) -> Self:
        """Return all strokes of ``parts``."""
        parts = list(parts)
        return cls(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)})


_NONE = np.zeros(0, np.float32)
NO_SPOTS = Spots(x=_NONE, y=_NONE, radius=_NONE, soft=_NONE, strength=_NONE)


def stream(*words: int) -> np.random.Generator:
    """Return the generator that belongs to ``words`` (seed, patient, purpose ...) and to nothing else."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))


def splat(spots: Spots, frame: Frame, *, mask: bool = False) -> Array:
    """Return the (size, size) coverage, from 0 to 1, of the union of ``spots``.

    A spot smaller than a pixel covers the pixel in part. With ``mask`` each spot covers at least the pixel that its
    centre falls in, wholly.
    """
    canvas = np.zeros(frame.size * frame.size, np.float32)
    x, y = spots.x * np.float32(frame.scale) + np.float32(frame.x0), spots.y * np.float32(frame.scale) + np.float32(frame.y0)
    half = spots.radius * np.float32(frame.scale)
    soft = np.maximum(spots.soft * np.float32(frame.scale), 1)
    reach = np.ceil(half + soft / 2).astype(np.intp)
    seen = (x > -reach) & (x < frame.size + reach) & (y > -reach) & (y < frame.size + reach)
    steps = 1 << np.ceil(np.log2(np.maximum(reach, 1))).astype(np.intp)
    for step in np.unique(steps[seen]):
        at = np.flatnonzero(seen & (steps == step))
        _stamp(canvas, frame.size, step, x[at], y[at], half[at], soft[at], spots.strength[at], mask)
    return canvas.reshape(frame.size, frame.size)


def _stamp(
    canvas: Array, size: int, step: int, x: Array, y: Array, half: Array, soft: Array, strength: Array, mask: bool
) -> None:
    """Draw discs of similar size, (n,) each, onto the flat ``canvas`` through patches of 2 ``step`` + 1 pixels."""
    offsets = np.arange(-step, step + 1)
    columns, rows = np.rint(x).astype(np.intp)[:, None] + offsets, np.rint(y).astype(np.intp)[:, None] + offsets
    dx, dy = columns - x[:, None], rows - y[:, None]
    distance = np.sqrt((dx * dx)[:, None, :] + (dy * dy)[:, :, None], dtype=np.float32)
    inside = ((columns >= 0) & (columns < size))[:, None, :] & ((rows >= 0) & (rows < size))[:, :, None]
    if mask:
        cover = (distance <= np.maximum(half, np.float32(0.71))[:, None, None]).astype(np.float32)
    else:
        peak = np.minimum(2 * half / soft, 1)  # a disc of less than a pixel covers part of it
        cover = np.clip((half[:, None, None] - distance) / soft[:, None, None] + np.float32(0.5), 0, peak[:, None, None])
        cover *= strength[:, None, None]
    place = rows[:, :, None] * size + columns[:, None, :]
    np.maximum.at(canvas, place[inside], cover[inside])


@lru_cache(maxsize=64)
def _spline(size: int, cells: int) -> tuple[NDArray[np.intp], Array]:
    """Return the first of four knots (size,) and the cubic B-spline weights (4, size) of each pixel of an edge."""
    place = (np.arange(size, dtype=np.float64) + 0.5) * cells / size
    first = np.minimum(np.floor(place).astype(np.intp), cells - 1)
    t = place - first
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6
    return first, weights.astype(np.float32)


def stretch(knots: Array, size: int) -> Array:
    """Return the (size, size) smooth surface over ``knots``, (cells + 3, cells + 3)."""
    first, weights = _spline(size, len(knots) - 3)
    tall = sum((weights[k][:, None] * knots[first + k] for k in range(4)), np.float32(0))
    tall = np.ascontiguousarray(tall.T)
    return np.asarray(sum((weights[k][:, None] * tall[first + k] for k in range(4)), np.float32(0)).T)


def noise(rng: np.random.Generator, size: int, *, octaves: dict[int, float]) -> Array:
    """Return (size, size) smooth noise: the sum of ``octaves``, cells along an edge (ascending) -> standard deviation.

    Octaves too fine for the pixels are left out; being the last, they change nothing in those before.
    """
    total = np.zeros((size, size), np.float32)
    for cells, sigma in octaves.items():
        if cells <= size / 2:
            knots = rng.standard_normal((cells + 3, cells + 3), np.float32)
            total += stretch(knots * np.float32(sigma / 0.4794), size)  # the spline alone has deviation 151/315
    return total


def grain(rng: np.random.Generator, channels: int, size: int, *, sigma: float) -> Array:
    """Return the camera's (channels, size, size) noise: ``sigma`` at the reference size, less where pixels are pooled."""
    return rng.standard_normal((channels, size, size), np.float32) * np.float32(sigma * min(1.0, size / REFERENCE))


def blur(picture: Array, sigma: float) -> Array:
    """Return ``picture`` (channels, height, width) under a Gaussian of ``sigma`` pixels, edges repeated."""
    reach = int(np.ceil(3 * sigma))
    if sigma < 0.2 or reach == 0:
        return picture
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    for axis in (1, 2):
        padding = [(reach, reach) if a == axis else (0, 0) for a in range(3)]
        wide = np.pad(picture, padding, mode="edge")
        n = picture.shape[axis]
        parts = (wide.take(range(k, k + n), axis=axis) if axis == 1 else wide[:, :, k : k + n] for k in range(2 * reach + 1))
        picture = sum((w * part for w, part in zip(weights, parts, strict=True)), np.float32(0))
    return picture


def smoothstep(low: float, high: float, value: Array) -> Array:
    """Return 0 below ``low``, 1 above ``high`` and a smooth rise between."""
    t = np.clip((value - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
    return t * t * (3 - 2 * t)


def bell(x: Array, y: Array, *, at: tuple[float, float], radius: float) -> Array:
    """Return a Gaussian hill of height 1 and standard deviation ``radius`` around ``at``."""
    return np.exp(((x - at[0]) ** 2) * np.float32(-0.5 / radius**2)) * np.exp(((y - at[1]) ** 2) * np.float32(-0.5 / radius**2))


def to_bytes(picture: Array) -> NDArray[np.uint8]:
    """Return ``picture``, from 0 to 1, as uint8."""
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
