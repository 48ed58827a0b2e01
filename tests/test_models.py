"""The table of networks: nothing is lost or counted twice, and the libraries' networks are left as they were."""

from collections.abc import Callable
from functools import cache
from itertools import chain

import pytest
import torch
from torch import Tensor, nn

from tests.networks import NETWORKS, cut_points, enliven, images, network, seeded, size, stage_ends, step
from transfusion_lib import networks
from transfusion_lib.errors import SpecError
from transfusion_lib.networks.stages import BatchNorm, Convolution, Head, Network
from transfusion_lib.spec import ModelSpec, Slim, Truncate

LIBRARY = [name for name, row in networks.TABLE.items() if row.stages is not None]
FAST_LIBRARY = [name for name in LIBRARY if name not in ("resnet34", "resnet50")]
SLOW_LIBRARY = [pytest.param(name, marks=pytest.mark.slow) for name in ("resnet34", "resnet50")]  # made like resnet18


# --- known numbers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "table_1"),
    [("cbr_large_t", 8_532_480), ("cbr_large_w", 8_432_128), ("cbr_small", 2_108_672), ("cbr_tiny", 1_076_480)],
)
def test_cbr_parameters_are_those_of_table_1(name: str, table_1: int) -> None:
    """Transfusion, Table 1, exactly.

    The rule, found from the numbers (no source states it): every convolution weight but the first layer's, plus a
    5-way classifier without bias, and no batch-norm parameters.
    """
    described = networks.describe(ModelSpec(name=name))
    assert described.paper_parameters == described.table_1 == table_1
    trainable = network(name, num_outputs=5)
    first, classifier_bias = networks.first_convolution(trainable).weight, 5
    norms = sum(2 * part.num_features for part in trainable.modules() if isinstance(part, BatchNorm))
    assert described.parameters == table_1 + first.numel() + classifier_bias + norms


@pytest.mark.parametrize(
    ("surgery", "millions", "macs"),
    [
        ({}, 23.5, 4.12),
        ({"slim": Slim(above="block3")}, 12.9, 3.56),
        ({"truncate": Truncate(at="block3")}, 8.55, 3.31),
        ({"truncate": Truncate(at="block3.4")}, 6.31, 2.87),
    ],
)
def test_resnet50_costs_what_truncated_tl_says(
    surgery: dict[str, Slim | Truncate], millions: float, macs: float
) -> None:
    """TruncatedTL, the table of P and MACs at 224 px with a two-class head; its tool also counts normalisation."""
    described = networks.describe(ModelSpec.model_validate({"name": "resnet50", **surgery}), num_outputs=2, size=224)
    digits = 2 if millions < 10 else 1
    assert round(described.parameters / 1e6, digits) == millions
    assert described.macs / 1e9 == pytest.approx(macs, rel=0.02)


@pytest.mark.parametrize("name", [*FAST_LIBRARY, *SLOW_LIBRARY])
def test_costs_are_the_librarys_own(name: str) -> None:
    from torchvision.models import get_model_weights

    described = networks.describe(ModelSpec(name=name), num_outputs=1000, size=299 if name == "inception_v3" else 224)
    if name == "efficientnet_lite0":  # timm: 4.65 M parameters; the Lite paper: 407 M multiply-adds at 224
        assert described.parameters == 4_652_008
        assert described.macs / 1e6 == pytest.approx(385, abs=1)
        return
    published = get_model_weights(name)["IMAGENET1K_V1"].meta
    auxiliary = 27_161_264 - 23_834_568 if name == "inception_v3" else 0
    assert described.parameters == published["num_params"] - auxiliary
    assert described.macs / 1e9 == pytest.approx(published["_ops"], rel=0.01)


# --- the table of stages ------------------------------------------------------------------------------------------


def test_resnet50_has_a_stem_and_sixteen_bottlenecks() -> None:
    described = networks.describe(ModelSpec(name="resnet50"))
    assert described.stages == ("conv1", "block1", "block2", "block3", "block4")
    depths = {"block1": 3, "block2": 4, "block3": 6, "block4": 3}
    units = [f"{stage}.{number}" for stage, depth in depths.items() for number in range(1, depth + 1)]
    assert described.cut_points == ("conv1", *units)


