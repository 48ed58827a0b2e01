"""Batch norm, ReLU and pooling in another order and in one pass: what PyTorch's layers compute, nearer to the truth."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from tests.layers import compiled, computed, error, exact, maps
from tests.networks import network, seeded
from transfusion_lib import kernels


def layers(c: int, **norm: Any) -> nn.Sequential:
    """Return the three layers, with weights of either sign."""
    made = nn.Sequential(nn.BatchNorm2d(c, **norm), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1))
    if norm.get("affine", True):
        torch.nn.init.normal_(made.get_parameter("0.weight"), generator=seeded(1))
        torch.nn.init.normal_(made.get_parameter("0.bias"), generator=seeded(2))
    return made


def one_pass(plain: nn.Sequential) -> nn.Sequential:
    """Return a twin that takes one pass."""
    twin = copy.deepcopy(plain)
    kernels.pool_early(twin, in_one_pass=True)
    assert type(twin) is not nn.Sequential
    return twin


@compiled
@pytest.mark.parametrize(
    ("n", "c", "height", "width"),
    [(3, 16, 8, 8), (2, 32, 7, 5), (2, 48, 1, 6), (2, 16, 2, 2), (1, 16, 3, 1), (5, 16, 1, 1), (2, 256, 4, 4)],
)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_one_pass_is_the_three_layers(n: int, c: int, height: int, width: int, layout: torch.memory_format) -> None:
    plain, x = layers(c, eps=0.1), maps(n, c, height, width).contiguous(memory_format=layout)
    twin = one_pass(plain)
    assert list(twin.state_dict()) == list(plain.state_dict())
    wanted, found = exact(plain, x), computed(twin, x)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name].double(), value.double(), rtol=1e-5, atol=1e-5, msg=name)
    assert found["0.num_batches_tracked"] == 1


@compiled
def test_a_channel_of_one_value_has_no_variance_and_no_gradient() -> None:
    """And where normalised values are 0, a ReLU lets no gradient through."""
    plain = layers(16)
    torch.nn.init.zeros_(plain.get_parameter("0.bias"))
    x = torch.linspace(0.1, 1e4, 16).view(1, 16, 1, 1).expand(3, 16, 7, 7)
    found = computed(one_pass(plain), x)
    assert found["0.running_var"].allclose(torch.tensor(0.9))
    assert not found["y"].isnan().any()
    zero = torch.zeros_like(x)
    zeros = computed(one_pass(plain), zero)
    for name in ("y", "by_x", "by_0.weight", "by_0.bias"):
        assert not zeros[name].any(), name


@compiled
def test_of_equal_values_the_first_gets_the_gradient() -> None:
    plain = layers(16)
    for parameter in plain.parameters():
        torch.nn.init.ones_(parameter)
    x = maps(2, 16, 6, 6).round()  # many ties
    assert computed(one_pass(plain), x)["by_x"].allclose(computed(plain, x)["by_x"], rtol=1e-4, atol=1e-5)


@compiled
def test_in_bfloat16_it_is_closer_to_the_truth_than_the_layers() -> None:
    plain, x = layers(32), maps(8, 32, 16, 16).bfloat16()
    truth = exact(plain, x)
    layered, found = computed(plain, x), computed(one_pass(plain), x)
    assert {name: value.dtype for name, value in found.items()} == {n: value.dtype for n, value in layered.items()}
    assert error(found["by_x"], truth["by_x"]) < 0.003 < 0.01 < error(layered["by_x"], truth["by_x"])
    for name in ("by_0.weight", "by_0.bias"):
        assert error(found[name], truth[name]) < 1e-4 < error(layered[name], truth[name])
    assert error(found["y"], truth["y"]) < 0.003  # one rounding to bfloat16


def test_a_relu_behind_the_pooling_is_the_one_before_it() -> None:
    """In every bit of output and gradients, equal values and values below 0 included."""
    plain = layers(16)
    twin = copy.deepcopy(plain)
    kernels.pool_early(twin, in_one_pass=False)
    assert type(twin).__name__ == "_PoolEarly"
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randint(0, 3, (4, 16, 9, 9), generator=seeded()).to(dtype)  # few values, so that many are equal
        wanted, found = computed(plain, x), computed(twin, x)
        assert (wanted["y"] == 0).any()
        for name, value in wanted.items():
            assert found[name].equal(value), name


@pytest.mark.parametrize(
    "kept",
    [
        nn.Sequential(nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Sequential(nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True)),
        nn.Sequential(nn.BatchNorm2d(16), nn.ReLU6(), nn.MaxPool2d(3, stride=2, padding=1)),
        nn.Sequential(nn.BatchNorm2d(16), nn.ReLU()),
        nn.Sequential(nn.BatchNorm3d(16), nn.ReLU(), nn.MaxPool3d(3, stride=2, padding=1)),
    ],
)
def test_other_layers_stay_as_they_are(kept: nn.Sequential) -> None:
    kernels.pool_early(kept, in_one_pass=True)
    assert type(kept) is nn.Sequential


@compiled
@pytest.mark.parametrize(
    ("name", "blocks"),
    [("cbr_tiny", 4), ("cbr_large_t", 4), ("cbr_large_w", 4), ("resnet18", 1), ("efficientnet_lite0", 0)],
)
def test_the_blocks_of_a_cbr_take_one_pass(name: str, blocks: int) -> None:
    plain = network(name).to(memory_format=torch.channels_last)
    twin = copy.deepcopy(plain)
    kernels.pool_early(twin, in_one_pass=True)
    assert sum(type(part).__name__ == "_InOnePass" for part in twin.modules()) == blocks
    assert list(twin.state_dict()) == list(plain.state_dict())
    x = maps(4, 3, 32, 32)
    wanted, found = exact(plain, x), computed(twin, x)
    for key, value in wanted.items():
        assert blocks == 0 or error(found[key], value) < 0.02, key
