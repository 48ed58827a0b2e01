"""Networks with a depth axis, inflated weights, and volumes to train them on."""

import os

import numpy as np
import pytest
import torch

from tests.networks import enliven, network, seeded, source
from transfusion_lib import data, runs
from transfusion_lib.data.synthetic import adrenal
from transfusion_lib.errors import SpecError
from transfusion_lib.networks import Network
from transfusion_lib.networks.init import network_for
from transfusion_lib.networks.volumes import _inflated
from transfusion_lib.runs.store import Store
from transfusion_lib.spec import DataSpec, InitSpec, ModelSpec, RunSpec, Slim, TrainSpec, Truncate

PRETRAINED = InitSpec(method="pretrained", weights="imagenet")
SMALL = RunSpec(
    data=DataSpec(name="synthetic_adrenal", size=16, train=16, val=8, test=12),
    model=ModelSpec(name="efficientnet_lite0_3d", truncate=Truncate(at="block2")),
    train=TrainSpec(steps=2, eval_every=2, batch_size=4),
)


def inflated(name: str) -> tuple[Network, Network]:
    """Return a flat network and its inflation, both with the same stand-in for trained weights."""
    spec, given = ModelSpec(name=name), source(name)
    flat = network_for(spec, PRETRAINED, num_outputs=3, size=32, source=given, generator=seeded())
    deep = network_for(
        ModelSpec(name=f"{name}_3d"), PRETRAINED, num_outputs=3, size=32, source=given, generator=seeded()
    )
    return flat.eval(), deep.eval()


@pytest.mark.parametrize("name", ["cbr_tiny", "efficientnet_lite0", "resnet18"])
@torch.no_grad()
def test_a_volume_alike_at_every_depth_gives_what_its_slice_gives(name: str) -> None:
    """Away from the first and last slices, for the first unit, pooling and TensorFlow's padding included."""
    flat, deep = inflated(name)
    x = torch.randn(1, 3, 32, 32, generator=seeded(3))
    _, expected = next(flat.features(x))
    _, found = next(deep.features(x.unsqueeze(2).expand(-1, -1, 32, -1, -1)))
    middle = found[:, :, found.shape[2] // 2]
    assert torch.allclose(middle, expected, atol=1e-4)
    assert not torch.allclose(found[:, :, -1], expected, atol=1e-4), "the border sees the padding"


def test_names_and_stages_stay() -> None:
    flat, deep = inflated("efficientnet_lite0")
    assert deep.cut_points == flat.cut_points
    shapes = {name: value.shape for name, value in flat.state_dict().items()}
    for name, value in deep.state_dict().items():
        assert value.shape[:2] == shapes[name][:2]
        assert value.ndim == (5 if len(shapes[name]) == 4 else len(shapes[name]))


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.filterwarnings("default")
def test_an_inflated_resnet_is_monais() -> None:
    """The same architecture as a maintained library's 3D ResNet: the same weights give the same scores."""
    from monai.networks.nets.resnet import resnet18

    theirs = resnet18(spatial_dims=3, n_input_channels=3, num_classes=3, conv1_t_stride=2, bias_downsample=False).eval()
    mine = network("resnet18_3d").eval()
    enliven(mine)
    theirs.load_state_dict(dict(zip(theirs.state_dict(), mine.state_dict().values(), strict=True)))
    x = torch.randn(2, 3, 32, 32, 32, generator=seeded())
    assert torch.allclose(mine(x), theirs(x), atol=1e-5)


@pytest.mark.parametrize("surgery", [{"truncate": Truncate(at="block2.1")}, {"slim": Slim(above="block2")}])
def test_surgery_works_on_volumes(surgery: dict[str, Truncate | Slim]) -> None:
    spec = ModelSpec(name="efficientnet_lite0_3d", **surgery)  # type: ignore[arg-type]
    init = PRETRAINED if "truncate" in surgery else PRETRAINED.replace(up_to="block2")
    built = network_for(spec, init, num_outputs=2, size=16, source=source("efficientnet_lite0"), generator=seeded())
    assert built(torch.randn(2, 3, 16, 16, 16)).shape == (2, 2)


def test_what_has_no_rule_is_refused() -> None:
    with pytest.raises(SpecError, match="no rule to give LPPool2d a depth"):
        _inflated(torch.nn.LPPool2d(2, 2))
    with pytest.raises(SpecError, match="unlike sides"):
        _inflated(torch.nn.Conv2d(3, 3, (1, 3)))


def test_synthetic_volumes_are_a_function_of_seed_and_index() -> None:
    some = adrenal.draw(0, [3, 4], size=20)
    assert some.shape == (2, 1, 20, 20, 20)
    assert np.array_equal(some[1:], adrenal.draw(0, [4], size=20))
    assert not np.array_equal(some, adrenal.draw(1, [3, 4], size=20))
    large = adrenal.draw(0, [3], size=40).reshape(1, 1, 20, 2, 20, 2, 20, 2).mean((3, 5, 7))
    assert np.abs(large - some[:1]).mean() < 3, "the same shape at every size"


def test_a_mass_adds_volume_and_half_have_one() -> None:
    volumes = adrenal.draw(0, range(60), size=16).reshape(60, -1).mean(1) / 255
    labels = np.array([adrenal.label(0, index) for index in range(60)])
    assert 20 <= labels.sum() <= 40
    assert volumes[labels == 1].mean() > volumes[labels == 0].mean()
    assert volumes[labels == 1].min() < volumes[labels == 0].max(), "size alone does not tell"


def test_a_run_on_volumes_and_networks_that_do_not_fit(store: Store) -> None:
    [run] = runs.ensure([SMALL], store=store)
    assert run.cases["test_scores"].shape == (12, 2)
    dataset = data.load(SMALL.data)
    assert dataset.synthetic
    assert dataset.train.images.shape == (16, 1, 16, 16, 16)
    with pytest.raises(SpecError, match="needs a network for volumes"):
        runs.ensure([SMALL.replace(model=ModelSpec(name="cbr_tiny"))], store=store)
    flat = DataSpec(name="fundus", size=16, train=16, val=8, test=12)
    with pytest.raises(SpecError, match="needs a network for images"):
        runs.ensure([SMALL.replace(data=flat)], store=store)


@pytest.mark.skipif("TRANSFUSION_DATA" not in os.environ, reason="needs adrenalmnist3d: set TRANSFUSION_DATA")
def test_real_volumes(store: Store) -> None:
    real = DataSpec(name="adrenalmnist3d", size=16, train=16, val=20, test=24)
    [run] = runs.ensure([SMALL.replace(data=real)], store=store)
    assert not run.record["dataset"]["synthetic"]
    assert run.final["test_auroc"] is not None
