"""The loop: it learns, its batches are a function of the seed, schedules and stops do what they say."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from transfusion_lib.data.dataset import Dataset, Split
from transfusion_lib.errors import SpecError, TrainingError
from transfusion_lib.runs.store import Store
from transfusion_lib.spec import Augment, InitSpec, RunSpec
from transfusion_lib.training import device
from transfusion_lib.training.train import PATIENCE, Result, _Run, fit


@pytest.fixture
def stripes() -> Dataset:
    """Two classes that anything can learn: bright on the left, or on the right."""

    def part(n: int, seed: int) -> Split:
        generator = torch.Generator().manual_seed(seed)
        labels = torch.arange(n) % 2
        images = torch.randint(0, 100, (n, 1, 16, 16), generator=generator, dtype=torch.uint8)
        images[labels == 0, :, :, :8] += 120
        images[labels == 1, :, :, 8:] += 120
        names = tuple(f"{seed}-{k}" for k in range(n))
        return Split(images=images, labels=labels, ids=names, units=names)

    return Dataset(
        name="stripes",
        task="side",
        kind="multiclass",
        classes=("left", "right"),
        train=part(64, 0),
        val=part(20, 1),
        test=part(30, 2),
        fingerprint="f",
        positive=(1,),
    )


def trained(spec: RunSpec, dataset: Dataset) -> Result:
    return fit(spec, dataset, source=None, resources=device.resources())


def run(spec: RunSpec, dataset: Dataset) -> _Run:
    return _Run(spec, dataset, source=None, resources=device.resources())


def test_a_cpu_without_bfloat16_instructions_trains_as_one_with_them(
    small: RunSpec, stripes: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def losses(*, has: bool) -> list[float]:
        monkeypatch.setattr(device, "multiplies_bfloat16", lambda _: has)
        recipe = small.train.replace(steps=6, eval_every=2, precision="bfloat16")
        return trained(small.replace(train=recipe), stripes).curve["train_loss"][1:]

    assert losses(has=False) == pytest.approx(losses(has=True), rel=0.02)


def test_it_learns(small: RunSpec, stripes: Dataset) -> None:
    result = trained(small.replace(train=small.train.replace(steps=40, eval_every=20)), stripes)
    assert result.curve["step"] == [0, 20, 40]
    assert result.final["test_auroc"] > 0.99
    assert result.curve["train_loss"][0] is None
    assert result.curve["train_loss"][2] < result.curve["train_loss"][1]
    assert result.test_scores.shape == (30, 2)
    assert torch.allclose(result.test_scores.sum(1), torch.ones(30))


def test_the_same_spec_gives_the_same_bits_and_another_seed_does_not(small: RunSpec, stripes: Dataset) -> None:
    first, again, other = (trained(spec, stripes) for spec in (small, small, small.replace(seed=4)))
    assert all(torch.equal(first.weights[name], again.weights[name]) for name in first.weights)
    assert first.curve == again.curve
    assert not all(torch.equal(first.weights[name], other.weights[name]) for name in first.weights)


def test_an_epoch_sees_every_image_once(small: RunSpec, stripes: Dataset) -> None:
    one = run(small, stripes)
    seen = torch.cat([one.batch(step)[0] for step in range(8)])  # 64 images in batches of 8
    everything = one.input(stripes.train.images)
    assert sorted(seen.sum((1, 2, 3)).tolist()) == pytest.approx(sorted(everything.sum((1, 2, 3)).tolist()), rel=1e-4)
    assert not torch.equal(one.batch(0)[0], one.batch(8)[0])


def test_batches_do_not_depend_on_history(small: RunSpec, stripes: Dataset) -> None:
    spec = small.replace(train=small.train.replace(augment=Augment(flip=True, rotation=20.0, brightness=0.3)))
    one, two = run(spec, stripes), run(spec, stripes)
    for step in range(5):
        one.batch(step)
    assert torch.equal(one.batch(5)[0], two.batch(5)[0])


def test_a_batch_larger_than_the_data_is_all_of_it(small: RunSpec, stripes: Dataset) -> None:
    images, labels = run(small.replace(train=small.train.replace(batch_size=500)), stripes).batch(3)
    assert len(images) == len(labels) == 64


def test_schedules(small: RunSpec, stripes: Dataset) -> None:
    def rates(schedule: str) -> list[float]:
        train = small.train.replace(schedule=schedule, steps=100, learning_rate=0.5)
        one = run(small.replace(train=train), stripes)
        return [one.rate(step) for step in range(101)]

    assert rates("constant") == [0.5] * 101
    cosine = rates("cosine")
    assert (cosine[0], cosine[50], cosine[100]) == pytest.approx((0.5, 0.25, 0.0))
    cycle = rates("one_cycle")
    assert (cycle[0], cycle[30]) == pytest.approx((0.5 / 25, 0.5))
    assert cycle[100] < 1e-4
    assert max(cycle) == pytest.approx(0.5)


def test_plateau_halves_then_stops(small: RunSpec, stripes: Dataset) -> None:
    one = run(small.replace(train=small.train.replace(schedule="plateau", learning_rate=1e-4)), stripes)
    one.look_for_best(0.9)
    for _ in range(PATIENCE):
        one.look_for_best(0.8)
    assert one.rate(0) == 0.5e-4
    one.look_for_best(0.95)
    assert (one.progress.best_auprc, one.progress.since_best) == (0.95, 0)
    train = small.train.replace(schedule="plateau", learning_rate=1.5e-6, steps=400, eval_every=1)
    result = trained(small.replace(train=train), stripes)
    assert result.curve["step"][-1] < 400
    assert result.selected_step == result.curve["step"][-1]


def test_best_weights_are_those_of_the_best_validation_auprc(small: RunSpec, stripes: Dataset) -> None:
    train = small.train.replace(steps=30, eval_every=3, select="best", learning_rate=0.02)
    result = trained(small.replace(train=train), stripes)
    best = max(result.curve["val_auprc"])
    assert result.selected_step == result.curve["step"][result.curve["val_auprc"].index(best)]


def test_the_test_images_are_scored_once_with_the_final_weights(
    small: RunSpec, stripes: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the validation images once at each evaluation: the last of them is not made twice."""
    seen: list[tuple[str, int]] = []

    def counted(self: _Run, split: Split) -> Tensor:
        seen.append((next(name for name, one in self.splits.items() if one is split), self.progress.step))
        return scores(self, split)

    scores = _Run.scores
    monkeypatch.setattr(_Run, "scores", counted)
    result = trained(small, stripes)
    assert seen == [*(("val", step) for step in small.train.grid), ("test", small.train.steps)]
    assert not [name for name in result.curve if name.startswith("test")]
    assert result.final["val_auroc"] == result.curve["val_auroc"][-1]


