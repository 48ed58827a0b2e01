"""Trees of blood vessels: winding paths that leave a point, turn, thin out and branch. All of a kind grow at once."""

from typing import NamedTuple

import numpy as np

from transfusion_lib.data.synthetic.canvas import Array, Dice, Strokes, strokes


class Roots(NamedTuple):
    """Where paths begin and where they go; all (b, paths) or broadcast to it.

    Angles in radians, 0 to the right, growing downwards.
    """

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
    strength: Array
    """Of the paths' colour; 0 from where a path meets what it must avoid, and for all that branches off behind."""


class Paths(NamedTuple):
    """Winding lines, arrays (points, b, paths)."""

    x: Array
    y: Array
    heading: Array
    radius: Array
    strength: Array

    def strokes(self) -> Strokes:
        """Return the pieces that have strength and begin in the disc of radius 1.1."""
        return strokes(self.x, self.y, self.radius, self.strength, within=1.1)


def grow(
    dice: Dice,
    roots: Roots,
    *,
    points: int,
    winding: float = 0.14,
    rates: tuple[float, float] = (5, 22),
    avoid: tuple[Array, Array, float] | None = None,
) -> Paths:
    """Return paths of ``points`` points from ``roots``.

    ``winding`` is the amplitude in radians of two sine waves along each path, of ``rates`` radians per unit;
    ``avoid`` is a disc (x, y, radius) that ends a path.
    """
    roots = Roots(*np.broadcast_arrays(*roots))
    n = roots.x.shape[1]
    share = np.linspace(0, 1, points, dtype=np.float32)[:, None, None]
    s = share * roots.length
    waves = [np.sin(dice.uniform(*rates, n) * s + dice.uniform(0, 6.2832, n)) for _ in range(2)]
    heading = roots.far + (roots.heading - roots.far) * np.exp(-s / roots.turn) + winding * (waves[0] + waves[1])
    step = roots.length / (points - 1)
    x = np.concatenate([roots.x[None], np.cos(heading[:-1]) * step]).cumsum(axis=0)
    y = np.concatenate([roots.y[None], np.sin(heading[:-1]) * step]).cumsum(axis=0)
    strength = np.broadcast_to(roots.strength, x.shape)
    if avoid is not None:
        free = (x - avoid[0]) ** 2 + (y - avoid[1]) ** 2 > avoid[2] ** 2
        strength = np.logical_and.accumulate(free, axis=0) * strength
    return Paths(x, y, heading, roots.radius * (1 - 0.55 * share), strength)


def sprout(dice: Dice, paths: Paths, *, each: int, length: tuple[float, float]) -> Roots:
    """Return the roots of ``each`` branches per path, on alternate sides, shorter and thinner towards its end."""
    points, b, n = paths.x.shape
    order = np.arange(each)[:, None]
    share = (order.astype(np.float32) + dice.uniform(0.3, 1.2, each, n)) / (each + 0.5)
    point = np.minimum((share * points).astype(np.intp) + 1, points - 1)
    at = point * (b * n) + np.arange(b * n).reshape(b, 1, n)
    side = 1 - 2 * ((order + (dice.uniform(0, 1, 1, n) < 0.5)) % 2).astype(np.float32)
    x, y, heading, radius, strength = (part.ravel()[at] for part in paths)
    roots = (
        x,
        y,
        heading + side * dice.uniform(0.5, 1.0, each, n),
        heading + side * dice.uniform(-0.1, 0.65, each, n),
        dice.uniform(0.06, 0.16, each, n),
        dice.uniform(*length, each, n) * (1 - 0.4 * share),
        radius * dice.uniform(0.45, 0.75, each, n),
        strength,
    )
    return Roots(*(part.reshape(b, -1) for part in roots))
