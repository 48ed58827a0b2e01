"""The faults of TruncatedTL's published code: each has a test here that would catch it in ours.

1. A softmax before the cross-entropy, in validation. 2. Multi-label evaluation on the last batch only. 3. A folder of
results without seed or learning rate in its name. 4. Frozen stages whose batch norm stays in training mode.
"""

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.networks import network, seeded
from transfusion_lib import networks, runs
from transfusion_lib.data.dataset import Dataset, Split
from transfusion_lib.networks import surgery
from transfusion_lib.networks.init import network_for
from transfusion_lib.networks.stages import BatchNorm
from transfusion_lib.runs.store import Store
from transfusion_lib.spec import RunSpec
from transfusion_lib.training import device, metrics, train


def noise(n: int, *, seed: int, multilabel: bool) -> Split:
    """Return random images under labels that have every kind of case, ordered so that the last few are all alike."""
    images = torch.randint(0, 255, (n, 3, 32, 32), generator=seeded(seed), dtype=torch.uint8)
    labels = (torch.arange(n) >= n // 2).long()
    if multilabel:
        other = (torch.arange(n) % 3 == 0).float()
        labels = torch.stack([labels.float(), other], 1)
    names = tuple(f"{seed}-{k}" for k in range(n))
    return Split(images=images, labels=labels, ids=names, units=names)


@pytest.fixture(params=[False, True], ids=["multiclass", "multilabel"])
def dataset(request: pytest.FixtureRequest) -> Dataset:
    kind = request.param
    return Dataset(
        name="noise",
        task="none",
        kind="multilabel" if kind else "multiclass",
        classes=("a", "b"),
        train=noise(16, seed=0, multilabel=kind),
        val=noise(13, seed=1, multilabel=kind),
        test=noise(29, seed=2, multilabel=kind),
        fingerprint="f",
    )


def test_the_loss_takes_outputs_and_not_probabilities() -> None:
    """Softmax twice would hold the loss of a sure and right answer at 0.313 and flatten every gradient."""
    sure, labels = torch.tensor([[20.0, -20.0]]), torch.tensor([0])
    assert metrics.loss(sure, labels, kind="multiclass") < 1e-6
    twice = nn.functional.cross_entropy(sure.softmax(1), labels)
    assert twice > 0.31
    marks = torch.tensor([[1.0, 0.0]])
    assert metrics.loss(sure, marks, kind="multilabel") < 1e-6


@pytest.mark.parametrize("name", ["cbr_tiny", "efficientnet_lite0"])
def test_a_networks_outputs_are_no_probabilities(name: str) -> None:
    outputs = network(name)(torch.randn(4, 3, 32, 32, generator=seeded())) * 10
    assert (outputs < 0).any()
    assert not torch.allclose(outputs.sum(1), torch.ones(4), atol=0.01)


def test_scores_are_squashed_once(small: RunSpec, dataset: Dataset) -> None:
    """Probabilities of probabilities would all lie between 0.27 and 0.73."""
    result = train.fit(small, dataset, source=None, resources=device.resources())
    trained = networks.build(small.model, num_outputs=2, size=32, generator=seeded())
    trained.load_state_dict(result.weights)
    x = dataset.test.images.float() / 255
    mean, std = (torch.tensor(part)[:, None, None] for part in (trained.mean, trained.std))
    with torch.no_grad():
        outputs = trained.eval()((x - mean) / std)
    once = outputs.softmax(1) if dataset.kind == "multiclass" else outputs.sigmoid()
    assert torch.allclose(result.test_scores, once, atol=1e-4)


def test_every_case_is_scored_whatever_the_batch(
    small: RunSpec, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the last 5 of 29 cases all have one label: scored alone, they would have no AUROC at all."""
    whole = train.fit(small, dataset, source=None, resources=device.resources())
    monkeypatch.setattr(device, "evaluation_batch", lambda where: 8)
    parts = train.fit(small, dataset, source=None, resources=device.resources())
    assert parts.test_scores.shape == (29, 2)
    for name in ("val_auroc", "val_auprc", "test_auroc", "test_auprc"):
        assert parts.final[name] == pytest.approx(whole.final[name], abs=1e-6), name
    every = metrics.score(parts.test_scores.numpy(), dataset.test.labels.numpy(), kind=dataset.kind)
    assert parts.final["test_auroc"] == pytest.approx(every.auroc)


def test_runs_that_differ_in_seed_or_rate_are_kept_apart(store: Store, small: RunSpec) -> None:
    few = small.replace(train=small.train.replace(steps=2, eval_every=2))
    others = [few.replace(seed=4), few.replace(train=few.train.replace(learning_rate=2e-3))]
    made = runs.ensure([few, *others], store=store)
    folders = {run.entry.folder for run in made}
    assert len(folders) == 3
    assert all(folder.is_dir() for folder in folders)
    for run in made:
        assert runs.load(run.spec, store=store).record["curve"] == run.curve
        kept = run.record["spec"]
        assert (kept["seed"], kept["train"]["learning_rate"]) == (run.spec.seed, run.spec.train.learning_rate)


def test_frozen_batch_norm_is_in_evaluation_mode_through_training(small: RunSpec, dataset: Dataset) -> None:
    """By its mode while the network trains, and by its statistics after it has."""
    frozen = surgery.freeze(network("cbr_tiny"), "pool2").train()
    modes = {cut: {part.training for part in unit.modules()} for cut, unit in frozen.units().items()}
    assert modes == {"pool1": {False}, "pool2": {False}, "pool3": {True}, "pool4": {True}}
    spec = small.replace(train=small.train.replace(freeze="pool2"))
    result = train.fit(spec, dataset, source=None, resources=device.resources())
    generator = torch.Generator().manual_seed(spec.seed)
    start = network_for(spec.model, spec.init, num_outputs=2, size=32, source=None, generator=generator)
    for cut, unit in start.units().items():
        for name, part in unit.named_modules():
            if isinstance(part, BatchNorm):
                assert part.running_mean is not None
                moved = not torch.equal(
                    result.weights[f"body.{start.paths[cut]}.{name}.running_mean"], part.running_mean
                )
                assert moved == (cut in ("pool3", "pool4")), cut


def test_freezing_does_not_depend_on_which_split_was_scored_last(small: RunSpec, dataset: Dataset) -> None:
    """Evaluation switches the network's mode; the next step must freeze again."""
    often = small.replace(train=small.train.replace(freeze="pool4", eval_every=1))
    result = train.fit(often, replace(dataset), source=None, resources=device.resources())
    generator = torch.Generator().manual_seed(often.seed)
    start = network_for(often.model, often.init, num_outputs=2, size=32, source=None, generator=generator)
    for name, value in start.body.state_dict().items():
        assert torch.equal(result.weights[f"body.{name}"], value), name
