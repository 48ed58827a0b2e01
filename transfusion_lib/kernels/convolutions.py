"""Convolutions as matrix products on a CPU, where oneDNN is slow: the same numbers but for rounding.

Images are channels-last there, so the output positions of a 1x1 convolution are the rows of a matrix, and the gradient
of any convolution by its weights is a product with the patches that those positions saw. oneDNN is slow where few
positions meet many channels, as in the deep blocks of a ResNet. Measured in turn with plain ones on two threads,
forward and backward at 64 px are faster with AMX 1.6 times (ResNet-50), 1.2 (CBR-LargeT), 1.1 (other CBRs); ResNet-50
gains 1.2 times with AVX2 in float32 and 1.05 with AVX512-bf16 alone, EfficientNet-Lite0 in float32 1.1 times on each.
``bench train`` measures it again for its networks on the machine at hand.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

FEW, MORE = 16, 256
"""Output positions of an image up to which a larger convolution and a 1x1 convolution are products."""

FEW_WITH_AMX = 64
"""Of a larger convolution in bfloat16 with AMX, which multiplies matrices four to six times as fast as float32."""


def as_products(network: nn.Module) -> None:
    """Let the dense two-dimensional convolutions of ``network`` be computed as products where that is faster.

    What each computes stays what it was, and so do the names and values of its weights.
    """
    for part in network.modules():
        if type(part) is nn.Conv2d and part.groups == 1 and part.dilation == (1, 1) and part.padding_mode == "zeros":
            if part.kernel_size == (1, 1) and part.padding == (0, 0):
                part.__class__ = _Pointwise
            elif not isinstance(part.padding, str):
                part.__class__ = _Patched


class _Pointwise(nn.Conv2d):
    """A 1x1 convolution: a linear layer at each position."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        down, right = self.stride
        seen = x[:, :, ::down, ::right]
        if not _learns(weight) or seen.shape[2] * seen.shape[3] > MORE:
            return super()._conv_forward(x, weight, bias)  # type: ignore[no-any-return]  # untyped there
        n, channels, height, width = seen.shape
        rows = seen.permute(0, 2, 3, 1).reshape(-1, channels)  # for a linear layer one matrix, not n small ones
        return F.linear(rows, weight.flatten(1), bias).view(n, height, width, -1).permute(0, 3, 1, 2)


class _Patched(nn.Conv2d):
    """A convolution whose gradient by its weights is a product, where its output has few positions."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        amx = dtype == torch.bfloat16 and torch.cpu._is_amx_tile_supported()
        if bias is not None or not _learns(weight) or self._positions(x) > (FEW_WITH_AMX if amx else FEW):
            return super()._conv_forward(x, weight, bias)  # type: ignore[no-any-return]
        found: Tensor = _Convolution.apply(x.to(dtype), weight.to(dtype), self.stride, self.padding)
        return found

    def _positions(self, x: Tensor) -> int:
        (rows, columns), (down, right) = self.kernel_size, self.stride
        above, beside = map(int, self.padding)
        height, width = x.shape[2:]
        return ((height + 2 * above - rows) // down + 1) * ((width + 2 * beside - columns) // right + 1)


def _learns(weight: Tensor) -> bool:
    """Tell whether ``weight`` has a gradient here: without one, products are not faster."""
    return weight.requires_grad and torch.is_grad_enabled()


class _Convolution(torch.autograd.Function):
    """A convolution of x (n, inside, ...) by weights (outside, inside, rows, columns)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, stride=stride, padding=padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        (by_output,) = gradients
        by_input = None
        if ctx.needs_input_grad[0]:
            by_input = conv2d_input(x.shape, weight, by_output, ctx.stride, ctx.padding)
        outside, inside, rows, columns = weight.shape
        (above, beside), (down, right) = ctx.padding, ctx.stride
        image = F.pad(x, (beside, beside, above, above)).permute(0, 2, 3, 1).contiguous()
        left = by_output.permute(0, 2, 3, 1).reshape(-1, outside).t()
        size = (len(x), *by_output.shape[2:], columns * inside)
        to_next, to_row, to_column, _ = image.stride()
        strides = (to_next, to_row * down, to_column * right, 1)
        # What each output position sees of one row of the kernel; of all rows at once it would take much memory.
        starts = range(image.storage_offset(), image.storage_offset() + rows * to_row, to_row)
        by_row = [left @ image.as_strided(size, strides, start).flatten(0, 2) for start in starts]
        return by_input, torch.stack(by_row, 1).view(outside, rows, columns, inside).permute(0, 3, 1, 2), None, None
