"""What the painters share: spots and strokes, smooth noise, blur, and the random streams.

Everything is elementwise numpy in float32 (no BLAS, no threads), so that a picture has the same bytes whoever
draws it, alone or in a crowd.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Shape = int | tuple[int, ...]
REFERENCE = 587
"""Edge in pixels of the largest picture: the camera's own resolution, whose pixels carry the noise."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Where the scene lies on a square picture of ``size`` pixels."""

    size: int
    scale: float
    """Pixels per unit of the scene."""
    x0: float
    """Column of the scene's origin."""
    y0: float
    """Row of the scene's origin."""
    flip: bool = False
    """The scene's x runs to the left: a left eye."""

    def grid(self) -> tuple[Array, Array]:
        """Return x as (1, size) and y as (size, 1): the scene's coordinates of every pixel's centre."""
        steps = np.arange(self.size, dtype=np.float32)
        x, y = (steps - self.x0) / self.scale, (steps - self.y0) / self.scale
        return (-x if self.flip else x)[None, :], y[:, None]


Spots = Array
"""Discs with soft edges, (5, n), the one brush (a vessel is a row of them, a lesion a heap): rows x, y, radius, width of
the edge (a pixel is the least), and strength, the coverage at the centre from 0 to 1."""
Strokes = Array
"""Straight pieces of vessels, (6, n): rows x, y and radius at one end, then at the other."""
NO_SPOTS: Spots = np.zeros((5, 0), np.float32)
NO_STROKES: Strokes = np.zeros((6, 0), np.float32)


def spots(
    x: Array, y: Array, radius: Array | float, *, soft: Array | float = 0.0, strength: Array | float = 1.0
) -> Spots:
    """Return spots at ``x`` and ``y``, of any one shape; the others broadcast to it."""
    out = np.empty((5, *x.shape), np.float32)
    for row, value in zip(out, (x, y, radius, soft, strength), strict=True):
        row[...] = value
    return out.reshape(5, -1)


def join(*parts: Array) -> Array:
    """Return all spots, or all strokes, of ``parts``."""
    return np.concatenate(parts, axis=1)


def along(strokes: Strokes, frame: Frame) -> Spots:
    """Return the discs that draw ``strokes`` without gaps on ``frame``."""
    start, way = strokes[:3], strokes[3:] - strokes[:3]
    number = np.ceil(np.sqrt(way[0] * way[0] + way[1] * way[1]) * (frame.scale / 0.8)).astype(np.intp)
    piece = np.repeat(np.arange(len(number)), number)
    nth = np.arange(len(piece)) - np.repeat(np.cumsum(number) - number, number)
    share = (nth.astype(np.float32) + 0.5) / number.astype(np.float32)[piece]
    x, y, radius = start[:, piece] + way[:, piece] * share
    return spots(x, y, radius)


def stream(*words: int) -> np.random.Generator:
    """Return the generator that belongs to ``words`` (seed, patient, purpose ...) and to nothing else."""
    return np.random.Generator(np.random.PCG64(words))


def uniform(rng: np.random.Generator, low: float, high: float, shape: Shape) -> Array:
    """Return float32 numbers between ``low`` and ``high``."""
    return rng.random(shape, np.float32) * (high - low) + low


def normal(rng: np.random.Generator, sigma: float, shape: Shape) -> Array:
    """Return float32 numbers around 0 of standard deviation ``sigma``."""
    return rng.standard_normal(shape, np.float32) * sigma


def splat(parts: Spots, frame: Frame) -> Array:
    """Return the (size, size) coverage, from 0 to 1, of the union of spots.

    A spot smaller than a pixel covers the pixel in part.
    """
    x, y = _pixels(parts, frame)
    half, soft = parts[2] * frame.scale, np.maximum(parts[3] * frame.scale, 1)
    reach = np.maximum(np.ceil(half + soft / 2), 1)
    steps = np.exp2(np.ceil(np.log2(reach))).astype(np.intp)  # few distinct patch sizes, each drawn at once
    seen = (x > -steps) & (x < frame.size - 1 + steps) & (y > -steps) & (y < frame.size - 1 + steps)
    margin = 2 * int(steps.max(initial=1, where=seen))
    edge = frame.size + 2 * margin
    canvas = np.zeros(edge * edge, np.float32)
    drawn = np.stack([x + margin, y + margin, half, soft, parts[4]])
    for step in set(steps[seen].tolist()):
        _stamp(canvas, edge, step, drawn[:, seen & (steps == step)])
    return canvas.reshape(edge, edge)[margin:-margin, margin:-margin]


