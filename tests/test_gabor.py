"""Gabor scores: planted Gabors are found, noise is not, and the null says where a kernel is too small to tell."""

import pytest
import torch
from torch import Tensor

from transfusion_lib.analysis import gabor
from transfusion_lib.errors import MeasureError
from transfusion_lib.networks.init import gabor_filters
from transfusion_lib.spec import Gabor


def noise(n: int, *, edge: int, seed: int = 0) -> Tensor:
    return torch.randn(n, 3, edge, edge, generator=torch.Generator().manual_seed(seed))


def planted(n: int, *, edge: int) -> Tensor:
    return gabor_filters(Gabor(), (n, 3, edge, edge), generator=torch.Generator().manual_seed(1))


def test_planted_gabors_are_found_and_noise_is_not() -> None:
    threshold = gabor.explained(noise(100, edge=7)).quantile(gabor.BEATS)
    assert threshold < 0.5
    assert gabor.explained(planted(48, edge=7)).min() > 0.99
    other = (gabor.explained(noise(100, edge=7, seed=9)) > threshold).float().mean()
    assert other < 0.15  # 0.05 expected


def test_a_gabor_that_lies_off_the_grid_is_found_under_noise() -> None:
    y, x = torch.meshgrid(torch.arange(7.0) - 2.4, torch.arange(7.0) - 3.3, indexing="ij")
    along = x * 0.83 + y * 0.56
    filter_ = torch.exp(-(x**2 + y**2) / 7) * torch.cos(2 * torch.pi * along / 3.7 + 0.4)
    colours = torch.tensor([1.0, -0.5, 0.2])[:, None, None]
    clean = (filter_ * colours)[None]
    assert gabor.explained(clean).item() > 0.98
    noisy = clean + 0.3 * clean.std() * noise(1, edge=7)
    assert gabor.explained(noisy).item() > 0.8


def test_a_score_ignores_scale_mean_and_colour() -> None:
    filters = noise(6, edge=5)
    changed = 3 * filters + 2
    turned = filters[:, [2, 0, 1]]
    for other in (changed, turned):
        assert torch.allclose(gabor.explained(filters), gabor.explained(other), atol=1e-3)


def test_three_pixels_cannot_tell_a_gabor_from_noise() -> None:
    assert gabor.explained(noise(60, edge=3)).quantile(gabor.BEATS) > 0.9


def test_a_dead_filter_is_no_gabor_and_a_volume_has_no_score() -> None:
    assert gabor.explained(torch.zeros(1, 3, 5, 5)).item() == 0
    with pytest.raises(MeasureError, match="images"):
        gabor.explained(torch.zeros(1, 3, 5, 5, 5))
