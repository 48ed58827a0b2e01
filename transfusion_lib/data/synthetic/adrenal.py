"""Synthetic volumes: adrenal-like shapes of two limbs, normal or with a round mass; drawn, not anatomical.

Each volume is a pure function of (seed, index): a limb is a bent, tapering chain of balls, two of them meet at the
top, the whole is turned at random; a mass is a ball that sits on a limb, larger than the limb is thick.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

VERSION = 1  # raise when the same index would now give another volume
BALLS = 14  # of a limb
NORMAL, MASS = 0, 1


def label(seed: int, index: int) -> int:
    """Return whether volume ``index`` has a mass: half of them do."""
    return int(np.random.default_rng([seed, index, 0]).random() < 0.5)


def draw(seed: int, indices: Sequence[int], *, size: int) -> NDArray[np.uint8]:
    """Return volumes, uint8 (n, 1, size, size, size); their edge is 2, so a shape is the same at every size."""
    edges = (np.arange(size) + 0.5) / size * 2 - 1
    depth, height, width = np.meshgrid(edges, edges, edges, indexing="ij")
    grid = np.stack([depth, height, width], -1).astype(np.float32).reshape(-1, 3)
    volumes = [_volume(seed, index, grid, voxel=2 / size).reshape(1, size, size, size) for index in indices]
    return np.stack(volumes)


def _volume(seed: int, index: int, grid: NDArray[np.float32], *, voxel: float) -> NDArray[np.uint8]:
    """Return the share of each voxel inside the shape, in 0..255, edges a voxel wide."""
    centres, radii = _balls(seed, index)
    distance = np.full(len(grid), np.inf, np.float32)
    for centre, radius in zip(centres, radii, strict=True):
        distance = np.minimum(distance, np.sqrt(((grid - centre) ** 2).sum(1)) - radius)
    return np.asarray(255 * np.clip(0.5 - distance / voxel, 0, 1), np.uint8)


def _balls(seed: int, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return centres (balls, 3) and radii (balls,) of one shape."""
    generator = np.random.default_rng([seed, index, 1])
    angle = generator.uniform(0.35, 0.75)  # half of that between the limbs
    centres, radii = [], []
    for side in (-1, 1):
        length, bend = generator.uniform(0.8, 1.15), generator.uniform(-0.5, 0.5, 2)
        along = np.linspace(0, 1, BALLS)
        down = length * along - 0.5
        across = side * length * along * np.tan(angle) * 0.8 + bend[0] * (along - along**2)
        forward = bend[1] * (along**2 - along) + 0.1 * side
        centres.append(np.stack([forward, down, across], 1))
        radii.append(generator.uniform(0.11, 0.24) * (1.15 - 0.6 * along))
    where, thick = generator.integers(2), generator.uniform(0.26, 0.38)
    at = generator.integers(3, BALLS)
    if label(seed, index) == MASS:
        shift = generator.normal(size=3)
        seat = centres[where][at] + 0.6 * thick * shift / np.linalg.norm(shift)
        centres.append(seat[None])
        radii.append(np.array([thick]))
    turn, _ = np.linalg.qr(np.eye(3) + 0.35 * generator.normal(size=(3, 3)))  # a tilt, and either side of the body
    centre = np.concatenate(centres) @ turn.T + generator.uniform(-0.08, 0.08, 3)
    return centre.astype(np.float32), np.concatenate(radii).astype(np.float32)
