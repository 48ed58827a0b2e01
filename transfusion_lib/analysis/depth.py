"""What each depth of a finished run holds: its features before against after, of block against block, and their use.

TruncatedTL, section 3.3 (Figure 4 and the classifier on every block) and appendix C.1 (where to cut by SVCCA alone).
"""

from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfusion_lib import data
from transfusion_lib.analysis import activations, similarity
from transfusion_lib.analysis.activations import Pooled, Positions
from transfusion_lib.analysis.similarity import Moments
from transfusion_lib.data.dataset import Dataset, Split
from transfusion_lib.networks import Network
from transfusion_lib.runs import Run
from transfusion_lib.runs.analyses import stored
from transfusion_lib.training import metrics
from transfusion_lib.training.batches import to_input
from transfusion_lib.training.device import resources

BATCH = 50
QUANTILES = 33  # of a distribution of coefficients, enough for a curve and for the overlap of two
PENALTIES = (1.0, 10.0, 100.0, 1000.0, 10000.0)


@stored("depth.before_after", version=1)
def before_after(
    run: Run, *, images: int | None, per_image: int, keep: float, every_layer: bool, seed: int = 0
) -> dict[str, Any]:
    """Return SVCCA of each stage (or, with ``every_layer``, of each cut point) before against after training.

    The samples are ``per_image`` positions of each of ``images`` training images, drawn by ``seed``; ``keep`` is the
    share of variance that SVCCA keeps. ``rows`` holds, from the input on: ``cut``, ``similarity`` and ``floor`` (mean
    coefficients; for the floor the trained network sees other images), ``coefficients`` and ``floor_coefficients``
    (quantiles from the largest on), ``n`` and ``kept`` (dimensions of the smaller side).
    """
    start, end = _on_device(run.network(0)), _on_device(run.network())
    probe = data.load(run.spec.data).train.drawn(images, seed=seed).images
    last = {cut.split(".")[0]: cut for cut in end.cut_points}
    names = {cut: cut for cut in end.cut_points} if every_layer else last
    rule = Positions(per_image=per_image, seed=seed)
    gathered = _moments(start, end, probe, cuts=tuple(names.values()), rule=rule)
    rows = []
    for cut, unit in names.items():
        moments = gathered[unit]
        found, floor = (moments.svcca("before", other, keep=keep) for other in ("after", "elsewhere"))
        rows.append(
            {
                "cut": cut,
                "similarity": found.mean,
                "floor": floor.mean,
                "coefficients": _quantiles(found.coefficients),
                "floor_coefficients": _quantiles(floor.coefficients),
                "n": found.n,
                "kept": min(found.ranks),
            }
        )
    return {"rows": rows}


@stored("depth.by_block", version=1)
def by_block(run: Run, *, images: int | None, keep: float, seed: int = 0) -> dict[str, Any]:
    """Return SVCCA of every pair of blocks before and after training, and a linear classifier on each stage.

    A sample is an image's features averaged over positions, since stages differ in size. ``pairs`` holds ``first``,
    ``second``, ``moment`` ("before", "after"), ``similarity`` and its ``floor`` (expected of independent samples).
    ``probes`` holds per stage the classifier's ``val_auprc``, ``test_auroc``, ``test_auprc`` and ``penalty``; it is
    a ridge regression on standardised features of ``images`` training images, drawn by ``seed``, its penalty chosen
    by the validation AUPRC. ``test_scores`` (stages, cases, classes) are its outputs.
    """
    dataset = data.load(run.spec.data)
    train = dataset.train.drawn(images, seed=seed)
    networks = {"before": _on_device(run.network(0)), "after": _on_device(run.network())}
    stages = networks["after"].stages
    features = {moment: _pooled(network, train.images) for moment, network in networks.items()}
    pairs = []
    for moment, layers in features.items():
        factors = {stage: similarity.factor(values) for stage, values in layers.items() if is_block(stage)}
        for first, second in combinations_with_replacement(factors, 2):
            found = similarity.svcca(factors[first], factors[second], keep=keep)
            pairs.append(
                {
                    "first": first,
                    "second": second,
                    "moment": moment,
                    "similarity": found.mean,
                    "floor": found.floor,
                }
            )
    held = {
        name: _pooled(networks["after"], split.images) for name, split in (("val", dataset.val), ("test", dataset.test))
    }
    probes, outputs = [], []
    for stage in stages:
        row, scores = _probe(features["after"][stage], held["val"][stage], held["test"][stage], train, dataset)
        probes.append({"stage": stage, **row})
        outputs.append(torch.from_numpy(scores))
    return {"pairs": pairs, "probes": probes, "test_scores": torch.stack(outputs)}


