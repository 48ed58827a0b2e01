"""Is a filter a Gabor? A least-squares fit with a null: how well random filters of the same size are fitted.

A Gabor filter is a sinusoid under a Gaussian. Small kernels are fitted well by chance, so explained variance alone says
little: a filter counts as a Gabor when its fit beats 95 % of random filters.
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from transfusion_lib.analysis import probe_sets
from transfusion_lib.errors import MeasureError
from transfusion_lib.networks import first_convolution
from transfusion_lib.runs import Run
from transfusion_lib.runs.analyses import stored

BEATS = 0.95
"""Share of random filters that a Gabor's fit must beat."""
REFINEMENTS = 40
RATE = 0.04
STARTS = 3
_ANGLES = 12
# In units of what the kernel allows: from the shortest wave that pixels show (2) to one period over the kernel.
_WAVES = (0.0, 0.25, 0.5, 0.75, 1.0)
_WIDTHS = (0.0, 0.4, 0.8)
_ASPECTS = (0.6, 1.0, 1.6)


@stored("gabor.gabors", version=1)
def gabors(runs: Sequence[Run], *, null_filters: int = 200, seed: int = 0) -> dict[str, Any]:
    """Return the Gabor score of every filter of conv1, before and after training, and of random filters.

    ``runs`` share a network. Tensors: ``before`` and ``after`` (runs, filters), ``null`` (null_filters,), all
    explained variance in [0, 1]; value ``threshold``, the score that 95 % of the random filters stay below.
    """
    weights = []
    for run in runs:
        network = run.initial()
        weights.append(first_convolution(network).weight.detach().clone())
        network.load_state_dict(run.weights())
        weights.append(first_convolution(network).weight.detach().clone())
    shape = tuple(weights[0].shape)
    if any(tuple(weight.shape) != shape for weight in weights):
        raise MeasureError("runs whose filters are scored together share the shape of their first convolution")
    null = explained(torch.randn(null_filters, *shape[1:], generator=probe_sets.generator(seed, *shape[1:])))
    scores = explained(torch.cat(weights)).reshape(len(runs), 2, -1)
    return {
        "before": scores[:, 0],
        "after": scores[:, 1],
        "null": null,
        "threshold": float(null.double().quantile(BEATS)),
    }


def explained(filters: Tensor) -> Tensor:
    """Return how much of each filter's spatial pattern the best Gabor explains, float32 (n,), in [0, 1].

    ``filters`` (n, channels, height, width). The pattern is the leading one of the channels (their first principal
    component, each channel's mean left out): agreement between colours, which random filters lack, must not pass for
    a Gabor. A filter without variance has score 0. Orientation, wavelength, width, aspect and centre are searched on
    a grid, and its best are refined by gradient ascent; phase and amplitude are solved for exactly.
    """
    if filters.ndim != 4:
        raise MeasureError(f"Gabor fits are for images: filters (n, channels, height, width), got {filters.ndim} axes")
    height, width = filters.shape[2:]
    flat = filters.double().flatten(2)
    flat = flat - flat.mean(2, keepdim=True)
    varies = flat.square().sum((1, 2)) > 1e-20
    pattern = torch.linalg.svd(flat, full_matrices=False).Vh[:, 0]
    grid = _grid(height, width)
    scores = torch.einsum("np,kpb->nkb", pattern, _basis(grid, height, width)).square().sum(-1)
    best = scores.topk(STARTS, dim=1)
    points, top = grid[best.indices].requires_grad_(True), best.values[:, 0]  # (n, starts, 6)
    optimizer = torch.optim.Adam([points], lr=RATE)
    for _ in range(REFINEMENTS):
        found = torch.einsum("np,nkpb->nkb", pattern, _basis(points, height, width)).square().sum(-1)
        top = torch.maximum(top, found.detach().max(1).values)
        optimizer.zero_grad()
        (-found.sum()).backward()
        optimizer.step()
        with torch.no_grad():
            points[..., 1:].clamp_(0, 1)
    return (top.clamp(0, 1) * varies).float()


def _grid(height: int, width: int) -> Tensor:
    """Return starting points (m, 6): angle, wavelength, envelope width, aspect, and the centre's two coordinates.

    All but the angle lie in 0..1, of the range that ``_basis`` gives them.
    """
    angles = [math.pi * k / _ANGLES for k in range(_ANGLES)]
    aspects = [(math.log(aspect) - math.log(0.5)) / math.log(4) for aspect in _ASPECTS]
    centres = (0.0, 0.25, 0.5, 0.75, 1.0) if min(height, width) > 3 else (0.0, 0.5, 1.0)
    return torch.tensor(list(product(angles, _WAVES, _WIDTHS, aspects, centres, centres)), dtype=torch.float64)


def _basis(points: Tensor, height: int, width: int) -> Tensor:
    """Return the even and the odd Gabor of each point, without their means, orthonormal: (..., pixels, 2)."""
    angle, wave, size, ratio, top, left = points[..., None, :].unbind(-1)
    kernel = max(height, width)
    wavelength = 2.0 + wave * (max(kernel, 3) - 2.0)
    sigma = 0.5 + size * (kernel / 2 - 0.5)
    aspect = 0.5 * 4.0**ratio
    y, x = torch.meshgrid(
        torch.arange(height, dtype=points.dtype), torch.arange(width, dtype=points.dtype), indexing="ij"
    )
    rows = y.flatten() - (0.15 + 0.7 * top) * (height - 1)
    columns = x.flatten() - (0.15 + 0.7 * left) * (width - 1)
    along = columns * angle.cos() + rows * angle.sin()
    across = rows * angle.cos() - columns * angle.sin()
    envelope = torch.exp(-(along**2 + (across * aspect) ** 2) / (2 * sigma**2))
    phase = 2 * math.pi * along / wavelength
    even, odd = envelope * phase.cos(), envelope * phase.sin()
    even, odd = even - even.mean(-1, keepdim=True), odd - odd.mean(-1, keepdim=True)
    first = even / even.norm(dim=-1, keepdim=True).clamp_min(1e-9)
    rest = odd - (odd * first).sum(-1, keepdim=True) * first
    return torch.stack([first, rest / rest.norm(dim=-1, keepdim=True).clamp_min(1e-9)], -1)
