"""Gradients of depthwise convolutions, as MobileNets and EfficientNets have them, by ``depthwise.cpp``.

oneDNN computes them one number at a time where it has no kernel for the shape: in bfloat16 they are three quarters of
EfficientNet-Lite0's step at 64 px, in float32 a third.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from transfusion_lib.kernels import native
from transfusion_lib.kernels.native import LANES, NAMES

EDGES = (3, 5)
"""Of the kernels that ``depthwise.cpp`` knows."""


def with_own_gradients(network: nn.Module) -> None:
    """Let depthwise convolutions of ``network`` have gradients from ``depthwise.cpp``, where it knows their shape."""
    if not native.available():
        return
    # Not at the top: timm takes a second, which who trains nothing need not wait.
    from timm.layers.conv2d_same import Conv2dSame

    for part in network.modules():
        if type(part) in (nn.Conv2d, Conv2dSame) and _fits(part):  # type: ignore[arg-type]  # both are convolutions
            part.__class__ = _Depthwise if type(part) is nn.Conv2d else _DepthwiseSame


def _fits(part: nn.Conv2d) -> bool:
    return (
        part.groups == part.in_channels == part.out_channels
        and part.in_channels % LANES == 0
        and part.kernel_size in [(edge, edge) for edge in EDGES]
        and part.stride[0] == part.stride[1]
        and part.dilation == (1, 1)
        and part.padding_mode == "zeros"
        and not isinstance(part.padding, str)
        and part.bias is None
    )


class _Depthwise(nn.Conv2d):
    """A depthwise convolution with own gradients."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        learns = weight.requires_grad and torch.is_grad_enabled()
        if not learns or dtype not in NAMES or weight.dtype != torch.float32 or not x.is_cpu:
            return super()._conv_forward(x, weight, bias)  # type: ignore[no-any-return]  # untyped there
        found: Tensor = _Convolution.apply(x.to(dtype), weight, self.stride[0], self.padding)
        return found


class _DepthwiseSame(_Depthwise):
    """The same behind TensorFlow's padding, which is not as wide on either side."""

    def forward(self, x: Tensor) -> Tensor:
        from timm.layers.padding import pad_same

        return self._conv_forward(pad_same(x, list(self.kernel_size), list(self.stride)), self.weight, self.bias)


class _Convolution(torch.autograd.Function):
    """A depthwise convolution of x (n, c, ...) by float32 weights (c, 1, edge, edge)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: tuple[int, int]) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        weight = weight.to(x.dtype)
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, stride=stride, padding=padding, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        by_y = gradients[0].contiguous(memory_format=torch.channels_last)
        (n, c, height, width), edge, (above, beside) = x.shape, weight.shape[-1], ctx.padding
        out_height, out_width = by_y.shape[2:]
        padded = [
            max(before + length, (out - 1) * ctx.stride + edge)
            for before, length, out in ((above, height, out_height), (beside, width, out_width))
        ]
        threads = torch.get_num_threads()
        shape = (n, height, width, c, out_height, out_width, ctx.stride, above, beside, *padded, threads)
        room = LANES * (2 * padded[0] * padded[1] + out_height * out_width)
        rooms, sums = (torch.empty(size, dtype=torch.float32) for size in ((threads, room), (n, edge, edge, c)))
        weights = weight.float().view(c, edge, edge).permute(1, 2, 0).contiguous()
        by_x = torch.empty_like(x)
        name = f"backward_{edge}_{NAMES[x.dtype]}"
        native.call("depthwise", name, shape, by_y, x, weights, rooms, sums, by_x)
        return by_x, sums[0].permute(2, 0, 1).unsqueeze(1), None, None
