"""The measures on activations that never fit in memory: one pass, chunk by chunk."""

import math
from collections.abc import Iterable, Mapping
from itertools import combinations, pairwise
from typing import Self

import torch
from torch import Tensor

from transfusion_lib.analysis.similarity.algebra import (
    RANK_TOLERANCE,
    Array,
    Overlap,
    deviations,
    matrix,
    numerical_rank,
    reciprocal,
    rounding,
    to_numpy,
)
from transfusion_lib.analysis.similarity.results import CCA, PWCCA, Similarity, Vector, random_nuclear_norm
from transfusion_lib.errors import MeasureError, unknown

_ROWS = 8192  # rows of float64 scratch while streaming: 64 MiB at d = 1,024
_COLUMN_BLOCKS = 4  # a symmetric product computed in this many block rows costs 5/8 of a full one


class Moments:
    """Counts, sums and cross products of several layers on the same samples, gathered chunk by chunk in one pass.

    Memory is that of the cross products, 8 d_a d_b bytes a pair, whatever the number of samples. Everything is
    float64 (float32 products lose the small directions that CCA whitens) and shifted by the first chunk's mean, so
    that a large mean costs no digits. A layer's whitening is computed once and shared by all its pairs.

    ``Moments().update(a=xa, b=xb)`` for each chunk; then ``.cca("a", "b")`` and so on, at any time. Of many layers
    name the ``pairs`` that will be asked for: products of others are then not computed.
    """

    def __init__(self, *, pairs: Iterable[tuple[str, str]] | None = None) -> None:
        self.n = 0
        """Samples so far."""
        self._pairs = None if pairs is None else list(dict.fromkeys(pairs))
        self._shift: dict[str, Tensor] = {}
        self._epsilon: dict[str, float] = {}
        self._sum: dict[str, Tensor] = {}
        self._products: dict[tuple[str, str], Tensor] = {}
        # Of the rows' squared norms, for debiased CKA: their products, and their products with the activations.
        self._norms = torch.empty(0)
        self._by_norm: dict[str, Tensor] = {}
        self._whitened: dict[str, tuple[Tensor, Tensor]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The layers, in the order of the first chunk."""
        return tuple(self._shift)

    def update(self, chunk: Mapping[str, Array] | None = None, /, **layers: Array) -> Self:
        """Add samples: a mapping (or keywords) from each layer's name to its activations (rows, d)."""
        named = {**(chunk or {}), **layers}
        tensors = {name: matrix(values, name=name, rows=1) for name, values in named.items()}
        rows = {len(values) for values in tensors.values()}
        if len(rows) != 1:
            sizes = ", ".join(f"{name} {len(values)}" for name, values in tensors.items())
            raise MeasureError(f"layers of one chunk must have the same samples, got {sizes or 'no layer'}")
        if not self._shift:
            self._start(tensors)
        self._check(tensors)
        for start in range(0, rows.pop(), _ROWS):
            self._add({name: values[start : start + _ROWS].double() for name, values in tensors.items()})
        self._whitened.clear()
        return self

    def cca(self, x: str, y: str) -> CCA:
        """Return the canonical correlations of two layers; see ``similarity.cca``."""
        return self._pair(x, y).cca()

    def svcca(self, x: str, y: str, *, keep: float = 0.99) -> CCA:
        """Return the canonical correlations of leading components; see ``similarity.svcca``."""
        return self._pair(x, y).svcca(keep=keep)

    def pwcca(self, x: str, y: str) -> PWCCA:
        """Return the canonical correlations weighted by x; see ``similarity.pwcca``."""
        return self._pair(x, y).pwcca()

    def cka(self, x: str, y: str, *, debiased: bool = False) -> Similarity:
        """Return the linear CKA of all samples so far; see ``similarity.cka``. Exact, not a mean over chunks."""
        if debiased:
            self._varying(x), self._varying(y)
            cross, own_x, own_y = (self._unbiased_hsic(*pair) for pair in ((x, y), (x, x), (y, y)))
            if min(own_x, own_y) <= 0:
                raise MeasureError(f"debiased CKA of {x} and {y}: {self.n} samples do not determine it; give more")
            return Similarity(value=min(1.0, cross / math.sqrt(own_x * own_y)), floor=0.0, n=self.n)
        c_x, c_y = self._varying(x), self._varying(y)
        norms = float(c_x.norm() * c_y.norm())
        value = float(self.scatter(x, y).square().sum()) / norms
        floor = float(c_x.trace() * c_y.trace()) / (self.n - 1) / norms  # the mean over all permutations of samples
        return Similarity(value=min(1.0, value), floor=min(1.0, floor), n=self.n)

    def procrustes(self, x: str, y: str) -> Similarity:
        """Return the normalised nuclear norm of the cross-covariance; see ``similarity.procrustes``."""
        c_x, c_y = self._varying(x), self._varying(y)
        norm = math.sqrt(float(c_x.trace() * c_y.trace()))
        value = float(torch.linalg.svdvals(self.scatter(x, y)).sum()) / norm
        floor = random_nuclear_norm(_spectrum(c_x), _spectrum(c_y), free=self.n - 1) / norm
        return Similarity(value=min(1.0, value), floor=min(1.0, floor), n=self.n)

    def mean(self, name: str) -> Tensor:
        """Return the mean of each neuron of a layer, (d,), float64."""
        self._known(name)
        return self._shift[name] + self._sum[name] / self.n

    def scatter(self, x: str, y: str) -> Tensor:
        """Return the centred cross products of two layers, (d_x, d_y), float64: (n - 1) times their covariance."""
        self._known(x, y)
        return self._shifted_products(x, y) - torch.outer(self._sum[x], self._sum[y]) / self.n

    def _shifted_products(self, x: str, y: str) -> Tensor:
        if x == y:
            return _mirror(self._products[x, x])
        if (x, y) not in self._products and (y, x) not in self._products:
            raise MeasureError(f"{x} and {y} are not among the pairs that these moments were asked to gather")
        return self._products[x, y] if (x, y) in self._products else self._products[y, x].T

    def _start(self, tensors: Mapping[str, Tensor]) -> None:
        """Size everything by the first chunk, and take its means as the shifts."""
        for name, values in tensors.items():
            self._shift[name] = values.double().mean(0)
            self._epsilon[name] = rounding(values)
            self._sum[name] = torch.zeros_like(self._shift[name])
            self._by_norm[name] = self._sum[name].new_zeros(values.shape[1], len(tensors))
        first = next(iter(self._sum.values()))
        self._norms = first.new_zeros(len(tensors), len(tensors))
        across = combinations(self._shift, 2) if self._pairs is None else self._pairs
        for x, y in [*((name, name) for name in self._shift), *across]:
            self._products[x, y] = first.new_zeros(len(self._shift[x]), len(self._shift[y]))

    def _check(self, tensors: Mapping[str, Tensor]) -> None:
        found = {name: values.shape[1] for name, values in tensors.items()}
        known = {name: len(shift) for name, shift in self._shift.items()}
        if found != known:
            raise MeasureError(f"chunks must hold the same layers and neurons: the first had {known}, this has {found}")

    def _add(self, rows: Mapping[str, Tensor]) -> None:
        shifted = {name: rows[name] - self._shift[name] for name in self._shift}
        norms = torch.stack([values.square().sum(1) for values in shifted.values()], 1)
        self.n += len(norms)
        self._norms += norms.T @ norms
        for name, values in shifted.items():
            self._sum[name] += values.sum(0)
            self._by_norm[name].addmm_(values.T, norms)
        for (x, y), total in self._products.items():
            if x == y:
                _add_upper(total, shifted[x])
            else:
                total.addmm_(shifted[x].T, shifted[y])

    def _known(self, *names: str) -> None:
        for name in names:
            if name not in self._shift:
                raise MeasureError(unknown("layer", name, self._shift))
        if self.n < 2:
            raise MeasureError(f"similarity needs at least 2 samples, got {self.n}")

    def _varying(self, name: str) -> Tensor:
        """Return a layer's scatter with constant neurons at exactly 0; none that varies is an error."""
        total = self.scatter(name, name)
        variance = total.diagonal() / self.n
        scale = deviations(variance, variance + self.mean(name).square(), self._epsilon[name], name=name)
        varies = (scale > 0).to(total.dtype)
        return total * torch.outer(varies, varies)

    def _whitening(self, name: str) -> tuple[Tensor, Tensor]:
        """Return W (d, rank) with orthonormal ``(x - mean) @ W``, and the loadings (rank, d)."""
        if name not in self._whitened:
            total = self._varying(name)
            scale = total.diagonal().sqrt()
            inverse = reciprocal(scale)
            values, vectors = torch.linalg.eigh(total * torch.outer(inverse, inverse))
            singular = values.clamp_min(0).sqrt().flip(0)
            rank = numerical_rank(singular, RANK_TOLERANCE)
            kept, directions = singular[:rank], vectors.flip(1)[:, :rank]
            self._whitened[name] = (inverse[:, None] * directions / kept, (directions * kept).T * scale)
        return self._whitened[name]

    def _pair(self, x: str, y: str) -> Overlap:
        (white_x, loadings_x), (white_y, loadings_y) = self._whitening(x), self._whitening(y)
        inner = white_x.T @ self.scatter(x, y) @ white_y
        return Overlap(inner, loadings_x, loadings_y, n=self.n)

    def _unbiased_hsic(self, x: str, y: str) -> float:
        """Return Song et al.'s estimator with linear kernels, from sums alone: no (n, n) matrix is formed."""
        n = self.n
        if n < 4:
            raise MeasureError(f"debiased CKA needs at least 4 samples, got {n}")
        a, b = self.names.index(x), self.names.index(y)
        sum_x, sum_y = self._sum[x], self._sum[y]
        products, norms = self._shifted_products(x, y), self._norms[a, b]
        # With K, L the kernel matrices without their diagonals: tr(KL), sum(K) * sum(L), and the sum over KL.
        trace = products.square().sum() - norms
        sum_k, sum_l = ((self._sum[name].square().sum() - self._products[name, name].trace()) for name in (x, y))
        rows = sum_x @ products @ sum_y - sum_x @ self._by_norm[x][:, b] - sum_y @ self._by_norm[y][:, a] + norms
        return float((trace + sum_k * sum_l / ((n - 1) * (n - 2)) - 2 * rows / (n - 2)) / (n * (n - 3)))


def _add_upper(total: Tensor, values: Tensor) -> None:
    """Add the upper block triangle of ``values.T @ values``; ``_mirror`` fills in the rest."""
    edges = _edges(total.shape[1])
    for start, stop in pairwise(edges):
        total[start:stop, start:].addmm_(values[:, start:stop].T, values[:, start:])


def _mirror(total: Tensor) -> Tensor:
    return total.triu() + total.triu(1).T


def _spectrum(total: Tensor) -> Vector:
    """Return the singular values of centred activations from their scatter, those of rounding left out."""
    values = torch.linalg.eigvalsh(total).clamp_min(0).sqrt().flip(0)
    return to_numpy(values[: numerical_rank(values, RANK_TOLERANCE)])


def _edges(d: int) -> list[int]:
    return [d * block // _COLUMN_BLOCKS for block in range(_COLUMN_BLOCKS + 1)]
