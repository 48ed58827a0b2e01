"""Scores: AUROC and AUPRC of a classifier's probabilities; Dice and Jaccard of predicted masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfusion_lib.errors import SpecError

Kind = Literal["multiclass", "multilabel", "segmentation"]
JUDGE: dict[str, str] = {"multiclass": "auprc", "multilabel": "auprc", "segmentation": "dice"}
"""The score of the validation images that selects weights, halves rates and chooses cut points."""


@dataclass(frozen=True)
class Scores:
    """The headline scores of one evaluation, and their parts."""

    auroc: float
    """Area under the ROC curve; the mean over classes or labels if there are several."""
    auprc: float
    """Area under the precision-recall curve (average precision), likewise."""
    auroc_by_class: tuple[float, ...]
    """One against the rest for each class, or each label's."""


def probabilities(outputs: Tensor, *, kind: Kind) -> Tensor:
    """Return probabilities of a network's outputs: softmax for multi-class, sigmoid for labels and for pixels."""
    return outputs.float().softmax(1) if kind == "multiclass" else outputs.float().sigmoid()


def by_case(outputs: Tensor, labels: Tensor, *, kind: Kind) -> Tensor:
    """Return, for each case, what all scores are made of, float32.

    Probabilities (n, classes); in segmentation Dice and Jaccard of each region (n, regions, 2), see ``overlap``.
    """
    chances = probabilities(outputs, kind=kind)
    return overlap(chances > 0.5, labels) if kind == "segmentation" else chances


def overlap(predicted: Tensor, masks: Tensor) -> Tensor:
    """Return Dice and Jaccard (n, regions, 2) of boolean masks (n, regions, ...): 1 where both are empty."""
    mine, truth = predicted.flatten(2), masks.flatten(2).bool()
    both, total = (mine & truth).sum(2).float(), (mine.sum(2) + truth.sum(2)).float()
    empty = total == 0
    dice, jaccard = 2 * both / total.clamp(min=1), both / (total - both).clamp(min=1)
    return torch.stack([torch.where(empty, 1.0, dice), torch.where(empty, 1.0, jaccard)], dim=2)


def summary(
    cases: Tensor, labels: Tensor, *, kind: Kind, positive: Sequence[int] | None = None
) -> dict[str, float | list[float]]:
    """Return the scores of the cases of ``by_case`` by name; NaN where one is not defined.

    ``auroc``, ``auprc`` and ``auroc_by_class``; in segmentation ``dice``, ``jaccard`` and ``dice_by_region``, means
    over cases, then over regions.
    """
    if kind == "segmentation":
        dice, jaccard = cases.double().mean(0).unbind(1)
        return {"dice": float(dice.mean()), "jaccard": float(jaccard.mean()), "dice_by_region": dice.tolist()}
    found = score(cases.numpy(), labels.cpu().numpy(), kind=kind, positive=positive)
    return {"auroc": found.auroc, "auprc": found.auprc, "auroc_by_class": list(found.auroc_by_class)}


def headline(values: Mapping[str, Any], *, split: str = "val") -> tuple[str, float]:
    """Return the name and value of a split's headline score: Dice of masks, AUROC of classes.

    ``values`` are scores by name or curves, of which the last value counts; NaN where it is not defined.
    """
    name = f"{split}_dice" if f"{split}_dice" in values else f"{split}_auroc"
    value = values[name][-1] if isinstance(values[name], Sequence) else values[name]
    return name, float("nan") if value is None else float(value)


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
    from sklearn.metrics import average_precision_score, roc_auc_score  # two seconds, for those who score alone

    known = ~np.isnan(truth.astype(np.float32))
    truth, chance = truth[known].astype(bool), chance[known]
    if truth.all() or not truth.any():
        return float("nan"), float("nan")
    return float(roc_auc_score(truth, chance)), float(average_precision_score(truth, chance))


def balance(labels: Tensor, *, kind: Kind, classes: int) -> Tensor:
    """Return the weight of each class, mean 1 over cases, or of each label's positive cases: inverse frequencies.

    A ``SpecError`` for masks, whose loss has a part that weighs regions already.
    """
    if kind == "segmentation":
        raise SpecError("class_weights is for classes and labels; masks have none")
    if kind == "multiclass":
        return len(labels) / (classes * torch.bincount(labels, minlength=classes).clamp(min=1)).float()
    return (labels == 0).sum(0).float() / (labels == 1).sum(0).clamp(min=1)


def loss(outputs: Tensor, labels: Tensor, *, kind: Kind, weights: Tensor | None = None) -> Tensor:
    """Return the mean loss of outputs: cross-entropy, or binary per label that is not NaN; ``weights`` of ``balance``.

    In segmentation binary cross-entropy over pixels plus 1 - soft Dice, over the batch's pixels of each region.
    """
    outputs = outputs.float()
    if kind == "segmentation":
        truth = labels.float()
        every = torch.nn.functional.binary_cross_entropy_with_logits(outputs, truth)
        chances, axes = outputs.sigmoid(), (0, *range(2, outputs.ndim))
        dice = (2 * (chances * truth).sum(axes) + 1) / ((chances + truth).sum(axes) + 1)
        return every + (1 - dice).mean()
    if kind == "multiclass":
        return torch.nn.functional.cross_entropy(outputs, labels, weight=weights)
    known = ~labels.isnan()
    every = torch.nn.functional.binary_cross_entropy_with_logits(
        outputs, labels.nan_to_num(), reduction="none", pos_weight=weights
    )
    return (every * known).sum() / known.sum().clamp(min=1)
