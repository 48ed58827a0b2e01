"""Grad-CAM: by hand where that is possible, on a planted spot, and its score."""

from dataclasses import replace

import pytest
import torch

from tests.networks import network, seeded
from transfusion_lib import data
from transfusion_lib.analysis import gradcam
from transfusion_lib.analysis.gradcam import _looked_at, grad_cam
from transfusion_lib.data.dataset import Dataset
from transfusion_lib.runs.store import Store
from transfusion_lib.spec import DataSpec, ModelSpec, Truncate


@pytest.fixture
def dataset(store: Store) -> Dataset:
    return data.load(DataSpec(name="fundus", size=32, train=8, val=8, test=30))


def test_a_pooled_heads_map_is_its_weights_times_the_features(dataset: Dataset) -> None:
    """With a pooled linear head Grad-CAM is class activation mapping: no gradient is needed to compute it."""
    cut = network(ModelSpec(name="cbr_tiny", truncate=Truncate(at="pool2")), num_outputs=2).eval()
    x = torch.randn(3, 3, 32, 32, generator=seeded())
    labels = torch.tensor([0, 1, 1])
    maps = grad_cam(cut, x, labels, dataset=dataset)
    with torch.no_grad():
        features = cut.body(x)
        # log-odds of class 1 for a softmax over two outputs is their difference
        weights = (cut.head.linear.weight[1] - cut.head.linear.weight[0]) / features.flatten(2).shape[2]
        expected = (features * weights[:, None, None]).sum(1).relu()
    assert maps.shape == (3, 8, 8)
    assert torch.allclose(maps, expected, atol=1e-6)


def test_the_map_finds_a_planted_spot(dataset: Dataset) -> None:
    """A network whose only channel is brightness, and whose head likes it, points at the bright spot."""
    seen = network(ModelSpec(name="cbr_tiny", truncate=Truncate(at="pool1")), num_outputs=2).eval()
    with torch.no_grad():
        for parameter in seen.parameters():
            parameter.zero_()
        unit = seen.units()["pool1"]
        unit.conv.weight[0, :, 2, 2] = 1.0  # type: ignore[operator, union-attr]
        unit.bn.weight.fill_(1.0)  # type: ignore[operator, union-attr]
        seen.head.linear.weight[1, 0] = 1.0
    x = torch.zeros(1, 3, 32, 32)
    x[0, :, 20:24, 6:10] = 1.0
    (found,) = grad_cam(seen, x, torch.tensor([1]), dataset=dataset)
    row, column = divmod(int(found.argmax()), found.shape[1])
    assert 9 <= row <= 12
    assert 2 <= column <= 5


@pytest.mark.parametrize(("at", "hit"), [((10, 12), True), ((10, 14), True), ((10, 20), False)])
def test_a_hit_is_the_strongest_point_on_or_beside_a_finding(at: tuple[int, int], hit: bool) -> None:
    finding = torch.zeros(64, 64, dtype=torch.uint8)
    finding[8:13, 8:13] = 1
    found = torch.zeros(64, 64)
    found[at] = 1.0
    row = _looked_at(found, finding)
    assert row["hit"] is hit
    assert row["inside"] == (1.0 if at == (10, 12) else 0.0)
    assert row["area"] == pytest.approx(25 / 64**2)
    assert row["chance"] == pytest.approx(81 / 64**2), "a margin of two pixels on each side"


def test_a_blank_map_is_no_hit() -> None:
    row = _looked_at(torch.zeros(32, 32), torch.ones(32, 32, dtype=torch.uint8))
    assert row["blank"]
    assert not row["hit"]


def test_anatomy_is_no_finding(dataset: Dataset) -> None:
    found = gradcam.findings_of(dataset)
    assert found is not None
    assert dataset.test.masks is not None
    vessels = dataset.regions.index("vessels")
    assert (dataset.test.masks[:, vessels] > found).any()


def test_what_is_explained_is_the_true_label(dataset: Dataset) -> None:
    outputs = torch.tensor([[1.0, 2.0, 5.0], [3.0, 1.0, 0.0]])
    labels = torch.tensor([2, 0])
    plain = replace(dataset, classes=("a", "b", "c"), positive=None)
    assert torch.allclose(gradcam._goal(outputs, labels, plain), outputs.log_softmax(1)[[0, 1], [2, 0]])
    grouped = replace(plain, positive=(1, 2))
    odds = outputs[:, 1:].logsumexp(1) - outputs[:, 0]
    assert torch.allclose(gradcam._goal(outputs, labels, grouped), odds, atol=1e-6)
    marks = torch.tensor([[1.0, 0.0, 1.0], [0.0, float("nan"), 0.0]])
    several = replace(plain, kind="multilabel")
    assert torch.allclose(gradcam._goal(outputs, marks, several), torch.tensor([6.0, 0.0]))
