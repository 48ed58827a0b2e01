"""Convolutions as matrix products on a CPU, where oneDNN is slow: the same numbers but for rounding.

Images are channels-last there, so the output positions of a 1x1 convolution are the rows of a matrix, and the gradient
of any convolution by its weights is a product with the patches that those positions saw. oneDNN is slow where few
positions meet many channels, as in the deep blocks of a ResNet. In turn with plain convolutions (``bench train``),
forward and backward of ResNet-50 at 64 px are 1.6 times as fast with AMX, 1.2 times with AVX2 (float32) and 1.1 times
with AVX512-bf16 alone, of EfficientNet-Lite0 1.1 times; other networks here do not differ or gain a little.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # its usual name
from torch.nn.grad import conv2d_input

FEW, MORE = 16, 256
"""Output positions of an image up to which a larger convolution and a 1x1 convolution are products."""


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
        if seen.shape[2] * seen.shape[3] > MORE:
            return super()._conv_forward(x, weight, bias)  # type: ignore[no-any-return]  # untyped there
        return F.linear(seen.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)


class _Patched(nn.Conv2d):
    """A convolution whose gradient by its weights is a product, where its output has few positions."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        learns = weight.requires_grad and torch.is_grad_enabled()
        if bias is not None or not learns or self._positions(x) > FEW:
            return super()._conv_forward(x, weight, bias)  # type: ignore[no-any-return]
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            x, weight = x.to(dtype), weight.to(dtype)
        found: Tensor = _Convolution.apply(x, weight, self.stride, self.padding)
        return found

    def _positions(self, x: Tensor) -> int:
        (rows, columns), (down, right) = self.kernel_size, self.stride
        above, beside = map(int, self.padding)
        height, width = x.shape[2:]
        return ((height + 2 * above - rows) // down + 1) * ((width + 2 * beside - columns) // right + 1)


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
        seen = _patches(x, (rows, columns), by_output.shape[2:], ctx.stride, ctx.padding)
        product = by_output.permute(0, 2, 3, 1).reshape(-1, outside).t() @ seen
        return by_input, product.view(outside, rows, columns, inside).permute(0, 3, 1, 2), None, None


def _patches(
    x: Tensor, kernel: tuple[int, int], out: torch.Size, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """Return what each output position sees of x (n, c, ...), padded: (n x positions, rows x columns x c)."""
    (above, beside), (down, right) = padding, stride
    image = F.pad(x, (beside, beside, above, above)).permute(0, 2, 3, 1).contiguous()
    n, _, _, channels = image.shape
    to_next, to_row, to_column, to_channel = image.stride()
    sizes = (n, *out, *kernel, channels)
    strides = (to_next, to_row * down, to_column * right, to_row, to_column, to_channel)
    return image.as_strided(sizes, strides).reshape(n * out.numel(), -1)
