"""Scores of cases in 16 bits: back within a hair, no AUROC moved, and as float32 where 16 bits do not do."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from transfusion_lib.runs import cases
from transfusion_lib.training import metrics


def there_and_back(kept: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return cases.unpack(load(save(kept)))


def test_the_scores_of_many_cases_come_back_in_half_the_room() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (2000,), generator=generator)
    outputs = torch.randn(2000, 3, generator=generator) + torch.eye(3)[labels]
    scores = outputs.softmax(1)
    kept = cases.pack(scores, labels, split="test", kind="multiclass", positive=(1, 2))
    assert len(save(kept)) < 0.51 * len(save({"test_scores": scores})) + labels.numel() + 300
    found = there_and_back(kept)
    assert set(found) == {"test_scores", "test_labels"}
    assert found["test_labels"].equal(labels)
    assert found["test_scores"].dtype == torch.float32
    assert float((found["test_scores"] - scores).abs().max()) < 2e-4
    for column in range(3):  # the order of the cases is kept, ties may be new
        order = scores[:, column].argsort()
        assert (found["test_scores"][order, column].diff() >= 0).all()


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.sampled_from([1e-4, 1.0, 30.0]), st.sampled_from(["multiclass", "multilabel"]))
def test_no_score_moves_further_than_promised(seed: int, scale: float, kind: metrics.Kind) -> None:
    """Networks that tell nothing, that tell something, and that are sure of all."""
    generator = torch.Generator().manual_seed(seed)
    outputs = scale * torch.randn(60, 3, generator=generator)
    scores = metrics.probabilities(outputs, kind=kind)
    if kind == "multiclass":
        labels, positive = torch.randint(0, 3, (60,), generator=generator), (0, 2)
    else:
        labels, positive = torch.randint(0, 2, (60, 3), generator=generator).float(), None
        labels[::7, 1] = torch.nan
    found = there_and_back(cases.pack(scores, labels, split="val", kind=kind, positive=positive))
    assert torch.equal(found["val_labels"].nan_to_num(-5), labels.nan_to_num(-5))
    assert found["val_labels"].dtype == labels.dtype
    before, after = (
        metrics.summary(some, labels, kind=kind, positive=positive) for some in (scores, found["val_scores"])
    )
    for name in before:
        np.testing.assert_allclose(before[name], after[name], rtol=0, atol=cases.MOVED)


def test_scores_that_16_bits_would_move_stay_as_they_are() -> None:
    """One case at 0 stretches the steps so far that all others would be tied."""
    near = torch.nextafter(torch.tensor(0.5), torch.tensor(1.0)) - 0.5
    positive = torch.cat([torch.zeros(1), 0.5 + near * torch.arange(99)])
    scores = torch.stack([1 - positive, positive], 1)
    labels = torch.tensor([0] * 50 + [1] * 50)
    kept = cases.pack(scores, labels, split="test", kind="multiclass", positive=(1,))
    assert kept["test_scores"].dtype == torch.float32
    assert there_and_back(kept)["test_scores"].equal(scores)


def test_overlaps_with_masks_come_back_and_bring_no_labels() -> None:
    truth = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(1)) > 0.5
    overlaps = metrics.overlap(truth.roll(1, 0), truth)
    overlaps[0], overlaps[1] = 0.0, 1.0
    kept = cases.pack(overlaps, truth, split="val", kind="segmentation", positive=None)
    found = there_and_back(kept)
    assert set(found) == {"val_scores"}
    assert kept["val_scores"].dtype == torch.uint16
    assert (found["val_scores"][0] == 0).all()
    assert (found["val_scores"][1] == 1).all()
    torch.testing.assert_close(found["val_scores"], overlaps, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("classes", "kept_as"), [(2, torch.uint8), (256, torch.uint8), (300, torch.int16)])
def test_classes_take_the_smallest_whole_number(classes: int, kept_as: torch.dtype) -> None:
    labels = torch.arange(classes)
    scores = torch.eye(classes).softmax(1)
    kept = cases.pack(scores, labels, split="test", kind="multiclass", positive=None)
    assert kept["test_labels"].dtype == kept_as
    assert there_and_back(kept)["test_labels"].equal(labels)


def test_the_records_of_the_pilot_are_as_they_were() -> None:
    old = {"test_scores": torch.rand(5, 2), "test_labels": torch.arange(5) % 2, "val_labels": torch.ones(5, 3)}
    found = there_and_back(old)
    assert all(found[name].equal(old[name]) and found[name].dtype == old[name].dtype for name in old)
