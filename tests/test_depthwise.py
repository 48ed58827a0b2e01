"""Own gradients of depthwise convolutions are those of the convolution."""

import copy

import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from tests.layers import compiled, computed, error, exact, maps
from tests.networks import network, seeded
from transfusion_lib import device as devices
from transfusion_lib import kernels


def own(plain: nn.Module) -> nn.Module:
    """Return a twin with own gradients."""
    twin = copy.deepcopy(plain)
    kernels.with_own_gradients(twin)
    return twin


def depthwise(c: int, edge: int, *, stride: int = 1, padding: int = 0, same: bool = False) -> nn.Sequential:
    """Return a depthwise convolution, ``same`` with TensorFlow's padding."""
    return nn.Sequential((Conv2dSame if same else nn.Conv2d)(c, c, edge, stride, padding, groups=c, bias=False))


@compiled
@pytest.mark.parametrize("edge", [3, 5])
@pytest.mark.parametrize(
    ("stride", "padding", "same"), [(1, 0, False), (1, 2, False), (2, 1, False), (3, 1, False), (2, 0, True)]
)
@pytest.mark.parametrize(("n", "c", "height", "width"), [(3, 16, 8, 8), (2, 32, 7, 5), (1, 48, 5, 12), (5, 16, 6, 7)])
def test_own_gradients_are_those_of_the_convolution(
    edge: int, stride: int, padding: int, same: bool, n: int, c: int, height: int, width: int
) -> None:
    plain, x = depthwise(c, edge, stride=stride, padding=padding, same=same), maps(n, c, height, width)
    twin = own(plain)
    assert type(twin[0]).__name__ == ("_DepthwiseSame" if same else "_Depthwise")  # type: ignore[index]
    assert list(twin.state_dict()) == list(plain.state_dict())
    wanted, layout = exact(plain, x), [x, x.contiguous()]
    for each in layout:
        found = computed(twin, each)
        for name, value in wanted.items():
            torch.testing.assert_close(found[name].double(), value, rtol=1e-5, atol=1e-5, msg=name)


@compiled
def test_under_autocast_only_input_and_output_are_rounded() -> None:
    unrounded, x = depthwise(32, 5, padding=2), maps(8, 32, 16, 16)
    plain = copy.deepcopy(unrounded)
    weight = plain.get_parameter("0.weight")
    weight.data = weight.data.bfloat16().float()
    truth = exact(plain, x.bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layered, found, same = computed(plain, x), computed(own(plain), x), computed(own(unrounded), x)
    assert all(same[name].equal(value) for name, value in found.items()), "the weights that went forward go back"
    assert {name: value.dtype for name, value in found.items()} == {n: value.dtype for n, value in layered.items()}
    for name, limit in (("y", 3e-3), ("by_x", 3e-3), ("by_0.weight", 1e-5)):
        assert error(found[name], truth[name]) < limit, name
    assert error(layered["by_0.weight"], truth["by_0.weight"]) > 1e-3  # PyTorch rounds the sum itself


@compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_threads_change_no_bit(dtype: torch.dtype) -> None:
    twin, x, found = own(depthwise(32, 3, padding=1)), maps(7, 32, 9, 9), []
    for threads in (1, 2, 3, 9):
        with devices.threads(threads), torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            found.append(computed(twin, x))
    for name, value in found[0].items():
        if name.startswith("by_"):
            assert all(other[name].equal(value) for other in found), name


@compiled
def test_where_nothing_learns_the_convolution_is_pytorchs() -> None:
    for same in (False, True):
        plain, x = depthwise(16, 3, same=same), maps(2, 16, 6, 6)
        twin = own(plain)
        assert type(twin(x).grad_fn).__name__ == "_ConvolutionBackward"
        twin.double()
        assert type(twin(x.double()).grad_fn).__name__ == "ConvolutionBackward0"
        twin.float()
        with torch.no_grad():
            assert twin(x).equal(plain(x))
        twin.requires_grad_(False)
        assert type(twin(x.requires_grad_()).grad_fn).__name__ == "ConvolutionBackward0"


@compiled
def test_other_convolutions_stay_as_they_are() -> None:
    class Other(nn.Conv2d):
        pass

    kept = nn.Sequential(
        nn.Conv2d(24, 24, 3, groups=24, bias=False),
        nn.Conv2d(16, 16, 3, groups=16),
        nn.Conv2d(16, 16, 3, groups=8, bias=False),
        nn.Conv2d(16, 32, 3, groups=16, bias=False),
        nn.Conv2d(16, 16, 7, groups=16, bias=False),
        nn.Conv2d(16, 16, (3, 5), groups=16, bias=False),
        nn.Conv2d(16, 16, 3, (1, 2), groups=16, bias=False),
        nn.Conv2d(16, 16, 3, dilation=2, groups=16, bias=False),
        nn.Conv2d(16, 16, 3, padding="same", groups=16, bias=False),
        nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect", groups=16, bias=False),
        nn.Conv3d(16, 16, 3, groups=16, bias=False),
        Other(16, 16, 3, groups=16, bias=False),
    )
    assert [type(part) for part in own(kept).children()] == [type(part) for part in kept.children()]


@compiled
@pytest.mark.parametrize(("name", "count"), [("efficientnet_lite0", 16), ("cbr_tiny", 0)])
def test_a_networks_gradients_stay(name: str, count: int) -> None:
    plain = network(name).to(memory_format=torch.channels_last).eval()  # batch norm would enlarge what is rounding
    twin = own(plain)
    assert sum(type(part).__name__.startswith("_Depthwise") for part in twin.modules()) == count
    x = torch.randn(2, 3, 64, 64, generator=seeded()).contiguous(memory_format=torch.channels_last)
    wanted, found = exact(plain, x), computed(twin, x)
    for key, value in wanted.items():
        torch.testing.assert_close(found[key].double(), value.double(), rtol=1e-3, atol=1e-4 * float(value.abs().max()))
