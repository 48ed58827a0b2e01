"""Products: what a convolution computes, its gradients and its weights' names stay; only rounding differs."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.networks import network, seeded
from transfusion_lib import runs
from transfusion_lib.runs.store import Store
from transfusion_lib.spec import RunSpec
from transfusion_lib.training import accelerate
from transfusion_lib.training.accelerate import convolutions


def error(found: Tensor, wanted: Tensor) -> float:
    """Return how far a tensor is from the truth, of its length."""
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


def both(plain: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Return a module and its twin by products."""
    twin = copy.deepcopy(plain)
    convolutions.as_products(twin)
    return plain, twin


def gradients(module: nn.Module, x: Tensor, *, autocast: bool = False) -> list[Tensor]:
    """Return output and gradients by input and parameters, of a loss that weighs every output differently."""
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        out = module(x)
    weights = torch.randn(out.shape, generator=seeded(5), dtype=torch.float64).to(out.dtype)
    return [out.detach(), *torch.autograd.grad((out * weights).sum(), [x, *module.parameters()])]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "height", "width"),
    [
        (1, 1, 0, 4, 3),
        (1, 2, 0, 5, 4),
        (1, (1, 2), 0, 4, 6),
        (1, 1, 1, 3, 3),
        (1, 1, 0, 17, 16),
        (3, 1, 1, 2, 2),
        (3, 2, 1, 4, 5),
        (3, 1, 0, 3, 3),
        (5, (2, 1), (2, 0), 6, 8),
        ((1, 3), 1, (0, 1), 4, 4),
        (7, 1, 3, 4, 4),
        (3, 1, 1, 5, 4),
    ],
)
def test_a_product_is_the_convolution(
    kernel: int | tuple[int, int],
    stride: int | tuple[int, int],
    padding: int | tuple[int, int],
    height: int,
    width: int,
    layout: torch.memory_format,
    bias: bool,
) -> None:
    made = nn.Conv2d(3, 5, kernel, stride, padding, bias=bias).double()
    before = made.state_dict()
    plain, twin = both(made.to(memory_format=layout))
    x = torch.randn(2, 3, height, width, generator=seeded(), dtype=torch.float64).contiguous(memory_format=layout)
    for wanted, found in zip(gradients(plain, x), gradients(twin, x), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    assert list(twin.state_dict()) == list(before)


def test_a_part_of_a_larger_tensor_is_convolved() -> None:
    plain, twin = both(nn.Conv2d(3, 5, 3, bias=False).double())
    batch = torch.randn(4, 6, 6, 3, generator=seeded(), dtype=torch.float64).permute(0, 3, 1, 2)
    for part in (batch[1:], batch[..., 1:-1, 1:]):
        (wanted,), (found,) = (
            torch.autograd.grad(each(part).sin().sum(), list(each.parameters())) for each in (plain, twin)
        )
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_products_are_used_where_few_positions_are_left_and_only_there() -> None:
    """A twin that is no product would pass every other test here."""
    used = {}
    for side in (4, 5):
        _, twin = both(nn.Conv2d(3, 5, 3, padding=1, bias=False))
        used[side] = type(twin(torch.zeros(1, 3, side, side)).grad_fn).__name__
    assert used == {4: "_ConvolutionBackward", 5: "ConvolutionBackward0"}
    for side in (16, 17):
        _, twin = both(nn.Conv2d(3, 5, 1))
        used[side] = type(twin(torch.zeros(1, 3, side, side)).grad_fn).__name__
    assert used[16] == "PermuteBackward0"
    assert used[17] == "ConvolutionBackward0"


@pytest.mark.parametrize(("amx", "used"), [(True, "_ConvolutionBackward"), (False, "ConvolutionBackward0")])
def test_amx_multiplies_larger_maps_and_only_in_bfloat16(amx: bool, used: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    _, twin = both(nn.Conv2d(3, 5, 3, padding=1, bias=False))
    x = torch.zeros(1, 3, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert type(twin(x).grad_fn).__name__ == used
    assert type(twin(x).grad_fn).__name__ == "ConvolutionBackward0"


@pytest.mark.parametrize("amx", [True, False])
@pytest.mark.parametrize(("side", "very_few"), [(3, True), (4, False)])
def test_of_very_few_positions_all_is_a_product(
    side: int, very_few: bool, amx: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But in bfloat16 without AMX; and what it computes there is as near to the truth."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    made = nn.Conv2d(32, 16, 3, padding=1, bias=False)
    made.weight.data = made.weight.data.bfloat16().float()
    plain, twin = both(made.to(memory_format=torch.channels_last))
    x = torch.randn(4, 32, side, side, generator=seeded()).bfloat16().float()
    whole: list[torch.dtype] = []
    by_input = convolutions._by_input

    def seen(size: torch.Size, weight: Tensor, *known: Any) -> Tensor:
        whole.append(weight.dtype)
        return by_input(size, weight, *known)

    monkeypatch.setattr(convolutions, "_by_input", seen)
    gradients(twin, x)
    found = gradients(twin, x, autocast=True)
    assert whole == [torch.float32, torch.bfloat16][: very_few + (very_few and amx)]
    layered, truth = gradients(plain, x, autocast=True), gradients(copy.deepcopy(plain).double(), x.double())
    for layer, own, value in zip(layered, found, truth, strict=True):
        assert error(own, value) < 0.006
        assert error(own, value) < 2 * error(layer, value)


def test_other_convolutions_stay_as_they_are() -> None:
    class Other(nn.Conv2d):
        pass

    kept = nn.Sequential(
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, dilation=2),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        Other(4, 4, 1),
        nn.Conv3d(4, 4, 1),
    )
    _, twin = both(kept)
    assert [type(part) for part in twin.children()] == [type(part) for part in kept.children()]


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_frozen_convolution_is_a_plain_one(kernel: int) -> None:
    made = nn.Conv2d(3, 5, kernel, padding=kernel // 2, bias=False).double()
    plain, twin = both(made.requires_grad_(False))
    x = torch.randn(2, 3, 4, 4, generator=seeded(), dtype=torch.float64).requires_grad_()
    (wanted,), (found,) = (torch.autograd.grad(part(x).square().sum(), [x]) for part in (plain, twin))
    assert found.equal(wanted)
    assert type(twin(x).grad_fn).__name__ == "ConvolutionBackward0"


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0", "cbr_large_t", "densenet121", "inception_v3"])
def test_a_networks_gradients_stay(name: str) -> None:
    size = 96 if name == "inception_v3" else 64
    plain, twin = both(network(name).double().eval().to(memory_format=torch.channels_last))
    x = torch.randn(2, 3, size, size, generator=seeded(), dtype=torch.float64)
    x = x.contiguous(memory_format=torch.channels_last)
    changed = [part for part in twin.modules() if type(part).__name__ in ("_Pointwise", "_Patched")]
    assert len(changed) >= 5
    for wanted, found in zip(gradients(plain, x), gradients(twin, x), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-8 * float(wanted.abs().max()))


@pytest.mark.parametrize("kernel", [1, 3])
def test_evaluation_uses_no_products(kernel: int, monkeypatch: pytest.MonkeyPatch) -> None:
    _, twin = both(nn.Conv2d(3, 5, kernel, padding=kernel // 2, bias=False))
    monkeypatch.setattr(torch.nn.functional, "linear", lambda *_: pytest.fail("a product"))
    monkeypatch.setattr(convolutions._Convolution, "apply", lambda *_: pytest.fail("a product"))
    with torch.no_grad():
        twin(torch.zeros(1, 3, 4, 4))
    with pytest.raises(pytest.fail.Exception):
        twin(torch.zeros(1, 3, 4, 4))


def test_under_autocast_gradients_are_float32_and_rounded_alike() -> None:
    plain, twin = both(
        nn.Sequential(nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.ReLU(), nn.Conv2d(32, 8, 1)).to(
            memory_format=torch.channels_last
        )
    )
    x = torch.randn(4, 16, 4, 4, generator=seeded()).contiguous(memory_format=torch.channels_last)
    for wanted, found in zip(*(gradients(each, x, autocast=True) for each in (plain, twin)), strict=True):
        assert found.dtype == wanted.dtype
        torch.testing.assert_close(found, wanted, rtol=0.02, atol=0.02 * float(wanted.abs().max()))


def test_training_by_products_differs_by_rounding_alone(
    store: Store, small: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With SGD: Adam divides a gradient of almost nothing by itself."""
    spec = small.replace(train=small.train.replace(steps=1, eval_every=1, optimizer="sgd"))
    (made,) = runs.ensure([spec], store=store)
    weights = made.weights()
    monkeypatch.setattr(accelerate, "as_products", lambda network: None)
    (again,) = runs.ensure([spec], store=Store(store.root.parent / "other"))
    close = {
        name: torch.allclose(value, again.weights()[name], rtol=1e-4, atol=1e-5) for name, value in weights.items()
    }
    assert all(close.values()), close
    assert any(not value.equal(again.weights()[name]) for name, value in weights.items())
