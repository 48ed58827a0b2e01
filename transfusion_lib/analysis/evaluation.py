"""How good a classifier's probabilities are: scores, calibration, decisions, by unit and by group, worst errors.

Every interval says what varies. Thresholds come from validation cases, through ``points``; nothing here chooses one on
the cases that it judges.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from transfusion_lib.data.dataset import Dataset
from transfusion_lib.errors import MeasureError
from transfusion_lib.runs import Run
from transfusion_lib.stats import Interval, Metric, auprc, auroc, delong, over_cases, over_seeds_and_cases
from transfusion_lib.stats.calibration import brier, ece, reliability
from transfusion_lib.stats.decisions import Rate, rate, threshold

Array = NDArray[np.float64]
Headline = Literal["auroc", "auprc"]
LEVELS = tuple(range(50, 100))
"""Per cent of specificity and of sensitivity for which an operating point is chosen on validation."""
BANDS = 4
"""Into so many groups of equal size a column with many different numbers is cut: an age, for example."""
FEWEST = 5
"""Cases of each kind below which a group has no score."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a classifier answers."""

    kind: Literal["multiclass", "multilabel"]
    classes: tuple[str, ...]
    positive: tuple[int, ...] | None

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """Return the task of a data set of classes or labels."""
        if dataset.kind == "segmentation":
            raise MeasureError(f"task {dataset.task} has masks: classes or labels are needed")
        return cls(kind=dataset.kind, classes=dataset.classes, positive=dataset.positive)

    @property
    def asked(self) -> str:
        """The positive class by name; "" where every class is asked for in turn."""
        return " or ".join(self.classes[k] for k in self.positive or ())

    def questions(self, truth: NDArray[np.generic], chances: Array) -> dict[str, tuple[NDArray[np.bool_], Array]]:
        """Return labels and probabilities of each question with two answers, and which cases know it, by its name."""
        if self.positive is not None:
            return {self.asked: (np.isin(truth, self.positive), chances[:, list(self.positive)].sum(1))}
        if self.kind == "multiclass":
            return {name: (truth == k, chances[:, k]) for k, name in enumerate(self.classes)}
        known = [np.isin(truth[:, k], (0, 1)) for k in range(len(self.classes))]  # an ignored label is NaN
        return {
            name: (truth[known[k], k] == 1, chances[known[k], k]) for k, name in enumerate(self.classes)
        }  # fmt: skip

    def metric(self, score: Headline) -> Metric:
        """Return a headline score of ``metrics.score``, fast enough for thousands of resamples."""
        binary = {"auroc": auroc, "auprc": auprc}[score]

        def value(truth: NDArray[np.generic], chances: Array) -> float:
            parts = [part for part in self.questions(truth, chances).values() if 0 < part[0].sum() < len(part[0])]
            return float(np.mean([binary(*part) for part in parts])) if parts else math.nan

        return value


@dataclass(frozen=True, kw_only=True)
class Cases:
    """Cases and what a classifier says of them."""

    names: tuple[str, ...]
    units: tuple[str, ...]
    """Patient, lesion, or the image itself."""
    truth: NDArray[np.generic]
    """Classes (n,), or labels (n, classes) of 0, 1 and NaN."""
    chances: Array
    """Probabilities (n, classes)."""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def clusters(self) -> tuple[str, ...] | None:
        """The units where some have several cases; None where cases are independent."""
        return self.units if len(set(self.units)) < len(self.units) else None

    def take(self, rows: Sequence[int] | NDArray[np.intp]) -> "Cases":
        """Return some of the cases."""
        return Cases(
            names=tuple(self.names[row] for row in rows),
            units=tuple(self.units[row] for row in rows),
            truth=self.truth[rows],
            chances=self.chances[rows],
        )

    def by_unit(self, task: Task) -> "Cases":
        """Return a case for each unit: mean probabilities; positive if any image is, else the most frequent class."""
        rows: dict[str, list[int]] = {}
        for row, unit in enumerate(self.units):
            rows.setdefault(unit, []).append(row)
        return Cases(
            names=tuple(rows),
            units=tuple(rows),
            truth=np.array([_joined(self.truth[some], task) for some in rows.values()]),
            chances=np.array([self.chances[some].mean(0) for some in rows.values()]),
        )


def _joined(truth: NDArray[np.generic], task: Task) -> Any:
    if task.kind == "multilabel":
        return np.nanmax(np.vstack([truth, np.full(truth.shape[1], -np.inf)]), 0)
    ill = truth[np.isin(truth, task.positive)] if task.positive else truth
    classes, counts = np.unique(ill if len(ill) else truth, return_counts=True)
    return classes[counts.argmax()]


Points = Mapping[str, Mapping[Rate, Mapping[int, float]]]
"""Thresholds by question, aim and level in per cent."""


