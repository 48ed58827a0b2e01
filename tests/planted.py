"""Runs of the study's plan whose numbers a test plants."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch

from transfusion_lib.papers.plan import Plan
from transfusion_lib.runs.run import Run
from transfusion_lib.spec import RunSpec


def run(
    spec: RunSpec, *, score: float, val: float = 0.5, loss: float = 0.7, way: Sequence[float] = (0.5, 0.6, 0.7)
) -> Run:
    """Return what a finished run says: a test score, a validation and a mean training loss, scores on the way."""
    lesions = spec.data.task == "lesion"
    record: dict[str, Any] = {
        "dataset": {"kind": "segmentation" if lesions else "multiclass", "classes": ["a", "b"],
                    "cases": {"train": 5000, "val": 800, "test": 2000}},
        "final": {"test_dice" if lesions else "test_auroc": score},
        "seconds": 36.0, "provenance": {"machine": {"processor": "a processor", "threads": 1}},
    }  # fmt: skip
    chance = float(np.exp(-val))
    scores = torch.full((4, 1, 2), 1 - val) if lesions else torch.tensor([[1 - chance, chance]] * 4)
    cases = {"val_scores": scores, "val_labels": torch.ones(4, dtype=torch.int64), "losses": torch.full((8,), loss)}
    steps = [spec.train.eval_every * place for place in range(len(way))]
    found = SimpleNamespace(
        spec=spec, record=record, cases=cases, final=record["final"], key="0" * 64, on_the_way=list(way),
        curve={"step": steps},
    )  # fmt: skip
    return cast("Run", found)


def runs_of(
    plan: Plan, cell: str, scores: Mapping[str, float], *, spread: float = 0.004, **others: Mapping[str, float]
) -> dict[RunSpec, Run]:
    """Return all runs of a cell: an arm's score at each split is its mean and the split's own deviation."""
    found = {}
    for one in plan.cell(cell):
        for (_, _, arm, _), specs in plan.arms(one).items():
            for number, spec in enumerate(specs):
                noise = spread * np.random.default_rng([number, len(arm)]).normal()
                extra = {name: values[arm] for name, values in others.items() if arm in values}
                found[spec] = run(spec, score=scores[arm] + float(noise), **extra)  # type: ignore[arg-type]
    return found
