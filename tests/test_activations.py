"""Stage outputs as samples: one rule, the same samples for every network, streamed or not."""

import pytest
import torch
from torch import Tensor

from transfusion_lib import networks
from transfusion_lib.analysis import activations
from transfusion_lib.analysis.activations import Pooled, Positions
from transfusion_lib.analysis.similarity import cca
from transfusion_lib.errors import MeasureError, SpecError
from transfusion_lib.spec import ModelSpec
from transfusion_lib.training.batches import to_input

STAGES = ("pool1", "pool3")


def network(seed: int) -> networks.Network:
    generator = torch.Generator().manual_seed(seed)
    return networks.build(ModelSpec(name="cbr_tiny"), num_outputs=2, size=32, generator=generator)


def images(n: int = 40) -> Tensor:
    return torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def numbered_maps(n: int, positions: int) -> Tensor:
    """Return maps (n, 2, positions) whose channels hold the image's number and the position's."""
    image = torch.arange(n).float()[:, None].expand(n, positions)
    return torch.stack([image, torch.arange(positions).float().expand(n, positions)], 1)


def test_positions_are_samples_and_channels_neurons() -> None:
    drawn = activations.rows(numbered_maps(5, 36).reshape(5, 2, 6, 6), Positions(per_image=4, seed=1))
    assert drawn.shape == (20, 2)
    assert drawn[:, 0].tolist() == [image for image in range(5) for _ in range(4)]
    for image in range(5):
        assert len(set(drawn[4 * image : 4 * image + 4, 1].tolist())) == 4  # without replacement
    assert len({tuple(drawn[4 * image : 4 * image + 4, 1].tolist()) for image in range(5)}) > 1


def test_positions_depend_on_seed_and_image_alone() -> None:
    maps, rule = numbered_maps(6, 50), Positions(per_image=3, seed=2)
    whole = activations.rows(maps, rule)
    parts = [activations.rows(maps[:2], rule), activations.rows(maps[2:], rule, first=2)]
    assert torch.equal(whole, torch.cat(parts))
    assert not torch.equal(whole, activations.rows(maps, Positions(per_image=3, seed=3)))


def test_small_maps_give_all_positions_in_order() -> None:
    drawn = activations.rows(numbered_maps(2, 4), Positions(per_image=16))
    assert drawn[:, 1].tolist() == [0, 1, 2, 3, 0, 1, 2, 3]


def test_pooled_is_the_mean_over_positions_and_outputs_pass() -> None:
    maps = torch.rand(3, 4, 5, 5, 5)  # a volume
    assert torch.allclose(activations.rows(maps, Pooled()), maps.mean((2, 3, 4)))
    flat = torch.rand(3, 7)
    assert activations.rows(flat, Positions()) is flat
    with pytest.raises(MeasureError, match="images, channels"):
        activations.rows(torch.rand(3), Pooled())


def test_collect_is_the_stage_output_of_the_normalised_images() -> None:
    net, probe = network(1), images(6)
    found = activations.collect(net, probe, cut_points=STAGES, rule=Pooled(), batch_size=4)
    x = to_input(probe, channels=3, mean=net.mean, std=net.std)
    with torch.no_grad():
        expected = {cut: maps.mean((2, 3)) for cut, maps in net.eval().features(x) if cut in STAGES}
    assert found.keys() == expected.keys()
    for cut in STAGES:
        assert torch.allclose(found[cut], expected[cut], atol=1e-5)


def test_batch_norm_uses_its_running_statistics() -> None:
    net, probe = network(1).train(), images(6)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    one = activations.collect(net, probe, cut_points=("pool1",), rule=Pooled(), batch_size=6)
    other = activations.collect(net, probe, cut_points=("pool1",), rule=Pooled(), batch_size=1)
    assert torch.allclose(one["pool1"], other["pool1"], atol=1e-5)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_moments_give_what_memory_gives() -> None:
    nets, probe, rule = {"a": network(1), "b": network(2)}, images(), Positions(per_image=8, seed=5)
    streamed = activations.moments(nets, probe, cut_points=STAGES, rule=rule, batch_size=16)
    for cut in STAGES:
        a, b = (activations.collect(net, probe, cut_points=(cut,), rule=rule)[cut] for net in nets.values())
        assert streamed[cut].n == len(a) == 40 * min(8, a.shape[0] // 40)
        assert streamed[cut].cca("a", "a").mean == pytest.approx(1)
        assert streamed[cut].cka("a", "b").value == pytest.approx(_cka(a, b), rel=1e-4)
    a, b = (activations.collect(net, probe, cut_points=("pool1",), rule=rule)["pool1"] for net in nets.values())
    assert streamed["pool1"].cca("a", "b").mean == pytest.approx(cca(a, b).mean, abs=1e-3)


def _cka(a: Tensor, b: Tensor) -> float:
    a, b = (part.double() - part.double().mean(0) for part in (a, b))
    return float((a.T @ b).norm() ** 2 / (a.T @ a).norm() / (b.T @ b).norm())


def test_unrelated_images_give_a_floor_below_related_ones() -> None:
    order = activations.unrelated(40, generator=torch.Generator().manual_seed(3))
    assert sorted(order.tolist()) == list(range(40))
    assert not (order == torch.arange(40)).any()
    nets, rule = {"a": network(1), "b": network(2), "floor": network(2)}, Positions(per_image=32)
    found = activations.moments(nets, images(), cut_points=("pool1",), rule=rule, orders={"floor": order})["pool1"]
    assert found.cca("a", "floor").mean < found.cca("a", "b").mean - 0.1


def test_stage_names_stand_for_their_last_unit_and_unknown_ones_are_explained() -> None:
    net = network(1)
    with pytest.raises(SpecError, match="pool"):
        list(activations.chunks(net, images(2), cut_points=("pool9",), rule=Pooled()))
    with pytest.raises(MeasureError, match="no cut point"):
        list(activations.chunks(net, images(2), cut_points=(), rule=Pooled()))
    with pytest.raises(MeasureError, match="not here: c"):
        activations.moments({"a": net}, images(2), cut_points=("pool1",), rule=Pooled(), orders={"c": torch.arange(2)})
    with pytest.raises(MeasureError, match="at least 2"):
        activations.unrelated(1, generator=torch.Generator())
