"""Layers with own C++: what they compute, in what they should, and whether they are compiled here."""

import copy

import pytest
import torch
from torch import Tensor, nn

from tests.networks import seeded
from transfusion_lib import kernels

compiled = pytest.mark.skipif(not kernels.available(), reason="no C++ compiler here")


def maps(n: int, c: int, height: int, width: int) -> Tensor:
    """Return maps, channels-last as in training."""
    return torch.randn(n, c, height, width, generator=seeded()).contiguous(memory_format=torch.channels_last)


def computed(module: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Return the output, its gradients for a loss that weighs every output differently, and the running statistics."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    y = module(x)
    weights = torch.randn(y.shape, generator=seeded(5)).bfloat16()  # the same in every precision
    grads = torch.autograd.grad((y * weights.to(y.dtype)).sum(), [x, *module.parameters()])
    return {
        "y": y.detach(),
        "by_x": grads[0],
        **{f"by_{name}": grad for (name, _), grad in zip(module.named_parameters(), grads[1:], strict=True)},
        **dict(module.named_buffers()),
    }


def exact(plain: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Return what PyTorch's layers compute in float64."""
    return computed(copy.deepcopy(plain).double(), x.double())


def error(found: Tensor, wanted: Tensor) -> float:
    """Return how far a tensor is from the truth, of its length."""
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())