def test_frozen_stages_and_their_statistics_do_not_move(small: RunSpec, stripes: Dataset) -> None:
    spec = small.replace(train=small.train.replace(freeze="pool2", snapshots=(0,)))
    result = trained(spec, stripes)
    for name, value in result.snapshots[0].items():
        frozen = name.startswith(("body.pool1.", "body.pool2."))
        assert torch.equal(value, result.weights[name]) == frozen, name


def test_snapshots_are_the_weights_of_their_step(small: RunSpec, stripes: Dataset) -> None:
    result = trained(small.replace(train=small.train.replace(snapshots=(0, 4, 12))), stripes)
    assert list(result.snapshots) == [0, 4, 12]
    assert all(torch.equal(result.snapshots[12][name], result.weights[name]) for name in result.weights)
    one = run(small, stripes)
    initial = one.network.state_dict()
    assert all(torch.equal(result.snapshots[0][name], initial[name]) for name in initial)
    for _ in range(4):
        one.take_step()
    middle = one.network.state_dict()
    assert all(torch.equal(result.snapshots[4][name], middle[name]) for name in middle)


def test_a_loss_that_is_not_finite_stops_with_the_step(small: RunSpec, stripes: Dataset) -> None:
    spec = small.replace(train=small.train.replace(optimizer="sgd", learning_rate=1e30))
    with pytest.raises(TrainingError, match=r"at step [1-5] of cbr_tiny: the learning rate 1e\+30 is too high"):
        trained(spec, stripes)


