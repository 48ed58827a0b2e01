"""The scores and labels of a run's cases in half the room: 16 bits a score, eight a label.

A score is kept as one of 65,536 even steps between the smallest and the largest log-odds of its class, so that scores
near 0, near 1 and close together all stay apart. Over the 550 records of the pilot, float16 moves an AUROC or AUPRC by
more than ``MOVED`` in 504, even steps of the probability in 323, float16 of the log-odds in 189, these steps in 63. A
split whose scores they would move so far stays float32.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfusion_lib.training import metrics
from transfusion_lib.training.metrics import Kind

MOVED = 1e-4
"""By which the code may change no score of a split: AUROC, AUPRC, each class's, Dice, Jaccard."""

STEPS = 65_535
LOWEST, HIGHEST = -104.0, 17.5
"""Log-odds whose probabilities are 0 and 1 in float32."""

ENDS = "_log_odds"
UNKNOWN = -1
HASH = "TRANSFUSION_HASH_NAMES"
"""Set it to keep names of images out of the store."""


def pack(
    scores: Tensor, labels: Tensor, *, split: str, kind: Kind, positive: Sequence[int] | None
) -> dict[str, Tensor]:
    """Return what a file keeps of a split ("test"): ``test_scores``, ``test_labels`` and what ``unpack`` needs.

    ``scores`` are those of ``metrics.by_case``, float32. In segmentation no labels are kept: masks are large, and the
    overlaps with them are already the scores.
    """
    name, labels = f"{split}_scores", labels.cpu()
    codes, ends = _encoded(scores.numpy())
    before, after = (
        metrics.summary(some, labels, kind=kind, positive=positive)
        for some in (scores, torch.from_numpy(_decoded(codes, ends)))
    )
    moved = max(np.nan_to_num(np.abs(np.subtract(before[score], after[score]))).max() for score in before)
    kept = {name: scores.contiguous()}
    if moved <= MOVED:
        kept = {name: torch.from_numpy(codes), name + ENDS: torch.from_numpy(ends)}
    return kept if kind == "segmentation" else kept | {f"{split}_labels": _small(labels)}


def hashed(name: str) -> str:
    """Return what stands for a name where names are not to leave: the first 16 hex digits of its sha256 (UTF-8)."""
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:16]


def names(**splits: Sequence[str]) -> bytes:
    """Return the names of the cases of each split as JSON, hashed where ``TRANSFUSION_HASH_NAMES`` is set."""
    hide = bool(os.environ.get(HASH))
    return json.dumps(
        {split: [hashed(one) if hide else one for one in each] for split, each in splits.items()}
    ).encode()


def codes_of(units: Sequence[str]) -> Tensor:
    """Return 32 bits for each unit (patient, lesion), (n,) int32: the same for the same unit in every run."""
    digests = (hashlib.blake2b(unit.encode(errors="surrogateescape"), digest_size=4).digest() for unit in units)
    return torch.tensor([int.from_bytes(one, "big", signed=True) for one in digests], dtype=torch.int32)


def unpack(kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return scores (float32) and labels (int64 classes, or float32 with NaN where not known) that ``pack`` kept.

    Records of the pilot keep them as they are.
    """
    found = {}
    for name, values in kept.items():
        if name + ENDS in kept:
            found[name] = torch.from_numpy(_decoded(values.numpy(), kept[name + ENDS].numpy()))
        elif values.dtype == torch.int8:
            found[name] = values.float().masked_fill(values == UNKNOWN, torch.nan)
        elif name.endswith("_labels") and not values.is_floating_point():
            found[name] = values.long()
        elif not name.endswith(ENDS):
            found[name] = values
    return found


def as_kept(scores: Tensor, kept: Mapping[str, Tensor], *, name: str) -> Tensor:
    """Return scores as the file ``kept`` would give them back, if it held them as it holds its own of that name."""
    return torch.from_numpy(_decoded(*_encoded(scores.numpy()))) if name + ENDS in kept else scores


def _encoded(scores: NDArray[np.float32]) -> tuple[NDArray[np.uint16], NDArray[np.float64]]:
    """Return the codes of scores (n, ...) and the log-odds (2, ...) that the lowest and the highest code stand for."""
    exact = scores.astype(np.float64)
    with np.errstate(divide="ignore"):
        odds = np.clip(np.log(exact) - np.log1p(-exact), LOWEST, HIGHEST)
    ends = np.stack([odds.min(0), odds.max(0)])
    width = np.where(ends[0] == ends[1], 1.0, ends[1] - ends[0])
    return np.rint((odds - ends[0]) / width * STEPS).astype(np.uint16), ends


def _decoded(codes: NDArray[np.uint16], ends: NDArray[np.float64]) -> NDArray[np.float32]:
    odds = ends[0] + codes.astype(np.float64) / STEPS * (ends[1] - ends[0])
    found: NDArray[np.float32] = np.asarray(1 / (1 + np.exp(-odds)), dtype=np.float32)
    return found


def _small(labels: Tensor) -> Tensor:
    """Return classes (n,) as uint8 or int16, and labels (n, classes) of 0, 1 and NaN as int8."""
    if labels.is_floating_point():
        return labels.nan_to_num(UNKNOWN).to(torch.int8).contiguous()
    return labels.to(torch.uint8 if int(labels.max()) < 256 else torch.int16).contiguous()
