"""Batch norm and what follows it by own C++: what PyTorch's layers compute, about as near to the truth or nearer."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from tests.layers import compiled, computed, error, exact, maps
from tests.networks import network, seeded
from transfusion_lib import device as devices
from transfusion_lib import kernels


def norm_alone(c: int, **norm: Any) -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(c, **norm))


def norm_and_pooling(c: int, **norm: Any) -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(c, **norm), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1))


def norm_and(activation: type[nn.Module], c: int, **norm: Any) -> nn.Module:
    return nn.Sequential(BatchNormAct2d(c, act_layer=activation, **norm))


def basic_block(c: int, **norm: Any) -> nn.Module:
    """A residual block of nothing but norms, ReLUs and the sum."""
    made = BasicBlock(c, c, norm_layer=partial(nn.BatchNorm2d, **norm))
    made.conv1 = made.conv2 = nn.Identity()
    return nn.Sequential(made)


def bottleneck(c: int, **norm: Any) -> nn.Module:
    """One whose skip has a norm too."""
    made = Bottleneck(c, c // 4, downsample=norm_alone(c, **norm), norm_layer=partial(nn.BatchNorm2d, **norm))
    made.bn1, made.bn2 = nn.BatchNorm2d(c, **norm), nn.BatchNorm2d(c, **norm)
    made.conv1 = made.conv2 = made.conv3 = nn.Identity()
    return nn.Sequential(made)


KINDS: dict[str, Callable[..., nn.Module]] = {
    "norm": norm_alone,
    "relu": partial(norm_and, nn.ReLU),
    "relu6": partial(norm_and, nn.ReLU6),
    "identity": partial(norm_and, nn.Identity),
    "basic": basic_block,
    "bottleneck": bottleneck,
    "pooling": norm_and_pooling,
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def layers(kind: str, c: int, **norm: Any) -> nn.Module:
    """Return layers of a kind, with weights of either sign, large enough to meet the ceiling of a ReLU6."""
    made = KINDS[kind](c, **norm)
    for seed, parameter in enumerate(made.parameters()):
        torch.nn.init.normal_(parameter, std=3.0, generator=seeded(seed))
    return made


def own(plain: nn.Module) -> nn.Module:
    """Return a twin by own C++."""
    twin = copy.deepcopy(plain)
    kernels.pool_early(twin, in_one_pass=True)
    kernels.norm_in_few_passes(twin)
    assert [type(part) for part in twin.modules()] != [type(part) for part in plain.modules()]
    return twin


def used(y: Tensor) -> bool:
    """Tell whether own C++ computed the last layer."""
    return type(y.grad_fn).__name__ in ("_PassesBackward", "_NormPoolReLUBackward")


@compiled
@each_kind
@pytest.mark.parametrize(
    ("n", "c", "height", "width"),
    [(3, 16, 8, 8), (2, 32, 7, 5), (2, 48, 1, 6), (2, 80, 2, 2), (1, 16, 3, 1), (5, 64, 1, 1), (2, 256, 9, 9)],
)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_it_is_what_the_layers_compute(
    kind: str, n: int, c: int, height: int, width: int, layout: torch.memory_format
) -> None:
    plain, x = layers(kind, c, eps=0.1), maps(n, c, height, width).contiguous(memory_format=layout)
    twin = own(plain)
    assert list(twin.state_dict()) == list(plain.state_dict())
    assert used(own(plain)(x))
    wanted, found = exact(plain, x), computed(twin, x)
    for name, value in wanted.items():
        close = 1e-5 * max(1.0, float(value.abs().max()))
        torch.testing.assert_close(found[name].double(), value.double(), rtol=1e-5, atol=close, msg=name)


@compiled
def test_the_ceiling_of_a_relu6_is_met() -> None:
    """So that the test above saw values at it, and none of their gradients."""
    y = own(layers("relu6", 16))(maps(3, 16, 8, 8))
    assert (y == 6).any()
    assert (y == 0).any()
    assert own(layers("relu", 16))(maps(3, 16, 8, 8)).max() > 6


@compiled
def test_at_the_limits_of_a_relu6_no_gradient_passes() -> None:
    plain = layers("relu6", 48)
    torch.nn.init.zeros_(plain.get_parameter("0.weight"))
    plain.get_parameter("0.bias").data = torch.tensor([0.0, 3.0, 6.0]).repeat(16)
    wanted, found = computed(plain, maps(3, 48, 4, 4)), computed(own(plain), maps(3, 48, 4, 4))
    assert found["y"].equal(wanted["y"])
    assert found["by_0.bias"].bool().tolist() == wanted["by_0.bias"].bool().tolist() == [False, True, False] * 16


@compiled
@each_kind
def test_a_batch_far_from_zero_keeps_its_variance(kind: str) -> None:
    plain, x = layers(kind, 16), maps(4, 16, 8, 8) + 3000.0
    wanted, found = exact(plain, x), computed(own(plain), x)
    assert error(found["y"], wanted["y"]) < 2e-3  # of x itself half a unit in the last place is 1e-4 of its spread
    variances = [name for name in wanted if name.endswith("running_var")]
    assert error(found[variances[0]], wanted[variances[0]]) < 1e-6


@compiled
@pytest.mark.parametrize("kind", ["norm", "pooling"])
def test_a_value_far_from_all_others_spoils_no_variance(kind: str) -> None:
    plain, x = layers(kind, 16), maps(4, 16, 32, 32)
    x[0, :, 0, 0] = 1e4
    wanted, found = exact(plain, x), computed(own(plain), x)
    assert error(found["0.running_var"], wanted["0.running_var"]) < 1e-5


@compiled
@each_kind
def test_statistics_go_on_from_batch_to_batch(kind: str) -> None:
    plain = layers(kind, 16, momentum=0.3, eps=0.1)
    twin = own(plain)
    for seed in range(3):
        x = torch.randn(4, 16, 6, 6, generator=seeded(seed)) * (seed + 1)
        plain(x), twin(x)
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(twin.get_buffer(name), buffer, rtol=1e-5, atol=1e-5, msg=name)


@compiled
@each_kind
def test_in_bfloat16_it_is_no_further_from_the_truth_than_the_layers(kind: str) -> None:
    plain, x = layers(kind, 32), maps(8, 32, 16, 16).bfloat16()
    truth = exact(plain, x)
    found, layered = computed(own(plain), x), computed(plain, x)
    assert {name: value.dtype for name, value in found.items()} == {n: value.dtype for n, value in layered.items()}
    for name, value in truth.items():
        if "num_batches" not in name:
            assert error(found[name], value) < 1.1 * error(layered[name], value) + 1e-5, name
    if kind not in ("basic", "bottleneck"):  # between whose norms maps are rounded too
        assert error(found["y"], truth["y"]) < 0.003
        assert error(found["by_x"], truth["by_x"]) < 0.003
        assert error(found["by_0.weight"], truth["by_0.weight"]) < 1e-4


@compiled
@each_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_threads_change_no_bit(kind: str, dtype: torch.dtype) -> None:
    plain, x, found = layers(kind, 80), maps(7, 80, 9, 9).to(dtype), []
    for threads in (1, 2, 3):
        with devices.threads(threads):
            found.append(computed(own(plain), x))
    for name, value in found[0].items():
        assert all(other[name].equal(value) for other in found), name


@compiled
@pytest.mark.parametrize("kind", ["norm", "pooling"])
def test_every_bfloat16_is_rounded_as_pytorch_rounds(kind: str) -> None:
    """Values of all sizes: weights of zero let the bias through, so that a channel's output is the bias, rounded."""
    plain = layers(kind, 4096)
    torch.nn.init.zeros_(plain.get_parameter("0.weight"))
    bits = torch.randint(0, 0x7F800000, (4096,), generator=seeded(), dtype=torch.int32)
    bits[:3] = torch.tensor([0x3F808000, 0x3F818000, 0x7FFFFFFF])  # two ties: to the even one, down and up; NaN
    plain.get_parameter("0.bias").data = bits.view(torch.float32)
    y = own(plain)(maps(2, 4096, 2, 2).bfloat16())
    torch.testing.assert_close(y[0, :, 0, 0], plain.get_parameter("0.bias").bfloat16(), rtol=0, atol=0, equal_nan=True)