def _stamp(canvas: Array, edge: int, step: int, parts: Spots) -> None:
    """Draw spots of similar size, in pixels, onto the flat ``canvas`` through patches of 2 ``step`` + 1 pixels."""
    x, y, half, soft, strength = parts
    column, row = np.rint(x), np.rint(y)
    offsets = np.arange(-step, step + 1)
    dx, dy = offsets.astype(np.float32)[:, None] - (x - column), offsets.astype(np.float32)[:, None] - (y - row)
    cover = (dx * dx) + (dy * dy)[:, None]  # (patch, patch, n): the long axis last, where numpy is fast
    np.sqrt(cover, out=cover)
    slope = strength / soft
    cover *= -slope
    cover += half * slope + strength / 2
    np.minimum(cover, strength * np.minimum(2 * half / soft, 1), out=cover)
    place = (offsets[:, None] * edge + offsets)[:, :, None] + (row * edge + column).astype(np.intp)
    np.maximum.at(canvas, place.ravel(), cover.ravel())  # what is negative, outside the disc, loses against 0


def mark(parts: Spots, cover: Array, frame: Frame) -> NDArray[np.uint8]:
    """Return where ``cover``, the splat of spots, is above 0.3, and the pixel of every centre: a mask in {0, 1}."""
    mask = (cover > 0.3).astype(np.uint8)
    x, y = (np.rint(place).astype(np.intp) for place in _pixels(parts, frame))
    seen = (x >= 0) & (x < frame.size) & (y >= 0) & (y < frame.size)
    mask[y[seen], x[seen]] = 1
    return mask


def _pixels(parts: Spots, frame: Frame) -> tuple[Array, Array]:
    """Return column and row, with fractions, of the spots' centres."""
    return parts[0] * (-frame.scale if frame.flip else frame.scale) + frame.x0, parts[1] * frame.scale + frame.y0


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
    for _ in range(2):  # down the rows, then, transposed, down the columns
        total = knots[first] * weights[0][:, None]
        for k in range(1, 4):
            total += knots[first + k] * weights[k][:, None]
        knots = np.ascontiguousarray(total.T)
    return knots


def noise(rng: np.random.Generator, size: int, *, octaves: Mapping[int, float]) -> Array:
    """Return (size, size) smooth noise: the sum of ``octaves``, cells along an edge (ascending) -> standard deviation.

    Octaves too fine for the pixels are left out; being the last, they change nothing in those before.
    """
    total = np.zeros((size, size), np.float32)
    for cells, sigma in octaves.items():
        if cells <= size / 2:
            total += stretch(normal(rng, sigma * 315 / 151, (cells + 3, cells + 3)), size)  # a spline alone has 151/315
    return total


def grain(rng: np.random.Generator, shape: tuple[int, int, int], *, sigma: float) -> Array:
    """Return a camera's noise: ``sigma`` at the reference size, less where pixels are pooled."""
    bits = np.bitwise_count(rng.bit_generator.random_raw(int(np.prod(shape))))  # binomial(64, 1/2): nearly normal, fast
    return (bits.astype(np.float32).reshape(shape) - 32) * (sigma * min(1.0, shape[-1] / REFERENCE) / 4)


def blur(picture: Array, sigma: float) -> Array:
    """Return ``picture`` (channels, height, width) under a Gaussian of ``sigma`` pixels, edges repeated."""
    if sigma < 0.25:
        return picture
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


def smoothstep(low: float, high: float, value: Array) -> Array:
    """Return 0 below ``low``, 1 above ``high`` and a smooth rise between."""
    t = np.minimum(np.maximum((value - low) * (1 / (high - low)), 0), 1)
    return t * t * (3 - 2 * t)


def bell(x: Array, y: Array, *, at: tuple[float, float], radius: float) -> Array:
    """Return a Gaussian hill of height 1 and standard deviation ``radius`` around ``at``, from x (1, w) and y (h, 1)."""
    k = -0.5 / radius**2
    return np.exp((x - at[0]) ** 2 * k) * np.exp((y - at[1]) ** 2 * k)


def to_bytes(picture: Array) -> NDArray[np.uint8]:
    """Return ``picture``, from 0 to 1, as uint8."""
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
