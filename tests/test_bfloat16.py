"""bfloat16 autocast: depthwise convolutions stay in float32, and a CPU without its instructions computes the same."""

import copy
from collections.abc import Callable
from typing import cast

import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from tests.networks import seeded
from transfusion_lib.training import accelerate


def maps(n: int, c: int, height: int, width: int) -> Tensor:
    """Return maps, channels-last as in training."""
    return torch.randn(n, c, height, width, generator=seeded()).contiguous(memory_format=torch.channels_last)


def gradients(module: nn.Module, x: Tensor, *, autocast: bool = False) -> list[Tensor]:
    """Return output and gradients by input and weights, of a loss that weighs every output differently."""
    x = x.detach().clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        y = module(x)
    weights = torch.randn(y.shape, generator=seeded(5)).bfloat16().to(y.dtype)  # the same in every precision
    return [y.detach(), *torch.autograd.grad((y * weights).sum(), [x, *module.parameters()])]


@pytest.mark.parametrize("edge", [(3, 3), (5, 5), (1, 3), (5, 2)])
@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (1, 2), (2, 1), ((1, 2), (2, 1)), (3, (0, 2))])
@pytest.mark.parametrize(("height", "width"), [(2, 2), (4, 4), (5, 3), (1, 1), (4, 5)])
def test_sums_are_the_gradient_of_the_convolution(
    edge: tuple[int, int], stride: int, padding: int, height: int, width: int
) -> None:
    plain = nn.Conv2d(16, 16, edge, stride, padding, groups=16, bias=False)
    twin = copy.deepcopy(plain)
    accelerate.as_products(twin)
    x = maps(3, 16, height, width)
    margins = zip((height, width), plain.padding, edge, strict=True)
    if any(length + 2 * cast("int", around) < filter_edge for length, around, filter_edge in margins):
        return  # the filter is larger than the padded map
    wanted = gradients(copy.deepcopy(plain).double(), x.double())
    for found, value in zip(gradients(twin, x), wanted, strict=True):
        torch.testing.assert_close(found.double(), value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [nn.Conv2d, Conv2dSame])
def test_inside_autocast_they_compute_in_float32_and_return_bfloat16(kind: type[nn.Conv2d]) -> None:
    plain = kind(32, 32, 5, stride=2, groups=32, bias=False)
    twin = copy.deepcopy(plain)
    accelerate.depthwise_in_float32(twin)
    x = maps(4, 32, 12, 12).bfloat16().float()  # what reaches the layer is already rounded
    exact = gradients(plain, x)
    found = gradients(twin, x, autocast=True)
    assert found[0].dtype == torch.bfloat16
    assert torch.equal(found[0], exact[0].bfloat16()), "only the output is rounded"
    rounded = gradients(plain, x, autocast=True)
    errors = [float((each[2] - exact[2]).norm() / exact[2].norm()) for each in (found, rounded)]
    assert errors[0] < errors[1] / 2, "the weights and their gradient are not rounded"


def test_other_layers_stay_in_bfloat16_and_names_stay() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 8, 3, groups=8))
    twin = copy.deepcopy(plain)
    accelerate.depthwise_in_float32(twin)
    x = maps(2, 3, 12, 12)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(twin[:2](x), plain[:2](x))
    assert list(twin.state_dict()) == list(plain.state_dict())


LAYERS: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "convolution": lambda: (nn.Conv2d(16, 24, 3, stride=2, padding=1), maps(4, 16, 9, 9)),
    "pointwise, few positions": lambda: (nn.Conv2d(32, 8, 1, bias=False), maps(4, 32, 3, 3)),
    "few positions": lambda: (nn.Conv2d(32, 8, 3, padding=1, bias=False), maps(4, 32, 2, 2)),
    "groups": lambda: (nn.Conv2d(16, 24, 3, groups=2), maps(4, 16, 6, 6)),
    "padded as TensorFlow does": lambda: (Conv2dSame(16, 24, 3, stride=2), maps(4, 16, 9, 9)),
    "transposed": lambda: (nn.ConvTranspose2d(16, 24, 2, stride=2), maps(4, 16, 5, 5)),
    "volume": lambda: (nn.Conv3d(4, 8, 3), torch.randn(2, 4, 6, 6, 6, generator=seeded())),
    "linear": lambda: (nn.Linear(64, 10), torch.randn(8, 64, generator=seeded())),
}


def steps_apart(found: Tensor, exact: Tensor) -> Tensor:
    """Return how many bfloat16 numbers lie between two tensors; small numbers count as a thousandth of the largest."""
    scale = exact.abs().maximum(1e-3 * exact.abs().max())
    return (found.double() - exact).abs() / scale * 2**8


@pytest.mark.parametrize("layer", LAYERS)
def test_multiplied_in_float32_each_number_is_the_exact_one_rounded_once(layer: str) -> None:
    plain, x = LAYERS[layer]()
    twin = copy.deepcopy(plain)
    accelerate.as_products(twin)
    accelerate.multiply_in_float32(twin)
    rounded = copy.deepcopy(plain).double()
    with torch.no_grad():
        for weight in rounded.parameters():
            weight.copy_(weight.bfloat16())
    exact = gradients(rounded, x.bfloat16().double())
    found = gradients(twin, x, autocast=True)
    assert found[0].dtype == torch.bfloat16
    for one, wanted in zip(found, exact, strict=True):
        assert torch.equal(one, one.bfloat16().to(one.dtype)), "rounded to bfloat16"
        assert steps_apart(one, wanted).max() <= 1.01, "within one rounding of the exact number"
    assert list(twin.state_dict()) == list(plain.state_dict())


def test_without_autocast_nothing_is_rounded() -> None:
    plain, x = LAYERS["convolution"]()
    twin = copy.deepcopy(plain)
    accelerate.multiply_in_float32(twin)
    assert torch.equal(twin(x), plain(x))
