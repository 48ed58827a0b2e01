"""Trees of blood vessels: winding paths that leave a point, turn, thin out and branch. All of a kind grow at once."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from transfusion_lib.synthetic.canvas import Array, Strokes, uniform


class Roots(NamedTuple):
    """Where paths begin and where they go; all (paths,). Angles in radians, 0 to the right, growing downwards."""

    x: Array
    y: Array
    heading: Array
    """Angle at the root."""
    far: Array
    """Angle far away."""
    turn: Array
    """Length over which most of the turn is made."""
    length: Array
    radius: Array
    alive: NDArray[np.bool_]


class Paths(NamedTuple):
    """Winding lines, arrays (points, paths)."""

    x: Array
    y: Array
    heading: Array
    radius: Array
    alive: NDArray[np.bool_]
    """False from where a path meets what it must avoid, and for all that branches off behind."""

    def strokes(self) -> Strokes:
        """Return the pieces that are alive and begin in the disc of radius 1.1."""
        seen = (self.x * self.x + self.y * self.y < 1.21)[:-1] & self.alive[1:]
        lines = np.stack([self.x, self.y, self.radius])
        return np.concatenate([lines[:, :-1][:, seen], lines[:, 1:][:, seen]])


def grow(
    rng: np.random.Generator,
    roots: Roots,
    *,
    points: int,
    winding: float = 0.14,
    rates: tuple[float, float] = (5, 22),
    avoid: tuple[float, float, float] | None = None,
) -> Paths:
    """Return paths of ``points`` points from ``roots``.

    ``winding`` is the amplitude in radians of two sine waves along each path, of ``rates`` radians per unit;
    ``avoid`` is a disc (x, y, radius) that ends a path.
    """
    share = np.linspace(0, 1, points, dtype=np.float32)[:, None]
    s = share * roots.length
    phase, rate = uniform(rng, 0, 6.2832, (2, 1, len(roots.x))), uniform(rng, *rates, (2, 1, len(roots.x)))
    waves = np.sin(rate * s + phase)
    heading = roots.far + (roots.heading - roots.far) * np.exp(-s / roots.turn) + winding * (waves[0] + waves[1])
    step = roots.length / (points - 1)
    x = np.concatenate([roots.x[None], np.cos(heading[:-1]) * step]).cumsum(axis=0)
    y = np.concatenate([roots.y[None], np.sin(heading[:-1]) * step]).cumsum(axis=0)
    alive = np.repeat(roots.alive[None], points, axis=0)
    if avoid is not None:
        alive &= (x - avoid[0]) ** 2 + (y - avoid[1]) ** 2 > avoid[2] ** 2
        alive = np.logical_and.accumulate(alive, axis=0)
    return Paths(x, y, heading, roots.radius * (1 - 0.55 * share), alive)


def sprout(rng: np.random.Generator, paths: Paths, *, each: int, length: tuple[float, float]) -> Roots:
    """Return the roots of ``each`` branches per path, on alternate sides, shorter and thinner towards its end."""
    points, n = paths.x.shape
    order = np.arange(each)[:, None]
    share = (order.astype(np.float32) + uniform(rng, 0.3, 1.2, (each, n))) / (each + 0.5)
    at = np.minimum((share * points).astype(np.intp) + 1, points - 1) * n + np.arange(n)
    side = 1 - 2 * ((order + rng.integers(0, 2, n)) % 2).astype(np.float32)
    x, y, heading, radius, alive = (part.ravel()[at] for part in paths)
    roots = (
        x,
        y,
        heading + side * uniform(rng, 0.5, 1.0, (each, n)),
        heading + side * uniform(rng, -0.1, 0.65, (each, n)),
        uniform(rng, 0.06, 0.16, (each, n)),
        uniform(rng, *length, (each, n)) * (1 - 0.4 * share),
        radius * uniform(rng, 0.45, 0.75, (each, n)),
    )
    return Roots(*(part.ravel() for part in roots), alive=alive.ravel())