@pytest.mark.parametrize("name", networks.TABLE)
def test_cut_points_hold_every_tensor_once_and_in_order(name: str) -> None:
    made = networks.blueprint(ModelSpec(name=name), num_outputs=3, size=size(name))
    held = list(chain.from_iterable(made.names().values()))
    assert held == list(made.state_dict())
    assert tuple(made.names()) == (*made.cut_points, "head")
    ends = [made.position(stage) for stage in made.stages]
    assert ends == sorted(set(ends))
    assert ends[-1] == len(made.cut_points)
    assert [made.position(cut) for cut in made.cut_points] == list(range(1, len(made.cut_points) + 1))


@pytest.mark.parametrize("name", [*FAST_LIBRARY, *SLOW_LIBRARY])
def test_table_computes_what_the_library_computes(name: str) -> None:
    row = networks.TABLE[name]
    x = images(name)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        library = row.library(7)
        networks.randomise(library, generator=seeded())
        enliven(library)
        for part in library.modules():
            if isinstance(part, BatchNorm):
                part.momentum = 1.0
        library.train()(x)  # statistics that fit, or deep networks shrink the signal to nothing
    with torch.no_grad():
        expected = library.eval()(x)
        table = row.wrap(library).eval()
        found = table(x)
    assert found.shape == (2, 7)
    assert (expected[0] - expected[1]).abs().max() > 1e-3  # the network tells the two images apart
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_the_bodys_and_stay_as_they_were_yielded(name: str) -> None:
    made = network(name).eval()
    with torch.no_grad():
        seen = [(cut, out, out.clone()) for cut, out in made.features(images(name))]
        assert [cut for cut, *_ in seen] == list(made.cut_points)
        for cut, later, then in seen:
            assert torch.equal(later, then), f"the unit after {cut} changed its input in place"
        torch.testing.assert_close(made.head(seen[-1][1]), made(images(name)))


@pytest.mark.parametrize("name", ["cbr_tiny", "resnet18", "inception_v3", "densenet121", "efficientnet_lite0"])
def test_minimum_size_is_the_smallest_that_works(name: str) -> None:
    smallest = networks.TABLE[name].minimum_size
    made = networks.blueprint(ModelSpec(name=name), num_outputs=2, size=smallest).eval()
    assert made(torch.empty(1, 3, smallest, smallest)).shape == (1, 2)
    with pytest.raises(SpecError, match=f"at least {smallest} pixels, got {smallest - 1}"):
        networks.blueprint(ModelSpec(name=name), num_outputs=2, size=smallest - 1)
    if smallest > 16:  # 16 is the smallest size of a DataSpec
        with pytest.raises(RuntimeError):
            made(torch.empty(1, 3, smallest - 1, smallest - 1))


# --- random weights ----------------------------------------------------------------------------------------------


def test_build_draws_from_its_generator_only() -> None:
    before = torch.get_rng_state()
    one, same, other = network("resnet18", seed=3), network("resnet18", seed=3), network("resnet18", seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.head.linear.weight, other.head.linear.weight)


def test_random_weights_follow_the_stated_rule() -> None:
    made = network("efficientnet_b0", num_outputs=1000)
    depthwise = made.get_submodule("body.block6.1.block.1.0")
    assert isinstance(depthwise, Convolution)
    assert depthwise.groups == 672
    assert depthwise.weight.std().item() == pytest.approx((2 / 25) ** 0.5, rel=0.02)  # one output per group, 5 x 5
    top = made.get_submodule("body.top.1.0")
    assert isinstance(top, Convolution)
    assert top.weight.std().item() == pytest.approx((2 / 1280) ** 0.5, rel=0.01)
    bound = 1280**-0.5
    assert bound * 0.999 < made.head.linear.weight.abs().max() <= bound
    biases = [part.bias for part in made.modules() if isinstance(part, Convolution | nn.Linear | BatchNorm)]
    assert all(bias is None or not bias.any() for bias in biases)
    norms = [part for part in made.modules() if isinstance(part, BatchNorm)]
    assert all(norm.weight.eq(1).all() and norm.running_var.eq(1).all() for norm in norms)  # type: ignore[union-attr]


def test_a_layer_without_a_rule_is_an_error() -> None:
    with pytest.raises(TypeError, match="LayerNorm"):
        networks.randomise(nn.Sequential(nn.LayerNorm(3)), generator=seeded())


