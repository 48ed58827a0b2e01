"""Steps in the order of memory: the same bits, shapes and states as an optimizer's own steps."""

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from tests.networks import seeded
from transfusion_lib.training import accelerate

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": partial(torch.optim.SGD, lr=0.1, fused=True),
    "momentum": partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=1e-3, fused=True),
    "adam": partial(torch.optim.Adam, lr=0.1, weight_decay=1e-3, fused=True),
    "adamw": partial(torch.optim.AdamW, lr=0.1, fused=True),
}


def layers() -> nn.ModuleList:
    """Return layers whose weights lie in every way: channels-last, that and contiguous at once, and never it."""
    made = nn.ModuleList([nn.Conv2d(3, 8, (3, 2)), nn.Conv2d(4, 6, 1), nn.BatchNorm2d(8), nn.Linear(6, 2)])
    return made.to(memory_format=torch.channels_last).append(nn.Conv2d(3, 8, 3)).append(nn.Conv3d(2, 3, 2))


def steps(module: nn.Module, optimizer: torch.optim.Optimizer, numbers: range) -> None:
    """Take steps, each with other gradients; one weight of four has none."""
    for number in numbers:
        optimizer.zero_grad()
        for at, weight in enumerate(module.parameters()):
            if at % 4 != 2:
                weight.grad = torch.empty_like(weight).copy_(torch.randn(weight.shape, generator=seeded(number)))
        before = {name: (weight.shape, weight.stride()) for name, weight in module.named_parameters()}
        optimizer.step()
        after = {name: (weight.shape, weight.stride()) for name, weight in module.named_parameters()}
        assert after == before


def compare(first: torch.optim.Optimizer, second: torch.optim.Optimizer) -> None:
    """Compare what two optimizers know of each weight, and where it lies."""
    wanted, found = first.state_dict()["state"], second.state_dict()["state"]
    assert found.keys() == wanted.keys()
    for number, moments in wanted.items():
        for name, value in moments.items():
            other = found[number][name]
            assert value is other is None or (other.equal(value) and other.stride() == value.stride()), name


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_steps_have_the_same_bits_and_states_the_same_shapes(make: Callable[..., torch.optim.Optimizer]) -> None:
    plain = layers()
    twin = copy.deepcopy(plain)
    first, second = make(plain.parameters()), make(twin.parameters())
    accelerate.step_in_order_of_memory(second)
    steps(plain, first, range(3))
    steps(twin, second, range(3))
    compare(first, second)
    again = make(twin.parameters())  # from the state of the other, as after a checkpoint
    accelerate.step_in_order_of_memory(again)
    again.load_state_dict(copy.deepcopy(first.state_dict()))
    steps(plain, first, range(3, 5))
    steps(twin, again, range(3, 5))
    for (name, wanted), found in zip(plain.named_parameters(), twin.parameters(), strict=True):
        assert found.equal(wanted), name
        if wanted.grad is not None:
            assert found.grad is not None
            assert found.grad.equal(wanted.grad), name
    compare(first, again)


def test_no_copy_is_made() -> None:
    """Which is what it is for."""
    weight = nn.Conv2d(16, 16, 3).to(memory_format=torch.channels_last).weight
    for own, copies in ((False, 1), (True, 0)):
        optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9, fused=True)
        if own:
            accelerate.step_in_order_of_memory(optimizer)
        weight.grad = torch.ones_like(weight)
        optimizer.step()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
            optimizer.step()
        assert sum(event.name == "aten::copy_" for event in seen.events()) == copies
