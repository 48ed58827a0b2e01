"""Frozen means that nothing moves, and learning rates go to the right parameters."""

import copy

import pytest
import torch
from torch import Tensor

from tests.networks import cut_points, images, network, seeded, step
from transfusion_lib import networks
from transfusion_lib.errors import SpecError
from transfusion_lib.networks import Network, State, surgery
from transfusion_lib.spec import ModelSpec, Slim, Truncate


def check_frozen(made: Network, cut: str, x: Tensor, *, steps: int = 5) -> None:
    """Train and check that nothing below moves, running statistics included, and that everything above does."""
    surgery.freeze(made, cut)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    optimizer = torch.optim.SGD(surgery.parameter_groups(made, learning_rate=0.05), lr=0.05, weight_decay=0.1)
    for _ in range(steps):
        made.eval()
        step(made.train(), x, optimizer=optimizer)
    position, after = made.position(cut), made.state_dict()
    for number, (part, names) in enumerate(made.names().items(), start=1):
        for name in names:
            moved = not torch.equal(after[name], before[name])
            assert moved == (number > position), f"{name} ({part}) frozen up to {cut}"


@pytest.mark.parametrize(
    ("name", "cut"),
    [
        ("cbr_tiny", "pool2"),
        ("resnet18", "block2.1"),
        ("efficientnet_lite0", "block5"),
    ],
)
def test_frozen_parts_do_not_move_in_five_steps(name: str, cut: str) -> None:
    check_frozen(network(name), cut, images(name, count=4))


@pytest.mark.slow
@pytest.mark.parametrize("name", networks.TABLE)
def test_frozen_parts_do_not_move_at_any_cut_point(name: str) -> None:
    made = network(name)
    for cut in cut_points(name):
        check_frozen(copy.deepcopy(made), cut, images(name, count=4))


def test_frozen_batch_norm_uses_its_running_statistics_while_training() -> None:
    made = surgery.freeze(network("resnet18"), "block1")
    x = images("resnet18", count=4)

    def output(of: Network) -> Tensor:
        return dict(of.features(x))["block1.2"].detach()

    trained, evaluated = output(made.train()), output(made.eval())
    assert torch.equal(trained, evaluated)
    made.frozen = 0
    assert not torch.allclose(output(made.train()), evaluated, atol=1e-2)  # this is what freezing prevents


def test_a_frozen_network_stays_frozen_in_a_copy_and_thaws_by_a_lower_cut() -> None:
    made = surgery.freeze(network("resnet18"), "block2")
    again = copy.deepcopy(made).train()
    assert not again.body.get_submodule("block2.2").training
    surgery.freeze(again, "conv1").train()
    assert again.body.get_submodule("block1.1").training
    assert all(parameter.requires_grad for parameter in again.body.get_submodule("block1").parameters())


def test_feature_extraction_trains_the_head_alone() -> None:
    made = surgery.freeze(network("efficientnet_b0").eval(), "top")
    assert not made.training
    groups = surgery.parameter_groups(made, learning_rate=0.3, body_lr_scale=0.1)
    assert len(groups) == 1
    assert groups[0]["lr"] == 0.3
    assert [id(p) for p in groups[0]["params"]] == [id(p) for p in made.head.parameters()]


def test_the_body_learns_more_slowly_by_the_scale() -> None:
    made = surgery.freeze(network("resnet18"), "block3")
    body, head = surgery.parameter_groups(made, learning_rate=1e-2, body_lr_scale=0.1)
    assert (body["lr"], head["lr"]) == (pytest.approx(1e-3), 1e-2)
    named = {id(parameter): name for name, parameter in made.named_parameters()}
    assert {named[id(p)].split(".")[1] for p in body["params"]} == {"block4"}
    assert {named[id(p)] for p in head["params"]} == {"head.linear.weight", "head.linear.bias"}


def test_freezing_goes_with_slim_and_truncation() -> None:
    spec = ModelSpec(name="resnet18", slim=Slim(above="conv1"), truncate=Truncate(at="block3.1"))
    check_frozen(network(spec), "block2.1", images(spec, count=4), steps=2)


def test_freezing_up_to_nothing_that_exists_names_what_does() -> None:
    made = network(ModelSpec(name="resnet18", truncate=Truncate(at="block2")))
    with pytest.raises(SpecError, match=r'"block3".* Known: conv1, block1, block2, block1\.1'):
        surgery.freeze(made, "block3")


def test_surgery_on_trained_weights_keeps_what_is_below() -> None:
    made = network("cbr_tiny")
    below: State = {name: value.clone() for name, value in made.body.get_submodule("pool1").state_dict().items()}
    surgery.slim(made, Slim(above="pool1"), size=32, generator=seeded())
    surgery.truncate(made, Truncate(at="pool3"), size=32, generator=seeded())
    assert made.training
    assert all(torch.equal(value, below[k]) for k, value in made.body.get_submodule("pool1").state_dict().items())
    assert made.head.linear.in_features == 64
    assert all(p.any() for p in made.head.parameters() if p.ndim > 1)
    step(made, images("cbr_tiny"))
