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

from transfusion_lib.kernels import native, norms
from transfusion_lib.kernels.native import NAMES

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
        if not norms.learns(norm, x):
            return super().pooled(norm, relu, pool, x)
        return cast("Tensor", _NormPoolReLU.apply(x, norm.weight, norm.bias, norm))


class _NormPoolReLU(torch.autograd.Function):
    """ReLU of the pooled batch norm of x (n, c, height, width)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        n, c, height, width = x.shape
        size = (n, c, (height + 1) // 2, (width + 1) // 2)
        pooled, y = (torch.empty(size, dtype=x.dtype, memory_format=torch.channels_last) for _ in range(2))
        places = torch.empty(size, dtype=torch.uint8, memory_format=torch.channels_last)
        mean, var = torch.empty_like(weight), torch.empty_like(weight)
        ctx.shape, ctx.eps = (n, height, width, c, *size[2:]), norm.eps
        known, found = (x, weight, bias, norm.eps), (*norms.rooms(n, c), pooled, places, y, mean, var)
        native.call("pooling", f"forward_{NAMES[x.dtype]}", ctx.shape, *known, *norms.tracked(norm), *found)
        ctx.save_for_backward(x, weight, bias, pooled, places, mean, var)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, bias, pooled, places, mean, var = ctx.saved_tensors
        by_y = gradients[0].contiguous(memory_format=torch.channels_last)
        by_x, by_weight, by_bias = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(bias)
        scaled = torch.empty(pooled.shape, dtype=torch.float32, memory_format=torch.channels_last)
        known = (by_y, x, pooled, places, weight, bias, mean, var, ctx.eps)
        found = (*norms.rooms(*x.shape[:2]), scaled, by_x, by_weight, by_bias)
        native.call("pooling", f"backward_{NAMES[x.dtype]}", ctx.shape, *known, *found)
        return by_x, by_weight, by_bias, None