# --- surgery on shapes --------------------------------------------------------------------------------------------


def test_a_truncated_network_trains() -> None:
    for pooled in (True, False):
        check_truncated(ModelSpec(name="cbr_tiny", in_channels=1), "pool2", pooled=pooled)
        check_truncated(ModelSpec(name="resnet18"), "block2.1", pooled=pooled)
        check_truncated(ModelSpec(name="efficientnet_lite0"), "block2", pooled=pooled)


@pytest.mark.slow
@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize("name", networks.TABLE)
def test_truncated_networks_train_at_every_cut_point(name: str, in_channels: int) -> None:
    spec = ModelSpec.model_validate({"name": name, "in_channels": in_channels})
    for cut in cut_points(name):
        check_truncated(spec, cut, pooled=True)
    for stage in stage_ends(name):
        check_truncated(spec, stage, pooled=False)


def check_truncated(spec: ModelSpec, cut: str, *, pooled: bool) -> None:
    truncated, whole = network(spec.replace(truncate=Truncate(at=cut, pooled=pooled))), untouched(spec)
    stay = whole.position(cut)
    assert truncated.cut_points == whole.cut_points[:stay]
    assert truncated.stages == tuple(dict.fromkeys(point.split(".")[0] for point in truncated.cut_points))
    shapes = {key: value.shape for key, value in whole.state_dict().items()}
    body = {key: value.shape for key, value in truncated.state_dict().items() if key.startswith("body.")}
    assert body == {key: shapes[key] for part in truncated.cut_points for key in whole.names()[part]}
    x = images(spec)
    with torch.no_grad():
        out = dict(truncated.features(x))[truncated.cut_points[-1]]
    assert truncated.head.linear.in_features == (out.shape[1] if pooled else out[0].numel())
    step(truncated, x)


@pytest.mark.parametrize(
    ("name", "above", "factor"),
    [
        ("cbr_tiny", "pool2", 2),
        ("resnet18", "conv1", 4),
        ("efficientnet_lite0", "block4.1", 2),
        ("efficientnet_b0", "conv1", 3),  # 32 channels become 11: depthwise must stay depthwise
    ],
)
def test_a_slim_network_trains(name: str, above: str, factor: int) -> None:
    check_slim(ModelSpec(name=name), Slim(above=above, factor=factor), trains=True)


@pytest.mark.slow
@pytest.mark.parametrize(("factor", "in_channels"), [(2, 1), (2, 3), (3, 3)])
@pytest.mark.parametrize("name", networks.TABLE)
def test_slim_networks_train_at_every_cut_point(name: str, factor: int, in_channels: int) -> None:
    spec = ModelSpec.model_validate({"name": name, "in_channels": in_channels})
    for cut in cut_points(name)[:-1]:
        if (name, cut) != ("densenet121", "block4.16"):  # above it is only batch norm
            check_slim(spec, Slim(above=cut, factor=factor), trains=factor == 2)


def check_slim(spec: ModelSpec, slim: Slim, *, trains: bool) -> None:
    """Every convolution above the cut puts out a ``factor``-th of its channels, and nothing below it changes."""
    whole = untouched(spec)
    spec = spec.replace(slim=slim)
    made = network(spec) if trains else networks.blueprint(spec, num_outputs=3, size=size(spec.name))
    assert made.cut_points == whole.cut_points
    for number, (old, new) in enumerate(zip(whole.units().values(), made.units().values(), strict=True), start=1):
        if number <= whole.position(slim.above):
            assert {k: v.shape for k, v in old.state_dict().items()} == {
                k: v.shape for k, v in new.state_dict().items()
            }
            continue
        new = getattr(new, "unit", new)  # past the joint
        wide, narrow = convolutions(old), convolutions(new)
        assert [part.out_channels for part in narrow] == [max(1, round(p.out_channels / slim.factor)) for p in wide]
        assert [part.kernel_size for part in narrow] == [part.kernel_size for part in wide]
        for part, was in zip(narrow, wide, strict=True):
            depthwise = was.groups == was.in_channels > 1
            assert part.groups == (part.in_channels if depthwise else 1)
    if trains:
        step(made, images(spec))


@cache
def untouched(spec: ModelSpec) -> Network:
    """Return the whole network of ``spec``, for its names and shapes. Not to be changed."""
    return networks.blueprint(spec, num_outputs=3, size=size(spec.name))


