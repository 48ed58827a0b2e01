"""The measures on activations in memory."""

from dataclasses import dataclass

import torch
from torch import Tensor

from transfusion_lib.analysis.similarity.algebra import (
    RANK_TOLERANCE,
    RANK_TOLERANCE_FLOAT64,
    Array,
    Overlap,
    deviations,
    matrix,
    numerical_rank,
    reciprocal,
    rounding,
    same_samples,
)
from transfusion_lib.analysis.similarity.moments import Moments
from transfusion_lib.analysis.similarity.results import CCA, PWCCA, Similarity


@dataclass(frozen=True, eq=False)
class Factor:
    """A layer's centred activations as ``basis @ loadings``; made once by ``factor``, used in any number of pairs."""

    basis: Tensor
    """(n, rank), orthonormal columns, float64."""
    loadings: Tensor
    """(rank, d), float64."""


def cca(x: Array | Factor, y: Array | Factor, *, rtol: float | None = None) -> CCA:
    """Return the canonical correlations between the neurons of two layers.

    ``x`` (n, d_x) and ``y`` (n, d_y): activations of the same n samples, or their ``factor``. In [0, 1], symmetric,
    unchanged by any invertible linear map and shift of either side. Use n of at least 10 (d_x + d_y): independent
    data give a mean of about 0.85 sqrt(max(d_x, d_y) / n), and at n <= d all coefficients are 1 (``forced``).
    ``rtol`` replaces the relative tolerance of the rank. Raghu et al. 2017, Morcos et al. 2018; the papers'
    sections 4 (Transfusion) and 3.3 (TruncatedTL).
    """
    return _overlap(x, y, rtol=rtol).cca()


def svcca(x: Array | Factor, y: Array | Factor, *, keep: float = 0.99, rtol: float | None = None) -> CCA:
    """Return the canonical correlations between the leading principal components of two layers.

    ``keep`` is the share of variance that each side keeps (0.99 in Raghu et al. 2017). In [0, 1], symmetric,
    unchanged by rotations, shifts and one scale for all neurons; not by other linear maps, which change what leads.
    Needs fewer samples than ``cca``: count the kept components as d.
    """
    return _overlap(x, y, rtol=rtol).svcca(keep=keep)


def pwcca(x: Array | Factor, y: Array | Factor, *, rtol: float | None = None) -> PWCCA:
    """Return the canonical correlations weighted by how much of ``x`` each direction accounts for.

    The weight of canonical direction h is the sum over x's centred neurons z of ``abs(h @ z)`` (Morcos et al. 2018,
    equation 3). In [0, 1]; **not symmetric**; unchanged by invertible linear maps of ``y`` and shifts of both, but
    only by permutations and one scale for all neurons of ``x``. Any d_x, d_y; n as for ``cca``.
    """
    return _overlap(x, y, rtol=rtol).pwcca()


def cka(x: Array, y: Array, *, debiased: bool = False) -> Similarity:
    """Return the linear centred kernel alignment of two layers (Kornblith et al. 2019).

    Biased, the default: in [0, 1]; its floor rises with d / n. ``debiased`` uses the unbiased estimator of HSIC
    (Song et al. 2012, Nguyen et al. 2021): floor 0, at most 1, can be slightly negative, needs n of at least 4.
    Symmetric; unchanged by rotations, shifts and one scale for all neurons. Directions of large variance dominate.
    """
    return _of_both(x, y).cka("x", "y", debiased=debiased)


def procrustes(x: Array, y: Array) -> Similarity:
    """Return how well a rotation maps one layer onto the other: the nuclear norm of the normalised cross-covariance.

    In [0, 1], symmetric; unchanged by rotations, shifts and one scale for all neurons. The orthogonal Procrustes
    distance of Ding et al. 2021, between layers scaled to unit norm, is ``2 - 2 * value``. Any n and d; the floor
    falls with n / d as that of ``cca``.
    """
    return _of_both(x, y).procrustes("x", "y")


def factor(x: Array, *, rtol: float | None = None) -> Factor:
    """Return the orthonormal basis of a layer's (n, d) activations, float64: QR, then the SVD of the small factor.

    Compare many layers pair by pair through their factors: each is then factorised once. Needs n * rank * 8 bytes.
    """
    tensor = matrix(x, name="x")
    values, epsilon = tensor.double(), rounding(tensor)
    tolerance = rtol if rtol is not None else RANK_TOLERANCE_FLOAT64 if epsilon < 1e-15 else RANK_TOLERANCE
    mean_square = values.square().mean(0)
    values = values - values.mean(0)
    scale = deviations(values.square().mean(0), mean_square, epsilon)
    q, r = torch.linalg.qr(values)
    left, singular, right = torch.linalg.svd(r * reciprocal(scale), full_matrices=False)
    rank = numerical_rank(singular, tolerance)
    loadings = singular[:rank, None] * right[:rank] * scale
    return Factor(basis=q @ left[:, :rank], loadings=loadings)


def _overlap(x: Array | Factor, y: Array | Factor, *, rtol: float | None) -> Overlap:
    left, right = (part if isinstance(part, Factor) else factor(part, rtol=rtol) for part in (x, y))
    same_samples(left.basis, right.basis)
    return Overlap(left.basis.T @ right.basis, left.loadings, right.loadings, n=len(left.basis))


def _of_both(x: Array, y: Array) -> Moments:
    """Return the moments of two layers in memory; more neurons than samples are first rotated into as many."""
    layers = {"x": matrix(x, name="x"), "y": matrix(y, name="y")}
    same_samples(*layers.values())
    return Moments().update({name: _few(values) for name, values in layers.items()})


def _few(values: Tensor) -> Tensor:
    n, d = values.shape
    return values if d <= n else torch.linalg.qr(values.double().T).R.T
