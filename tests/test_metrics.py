"""Scores: known answers, labels that are ignored, classes that are missing."""

import math

import numpy as np
import pytest
import torch

from transfusion_lib.errors import SpecError
from transfusion_lib.training.metrics import balance, loss, probabilities, score


def test_auroc_is_the_share_of_ordered_pairs() -> None:
    chances = np.array([[0.9, 0.1], [0.6, 0.4], [0.65, 0.35], [0.2, 0.8]], np.float32)
    found = score(chances, np.array([0, 0, 1, 1]), kind="multiclass", positive=(1,))
    assert found.auroc == 0.75  # (1 + 1 + 0 + 1) / 4 pairs
    assert found.auprc == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert found.auroc_by_class == (0.75, 0.75)


def test_positive_classes_are_summed() -> None:
    chances = np.array([[0.5, 0.3, 0.2], [0.4, 0.1, 0.5], [0.2, 0.5, 0.3], [0.6, 0.2, 0.2]], np.float32)
    found = score(chances, np.array([0, 2, 1, 0]), kind="multiclass", positive=(1, 2))
    assert found.auroc == 1.0
    mean = score(chances, np.array([0, 2, 1, 0]), kind="multiclass")
    assert mean.auroc == pytest.approx(np.mean(mean.auroc_by_class))


def test_ignored_labels_do_not_count() -> None:
    generator = np.random.default_rng(0)
    chances = generator.random((50, 2)).astype(np.float32)
    labels = (generator.random((50, 2)) < 0.4).astype(np.float32)
    labels[:20, 1] = np.nan
    found = score(chances, labels, kind="multilabel")
    alone = score(chances[20:, 1:], labels[20:, 1:], kind="multilabel")
    assert found.auroc_by_class[1] == alone.auroc
    outputs = torch.from_numpy(chances).requires_grad_()
    loss(outputs, torch.from_numpy(labels), kind="multilabel").backward()
    assert outputs.grad is not None
    assert (outputs.grad[:20, 1] == 0).all()
    assert (outputs.grad[20:, 1] != 0).all()


def test_a_missing_class_is_left_out_of_the_mean() -> None:
    chances = np.array([[0.5, 0.3, 0.2], [0.4, 0.5, 0.1]], np.float32)
    found = score(chances, np.array([0, 1]), kind="multiclass")
    assert math.isnan(found.auroc_by_class[2])
    assert found.auroc == 1.0


def test_probabilities_sum_or_not() -> None:
    outputs = torch.tensor([[1.0, 2.0, 3.0]])
    assert probabilities(outputs, kind="multiclass").sum() == pytest.approx(1)
    assert probabilities(outputs, kind="multilabel")[0, 0] == pytest.approx(1 / (1 + math.exp(-1)))


def test_multilabel_loss_is_the_mean_over_known_labels() -> None:
    outputs, labels = torch.zeros(2, 2), torch.tensor([[1.0, math.nan], [0.0, math.nan]])
    assert loss(outputs, labels, kind="multilabel").item() == pytest.approx(math.log(2))


def test_balanced_classes_weigh_alike() -> None:
    """Nine of one class and one of the other pull as hard as each other; of labels each one's positive cases."""
    labels = torch.tensor([0] * 9 + [1])
    weights = balance(labels, kind="multiclass", classes=2)
    outputs = torch.zeros(10, 2, requires_grad=True)
    loss(outputs, labels, kind="multiclass", weights=weights).backward()
    assert outputs.grad is not None
    assert outputs.grad.sum(0) == pytest.approx(0, abs=1e-6)
    several = torch.tensor([[1.0, math.nan], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    weights = balance(several, kind="multilabel", classes=2)
    assert weights.tolist() == [3.0, 2.0]
    outputs = torch.zeros(4, 2, requires_grad=True)
    loss(outputs, several, kind="multilabel", weights=weights).backward()
    assert outputs.grad is not None
    assert outputs.grad.sum(0) == pytest.approx(0, abs=1e-6)
    with pytest.raises(SpecError, match="masks have none"):
        balance(several, kind="segmentation", classes=2)
