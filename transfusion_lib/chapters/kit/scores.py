"""Headline scores of finished runs with intervals, from the probabilities of every test case that each run keeps."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from transfusion_lib.errors import MeasureError
from transfusion_lib.runs.run import Run
from transfusion_lib.stats import Interval, Metric, auprc, auroc, over_seeds, over_seeds_and_cases

BINARY = {"auroc": auroc, "auprc": auprc}
REPEATS = 500


def final(run: Run, name: str) -> float:
    """Return a score ("test_auroc", "val_auprc") of a run's selected weights; NaN where it is not defined."""
    value = run.final[name]
    return float("nan") if value is None else float(value)


def validation_loss(run: Run) -> float:
    """Return the mean loss of a run's selected weights over the validation images, 1 - Dice for masks; lower is better.

    Infinite where a probability of the truth is 0.
    """
    chances = run.cases["val_scores"].double()
    kind = run.record["dataset"]["kind"]
    if kind == "segmentation":
        return 1 - float(chances[..., 0].mean())
    labels = run.cases["val_labels"]
    if kind == "multiclass":
        return float(-chances[torch.arange(len(labels)), labels.long()].log().mean())
    known = ~labels.isnan()
    truth = torch.where(labels == 1, chances, 1 - chances)
    return float(-truth[known].log().mean())


def mean(runs: Sequence[Run], name: str) -> Interval:
    """Return the mean over seeds of a score with its interval; of one seed no interval, both ends are missing."""
    return over([final(run, name) for run in runs])


def over(values: Sequence[float]) -> Interval:
    """Return the mean of one value per seed with its interval; of one seed both ends are missing."""
    if len(values) > 1:
        return over_seeds(values)
    nan = float("nan")
    return Interval(estimate=values[0], low=nan, high=nan, what_varies="seed", n=1, se=nan)


def gain(runs: Sequence[Run], over: Sequence[Run], *, score: str = "auroc") -> Interval:
    """Return the test score of ``runs`` minus that of ``over``, means over seeds; seeds and test cases vary.

    Both groups need two seeds and the same test cases, else a ``MeasureError``. Cases are drawn singly: where a
    patient has several, the interval is somewhat too narrow. Of a group with itself it is 0 without an error.
    """
    if [run.key for run in runs] == [run.key for run in over]:
        return Interval(estimate=0.0, low=0.0, high=0.0, what_varies="seed and test case", n=len(runs), se=0.0)
    everyone = [*runs, *over]
    truth = everyone[0].cases["test_labels"].numpy()
    if any(not np.array_equal(run.cases["test_labels"].numpy(), truth, equal_nan=True) for run in everyone):
        raise MeasureError("a gain needs runs on the same test cases")
    sets = [np.stack([run.cases["test_scores"].numpy() for run in group]) for group in (runs, over)]
    generator = np.random.default_rng(0)
    return over_seeds_and_cases(
        metric(everyone[0], score), truth, sets[0], minus=sets[1], generator=generator, repeats=REPEATS
    )


def between(runs: Sequence[Run], over: Sequence[Run], *, score: str = "auroc") -> Interval:
    """Return ``gain``; of groups with one seed the difference of the means without an interval."""
    if min(len(runs), len(over)) > 1:
        return gain(runs, over, score=score)
    ours, theirs = (mean(group, f"test_{score}").estimate for group in (runs, over))
    nan = float("nan")
    return Interval(estimate=ours - theirs, low=nan, high=nan, what_varies="seed", n=1, se=nan)


def metric(run: Run, score: str) -> Metric:
    """Return the headline score ("auroc", "auprc") of a run's data, as ``metrics.score`` defines it, fast."""
    about, binary = run.record["dataset"], BINARY[score]
    positive, multiclass = about["positive"], about["kind"] == "multiclass"

    def value(labels: NDArray[np.generic], chances: NDArray[np.float64]) -> float:
        if multiclass and positive is not None:
            return binary(np.isin(labels, positive), chances[:, list(positive)].sum(1))
        if multiclass:
            columns = [(labels == k, chances[:, k]) for k in range(chances.shape[1])]
        else:
            known = [~np.isnan(column) for column in labels.astype(np.float64).T]
            columns = [(labels[rows, k] == 1, chances[rows, k]) for k, rows in enumerate(known)]
        return float(np.mean([binary(*column) for column in columns if 0 < column[0].sum() < len(column[0])]))

    return value
