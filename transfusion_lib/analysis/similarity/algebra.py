"""The linear algebra below the measures: checked inputs, numerical rank, and layers as ``basis @ loadings``."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfusion_lib.analysis.similarity.results import CCA, PWCCA, Vector
from transfusion_lib.errors import MeasureError

Array = NDArray[np.generic] | Tensor

# Singular values (of neurons scaled to unit deviation) below this fraction of the largest count as zero. Activations
# are computed in float32, whose rounding makes an exact linear dependence look like a direction of size 1e-7; the
# eigenvalues of a float64 covariance resolve no less. Only float64 activations in memory can be trusted further.
RANK_TOLERANCE = 1e-6
RANK_TOLERANCE_FLOAT64 = 1e-10


@dataclass(frozen=True, eq=False)
class Overlap:
    """Two layers as ``basis @ loadings`` each, and the inner products of the two bases. All measures of CCA follow."""

    inner: Tensor
    """(rank_x, rank_y)"""
    loadings_x: Tensor
    loadings_y: Tensor
    n: int

    def cca(self) -> CCA:
        """See ``similarity.cca``."""
        return CCA(_correlations(self.inner), n=self.n, ranks=_ranks(self.inner))

    def svcca(self, *, keep: float) -> CCA:
        """See ``similarity.svcca``."""
        if not 0 < keep <= 1:
            raise MeasureError(f"keep is a share of the variance in (0, 1], got {keep}")
        inner = _leading(self.loadings_x, keep).T @ self.inner @ _leading(self.loadings_y, keep)
        return CCA(_correlations(inner), n=self.n, ranks=_ranks(inner))

    def pwcca(self) -> PWCCA:
        """See ``similarity.pwcca``."""
        left, singular, _ = torch.linalg.svd(self.inner, full_matrices=False)
        weights = (left.T @ self.loadings_x).abs().sum(1)
        return PWCCA(to_numpy(singular.clamp(0, 1)), self.n, _ranks(self.inner), to_numpy(weights / weights.sum()))


def matrix(x: Array, *, name: str, rows: int = 2) -> Tensor:
    """Return (n, d) activations as a tensor of their own type, after checking that they are finite numbers."""
    values: Tensor = x.detach() if isinstance(x, Tensor) else torch.from_numpy(np.ascontiguousarray(x))
    if values.ndim != 2 or values.shape[0] < rows or values.shape[1] < 1:
        raise MeasureError(
            f"{name}: activations are (samples, neurons) with at least {rows} samples, got {tuple(values.shape)}; "
            "activations.rows turns convolutional maps into samples"
        )
    if values.is_complex():
        raise MeasureError(f"{name}: activations are real numbers, got {values.dtype}")
    if not bool(torch.isfinite(values).all()):
        raise MeasureError(f"{name}: {int((~torch.isfinite(values)).sum())} activations are NaN or infinite")
    return values


def rounding(values: Tensor) -> float:
    """Return the relative rounding of the numbers that activations came as."""
    return torch.finfo(values.dtype if values.is_floating_point() else torch.float64).eps


def deviations(variance: Tensor, mean_square: Tensor, epsilon: float, *, name: str = "x") -> Tensor:
    """Return each neuron's deviation, 0 where rounding alone explains it; a layer of such neurons is an error."""
    deviation = variance.clamp_min(0).sqrt()
    scale: Tensor = deviation.where(deviation > 4 * epsilon * mean_square.sqrt(), 0)
    if not bool((scale > 0).any()):
        raise MeasureError(f"{name}: no neuron varies over the samples, so there is nothing to compare")
    return scale


def reciprocal(scale: Tensor) -> Tensor:
    """Return 1 / scale, and 0 for 0."""
    return torch.where(scale > 0, 1 / scale, 0)


def numerical_rank(singular: Tensor, tolerance: float) -> int:
    """Return how many descending ``singular`` values exceed ``tolerance`` times the first."""
    return int((singular > tolerance * singular[0]).sum())


def same_samples(x: Tensor, y: Tensor) -> None:
    """Raise unless both layers have as many rows."""
    if len(x) != len(y):
        raise MeasureError(f"both layers need the same samples, got {len(x)} and {len(y)}")


def _correlations(inner: Tensor) -> Vector:
    return to_numpy(torch.linalg.svdvals(inner).clamp(0, 1))


def _ranks(inner: Tensor) -> tuple[int, int]:
    return inner.shape[0], inner.shape[1]


def _leading(loadings: Tensor, keep: float) -> Tensor:
    """Return the directions, in the basis, of the principal components that hold ``keep`` of the variance."""
    left, singular, _ = torch.linalg.svd(loadings, full_matrices=False)
    share = singular.square().cumsum(0) / singular.square().sum()
    count = int((share < keep * (1 - 1e-12)).sum()) + 1  # keep = 1 keeps all, whatever the rounding of the sum
    kept: Tensor = left[:, :count]
    return kept


def to_numpy(values: Tensor) -> Vector:
    """Return a float64 tensor as an array on the CPU."""
    array: Vector = values.cpu().numpy()
    return array
