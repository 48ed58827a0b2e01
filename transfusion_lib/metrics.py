"""Scores of a classifier: probabilities from a network's outputs, AUROC and AUPRC from probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

Kind = Literal["multiclass", "multilabel"]
JUDGE: dict[str, str] = {"multiclass": "auprc", "multilabel": "auprc"}
"""The score of the validation images that selects weights, halves rates and chooses cut points."""


@dataclass(frozen=True)
class Scores:
    """The headline scores of one evaluation, and their parts."""

    auroc: float
    """Area under the ROC curve; the mean over classes or labels where there are several."""
    auprc: float
    """Area under the precision-recall curve (average precision), likewise."""
    auroc_by_class: tuple[float, ...]
    """One against the rest for each class, or each label's."""


def probabilities(outputs: Tensor, *, kind: Kind) -> Tensor:
    """Return probabilities (n, classes) of a network's outputs: softmax for multi-class, sigmoid for multi-label."""
    return outputs.float().softmax(1) if kind == "multiclass" else outputs.float().sigmoid()


def score(
    chances: NDArray[np.float32], labels: NDArray[np.generic], *, kind: Kind, positive: Sequence[int] | None = None
) -> Scores:
    """Return the scores of probabilities (n, classes) against labels.

    Labels are (n,) classes, or (n, classes) in {0, 1} with NaN where a label is ignored. ``positive`` names the
    classes whose summed probability is the headline score; without it the headline is the mean over classes.
    A class or label with one kind of case only has no AUROC: it is NaN and left out of the mean.
    """
    truths = labels == np.arange(chances.shape[1])[:, None] if kind == "multiclass" else labels.T
    parts = [_binary(truth, chance) for truth, chance in zip(truths, chances.T, strict=True)]
    by_class = tuple(auroc for auroc, _ in parts)
    if kind == "multiclass" and positive is not None:
        auroc, auprc = _binary(np.isin(labels, positive), chances[:, list(positive)].sum(1))
    else:
        auroc, auprc = (_mean_of_known(column) for column in zip(*parts, strict=True))
    return Scores(auroc=auroc, auprc=auprc, auroc_by_class=by_class)


def _mean_of_known(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _binary(truth: NDArray[np.generic], chance: NDArray[np.float32]) -> tuple[float, float]:
    """Return AUROC and AUPRC of one label, NaN where it has one kind of case only."""
    known = ~np.isnan(truth.astype(np.float32))
    truth, chance = truth[known].astype(bool), chance[known]
    if truth.all() or not truth.any():
        return float("nan"), float("nan")
    return float(roc_auc_score(truth, chance)), float(average_precision_score(truth, chance))


def loss(outputs: Tensor, labels: Tensor, *, kind: Kind) -> Tensor:
    """Return the mean loss of outputs (n, classes): cross-entropy, or binary per label that is not NaN."""
    outputs = outputs.float()
    if kind == "multiclass":
        return torch.nn.functional.cross_entropy(outputs, labels)
    known = ~labels.isnan()
    every = torch.nn.functional.binary_cross_entropy_with_logits(outputs, labels.nan_to_num(), reduction="none")
    return (every * known).sum() / known.sum().clamp(min=1)