@torch.no_grad()
def _moments(
    start: Network, end: Network, images: Tensor, *, cuts: Sequence[str], rule: Positions
) -> dict[str, Moments]:
    """Return the moments at each of the cut points of "before", "after" and, for the floor, "elsewhere".

    Elsewhere are the features after training of another image of the batch, at the same positions.
    """
    device = resources().device
    gathered = {cut: Moments() for cut in cuts}
    for first in range(0, len(images), BATCH):
        part = images[first : first + BATCH]
        if len(part) < 2:  # an image on its own has no other
            break
        x = to_input(part.to(device), channels=end.in_channels, mean=end.mean, std=end.std)
        for (cut, before), (_, after) in zip(start.features(x), end.features(x), strict=True):
            if cut not in gathered:
                continue
            maps = {"before": before, "after": after, "elsewhere": after.roll(len(part) // 2, 0)}
            gathered[cut].update({name: activations.rows(one, rule, first=first) for name, one in maps.items()})
    return gathered


def is_block(stage: str) -> bool:
    """Whether a stage counts as a block: not the stem, nor the 1x1 convolution on top of an EfficientNet."""
    return not stage.startswith("conv") and stage != "top"


def overlaps(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return, for each cut point, how far the coefficients before/after overlap those of unrelated images.

    1 minus the largest distance of the two distribution functions: 0 where every coefficient lies above every one of
    the floor, 1 where the two cannot be told apart. ``rows`` are those of ``before_after``.
    """
    return {row["cut"]: 1 - _distance(row["coefficients"], row["floor_coefficients"]) for row in rows}


def rule_cut(found: Mapping[str, float], *, threshold: float) -> str:
    """Return the cut point of appendix C.1: the last below the first whose overlap reaches ``threshold``.

    Up to it features are reused. The first cut point where already that one overlaps, the last where none does.
    """
    cuts = list(found)
    reached = [place for place, cut in enumerate(cuts) if found[cut] >= threshold]
    return cuts[max(0, reached[0] - 1)] if reached else cuts[-1]


def _probe(
    train_features: Tensor, val_features: Tensor, test_features: Tensor, train: Split, dataset: Dataset
) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """Return the scores of the classifier whose penalty the validation set prefers, and its test outputs."""
    from sklearn.linear_model import Ridge

    mean, deviation = train_features.mean(0), train_features.std(0).clamp_min(1e-6)
    x, val, test = (((part - mean) / deviation).numpy() for part in (train_features, val_features, test_features))
    targets, known = _targets(train.labels, dataset)
    together = bool(known.all())
    best: tuple[float, dict[str, Any], NDArray[np.float32]] | None = None
    for penalty in PENALTIES:
        if together:
            models = [Ridge(alpha=penalty).fit(x, targets.T)]
        else:
            pairs = zip(targets, known, strict=True)
            models = [Ridge(alpha=penalty).fit(x[rows], column[rows, None]) for column, rows in pairs]
        val_scores, test_scores = (
            np.concatenate([model.predict(part).reshape(len(part), -1) for model in models], 1).astype(np.float32)
            for part in (val, test)
        )
        judged = _scored(val_scores, dataset.val, dataset)
        if best is None or judged.auprc > best[0]:
            scored = _scored(test_scores, dataset.test, dataset)
            row = {
                "val_auprc": judged.auprc,
                "test_auroc": scored.auroc,
                "test_auprc": scored.auprc,
                "penalty": penalty,
            }
            best = (judged.auprc, row, test_scores)
    assert best is not None
    return best[1], best[2]


def _scored(scores: NDArray[np.float32], split: Split, dataset: Dataset) -> metrics.Scores:
    return metrics.score(scores, split.labels.numpy(), kind=dataset.kind, positive=dataset.positive)


def _targets(labels: Tensor, dataset: Dataset) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return each class or label as 0 or 1, (classes, n), and where it is known."""
    if dataset.kind == "multiclass":
        targets = torch.nn.functional.one_hot(labels, dataset.num_outputs).T.float().numpy()
        return targets, np.ones_like(targets, dtype=bool)
    known = ~labels.isnan().T.numpy()
    return labels.nan_to_num().T.numpy(), known


def _pooled(network: Network, images: Tensor) -> dict[str, Tensor]:
    found = activations.collect(network, images, cut_points=network.stages, rule=Pooled())
    return {stage: values.cpu() for stage, values in found.items()}


def _on_device(network: Network) -> Network:
    return network.to(resources().device).eval()


def _quantiles(coefficients: NDArray[np.float64]) -> list[float]:
    return [float(v) for v in np.quantile(coefficients, np.linspace(1, 0, QUANTILES))]


def _distance(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the largest distance of two distribution functions (Kolmogorov and Smirnov) given by their quantiles."""
    every = np.sort(np.concatenate([a, b]))
    parts = [np.searchsorted(np.sort(one), every, side="right") / len(one) for one in (a, b)]
    return float(np.abs(parts[0] - parts[1]).max())