@compiled
@each_kind
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_no_number_spoils_its_channel_alone(kind: str, bad: float, dtype: torch.dtype) -> None:
    x = maps(2, 16, 6, 6).to(dtype)
    x[1, 3, 2, 2] = bad
    plain = layers(kind, 16)
    wanted, found = computed(plain, x), computed(own(plain), x)
    for name, value in wanted.items():
        assert found[name].isfinite().equal(value.isfinite()), name
    assert found["y"][:, 3].isnan().all()
    assert found["y"].isnan().sum() == found["y"][:, 3].numel()


@compiled
@each_kind
def test_a_gradient_of_any_layout_arrives(kind: str) -> None:
    plain, x = layers(kind, 16, eps=0.1), maps(2, 16, 6, 6)
    found = []
    for module in (plain, own(plain)):
        y = module(x)
        by_y = torch.randn(y.shape, generator=seeded())  # contiguous, and expanded
        parameters = list(module.parameters())
        found.append([*torch.autograd.grad(y, parameters, by_y, retain_graph=True)])
        found[-1] += torch.autograd.grad(y.sum(), parameters)
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * max(1.0, float(a.abs().max())))


@compiled
@each_kind
def test_where_nothing_learns_the_layers_are_pytorchs(kind: str) -> None:
    """In evaluation, with frozen norms, in other numbers, and for one value a channel, an error there."""
    plain, x = layers(kind, 16), maps(3, 16, 6, 6)
    twin = own(plain)
    assert used(twin(x))
    assert not used(twin(x.half()))
    assert not used(twin.double()(x.double()))
    assert not used(twin.bfloat16()(x.bfloat16()))
    twin.float()
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        twin(x[:1, :, :1, :1])
    twin.requires_grad_(False)
    assert not used(twin(x.clone().requires_grad_()))
    twin.requires_grad_(True)
    assert not used(twin.eval()(x))
    plain.load_state_dict(twin.state_dict())
    assert plain.eval()(x).equal(twin(x))