def points(task: Task, validation: Cases) -> dict[str, dict[Rate, dict[int, float]]]:
    """Return the threshold for each of ``LEVELS`` of specificity and of sensitivity, chosen on validation cases.

    A question that validation has one answer of alone gets none.
    """
    aims: tuple[Rate, ...] = ("specificity", "sensitivity")
    return {
        name: {aim: {level: threshold(*part, aim=aim, level=level / 100) for level in LEVELS} for aim in aims}
        for name, part in task.questions(validation.truth, validation.chances).items()
        if 0 < part[0].sum() < len(part[0])
    }


@dataclass(frozen=True, kw_only=True)
class Decision:
    """An operating point and the rates that it has on other cases; None without cases of that kind."""

    question: str
    aim: Rate
    level: int
    """In per cent, on validation."""
    threshold: float
    sensitivity: Interval | None
    specificity: Interval | None


@dataclass(frozen=True, kw_only=True)
class Report:
    """What ``evaluate`` finds."""

    cases: int
    units: int
    positive: int | None
    """Cases of the positive class, if the task has one."""
    scores: dict[str, Interval]
    """AUROC, AUPRC, Brier score and ECE by name."""
    decisions: tuple[Decision, ...]
    confusion: tuple[tuple[int, ...], ...] | None
    """Cases by true class (rows) and by answer (columns); None for labels that may hold at once."""
    answers: str
    """How the answers of ``confusion`` were found."""
    reliability: tuple[tuple[float, float, int], ...]
    """Mean probability, share that came true and number of cases of each bin."""
    calibrated: str
    """Which probability the calibration is of."""


def evaluate(cases: Cases, task: Task, chosen: Points, *, levels: Mapping[Rate, int], repeats: int = 500) -> Report:
    """Return scores, calibration and decisions on ``cases``, with 95 % intervals over cases, or units of several.

    ``chosen`` are the thresholds of ``points``; ``levels`` says for which specificity and sensitivity, in per cent.
    """
    truth, chances, units = cases.truth, cases.chances, cases.clusters
    generator = np.random.default_rng(0)
    scores: dict[str, Interval] = {}
    headlines: dict[str, Headline] = {"AUROC": "auroc", "AUPRC": "auprc"}
    for name, score in headlines.items():
        metric = task.metric(score)
        if math.isfinite(metric(truth, chances)):
            scores[name] = _score(metric, cases, task, generator=generator, repeats=repeats)
    true, chance, rows, calibrated = _confidence(task, truth, chances)
    of = None if units is None else [units[row] for row in rows]
    scores["Brier score"] = over_cases(brier, true, chance, units=of or rows, generator=generator, repeats=repeats)
    scores["ECE"] = ece(true, chance, units=of or rows, generator=generator, repeats=repeats)
    decisions = tuple(_decisions(cases, task, chosen, levels, generator))
    return Report(
        cases=len(cases),
        units=len(set(cases.units)),
        positive=None if task.positive is None else int(np.isin(truth, task.positive).sum()),
        scores=scores,
        decisions=decisions,
        **_confusion(task, truth, chances, decisions),
        reliability=tuple((float(p), float(share), int(n)) for p, share, n in reliability(true, chance)),
        calibrated=calibrated,
    )


def _score(metric: Metric, cases: Cases, task: Task, *, generator: np.random.Generator, repeats: int) -> Interval:
    """Return a score with its interval; where no resample differs from a perfect one, DeLong's for perfect order."""
    found = over_cases(metric, cases.truth, cases.chances, units=cases.clusters, generator=generator, repeats=repeats)
    if found.low < found.high or found.estimate not in (0.0, 1.0):
        return found
    parts = [part for part in task.questions(cases.truth, cases.chances).values() if 0 < part[0].sum() < len(part[0])]
    return min((delong(*part) for part in parts), key=lambda one: one.n)


def _confidence(
    task: Task, truth: NDArray[np.generic], chances: Array
) -> tuple[NDArray[np.bool_], Array, list[int], str]:
    """Return what came true and its probability, the row of each, and which probability it is, in words."""
    everyone = list(range(len(truth)))
    if task.positive is not None:
        ((true, chance),) = task.questions(truth, chances).values()
        return true, chance.clip(0, 1), everyone, f"probability of {task.asked}"
    if task.kind == "multiclass":
        return chances.argmax(1) == truth, chances.max(1), everyone, "probability of the most probable class"
    rows, columns = np.nonzero(np.isin(truth, (0, 1)))
    return truth[rows, columns] == 1, chances[rows, columns], rows.tolist(), "probability of each label"


