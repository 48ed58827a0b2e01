"""What the painters share: random numbers, spots and strokes, smooth noise, blur.

Pictures are drawn several at a time, so that numpy's cost per call is shared. ``b`` is the number of pictures in
the shapes below; a scene's scalar is (b, 1), its list of n things (b, n), a layer of its pictures (b, size, size).
All is elementwise numpy in float32 (no BLAS, no threads), so that a picture has the same bytes whoever draws it,
alone or in a crowd.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
"""float32 throughout: float64 would slip in unnoticed and be many times slower (np.maximum.at)."""
Bytes = NDArray[np.uint8]
REFERENCE = 587
"""Edge in pixels of the largest picture: the camera's own resolution, whose pixels carry the noise."""


def stream(*words: int) -> np.random.Generator:
    """Return the generator that belongs to ``words`` (seed, patient, purpose ...) and to nothing else."""
    return np.random.Generator(np.random.PCG64(words))


class Dice:
    """The numbers that scenes are made of: a fixed supply per picture, so that no picture depends on its neighbours."""

    def __init__(self, generators: Sequence[np.random.Generator], *, supply: int) -> None:
        self._numbers = np.stack([generator.random(supply, np.float32) for generator in generators])
        self._next = 0

    def uniform(self, low: float, high: float, *shape: int) -> Array:
        """Return numbers between ``low`` and ``high``, (b, 1) or (b, *shape)."""
        shape = shape or (1,)
        start, self._next = self._next, self._next + prod(shape)
        if self._next > self._numbers.shape[1]:
            raise IndexError(f"a scene needs {self._next} numbers, its supply is {self._numbers.shape[1]}")
        numbers: Array = self._numbers[:, start : self._next] * (high - low) + low
        return numbers.reshape(-1, *shape)

    def normal(self, sigma: float, *shape: int) -> Array:
        """Return numbers around 0 of standard deviation ``sigma``, (b, 1) or (b, *shape)."""
        far = np.sqrt(-2 * np.log(1 - self.uniform(0, 1, *shape)))  # Box and Muller
        numbers: Array = sigma * far * np.cos(self.uniform(0, 2 * np.pi, *shape))
        return numbers

    def chance(self, probability: float | Array) -> NDArray[np.bool_]:
        """Return True with ``probability``, (b, 1)."""
        return self.uniform(0, 1) < probability

    def either(self, probability: float, first: float, second: float) -> Array:
        """Return ``first`` with ``probability``, else ``second``, (b, 1)."""
        return np.where(self.chance(probability), np.float32(first), np.float32(second))

    def count(self, mean: Array) -> Array:
        """Return whole numbers around ``mean``, (b, 1), nearly Poisson."""
        return np.maximum(np.rint(mean + np.sqrt(mean) * self.normal(1)), 0)