@compiled
@each_kind
@pytest.mark.parametrize(
    ("c", "norm"), [(24, {}), (16, {"affine": False}), (16, {"track_running_stats": False}), (16, {"momentum": None})]
)
def test_norms_that_own_code_does_not_know_are_pytorchs(kind: str, c: int, norm: dict[str, Any]) -> None:
    plain = layers(kind, c, **norm)
    x = maps(2, c, 6, 6)
    twin = own(plain)
    wanted, found = computed(plain, x), computed(twin, x)
    for name, value in wanted.items():
        assert found[name].equal(value), name


@compiled
def test_a_sum_of_two_precisions_is_pytorchs() -> None:
    plain = layers("basic", 16)
    plain.get_submodule("0").conv1 = nn.Conv2d(16, 16, 1)
    x = maps(2, 16, 6, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(own(plain)(x), plain(x), rtol=0.05, atol=0.05)


@compiled
@pytest.mark.parametrize(
    "kept",
    [
        nn.BatchNorm3d(16),
        nn.GroupNorm(4, 16),
        BatchNormAct2d(16, act_layer=nn.SiLU),
        BatchNormAct2d(16, drop_layer=nn.Dropout),
        BasicBlock(16, 16, norm_layer=nn.InstanceNorm2d),
    ],
)
def test_other_layers_stay_as_they_are(kept: nn.Module) -> None:
    before = type(kept)
    kernels.norm_in_few_passes(kept)
    assert type(kept) is before


@compiled
@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("resnet50", {"_Residual": 16, "_Norm": 53}),
        ("resnet18", {"_Residual": 8, "_Norm": 20}),
        ("efficientnet_lite0", {"_NormAct": 49}),
        ("densenet121", {"_Norm": 121}),
    ],
)
def test_a_networks_gradients_stay(name: str, kinds: dict[str, int]) -> None:
    plain = network(name).to(memory_format=torch.channels_last)
    twin = copy.deepcopy(plain)
    kernels.norm_in_few_passes(twin)
    changed = [type(part).__name__ for part in twin.modules() if type(part).__module__.startswith("transfusion_lib.k")]
    assert {kind: changed.count(kind) for kind in set(changed)} == kinds
    assert list(twin.state_dict()) == list(plain.state_dict())
    x = maps(4, 3, 64, 64)
    wanted, found = exact(plain, x), computed(twin, x)
    assert error(found["y"], wanted["y"]) < 1e-3
    weights = [key for key in wanted if key.startswith("by_")]
    # A value of almost 0 passes a ReLU or not: PyTorch's own float32 is up to 3 % off.
    assert error(*(torch.cat([each[key].double().flatten() for key in weights]) for each in (found, wanted))) < 0.05
    for key, _ in plain.named_buffers():
        close = 1e-6 + 1e-3 * float(wanted[key].abs().max())
        torch.testing.assert_close(found[key].double(), wanted[key].double(), rtol=1e-3, atol=close, msg=key)
