"""Batch norm, ReLU and max pooling, as they end the units of a CBR and begin a ResNet, in a faster order.

The largest value of a window is the same before a ReLU and behind it, so a quarter of the values need one: the same
bits. Of batch norm too only what is pooled is needed, which ``pooling.cpp`` makes one pass: it rounds otherwise than
PyTorch's layers, and is nearer to the truth. In bfloat16 they round the maps between batch norm and pooling, so that
values tie, and add the gradients of overlapping windows in bfloat16.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from transfusion_lib.kernels import native
from transfusion_lib.kernels.native import LANES, NAMES

POOLED = {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 1, "ceil_mode": False, "return_indices": False}


def pool_early(network: nn.Module, *, in_one_pass: bool) -> None:
    """Let ``network`` pool before the ReLU; ``in_one_pass`` before batch norm too, where that learns.

    It looks for the three layers at the end of an ``nn.Sequential``, of which nobody may see the maps in between.
    """
    for part in network.modules():
        if type(part) is nn.Sequential and _fits(*list(part)[-3:]):
            part.__class__ = _InOnePass if in_one_pass and native.available() else _PoolEarly


def _fits(*layers: nn.Module) -> bool:
    known = [type(layer) for layer in layers] == [nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d]
    return known and all(getattr(layers[2], name) in (value, (value, value)) for name, value in POOLED.items())


class _PoolEarly(nn.Sequential):
    """Any layers, then batch norm, ReLU and max pooling."""

    def forward(self, x: Tensor) -> Tensor:
        *before, norm, relu, pool = self
        for layer in before:
            x = layer(x)
        return self.pooled(cast("nn.BatchNorm2d", norm), relu, pool, x)

    def pooled(self, norm: nn.BatchNorm2d, relu: nn.Module, pool: nn.Module, x: Tensor) -> Tensor:
        """Return what the three layers make of ``x``."""
        return cast("Tensor", relu(pool(norm(x))))


class _InOnePass(_PoolEarly):
    """The same, in one pass where batch norm learns."""

    def pooled(self, norm: nn.BatchNorm2d, relu: nn.Module, pool: nn.Module, x: Tensor) -> Tensor:
        """Return what the three layers make of ``x``."""
        if not _learns(norm, x):
            return super().pooled(norm, relu, pool, x)
        y, mean, var = _NormPoolReLU.apply(x, norm.weight, norm.bias, norm.eps)
        _track(norm, mean, var, count=x.numel() // x.shape[1])
        return cast("Tensor", y)


def _track(norm: nn.BatchNorm2d, mean: Tensor, var: Tensor, *, count: int) -> None:
    """Update the running statistics as PyTorch does: with the unbiased variance."""
    momentum = cast("float", norm.momentum)
    cast("Tensor", norm.num_batches_tracked).add_(1)
    cast("Tensor", norm.running_mean).mul_(1 - momentum).add_(mean, alpha=momentum)
    cast("Tensor", norm.running_var).mul_(1 - momentum).add_(var, alpha=momentum * count / (count - 1))


def _learns(norm: nn.BatchNorm2d, x: Tensor) -> bool:
    """Tell whether batch norm takes its statistics from this batch and learns, in numbers that the pass knows."""
    weights = (norm.weight, norm.bias)
    return (
        norm.training
        and norm.affine
        and norm.track_running_stats
        and norm.momentum is not None
        and all(each.requires_grad and each.dtype == torch.float32 for each in weights)
        and x.is_cpu
        and x.dtype in NAMES
        and x.shape[1] % LANES == 0
        and x.numel() > x.shape[1]  # of one value a channel there is no variance, which batch norm says
    )


class _NormPoolReLU(torch.autograd.Function):
    """ReLU of the pooled batch norm of x (n, c, height, width), and mean and biased variance of each channel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        x = x.contiguous(memory_format=torch.channels_last)
        n, c, height, width = x.shape
        size = (n, c, (height + 1) // 2, (width + 1) // 2)
        pooled, y = (torch.empty(size, dtype=x.dtype, memory_format=torch.channels_last) for _ in range(2))
        places = torch.empty(size, dtype=torch.uint8, memory_format=torch.channels_last)
        mean, var = torch.empty_like(weight), torch.empty_like(weight)
        ctx.shape = (n, height, width, c, *size[2:])
        name = f"forward_{NAMES[x.dtype]}"
        rooms = _rooms(x, lines=2)
        native.call("pooling", name, ctx.shape, x, weight, bias, eps, *rooms, pooled, places, y, mean, var)
        ctx.save_for_backward(x, weight, bias, pooled, places, mean, var)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, var)
        return y, mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_y: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, bias, pooled, places, mean, var = ctx.saved_tensors
        by_y = by_y.contiguous(memory_format=torch.channels_last)
        by_x, by_weight, by_bias = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(bias)
        scaled = torch.empty(pooled.shape, dtype=torch.float32, memory_format=torch.channels_last)
        known = (by_y, x, pooled, places, weight, bias, mean, var)
        rooms = (*_rooms(x, lines=4), scaled)
        name = f"backward_{NAMES[x.dtype]}"
        native.call("pooling", name, ctx.shape, *known, ctx.eps, *rooms, by_x, by_weight, by_bias)
        return by_x, by_weight, by_bias, None


def _rooms(x: Tensor, *, lines: int) -> tuple[Tensor, Tensor]:
    """Return room for the sums of each map, and for numbers of each channel."""
    n, c = x.shape[:2]
    return torch.empty(n, 2, c, dtype=torch.float64), torch.empty(lines, c, dtype=torch.float32)