class Static:
    """White noise for details as fine as pixels; each picture draws it from its own generator."""

    def __init__(self, generators: Sequence[np.random.Generator]) -> None:
        self._generators = generators

    def __len__(self) -> int:
        return len(self._generators)

    def take(self, *shape: int) -> Array:
        """Return (b, *shape) numbers of mean 0 and standard deviation 1."""
        n = prod(shape)
        raw = np.stack([generator.bit_generator.random_raw((n + 1) // 2) for generator in self._generators])
        numbers = np.bitwise_count(raw.view(np.uint32)[:, :n]).astype(np.float32)
        numbers -= 16  # a count of 32 coins: nearly normal, and fast
        numbers *= 8**-0.5
        return numbers.reshape(-1, *shape)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Where the scenes lie on square pictures of ``size`` pixels; arrays are (b, 1)."""

    size: int
    scale: Array
    """Pixels per unit of the scene."""
    x0: Array
    """Column of the scene's origin."""
    y0: Array
    """Row of the scene's origin."""
    flip: Array
    """-1 where the scene's x runs to the left: a left eye; otherwise 1."""

    def grid(self) -> tuple[Array, Array]:
        """Return the scene's coordinates of every pixel's centre: x as (b, 1, size) and y as (b, size, 1)."""
        steps = np.arange(self.size, dtype=np.float32)
        return ((steps - self.x0) / (self.scale * self.flip))[:, None, :], ((steps - self.y0) / self.scale)[:, :, None]


Spots = Array
"""Discs with soft edges, (6, n), the one brush (a vessel is a row of them, a lesion a heap): rows x, y, radius, width
of the edge (a pixel is the least), strength (the coverage at the centre, from 0 to 1), and number of the picture."""
Strokes = Array
"""Straight pieces of vessels, (8, n): rows x, y and radius at one end, then at the other, strength, and picture."""


def spots(
    x: Array,
    y: Array,
    radius: Array | float,
    *,
    soft: Array | float = 0.0,
    strength: Array | float = 1.0,
    exist: NDArray[np.bool_] | None = None,
) -> Spots:
    """Return spots at ``x`` and ``y``, (b, ...), where ``exist`` is True; all others broadcast to that shape."""
    out = np.empty((6, *x.shape), np.float32)
    picture = np.arange(len(x)).reshape(-1, *(1,) * (x.ndim - 1))
    for row, value in zip(out, (x, y, radius, soft, strength, picture), strict=True):
        row[...] = value
    return out.reshape(6, -1) if exist is None else out[:, np.broadcast_to(exist, x.shape)]


def strokes(x: Array, y: Array, radius: Array | float, strength: Array | float, *, within: float = 2.0) -> Strokes:
    """Return the pieces of lines, (points, b, lines), that begin in the disc of radius ``within`` and have strength."""
    line = np.stack(np.broadcast_arrays(x, y, np.float32(radius), np.float32(strength)))
    _, points, b, n = line.shape
    seen = (line[0] ** 2 + line[1] ** 2 < within**2)[:-1] & (line[3, 1:] > 0)
    at = np.flatnonzero(seen)
    line = line.reshape(4, points * b * n)
    return np.concatenate([line[:3, at], line[:, at + b * n], (at // n % b).astype(np.float32)[None]])


def join(*parts: Array) -> Array:
    """Return all spots, or all strokes, of ``parts``."""
    return np.concatenate(parts, axis=1)


def along(strokes: Strokes, frame: Frame) -> Spots:
    """Return the discs that draw ``strokes`` without gaps on ``frame``."""
    way, scale = strokes[3:6] - strokes[:3], frame.scale[strokes[7].astype(np.intp), 0]
    apart = np.maximum(0.8, np.sqrt(strokes[2] * scale))  # pixels: the edge of a wide one looks smooth all the same
    number = np.ceil(np.sqrt(way[0] * way[0] + way[1] * way[1]) * scale / apart)
    way /= number
    number = number.astype(np.intp)
    piece = np.repeat(np.arange(len(number)), number)
    nth = np.arange(len(piece)) - np.repeat(np.cumsum(number) - number, number)
    out = np.empty((6, len(piece)), np.float32)
    np.take(way, piece, axis=1, out=out[:3])
    out[:3] *= nth.astype(np.float32) + 0.5
    out[:3] += np.take(strokes[:3], piece, axis=1)
    out[3] = 0
    np.take(strokes[6:], piece, axis=1, out=out[4:])
    return out


def splat(parts: Spots, frame: Frame) -> Array:
    """Return the coverage, (b, size, size) from 0 to 1, of the union of spots.

    A spot smaller than a pixel covers the pixel in part.
    """
    x, y, scale = _pixels(parts, frame)
    half, soft = parts[2] * scale, np.maximum(parts[3] * scale, 1)
    reach = np.ceil(half + soft / 2).astype(np.intp)
    steps = _POWERS[np.minimum(reach, len(_POWERS) - 1)]  # few distinct patch sizes, each drawn at once
    seen = (x > -steps) & (x < frame.size - 1 + steps) & (y > -steps) & (y < frame.size - 1 + steps)
    different = np.flatnonzero(np.bincount(steps[seen]))
    margin = 2 * int(different.max(initial=1))
    edge = frame.size + 2 * margin
    canvas = np.zeros((len(frame.scale), edge, edge), np.float32)
    drawn = np.stack([x + margin, y + margin, half, soft, parts[4], parts[5]])
    for step in different.tolist():
        _stamp(canvas, step, np.compress(seen & (steps == step), drawn, axis=1))
    return canvas[:, margin:-margin, margin:-margin]


_POWERS = np.array([1, 1] + [1 << (k - 1).bit_length() for k in range(2, 1025)])
"""The least power of 2 that is no less than the index."""


def _stamp(canvas: Array, step: int, parts: Spots) -> None:
    """Draw spots of similar size, in pixels, onto ``canvas`` through patches of 2 ``step`` + 1 pixels."""
    x, y, half, soft, strength, picture = parts
    edge = canvas.shape[1]
    column, row = np.rint(x), np.rint(y)
    offsets = np.arange(-step, step + 1)
    dx, dy = offsets.astype(np.float32)[:, None] - (x - column), offsets.astype(np.float32)[:, None] - (y - row)
    cover = dx * dx + (dy * dy)[:, None]  # (patch, patch, n): the long axis last, where numpy is fast
    np.sqrt(cover, out=cover)
    slope = strength / soft
    cover *= -slope
    cover += half * slope + strength / 2
    np.minimum(cover, strength * np.minimum(2 * half / soft, 1), out=cover)
    middle = (picture.astype(np.intp) * edge + row.astype(np.intp)) * edge + column.astype(np.intp)
    place = (offsets[:, None] * edge + offsets)[:, :, None] + middle
    np.maximum.at(canvas.ravel(), place.ravel(), cover.ravel())  # what is negative, outside the disc, loses against 0


def mark(parts: Spots, cover: Array, frame: Frame) -> Bytes:
    """Return where ``cover``, the splat of spots, is above 0.3, and the pixel of every centre: masks in {0, 1}."""
    mask = (cover > 0.3).astype(np.uint8)
    x, y = (np.rint(place).astype(np.intp) for place in _pixels(parts, frame)[:2])
    seen = (x >= 0) & (x < frame.size) & (y >= 0) & (y < frame.size)
    mask[parts[5, seen].astype(np.intp), y[seen], x[seen]] = 1
    return mask


def _pixels(parts: Spots, frame: Frame) -> tuple[Array, Array, Array]:
    """Return column and row, with fractions, of the spots' centres, and the scale there; all (n,)."""
    of = parts[5].astype(np.intp)
    scale = frame.scale[of, 0]
    return parts[0] * scale * frame.flip[of, 0] + frame.x0[of, 0], parts[1] * scale + frame.y0[of, 0], scale


@lru_cache(maxsize=64)
def _spline(size: int, cells: int) -> tuple[NDArray[np.intp], Array]:
    """Return the first of four knots (size,) and the cubic B-spline weights (4, size, 1) of each pixel of an edge."""
    place = (np.arange(size, dtype=np.float64) + 0.5) * cells / size
    first = np.minimum(np.floor(place).astype(np.intp), cells - 1)
    t = place - first
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6
    return first, weights.astype(np.float32)[:, :, None]


def stretch(knots: Array, size: int) -> Array:
    """Return the smooth surfaces (b, size, size) over ``knots``, (b, cells + 3, cells + 3)."""
    first, weights = _spline(size, knots.shape[1] - 3)
    for _ in range(2):  # down the rows, then, transposed, down the columns
        total = knots[:, first] * weights[0]
        for k in range(1, 4):
            total += knots[:, first + k] * weights[k]
        knots = np.ascontiguousarray(total.transpose(0, 2, 1))
    return knots


def refine(knots: Array) -> Array:
    """Return the knots, (b, 2 cells + 3, 2 cells + 3), of the same surface with twice the cells."""
    for _ in range(2):  # along the rows, then, transposed, along the columns
        b, n, m = knots.shape
        fine = np.empty((b, 2 * n - 3, m), np.float32)
        fine[:, ::2] = (knots[:, :-1] + knots[:, 1:]) / 2
        fine[:, 1::2] = (knots[:, :-2] + 6 * knots[:, 1:-1] + knots[:, 2:]) / 8
        knots = fine.transpose(0, 2, 1)
    return knots


def noise(static: Static, size: int, *, coarsest: int, octaves: Sequence[float]) -> tuple[Array, float]:
    """Return (b, size, size) smooth noise, and its variance.

    It is the sum of ``octaves`` of these standard deviations, the first with ``coarsest`` cells along an edge, each
    further one with twice as many, without those too fine for the pixels.
    """
    knots, variance = np.zeros((len(static), coarsest + 3, coarsest + 3), np.float32), 0.0
    for k, sigma in enumerate(octaves):
        cells = coarsest << k
        white = static.take(cells + 3, cells + 3)
        if cells <= size / 2:
            knots = white * (sigma * 315 / 151) + (refine(knots) if k else 0)  # a spline of white noise has 151/315
            variance += sigma**2
    return stretch(knots, size), variance


def blur(picture: Array, sigma: float) -> Array:
    """Return ``picture`` (channels, height, width) under a Gaussian of ``sigma`` pixels, edges repeated."""
    reach = int(np.ceil(2.5 * sigma))
    weights = np.exp(-0.5 * (np.arange(reach + 1) / sigma) ** 2)
    weights = (weights / (2 * weights.sum() - 1)).astype(np.float32)
    for axis in (1, 2):
        wide = np.pad(picture, [(reach, reach) if a == axis else (0, 0) for a in range(3)], mode="edge")
        n = picture.shape[axis]
        windows = [wide[:, k : k + n] if axis == 1 else wide[:, :, k : k + n] for k in range(2 * reach + 1)]
        picture = windows[reach] * weights[0]
        for k in range(1, reach + 1):
            picture += (windows[reach - k] + windows[reach + k]) * weights[k]
    return picture


def smoothstep(low: Array | float, high: Array | float, value: Array) -> Array:
    """Return 0 below ``low``, 1 above ``high`` and a smooth rise between."""
    t = value - low
    t *= 1 / (high - low)
    np.minimum(np.maximum(t, 0, out=t), 1, out=t)
    rise: Array = t * -2
    rise += 3
    rise *= t
    rise *= t
    return rise


def bell(x: Array, y: Array, *, at: tuple[Array, Array], radius: float) -> Array:
    """Return Gaussian hills of height 1 and standard deviation ``radius`` around ``at``, from x and y of a grid."""
    k = -0.5 / radius**2
    hills: Array = np.exp((x - at[0][:, None]) ** 2 * k) * np.exp((y - at[1][:, None]) ** 2 * k)
    return hills


def to_bytes(picture: Array) -> Bytes:
    """Return ``picture``, from 0 to 1, as uint8; consumes it."""
    np.minimum(np.maximum(picture, 0, out=picture), 1, out=picture)
    picture *= 255
    return np.rint(picture, out=picture).astype(np.uint8)