def test_out_of_memory_says_what_may_fit(small: RunSpec, stripes: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(_Run, "take_step", full)
    with pytest.raises(TrainingError, match="try batch_size=4"):
        trained(small, stripes)


def test_bfloat16_stays_near_float32(small: RunSpec, stripes: Dataset) -> None:
    spec = small.replace(train=small.train.replace(steps=5))
    exact, short = (
        trained(spec, stripes),
        trained(spec.replace(train=spec.train.replace(precision="bfloat16")), stripes),
    )
    name = "body.pool1.1.conv.weight"
    assert short.weights[name].dtype == torch.float32
    assert not torch.equal(short.weights[name], exact.weights[name])
    assert torch.allclose(short.test_scores, exact.test_scores, atol=0.15)


def test_training_leaves_the_global_generator_alone(small: RunSpec, stripes: Dataset) -> None:
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    trained(small, stripes)
    assert torch.equal(torch.rand(1), expected)


def test_dropout_is_a_function_of_seed_and_step(small: RunSpec, stripes: Dataset) -> None:
    """Two runs agree although one was interrupted by other random numbers."""
    spec = small.replace(train=small.train.replace(steps=2, eval_every=2))
    one, two = run(spec, stripes), run(spec, stripes)
    one.network.head.dropout.p = two.network.head.dropout.p = 0.5
    with torch.random.fork_rng():
        one.take_step()
        torch.rand(100)
        one.take_step()
        two.take_step()
        two.take_step()
    states = one.network.state_dict(), two.network.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_recording_a_step_leaves_its_dropout(small: RunSpec, stripes: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where steps are replayed, the first of a sitting is recorded, which draws numbers; here by a double."""

    class Double:
        def __init__(self, network: nn.Module, loss: Callable[..., Tensor], *_: Tensor) -> None:
            self.network, self.loss = network, loss
            torch.rand(7)

        def __call__(self, *batch: Tensor) -> Tensor:
            self.network.zero_grad(set_to_none=True)
            found = self.loss(*batch)
            found.backward()
            return found.detach()

    def run(*, replays: bool) -> _Run:
        made = _Run(small, stripes, source=None, resources=device.Resources(device=torch.device("cpu")))
        made.network.head.dropout.p = 0.5
        made.replays = replays
        return made

    monkeypatch.setattr(device, "Replay", Double)
    whole, plain, resumed = run(replays=True), run(replays=False), run(replays=True)
    for _ in range(2):
        whole.take_step()
        plain.take_step()
    tensors, notes = whole.state()
    resumed.restore({name: value.clone() for name, value in tensors.items()}, notes)
    for one in (whole, plain, resumed):
        one.take_step()
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, plain.network.state_dict()[name])
        assert torch.equal(value, resumed.network.state_dict()[name])


def test_multilabel_runs(store: Store, small: RunSpec, stripes: Dataset) -> None:
    def relabel(split: Split) -> Split:
        labels = torch.stack([split.labels, 1 - split.labels, split.labels], 1).float()
        labels[::5, 2] = math.nan
        return Split(images=split.images, labels=labels, ids=split.ids, units=split.units)

    many = replace(
        stripes,
        kind="multilabel",
        classes=("a", "b", "c"),
        positive=None,
        train=relabel(stripes.train),
        val=relabel(stripes.val),
        test=relabel(stripes.test),
    )
    result = trained(small.replace(train=small.train.replace(steps=40, eval_every=40)), many)
    assert len(result.final["test_auroc_by_class"]) == 3
    assert result.final["test_auroc"] > 0.95


def test_a_wrong_stage_to_freeze_is_named(small: RunSpec, stripes: Dataset) -> None:
    with pytest.raises(SpecError, match=r"pool9.*pool1"):
        trained(small.replace(train=small.train.replace(freeze="pool9")), stripes)


def test_pretrained_start_is_what_the_spec_says(small: RunSpec, stripes: Dataset) -> None:
    source = trained(small, stripes).weights
    spec = small.replace(init=InitSpec(method="pretrained", weights=small, up_to="pool2"), seed=9)
    start = _Run(spec, stripes, source=source, resources=device.resources()).network.state_dict()
    assert torch.equal(start["body.pool2.1.conv.weight"], source["body.pool2.1.conv.weight"])
    assert not torch.equal(start["body.pool3.1.conv.weight"], source["body.pool3.1.conv.weight"])


def test_scores_that_are_not_finite_stop_with_the_step(small: RunSpec, stripes: Dataset) -> None:
    """The last update before an evaluation may ruin the weights: its loss was still finite."""
    one = run(small, stripes)
    for _ in range(5):
        one.take_step()
    with torch.no_grad():
        for parameter in one.network.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"the val scores are not finite at step 5 of cbr_tiny: the learning rate"):
        one.evaluate()
