"""Evaluation of a classifier: questions, units, groups, decisions, errors."""

import math
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from transfusion_lib.analysis.evaluation import Cases, Task, by_group, evaluate, groups, losses, points
from transfusion_lib.training import metrics

BINARY = Task(kind="multiclass", classes=("well", "ill"), positive=(1,))


def drawn(n: int = 200, *, seed: int = 0, per: int = 1) -> Cases:
    """Return cases of two classes that a classifier half knows."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(rng.random(n // per) < 0.4, per).astype(int)
    noise = 0.8 * np.repeat(rng.random(n // per), per) + 0.2 * rng.random(len(truth))
    ill = (0.35 * truth + 0.6 * noise).clip(0.01, 0.99)
    units = tuple(f"p{k // per}" for k in range(len(truth)))
    names = tuple(f"{k}.png" for k in range(len(truth)))
    return Cases(names=names, units=units, truth=truth, chances=np.stack([1 - ill, ill], 1))


@pytest.mark.parametrize("kind", ["multiclass", "positive", "multilabel"])
@pytest.mark.parametrize("score", ["auroc", "auprc"])
def test_the_fast_scores_are_the_headline_scores(kind: str, score: Literal["auroc", "auprc"]) -> None:
    generator = np.random.default_rng(1)
    chances = generator.random((40, 3)).round(1)
    labels = generator.integers(0, 3, 40)
    if kind == "multilabel":
        labels = np.where(generator.random((40, 3)) < 0.1, np.nan, generator.integers(0, 2, (40, 3)))
    positive = (1, 2) if kind == "positive" else None
    task = Task(kind="multilabel" if kind == "multilabel" else "multiclass", classes=("a", "b", "c"), positive=positive)
    found = metrics.score(chances, labels, kind=task.kind, positive=positive)  # type: ignore[arg-type]
    assert task.metric(score)(labels, chances) == pytest.approx(getattr(found, score))


def test_operating_points_never_depend_on_the_cases_that_they_are_used_on() -> None:
    chosen = points(BINARY, drawn(seed=1))
    levels = {"specificity": 90, "sensitivity": 80}
    reports = [evaluate(cases, BINARY, chosen, levels=levels, repeats=20) for cases in (drawn(seed=2), drawn(seed=3))]  # type: ignore[arg-type]
    flipped = replace(drawn(seed=2), truth=1 - drawn(seed=2).truth)
    reports.append(evaluate(flipped, BINARY, chosen, levels=levels, repeats=20))  # type: ignore[arg-type]
    thresholds = {tuple(one.threshold for one in report.decisions) for report in reports}
    assert thresholds == {(chosen["ill"]["specificity"][90], chosen["ill"]["sensitivity"][80])}
    ill, at = drawn(seed=2).chances[:, 1], chosen["ill"]["specificity"][90]
    truth = drawn(seed=2).truth
    assert reports[0].confusion == (
        (int(((ill < at) & (truth == 0)).sum()), int(((ill >= at) & (truth == 0)).sum())),
        (int(((ill < at) & (truth == 1)).sum()), int(((ill >= at) & (truth == 1)).sum())),
    )


def test_patients_count_once_and_widen_intervals() -> None:
    cases = drawn(200, per=5)
    alone = replace(cases, units=cases.names)
    chosen = points(BINARY, drawn(seed=1))
    both = [evaluate(one, BINARY, chosen, levels={"specificity": 90}, repeats=200) for one in (cases, alone)]
    assert (both[0].units, both[1].units) == (40, 200)
    widths = [one.scores["Brier score"].high - one.scores["Brier score"].low for one in both]
    assert widths[0] > 1.2 * widths[1]
    merged = cases.by_unit(BINARY)
    assert len(merged) == 40
    assert merged.chances[0] == pytest.approx(cases.chances[:5].mean(0))
    mixed = replace(cases, truth=np.array([0, 0, 1, 0, 0] * 40))
    assert set(mixed.by_unit(BINARY).truth) == {1}, "one positive image makes the patient positive"


def test_a_perfect_score_has_an_interval() -> None:
    cases = drawn(40)
    perfect = replace(cases, chances=np.eye(2)[cases.truth] * 0.8 + 0.1)
    found = evaluate(perfect, BINARY, {}, levels={}, repeats=50).scores["AUROC"]
    assert found.estimate == 1.0
    assert 0.5 < found.low < 0.95


def test_columns_become_groups() -> None:
    assert groups(["f", "m", "", "f"]) == {"f": [0, 3], "m": [1], "(blank)": [2]}
    ages = [str(age) for age in range(40)] + [""]
    bands = groups(ages)
    assert [len(rows) for rows in bands.values()] == [10, 10, 10, 10, 1]
    assert next(iter(bands)) == "up to 9"
    cases = drawn(200)
    sex = ["f" if k % 2 else "m" for k in range(200)]
    found = by_group(cases, BINARY, groups(sex) | {"rare": [0, 1, 2]})
    rows = [k for k in range(200) if k % 2]
    one = found["f"][1]
    assert one is not None
    assert one.estimate == pytest.approx(BINARY.metric("auroc")(cases.truth[rows], cases.chances[rows]))
    assert found["rare"] == (3, None)


def test_losses_are_cross_entropies() -> None:
    cases = drawn(20)
    assert losses(cases, BINARY) == pytest.approx(-np.log(cases.chances[np.arange(20), cases.truth]))
    labels = Task(kind="multilabel", classes=("a", "b"), positive=None)
    known = Cases(names=("x",), units=("x",), truth=np.array([[1.0, math.nan]]), chances=np.array([[0.25, 0.9]]))
    assert losses(known, labels) == pytest.approx([math.log(4)])
