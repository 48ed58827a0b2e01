"""Convolutions as matrix products on a CPU, where oneDNN is slow: the same numbers but for rounding.

Images are channels-last there, so the output positions of a 1x1 convolution are the rows of a matrix, and the gradient
of any convolution by its weights is a product with the patches that those positions saw. oneDNN is slow where few
positions meet many channels, as in the deep blocks of a ResNet. Measured in turn with plain ones on two threads,
forward and backward at 64 px are faster with AMX 1.7 to 1.9 times (ResNet-50), 1.2 (CBR-LargeT), 1.1 (other CBRs);
ResNet-50 gains 1.2 times with AVX2 in float32 and 1.1 with AVX512-bf16 alone, EfficientNet-Lite0 in float32 1.1 times
on each. ``bench train`` measures it again for its networks on the machine at hand.
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

VERY_FEW = 9
"""Output positions up to which a larger convolution is nothing but products, in float32 and with AMX."""

Pair = tuple[int, int]


def as_products(network: nn.Module) -> None:
    """Let the dense and depthwise 2D convolutions of ``network`` be computed as products where that is faster.

    What each computes stays what it was, and so do the names and values of its weights.
    """
    for part in network.modules():
        if type(part) is not nn.Conv2d or part.dilation != (1, 1) or part.padding_mode != "zeros":
            continue
        if part.groups == 1 and part.kernel_size == (1, 1) and part.padding == (0, 0):
            part.__class__ = _Pointwise
        elif part.groups == 1 and not isinstance(part.padding, str):
            part.__class__ = _Patched
        elif part.groups == part.in_channels == part.out_channels and not isinstance(part.padding, str):
            part.__class__ = _Depthwise


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
    """A convolution of few output positions: its gradient by its weights is a product, and of very few all of it."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        amx = dtype == torch.bfloat16 and torch.cpu._is_amx_tile_supported()
        positions = self._positions(x)
        if bias is not None or not _learns(weight) or positions > (FEW_WITH_AMX if amx else FEW):
            return super()._conv_forward(x, weight, bias)  # type: ignore[no-any-return]
        whole = positions <= VERY_FEW and (amx or dtype != torch.bfloat16)
        found: Tensor = _Convolution.apply(x.to(dtype), weight, self.stride, self.padding, whole)
        return found

    def _positions(self, x: Tensor) -> int:
        (rows, columns), (down, right) = self.kernel_size, self.stride
        above, beside = map(int, self.padding)
        height, width = x.shape[2:]
        return ((height + 2 * above - rows) // down + 1) * ((width + 2 * beside - columns) // right + 1)


class _Depthwise(nn.Conv2d):
    """A depthwise convolution of few output positions: its gradient by its weights is a sum of products.

    oneDNN multiplies one number at a time there: 5 x 5 filters of 1,152 channels on maps of 2 x 2 positions take it
    6 to 23 ms, these sums 0.4.
    """

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        height, width = x.shape[2:]
        if bias is not None or not _learns(weight) or torch.is_autocast_enabled("cpu") or height * width > FEW:
            return super()._conv_forward(x, weight, bias)  # type: ignore[no-any-return]
        found: Tensor = _DepthwiseConvolution.apply(x, weight, self.stride, self.padding)
        return found


class _DepthwiseConvolution(torch.autograd.Function):
    """A depthwise convolution of x (n, channels, height, width) by weights (channels, 1, rows, columns)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, stride=stride, padding=padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        by_output = gradients[0].contiguous(memory_format=torch.channels_last)
        by_input = None
        if ctx.needs_input_grad[0]:
            by_input = conv2d_input(x.shape, weight, by_output, ctx.stride, ctx.padding, groups=len(weight))
        by_weight = torch.zeros(*weight.shape[2:], len(weight), dtype=weight.dtype)
        seen, left = x.permute(0, 2, 3, 1), by_output.permute(0, 2, 3, 1)
        lengths = zip(weight.shape[2:], x.shape[2:], left.shape[1:3], ctx.stride, ctx.padding, strict=True)
        spans = [[_overlap(at, *others) for at in range(edge)] for edge, *others in lengths]
        for row, (up, down) in enumerate(spans[0]):
            for column, (before, behind) in enumerate(spans[1]):
                by_weight[row, column] = (seen[:, up, before] * left[:, down, behind]).sum((0, 1, 2))
        return by_input, by_weight.permute(2, 0, 1).unsqueeze(1), None, None


def _overlap(at: int, length: int, positions: int, stride: int, padding: int) -> tuple[slice, slice]:
    """Return the inputs and outputs that meet in weight ``at`` along one axis, none where it only sees padding."""
    first = max(0, -((at - padding) // stride))
    last = min(positions, (length - 1 - at + padding) // stride + 1)
    if last <= first:
        return slice(0, 0), slice(0, 0)
    begin = first * stride + at - padding
    return slice(begin, begin + (last - first - 1) * stride + 1, stride), slice(first, last)


def _learns(weight: Tensor) -> bool:
    """Tell whether ``weight`` has a gradient here: evaluation, a few percent of a run, stays PyTorch's own."""
    return weight.requires_grad and torch.is_grad_enabled()


class _Convolution(torch.autograd.Function):
    """A convolution of x (n, inside, ...) by weights (outside, inside, rows, columns), of any precision.

    ``whole`` says that output and gradient by x are products too.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: Pair, padding: Pair, whole: bool) -> Tensor:
        ctx.dtype, weight = weight.dtype, weight.to(x.dtype)
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding, ctx.whole = stride, padding, whole
        if not whole:
            return F.conv2d(x, weight, stride=stride, padding=padding)
        seen = _seen(x, weight, stride, padding)
        n, height, width = seen.shape[:3]
        return (seen.reshape(n * height * width, -1) @ _rows(weight).t()).view(n, height, width, -1).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, None, None, None]:
        x, weight = ctx.saved_tensors
        (by_output,) = gradients
        by_input = None
        if ctx.needs_input_grad[0]:
            found = _by_input if ctx.whole else conv2d_input
            by_input = found(x.shape, weight, by_output, ctx.stride, ctx.padding)
        outside, inside, rows, columns = weight.shape
        seen = _seen(x, weight, ctx.stride, ctx.padding)
        left = by_output.permute(0, 2, 3, 1).reshape(-1, outside).t()
        by_weight = torch.empty(outside, rows, columns * inside, dtype=ctx.dtype)
        for row in range(rows):  # of all rows of the kernel at once, what is seen would take much memory
            by_weight[:, row] = left @ seen[:, :, :, row].reshape(-1, columns * inside)
        return by_input, by_weight.view(outside, rows, columns, inside).permute(0, 3, 1, 2), None, None, None


def _seen(x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
    """Return a view of what each output position sees, (n, height, width, rows, columns, inside)."""
    (rows, columns), (above, beside), (down, right) = weight.shape[2:], padding, stride
    image = F.pad(x, (beside, beside, above, above)).permute(0, 2, 3, 1).contiguous()
    return image.unfold(1, rows, down).unfold(2, columns, right).permute(0, 1, 2, 4, 5, 3)


def _rows(weight: Tensor) -> Tensor:
    """Return what each output channel sees, (outside, rows * columns * inside)."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)


def _by_input(size: torch.Size, weight: Tensor, by_output: Tensor, stride: Pair, padding: Pair) -> Tensor:
    """Return the gradient by the input: that of what each position saw, added where it was seen."""
    (n, inside, height, width), (outside, _, rows, columns) = size, weight.shape
    (above, beside), (down, right) = padding, stride
    out_height, out_width = by_output.shape[2:]
    by_seen = by_output.permute(0, 2, 3, 1).reshape(-1, outside) @ _rows(weight)
    by_seen = by_seen.view(n, out_height, out_width, rows, columns, inside)
    exact = torch.promote_types(by_seen.dtype, torch.float32)
    image = torch.zeros(n, height + 2 * above, width + 2 * beside, inside, dtype=exact)
    for row in range(rows):
        for column in range(columns):
            lower, further = row + down * out_height, column + right * out_width
            image[:, row:lower:down, column:further:right] += by_seen[:, :, :, row, column]
    inner = image[:, above : above + height, beside : beside + width]
    return inner.to(by_output.dtype).permute(0, 3, 1, 2)