def convolutions(unit: nn.Module) -> list[Convolution]:
    return [part for part in unit.modules() if isinstance(part, Convolution)]


@pytest.mark.parametrize(
    ("name", "above", "joint"),
    [
        ("resnet50", "block3", False),  # block4.1 has a projection of its own
        ("resnet50", "block3.4", True),  # block3.5 adds its input
        ("resnet18", "conv1", True),
        ("efficientnet_b0", "conv1", True),  # a depthwise convolution comes first
        ("efficientnet_b0", "block3.1", True),
        ("efficientnet_b0", "block3", False),
        ("densenet121", "block2.3", False),  # joins, does not add
        ("inception_v3", "mixed6.1", False),
    ],
)
def test_slim_puts_a_joint_exactly_where_widths_would_not_fit(name: str, above: str, joint: bool) -> None:
    made = networks.blueprint(ModelSpec(name=name, slim=Slim(above=above)), num_outputs=2, size=96)
    joints = [path for path, _ in made.named_modules() if path.endswith(".joint")]
    following = made.paths[made.cut_points[made.position(above)]]
    assert joints == ([f"body.{following}.joint"] if joint else [])


def test_slim_then_truncated_is_slim_up_to_the_cut() -> None:
    spec = ModelSpec(name="resnet50", slim=Slim(above="block2"), truncate=Truncate(at="block3.2", pooled=False))
    made = networks.blueprint(spec, num_outputs=2, size=64)
    assert made.cut_points[-1] == "block3.2"
    assert made.head.linear.in_features == 512 * 4 * 4


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "resnet5"}, 'unknown network "resnet5"; did you mean "resnet50"'),
        (
            {"name": "resnet18", "truncate": {"at": "blok3"}},
            'unknown stage or cut point "blok3"; did you mean "block3"',
        ),
        ({"name": "resnet18", "slim": {"above": "block5"}}, 'unknown stage or cut point "block5"'),
        ({"name": "resnet18", "slim": {"above": "block4"}}, 'no convolution above "block4"'),
        ({"name": "densenet121", "slim": {"above": "block4.16"}}, "no convolution above"),
        (
            {"name": "resnet18", "truncate": {"at": "block2"}, "slim": {"above": "block3"}},
            'unknown stage or cut point "block3".* Known: conv1, block1, block2, block1.1',
        ),
    ],
)
def test_what_does_not_exist_is_named(spec: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        networks.blueprint(ModelSpec.model_validate(spec), num_outputs=2, size=64)


def test_a_grey_network_has_one_mean_and_deviation() -> None:
    for in_channels in (1, 3):
        made = networks.blueprint(
            ModelSpec.model_validate({"name": "resnet18", "in_channels": in_channels}), num_outputs=2, size=32
        )
        assert made.in_channels == len(made.mean) == len(made.std) == in_channels


# --- three dimensions ---------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """A grouped bottleneck as in ResNeXt3D, with torchvision's name for a projection."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, channels, 1, bias=False)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1, groups=groups, bias=False)
        self.bn = nn.BatchNorm3d(channels)
        self.downsample: Callable[[Tensor], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv2(self.conv1(x))).relu()
        return x + out


def test_volumes_go_through_every_surgery() -> None:
    stem = nn.Sequential(nn.Conv3d(1, 16, 3, padding=1, bias=False), nn.BatchNorm3d(16))
    stages: dict[str, list[nn.Module]] = {
        "conv1": [stem],
        "block1": [Residual(16, 8), Residual(16, 8)],
        "block2": [Residual(16, 8)],
    }
    made = Network("volumes", stages, Head(nn.Linear(16, 3)), mean=(0.5,), std=(0.5,))
    networks.randomise(made, generator=seeded())
    networks.slim(made, Slim(above="block1.1", factor=4), size=6, generator=seeded())
    networks.truncate(made, Truncate(at="block1", pooled=False), size=6, generator=seeded())
    narrow = made.get_submodule("body.block1.2.unit.conv2")
    assert isinstance(narrow, Convolution)
    assert (narrow.out_channels, narrow.groups) == (4, 4)
    assert made.head.linear.in_features == 4 * 6**3
    step(made, torch.randn(2, 1, 6, 6, 6, generator=seeded()))
