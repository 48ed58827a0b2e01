"""Stages of runs against each other: identity, the floor, which channels, movement; on runs of a second."""

from dataclasses import replace

import pytest
import torch

from transfusion_lib import networks, runs
from transfusion_lib.analysis import activations, comparisons, movement
from transfusion_lib.analysis.activations import Positions
from transfusion_lib.analysis.similarity import Moments, cca
from transfusion_lib.errors import MeasureError
from transfusion_lib.runs import Run
from transfusion_lib.runs.store import Store
from transfusion_lib.spec import ModelSpec, RunSpec, TrainSpec

RULE = Positions(per_image=8)


def network(seed: int) -> networks.Network:
    generator = torch.Generator().manual_seed(seed)
    return networks.build(ModelSpec(name="cbr_tiny"), num_outputs=2, size=32, generator=generator).eval()


def images(n: int) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def of_pair(
    a: networks.Network, b: networks.Network, n: int, *, per_channel: int = 2
) -> dict[str, comparisons.StageMoments]:
    nets, pairs = {"a": a, "b": b}, [("a", "b")]
    return comparisons.pair_moments(nets, images(n), pairs=pairs, rule=RULE, per_channel=per_channel, seed=0)


def test_a_network_is_itself_and_not_its_floor() -> None:
    net = network(1)
    for found in of_pair(net, net, 60).values():
        assert found.moments.cca("a", "b").mean == pytest.approx(1, abs=1e-6)
        assert found.moments.cka("a", "b").value == pytest.approx(1, abs=1e-6)
        assert found.moments.cca("a", "b unrelated").mean < 0.9


def test_the_floor_is_the_expectation_where_positions_share_nothing() -> None:
    """Noise images: the second network's other image is independent, so the floor is the known one."""
    found = of_pair(network(1), network(2), 100, per_channel=8)["pool1"].moments
    floor = found.cca("a", "b unrelated")
    assert floor.mean == pytest.approx(floor.floor, abs=0.05)
    assert found.cca("a", "b").mean > floor.mean + 0.05


def test_one_pass_gives_what_memory_gives() -> None:
    a, b = network(1), network(2)
    found = of_pair(a, b, 60, per_channel=1)["pool2"]
    x, y = (activations.collect(net, images(60), cut_points=["pool2"], rule=RULE)["pool2"] for net in (a, b))
    assert found.moments.cca("a", "b").mean == pytest.approx(cca(x, y).mean, abs=1e-4)
    assert found.of == x.shape[1] == 64


def test_wide_stages_are_compared_on_the_same_drawn_channels() -> None:
    drawn = comparisons.drawn_channels(256, most=40, seed=0)
    assert len(drawn) == len(set(drawn.tolist())) == 40
    assert torch.equal(drawn, comparisons.drawn_channels(256, most=40, seed=0))
    assert not torch.equal(drawn, comparisons.drawn_channels(256, most=40, seed=1))
    assert comparisons.drawn_channels(30, most=40, seed=0).tolist() == list(range(30))
    found = of_pair(network(1), network(2), 60, per_channel=8)["pool4"]
    assert len(found.moments.mean("a")) == 60 * 4 // 8
    assert found.of == 256


def test_a_last_batch_of_one_image_has_no_floor_and_is_left_out() -> None:
    assert of_pair(network(1), network(2), comparisons.BATCH + 1)["pool1"].moments.n == comparisons.BATCH * 8
    with pytest.raises(MeasureError, match="at least 2"):
        of_pair(network(1), network(2), 1)


def test_moments_gather_the_pairs_that_are_asked_for() -> None:
    x, y, z = torch.randn(3, 50, 4, generator=torch.Generator().manual_seed(0))
    some, every = Moments(pairs=[("x", "y")]).update(x=x, y=y, z=z), Moments().update(x=x, y=y, z=z)
    assert some.cca("y", "x").mean == pytest.approx(every.cca("x", "y").mean)
    assert some.cca("z", "z").mean == pytest.approx(1)
    with pytest.raises(MeasureError, match="x and z are not among the pairs"):
        some.cca("x", "z")


@pytest.fixture
def two(store: Store, small: RunSpec) -> list[Run]:
    """Two runs of a second, which keep the weights of steps 0 and 4."""
    train = TrainSpec(steps=4, eval_every=4, batch_size=8, snapshots=(0, 2))
    return runs.ensure([small.replace(train=train, seed=seed) for seed in (0, 1)])


def test_runs_are_compared_before_after_and_across(two: list[Run]) -> None:
    rows = comparisons.compare(two, per_image=4, per_channel=2)["rows"]
    stages = two[0].initial().stages
    assert len(rows) == len(stages) * (2 + 1 + 1)
    assert {(row["moment"], row["first"], row["second"]) for row in rows} == {
        ("before_after", 0, 0), ("before_after", 1, 1), ("start", 0, 1), ("end", 0, 1),
    }  # fmt: skip
    assert all(0 <= row["cca_floor"] <= 1 and 0 <= row["cka_floor"] <= 1 for row in rows)
    alone = comparisons.compare(two, across=False, per_image=4, per_channel=2)["rows"]
    assert alone == [row for row in rows if row["moment"] == "before_after"]
    other = replace(two[1], spec=two[1].spec.replace(model=ModelSpec(name="cbr_small")))
    with pytest.raises(MeasureError, match="share network and data"):
        comparisons.compare([two[0], other])


def test_nothing_has_moved_at_step_0_and_then_ever_more(two: list[Run]) -> None:
    rows = movement.travelled(two[0])["rows"]
    by_step = {step: [row["distance"] for row in rows if row["step"] == step] for step in (0, 2, 4)}
    assert by_step[0] == [0.0] * 5
    assert all(distance > 0 for distance in by_step[2] + by_step[4])
    (first,) = (row for row in rows if row["stage"] == "pool1" and row["step"] == 4)
    tensors = movement.first_filters(two[0])
    assert first["distance"] == pytest.approx(float((tensors["after"] - tensors["before"]).norm()), rel=1e-5)
    assert first["weights"] == tensors["before"].numel()


def test_a_planted_movement_is_measured() -> None:
    before = torch.ones(3, 2, 2, 2)
    after = before.clone()
    after[1] *= 1.5
    assert movement.by_filter(before, after).tolist() == pytest.approx([0, 0.5, 0])
    assert movement.by_filter(before, before).tolist() == [0, 0, 0]
