"""Depthwise convolutions compute in float32 inside bfloat16 autocast.

oneDNN has no bfloat16 kernel for the gradients of most of them (stride 2, 5 x 5): over EfficientNet-Lite0's sixteen,
batch 32 at 64 px on one thread, bfloat16 takes 356 ms and float32 83 ms. They do 3 % of the network's multiply-adds, so
their precision is part of what "bfloat16" means here, on every device.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd


def depthwise_in_float32(network: nn.Module) -> None:
    """Let each depthwise convolution of ``network`` leave autocast: float32 inside, autocast's precision outside."""
    for part in network.modules():
        if isinstance(part, _ConvNd) and part.groups == part.in_channels > 1:
            part.forward = partial(_in_float32, part.forward)


def _in_float32(forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    kind = x.device.type
    if not torch.is_autocast_enabled(kind):
        return forward(x)
    with torch.autocast(kind, enabled=False):
        return forward(x.float()).to(torch.get_autocast_dtype(kind))
