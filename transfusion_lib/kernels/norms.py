"""Batch norm with the sum and the ReLU that follow it, by ``norms.cpp``: fewer passes, and in bfloat16 one rounding.

At 64 px, where maps are small and many, those layers are a quarter of the step of a ResNet-50 and a third of
EfficientNet-Lite0's.
"""

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from transfusion_lib.kernels import native
from transfusion_lib.kernels.native import LANES, NAMES

CEILINGS = {nn.Identity: None, nn.ReLU: math.inf, nn.ReLU6: 6.0}
"""The largest value that an activation lets through; None where it lets all through."""

BLOCK = 64
"""Positions of maps that ``norms.cpp`` sums as one part, in float."""


def norm_in_few_passes(network: nn.Module) -> None:
    """Let batch norms of ``network`` be computed by ``norms.cpp`` where they learn, with what follows them.

    That is the activation in timm's layers, and ReLU and sum in torchvision's residual blocks, of which nobody may see
    the maps in between. The statistics are those of what this process sees.
    """
    if not native.available():
        return
    # Not at the top: they take a second, which who trains nothing need not wait.
    from timm.layers.norm_act import BatchNormAct2d
    from torchvision.models.resnet import BasicBlock, Bottleneck

    for part in network.modules():
        if type(part) is nn.BatchNorm2d:
            part.__class__ = _Norm
        elif type(part) is BatchNormAct2d and type(part.act) in CEILINGS and type(part.drop) is nn.Identity:
            part.__class__ = _NormAct  # type: ignore[assignment]  # not a subclass, which timm would be imported for
        elif type(part) in (BasicBlock, Bottleneck) and type(part.bn1) is nn.BatchNorm2d:
            part.__class__ = _Residual


class _Norm(nn.BatchNorm2d):
    """A batch norm."""

    def forward(self, x: Tensor) -> Tensor:
        return _normed(self, x, ceiling=None)


class _NormAct(nn.BatchNorm2d):
    """A batch norm of timm, with its activation."""

    act: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        return _normed(self, x, ceiling=CEILINGS[type(self.act)])


class _Residual(nn.Module):
    """A residual block of torchvision."""

    downsample: nn.Module | None

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        count = 3 if hasattr(self, "conv3") else 2
        y = x
        for number in range(1, count):
            y = _normed(self._norm(number), self.get_submodule(f"conv{number}")(y), ceiling=math.inf)
        y = self.get_submodule(f"conv{count}")(y)
        skipped = x if self.downsample is None else self.downsample(x)
        return _normed(self._norm(count), y, ceiling=math.inf, added=skipped)

    def _norm(self, number: int) -> nn.BatchNorm2d:
        return cast("nn.BatchNorm2d", self.get_submodule(f"bn{number}"))


def _normed(norm: nn.BatchNorm2d, x: Tensor, *, ceiling: float | None, added: Tensor | None = None) -> Tensor:
    """Return ``x`` normed, with ``added``, through a ReLU up to ``ceiling``."""
    if learns(norm, x) and (added is None or added.dtype == x.dtype):
        limits = (-math.inf, math.inf) if ceiling is None else (0.0, ceiling)
        return cast("Tensor", _Passes.apply(x, added, norm.weight, norm.bias, norm, limits))
    y = nn.BatchNorm2d.forward(norm, x)
    if added is not None:
        y += added
    if ceiling is None:
        return y
    return F.relu_(y) if ceiling == math.inf else F.hardtanh_(y, 0.0, ceiling)


def learns(norm: nn.BatchNorm2d, x: Tensor) -> bool:
    """Tell whether ``norm`` takes its statistics from this batch and learns, in numbers that own C++ knows."""
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


def tracked(norm: nn.BatchNorm2d) -> tuple[float, Tensor, Tensor]:
    """Count a batch, and return what own C++ needs to update the running statistics."""
    cast("Tensor", norm.num_batches_tracked).add_(1)
    return cast("float", norm.momentum), cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)


def rooms(parts: int, c: int) -> tuple[Tensor, Tensor]:
    """Return room for the sums of each part of a batch, and for four numbers of each channel."""
    return torch.empty(parts, 2, c, dtype=torch.float64), torch.empty(4, c, dtype=torch.float32)


class _Passes(torch.autograd.Function):
    """Batch norm of x (n, c, height, width), the sum with a map of that shape, and a ReLU between limits."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        added: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        norm: nn.BatchNorm2d,
        limits: tuple[float, float],
    ) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        if added is not None:
            added = added.contiguous(memory_format=torch.channels_last)
        y, mean, var = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)
        c = len(weight)
        positions = x.numel() // c
        ctx.shape, ctx.numbers, ctx.parts = (positions, c, BLOCK), (norm.eps, *limits), -(-positions // BLOCK)
        known, found = (x, added, weight, bias), (*rooms(ctx.parts, c), y, mean, var)
        native.call("norms", f"forward_{NAMES[x.dtype]}", ctx.shape, *known, *ctx.numbers, *tracked(norm), *found)
        ctx.save_for_backward(x, None if added is None else y, weight, bias, mean, var)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, y, weight, bias, mean, var = ctx.saved_tensors
        by_y = gradients[0].contiguous(memory_format=torch.channels_last)
        by_x, by_weight, by_bias = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(bias)
        by_added = None if y is None else torch.empty_like(x)
        known = (by_y, x, y, weight, bias, mean, var)
        found = (*rooms(ctx.parts, len(weight)), by_added, by_x, by_weight, by_bias)
        native.call("norms", f"backward_{NAMES[x.dtype]}", ctx.shape, *known, *ctx.numbers, *found)
        return by_x, by_added, by_weight, by_bias, None, None
