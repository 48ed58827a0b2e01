"""What the measures return, and what independent data would give: the floor to draw beside every bar."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from transfusion_lib.errors import MeasureError

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CCA:
    """Canonical correlations of two layers."""

    coefficients: Vector
    """Descending, in [0, 1]; as many as the smaller rank."""
    n: int
    """Samples."""
    ranks: tuple[int, int]
    """Dimensions that each side spans (for SVCCA: that were kept)."""

    @property
    def mean(self) -> float:
        """Mean of all coefficients."""
        return float(self.coefficients.mean())

    @property
    def mean_98(self) -> float:
        """Mean of the leading coefficients that make up 98 % of their sum, as google/svcca reports it."""
        return mean_98(self.coefficients)

    @property
    def floor(self) -> float:
        """``mean`` expected of independent data of this n and these ranks."""
        return float(self.expected.mean())

    @property
    def floor_98(self) -> float:
        """``mean_98`` expected of independent data of this n and these ranks."""
        return mean_98(self.expected)

    @cached_property
    def expected(self) -> Vector:
        """The coefficients expected of independent data of this n and these ranks, descending."""
        return expected_coefficients(self.n, *self.ranks)

    @property
    def forced(self) -> int:
        """How many coefficients are 1 whatever the data: two spaces too large for n samples must meet."""
        return max(0, sum(self.ranks) - (self.n - 1))


@dataclass(frozen=True, eq=False)
class PWCCA(CCA):
    """Canonical correlations, and how much of x each canonical direction accounts for."""

    weights: Vector
    """One per coefficient, summing to 1."""

    @property
    def value(self) -> float:
        """The weighted mean of the coefficients (Morcos et al. 2018). Its expectation is ``floor``."""
        return float(self.weights @ self.coefficients)


@dataclass(frozen=True)
class Similarity:
    """One number and what independent data would give."""

    value: float
    floor: float
    n: int
    """Samples."""


def expected_coefficients(n: int, d_x: int, d_y: int) -> Vector:
    """Return the canonical correlations expected of independent normal data, descending, min(d_x, d_y) of them.

    Midpoint quantiles of Wachter's limiting law (1980) of the squared correlations; for one against d the exact
    mean of the root of a beta variable. ``n`` counts samples before centring. The mean is within 1 % of simulation;
    where the smaller dimension is 2 to 4, at most 4 % above it.
    """
    free = n - 1  # centring takes one
    small, large = sorted((min(d_x, free), min(d_y, free)))
    if small < 1:
        raise MeasureError(f"similarity of {n} samples and {min(d_x, d_y)} dimensions: need 2 samples and 1 dimension")
    forced = max(0, small + large - free)
    rest = small - forced
    if rest == 0:
        return np.ones(small)
    if small == 1:
        ratio = math.lgamma((large + 1) / 2) + math.lgamma(free / 2)
        return np.array([math.exp(ratio - math.lgamma(large / 2) - math.lgamma((free + 1) / 2))])
    a, b = small / free, large / free
    low, high = ((math.sqrt(a * (1 - b)) + sign * math.sqrt(b * (1 - a))) ** 2 for sign in (-1, 1))
    angle = (np.arange(20_000) + 0.5) / 20_000 * math.pi
    squared = (low + high) / 2 - (high - low) / 2 * np.cos(angle)
    mass = np.sin(angle) ** 2 / (squared * (1 - squared))  # the density, in the angle; its constant cancels
    share = (np.cumsum(mass) - mass / 2) / mass.sum()
    quantiles = np.interp((np.arange(rest) + 0.5) / rest, share, np.sqrt(squared))
    return np.concatenate([np.ones(forced), quantiles[::-1]])


def random_nuclear_norm(x: Vector, y: Vector, *, free: int) -> float:
    """Return the nuclear norm expected of the cross products of independent data with these singular values.

    The bases of independent data have inner products that are near normal with variance 1 / ``free``; where they
    are not (few samples), they are drawn as such bases. The norm hardly varies, so fixed draws are a quadrature.
    """
    draws = max(1, 400 // (len(x) + len(y)))
    generator = np.random.default_rng(0)
    if free <= 4 * (len(x) + len(y)):
        inner = np.linalg.qr(generator.standard_normal((draws, free, len(y))))[0][:, : len(x)]
    else:
        inner = generator.standard_normal((draws, len(x), len(y))) / math.sqrt(free)
    return float(np.linalg.svd(x[:, None] * inner * y, compute_uv=False).sum(-1).mean())


def mean_98(coefficients: Vector) -> float:
    """Return the mean of the fewest leading coefficients that hold 98 % of their sum."""
    share = np.cumsum(coefficients) / max(float(coefficients.sum()), np.finfo(np.float64).tiny)
    count = int(np.searchsorted(share, 0.98 * (1 - 1e-12))) + 1
    return float(coefficients[:count].mean())
