"""Probes, stages set back, lines between networks, shuffled blocks: known answers, and runs of a second."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests import networks
from tests.pictures import class_folders, write_files
from transfusion_lib import runs
from transfusion_lib.analysis import barriers, probe_sets, probes, robustness, visualise
from transfusion_lib.errors import MeasureError
from transfusion_lib.networks.stages import BatchNorm, first_convolution
from transfusion_lib.runs import Run
from transfusion_lib.runs.store import Store
from transfusion_lib.spec import DataSpec, RunSpec, TrainSpec
from transfusion_lib.training import metrics


@pytest.fixture
def two(store: Store, small: RunSpec) -> list[Run]:
    """Two runs of a second from different random weights."""
    train = TrainSpec(steps=4, eval_every=4, batch_size=8)
    return runs.ensure([small.replace(train=train, seed=seed) for seed in (0, 1)])


def clusters(n: int, *, apart: float, classes: int = 2) -> tuple[np.ndarray, torch.Tensor]:
    generator = np.random.default_rng(0)
    labels = np.arange(n) % classes
    return generator.normal(size=(n, 5)) + apart * np.eye(5)[labels], torch.from_numpy(labels)


@pytest.mark.parametrize("classes", [2, 3])
def test_probes_read_separable_features_and_no_others(classes: int) -> None:
    for apart, low, high in ((12.0, 1.0, 1.0), (0.0, 0.3, 0.7)):
        x, y = clusters(300, apart=apart, classes=classes)
        learn, ask = probes.standardised(x[:150], x[150:])
        for chances in (
            probes.linear(learn, y[:150], ask, kind="multiclass", outputs=classes),
            probes.knn(learn, y[:150], ask, kind="multiclass", outputs=classes, k=9),
        ):
            assert np.allclose(chances.sum(1), 1, atol=1e-5)
            assert low <= metrics.score(chances, y[150:].numpy(), kind="multiclass").auroc <= high


def test_probes_of_labels_leave_out_what_is_unknown() -> None:
    x, y = clusters(200, apart=12.0)
    labels = torch.stack([y.float(), torch.full((200,), torch.nan), torch.zeros(200)], 1)
    labels[::7, 0] = torch.nan
    learn, ask = probes.standardised(x[:100], x[100:])
    chances = probes.linear(learn, labels[:100], ask, kind="multilabel", outputs=3)
    found = metrics.score(chances, labels[100:].numpy(), kind="multilabel").auroc_by_class
    assert found[0] == 1
    assert np.isnan(found[1:]).all()


def test_a_probe_needs_two_classes_and_bears_dead_features() -> None:
    x, _ = clusters(40, apart=12.0)
    x[:, 4] = 3.0
    learn, ask = probes.standardised(x[:20], x[20:])
    assert not learn[:, 4].any()
    with pytest.raises(MeasureError, match="two classes"):
        probes.linear(learn, torch.zeros(20, dtype=torch.int64), ask, kind="multiclass", outputs=2)


def test_a_run_is_probed_at_every_stage_before_and_after(two: list[Run]) -> None:
    rows = probes.probe(two[0], train=32, test=24, neighbours=3)["rows"]
    assert [(row["when"], row["stage"]) for row in rows] == [
        (when, stage) for when in ("before", "after") for stage in two[0].initial().stages
    ]
    assert all(0 <= row[name] <= 1 for row in rows for name in ("linear", "knn"))


def test_stages_set_back_give_what_the_whole_network_gives(two: list[Run]) -> None:
    """Each reset is scored from the stage up; the same network scored from its input gives the same."""
    run = two[0]
    found = robustness.stages_set_back(run, cases=24)
    data = probe_sets.dataset(run)
    images, labels = probe_sets.cases(data.test, 24)
    assert found["intact"] == pytest.approx(run.final["test_auroc"], abs=1e-6)
    for row in found["rows"]:
        network = probe_sets.network(run)
        robustness.set_stage(network, row["stage"], run.initial().state_dict())
        assert row["initial"] == pytest.approx(robustness.auroc(network, data, images, labels), abs=1e-6)


def test_a_stage_is_set_with_its_statistics_and_nothing_else_changes() -> None:
    network, other = networks.network("cbr_tiny"), networks.source("cbr_tiny")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    robustness.set_stage(network, "pool2", other)
    for name, value in network.state_dict().items():
        assert torch.equal(value, other[name] if name.startswith("body.pool2.") else before[name]), name


def test_shuffled_blocks_move_whole_and_whole_images_stay() -> None:
    images = torch.arange(3 * 64, dtype=torch.uint8).reshape(3, 1, 8, 8)
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(robustness.shuffled(images, block=8, generator=generator), images)
    moved = robustness.shuffled(images, block=4, generator=generator)
    assert not torch.equal(moved, images)
    corners = {tuple(image[0, top : top + 4, left : left + 4].flatten().tolist())
               for image in moved for top in (0, 4) for left in (0, 4)}  # fmt: skip
    assert corners == {tuple(image[0, top : top + 4, left : left + 4].flatten().tolist())
                       for image in images for top in (0, 4) for left in (0, 4)}  # fmt: skip
    odd = robustness.shuffled(images, block=3, generator=generator)
    assert torch.equal(odd[:, :, 0], images[:, :, 0])
    assert torch.equal(odd[:, :, 1:7, 1:7].flatten(1).sort().values, images[:, :, 1:7, 1:7].flatten(1).sort().values)
    with pytest.raises(MeasureError, match="do not fit"):
        robustness.shuffled(images, block=9, generator=generator)


def test_whole_blocks_are_the_intact_network(two: list[Run]) -> None:
    rows = robustness.blocks_shuffled(two[0], blocks=[16, 8], cases=24)["rows"]
    assert [row["block"] for row in rows] == [32, 16, 8]
    assert rows[0]["auroc"] == pytest.approx(two[0].final["test_auroc"], abs=1e-6)


def test_a_network_has_no_barrier_with_itself(two: list[Run]) -> None:
    same = barriers.path(two[0], two[0], points=3, cases=24)
    losses = [row["loss"] for row in same["rows"]]
    assert barriers.barrier(losses) == pytest.approx(0, abs=1e-6)
    assert max(losses) - min(losses) < 1e-6
    assert same["apart"] == 0
    other = barriers.path(two[0], two[1], points=3, cases=24)
    assert other["apart"] == pytest.approx(2**0.5, rel=0.1)  # two independent draws
    assert len({row["loss"] for row in other["rows"]}) == 3


def test_a_barrier_is_what_rises_above_the_line() -> None:
    assert barriers.barrier([1.0, 2.0, 3.0]) == 0
    assert barriers.barrier([1.0, 4.0, 3.0]) == pytest.approx(2)
    assert barriers.barrier([3.0, 1.0, 1.0]) == 0


def test_statistics_are_those_of_the_images() -> None:
    network = networks.network("cbr_tiny")
    images = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    barriers.measure_statistics(network, images)
    norm = next(part for part in network.modules() if isinstance(part, BatchNorm))
    with torch.no_grad():
        maps = first_convolution(network)(robustness.to_network(network, images))
    assert norm.running_mean is not None
    assert torch.allclose(norm.running_mean, maps.mean((0, 2, 3)), atol=1e-4)
    assert not norm.training
    assert norm.momentum == 0.1


def test_an_input_is_found_that_excites_its_channel_more_than_noise() -> None:
    network = networks.network("cbr_tiny").eval().requires_grad_(False)

    def mean_output(images: torch.Tensor) -> list[float]:
        maps = dict(network.features(robustness.to_network(network, images)))
        return [float(maps["pool1"][0, 3].mean()), float(maps["pool3"][1, 5].mean())]

    def excited(steps: int) -> torch.Tensor:
        return visualise.excite(
            network, ["pool1", "pool3"], [[3], [5]], shape=(3, 32, 32), steps=steps,
            generator=torch.Generator().manual_seed(0),
        )  # fmt: skip

    start, end = excited(0), excited(15)
    assert end.shape == (2, 3, 32, 32)
    assert end.dtype == torch.uint8
    assert all(b > 1.2 * a for a, b in zip(mean_output(start), mean_output(end), strict=True))
    assert torch.equal(end, excited(15)), "seeded"


def test_analyses_see_both_classes_of_a_set_that_is_sorted(store: Store, small: RunSpec, tmp_path: Path) -> None:
    """Folders are read class by class: their first images would be of one class, and have no AUROC."""
    root = write_files(tmp_path / "set", class_folders(per_class=40))
    spec = small.replace(
        data=DataSpec(name="folder", root=str(root), size=32), train=TrainSpec(steps=4, eval_every=4, batch_size=8)
    )
    one, other = runs.ensure([spec, spec.replace(seed=1)])
    rows = probes.probe(one, train=20, test=8, neighbours=3)["rows"]
    assert all(row["linear"] is not None for row in rows)
    assert robustness.stages_set_back(one, cases=8)["intact"] is not None
    assert all(row["auroc"] is not None for row in robustness.blocks_shuffled(one, blocks=[16], cases=8)["rows"])
    assert all(row["auroc"] is not None for row in barriers.path(one, other, points=2, cases=8)["rows"])