def _decisions(
    cases: Cases, task: Task, chosen: Points, levels: Mapping[Rate, int], generator: np.random.Generator
) -> list[Decision]:
    known = np.isin(cases.truth, (0, 1)) if task.kind == "multilabel" else None
    found = []
    for place, (name, (true, chance)) in enumerate(task.questions(cases.truth, cases.chances).items()):
        rows = range(len(cases)) if known is None else np.flatnonzero(known[:, place])
        units = None if cases.clusters is None else [cases.units[row] for row in rows]
        for aim, level in levels.items():
            if name not in chosen:
                continue
            at = chosen[name][aim][level]
            kinds: dict[Rate, bool] = {"sensitivity": bool(true.any()), "specificity": not true.all()}
            rates = {
                kind: rate(kind, true, chance, at=at, units=units, generator=generator) if some else None
                for kind, some in kinds.items()
            }
            found.append(Decision(question=name, aim=aim, level=level, threshold=at, **rates))
    return found


def _confusion(task: Task, truth: NDArray[np.generic], chances: Array, decisions: Sequence[Decision]) -> dict[str, Any]:
    """Return the fields ``confusion`` and ``answers``: by the first operating point, or the most probable class."""
    if task.kind == "multilabel":
        return {"confusion": None, "answers": "several labels may hold at once: see the operating points"}
    answers, how = chances.argmax(1), "the most probable class"
    if len(task.classes) == 2 and task.positive is not None and decisions:
        (ill,), point = task.positive, decisions[0]
        answers = np.where(chances[:, ill] >= point.threshold, ill, 1 - ill)
        how = f"{task.asked} from {point.threshold:.4f} on: {point.aim} {point.level} % on validation"
    table = np.zeros((len(task.classes),) * 2, int)
    np.add.at(table, (truth.astype(int), answers), 1)
    return {"confusion": tuple(map(tuple, table.tolist())), "answers": how}


def groups(values: Sequence[str]) -> dict[str, list[int]]:
    """Return the rows of each value of a column; one of many numbers is cut into ``BANDS`` of equal size."""
    filled = [value for value in values if value]
    try:
        numbers = np.array([float(value) if value else math.nan for value in values])
    except ValueError:
        numbers = np.array([])
    if len(set(filled)) > 2 * BANDS and len(numbers):
        ends = np.unique(np.nanquantile(numbers, np.linspace(0, 1, BANDS + 1)[1:-1], method="inverted_cdf"))
        names = [f"up to {ends[0]:g}", *(f"above {low:g}, up to {high:g}" for low, high in pairwise(ends))]
        names.append(f"above {ends[-1]:g}")
        values = [
            "" if math.isnan(value) else names[int(np.searchsorted(ends, value))] for value in numbers
        ]  # fmt: skip
        order = [*names, ""]
    else:
        order = sorted(set(values), key=lambda value: (not value, value))
    rows = {name: [row for row, value in enumerate(values) if value == name] for name in order}
    return {name or "(blank)": some for name, some in rows.items() if some}


def by_group(cases: Cases, task: Task, rows: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, Interval | None]]:
    """Return the number of cases of each group and its AUROC; None with fewer than ``FEWEST`` of either answer."""
    found: dict[str, tuple[int, Interval | None]] = {}
    for name, some in rows.items():
        part = cases.take(list(some))
        counts = [min(true.sum(), (~true).sum()) for true, _ in task.questions(part.truth, part.chances).values()]
        judged = max(counts, default=0) >= FEWEST
        score = None
        if judged:
            score = _score(task.metric("auroc"), part, task, generator=np.random.default_rng(0), repeats=500)
        found[name] = (len(part), score)
    return found


def losses(cases: Cases, task: Task) -> Array:
    """Return the cross-entropy of each case; of labels their mean over those that are known."""
    chances = cases.chances.clip(1e-12, 1 - 1e-12)
    if task.kind == "multiclass":
        return np.asarray(-np.log(chances[np.arange(len(cases)), cases.truth.astype(int)]))
    each = -np.where(cases.truth == 1, np.log(chances), np.log1p(-chances))
    return np.asarray(np.nanmean(np.where(np.isin(cases.truth, (0, 1)), each, np.nan), 1))


def interval(
    dataset: Dataset,
    part: Literal["val", "test"],
    of: Sequence[Run],
    minus: Sequence[Run] | None = None,
    *,
    score: Headline,
    repeats: int = 500,
) -> Interval:
    """Return a score's mean over seeds, or its difference from that of ``minus``; seeds and cases, by unit, vary."""
    split = dataset.splits()[part]
    metric = Task.of(dataset).metric(score)
    sets = [np.stack([run.cases[f"{part}_scores"].numpy() for run in group]) for group in (of, minus) if group]
    units = split.units if len(set(split.units)) < len(split.units) else None
    how = over_seeds_and_cases
    if len(of) == 1:
        sets, how = [group[0] for group in sets], over_cases
    return how(
        metric,
        split.labels.numpy(),
        sets[0],
        minus=sets[1] if minus else None,
        units=units,
        generator=np.random.default_rng(0),
        repeats=repeats,
    )
