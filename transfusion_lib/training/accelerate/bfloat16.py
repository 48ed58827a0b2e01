"""What convolutions and linear layers compute inside bfloat16 autocast on a CPU.

Depthwise convolutions compute in float32. oneDNN has no bfloat16 kernel for the gradients of most of them (stride 2,
5 x 5): over EfficientNet-Lite0's sixteen, batch 32 at 64 px on one thread, bfloat16 takes 356 ms and float32 83 ms.
They do 3 % of the network's multiply-adds, so their precision is part of what "bfloat16" means here, on every device.

A CPU without AVX512-bf16 and AMX has no instruction for the others: one product of two matrices of 1,024 x 1,024 takes
an EPYC 7003 18 s in bfloat16 and 0.04 s in float32. There the layers multiply in float32 what was rounded to bfloat16,
and round the result, as the instructions do: the same numbers but for the order of sums.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.conv import _ConvNd


def depthwise_in_float32(network: nn.Module) -> None:
    """Let each depthwise convolution of ``network`` leave autocast: float32 inside, autocast's precision outside."""
    for part in network.modules():
        if _is_depthwise(part):
            part.forward = partial(_in_float32, part.forward)


def multiply_in_float32(network: nn.Module) -> None:
    """Let the other convolutions and linear layers of ``network`` multiply rounded numbers in float32 inside autocast.

    Inputs, weights, outputs and all gradients are rounded as autocast rounds them.
    """
    for part in network.modules():
        if isinstance(part, _ConvNd | nn.Linear) and not _is_depthwise(part):
            part.forward = partial(_of_rounded, part, part.forward)  # type: ignore[method-assign]


def _is_depthwise(part: nn.Module) -> bool:
    return isinstance(part, _ConvNd) and part.groups == part.in_channels > 1


def _in_float32(forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    kind = x.device.type
    if not torch.is_autocast_enabled(kind):
        return forward(x)
    with torch.autocast(kind, enabled=False):
        return forward(x.float()).to(torch.get_autocast_dtype(kind))


def _of_rounded(part: nn.Module, forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    kind = x.device.type
    if not torch.is_autocast_enabled(kind):
        return forward(x)
    dtype = torch.get_autocast_dtype(kind)
    rounded = {name: weight.to(dtype).float() for name, weight in part.named_parameters()}
    with torch.autocast(kind, enabled=False):  # ``part`` calls this function again, which then calls ``forward``
        found: Tensor = functional_call(part, rounded, (x.to(dtype).float(),))
    return found.to(dtype)
