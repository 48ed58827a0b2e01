"""Intervals over test cases, and over seeds and test cases: AUROC with DeLong's method, any metric by bootstrap."""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from transfusion_lib.errors import MeasureError
from transfusion_lib.stats.interval import Interval, Vector, interval, midranks, proper_share, satterthwaite, vector
from transfusion_lib.stats.seeds import contrast

Metric = Callable[[NDArray[np.generic], NDArray[np.float64]], float]
"""From labels and scores, both with cases first, to a number."""


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the probability that a positive case scores above a negative one, ties counting half."""
    positive, negative = _cases(labels, scores)
    m = len(positive)
    ranks = midranks(np.concatenate([positive, negative]))[:m].sum()
    return float((ranks - m * (m + 1) / 2) / (m * len(negative)))


def auprc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the average precision, the area under the precision-recall curve in steps; ties are one threshold."""
    positive, negative = _cases(labels, scores)
    values = np.concatenate([positive, negative])
    order = np.argsort(-values, kind="stable")
    last = np.flatnonzero(np.diff(values[order], append=-np.inf))  # where the score changes: thresholds
    found = np.cumsum(order < len(positive))[last]
    precision = found / (last + 1)
    return float(np.diff(found, prepend=0) @ precision / len(positive))


def delong(labels: ArrayLike, scores: ArrayLike, *, level: float = 0.95) -> Interval:
    """Return the AUROC with DeLong's interval over test cases (DeLong et al. 1988; Sun and Xu 2014).

    ``labels`` 0 or 1, ``scores`` larger for 1, both (n,). Clipped to [0, 1]. Where the classes separate perfectly
    DeLong's variance is 0 and says nothing: the interval then comes from all of min(n_0, n_1) cases succeeding.
    Cases must be independent: with several images a patient use ``over_cases`` with ``units``.
    """
    positive, negative = _components(*_cases(labels, scores))
    value, scarce = float(positive.mean()), min(len(positive), len(negative))
    if value in (0.0, 1.0):
        bound = ((1 - proper_share(level, "level")) / 2) ** (1 / scarce)
        low, high = (bound, 1.0) if value else (0.0, 1 - bound)
        return Interval(
            estimate=value, low=low, high=high, what_varies="test case", n=scarce, se=(1 - bound) / 2, level=level
        )
    se = math.sqrt(_variance_of_mean(positive) + _variance_of_mean(negative))
    found = interval(value, se, df=math.inf, level=level, n=scarce, varies="test case")
    return replace(found, low=max(0.0, found.low), high=min(1.0, found.high))


def delong_difference(labels: ArrayLike, a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> Interval:
    """Return AUROC of ``a`` minus AUROC of ``b`` on the same cases, with DeLong's paired interval."""
    parts_a, parts_b = _components(*_cases(labels, a)), _components(*_cases(labels, b))
    positive, negative = (left - right for left, right in zip(parts_a, parts_b, strict=True))
    se = math.sqrt(_variance_of_mean(positive) + _variance_of_mean(negative))
    n = min(len(positive), len(negative))
    return interval(float(positive.mean()), se, df=math.inf, level=level, n=n, varies="test case")


def over_cases(
    metric: Metric,
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    generator: np.random.Generator,
    minus: ArrayLike | None = None,
    units: Sequence[Hashable] | None = None,
    repeats: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Return ``metric`` on these test cases, or its difference from that of ``minus``, with a bootstrap interval.

    ``scores`` and ``minus`` (n, ...) of the same cases are resampled together. Cases are drawn within each class of
    (n,) labels; with ``units`` (patients) whole units are drawn instead. Percentile interval. A resample on which
    the metric is not defined (NaN, or a ``MeasureError``) is drawn again.
    """
    truth = np.asarray(labels)
    sets = [np.asarray(part, np.float64) for part in (scores, minus) if part is not None]
    _same_cases(truth, *sets)

    def value(rows: NDArray[np.intp]) -> float:
        found = [metric(truth[rows], part[rows]) for part in sets]
        return found[0] - (found[1] if len(found) > 1 else 0.0)

    draws = _bootstrap(value, _resampler(truth, units, generator), repeats)
    tail = 50 * (1 - proper_share(level, "level"))
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Interval(
        estimate=value(np.arange(len(truth))),
        low=float(low),
        high=float(high),
        what_varies="test case",
        n=len(truth) if units is None else len(set(units)),
        se=float(draws.std(ddof=1)),
        level=level,
    )


def over_seeds_and_cases(
    metric: Metric,
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    generator: np.random.Generator,
    minus: ArrayLike | None = None,
    units: Sequence[Hashable] | None = None,
    repeats: int = 1000,
    level: float = 0.95,
) -> Interval:
    """Return the mean of ``metric`` over seeds, or its difference from that of ``minus``; both kinds vary.

    ``scores`` and ``minus`` (seeds, n, ...) on the same n cases. The variance is that of the mean over seeds plus
    the bootstrap variance over cases of the metric's mean over seeds: seeds and cases are crossed. Student's interval
    with Satterthwaite's degrees of freedom, because resampling three seeds would understate their variance by a third.
    """
    truth = np.asarray(labels)
    groups = [np.asarray(part, np.float64) for part in (scores, minus) if part is not None]
    _same_cases(truth, *(run for group in groups for run in group))
    signs = [1.0, -1.0][: len(groups)]
    seeds = contrast([[metric(truth, run) for run in group] for group in groups], signs, level=level)

    def value(rows: NDArray[np.intp]) -> float:
        means = [np.mean([metric(truth[rows], run[rows]) for run in group]) for group in groups]
        return float(np.dot(signs, means))

    draws = _bootstrap(value, _resampler(truth, units, generator), repeats)
    cases = len(truth) if units is None else len(set(units))
    parts = np.array([seeds.se**2, draws.var(ddof=1)])
    df = satterthwaite(parts, np.array([seeds.df, cases - 1]))
    se = math.sqrt(parts.sum())
    return interval(seeds.estimate, se, df=df, level=level, n=seeds.n, varies="seed and test case")


def placements(labels: ArrayLike, scores: ArrayLike) -> tuple[Vector, Vector]:
    """Return, for each positive case, the share of negative ones that it beats, and for each negative the converse.

    Both average to the AUROC; their variances are DeLong's.
    """
    return _components(*_cases(labels, scores))


def _components(positive: Vector, negative: Vector) -> tuple[Vector, Vector]:
    """Return, for each positive case, the share of negative ones below it, and for each negative the converse."""
    everyone = midranks(np.concatenate([positive, negative]))
    m, n = len(positive), len(negative)
    return (everyone[:m] - midranks(positive)) / n, 1 - (everyone[m:] - midranks(negative)) / m


def _variance_of_mean(values: Vector) -> float:
    if len(values) < 2:
        raise MeasureError("DeLong's variance needs at least 2 cases of each class")
    return float(values.var(ddof=1) / len(values))


def _cases(labels: ArrayLike, scores: ArrayLike) -> tuple[Vector, Vector]:
    """Return the scores of the positive and of the negative cases."""
    truth, values = vector(labels, "labels"), vector(scores, "scores")
    _same_cases(truth, values)
    if not ((truth == 0) | (truth == 1)).all():
        raise MeasureError(f"labels are 0 or 1, got {sorted(set(truth.tolist()))[:5]}")
    positive, negative = values[truth == 1], values[truth == 0]
    if not len(positive) or not len(negative):
        raise MeasureError(f"AUROC needs both classes, got {len(positive)} positive and {len(negative)} negative cases")
    return positive, negative


def _same_cases(truth: NDArray[np.generic], *sets: NDArray[np.generic]) -> None:
    sizes = {len(truth), *(len(part) for part in sets)}
    if len(sizes) > 1:
        raise MeasureError(f"labels and scores need the same cases, got {sorted(sizes)}")


def _resampler(
    truth: NDArray[np.generic], units: Sequence[Hashable] | None, generator: np.random.Generator
) -> Callable[[], NDArray[np.intp]]:
    """Return a function that draws rows with replacement: within classes, or by whole units."""
    everyone = np.arange(len(truth))
    if units is None:
        groups = [everyone] if truth.ndim > 1 else [np.flatnonzero(truth == kind) for kind in np.unique(truth)]
        return lambda: np.concatenate([generator.choice(group, len(group)) for group in groups])
    if len(units) != len(truth):
        raise MeasureError(f"{len(truth)} cases need as many units, got {len(units)}")
    by_unit: dict[Hashable, list[int]] = {}
    for row, unit in enumerate(units):
        by_unit.setdefault(unit, []).append(row)
    members = [np.array(rows) for rows in by_unit.values()]
    return lambda: np.concatenate([members[i] for i in generator.integers(len(members), size=len(members))])


def _bootstrap(
    value: Callable[[NDArray[np.intp]], float], draw: Callable[[], NDArray[np.intp]], repeats: int
) -> Vector:
    found: list[float] = []
    for _ in range(20 * repeats):  # a rare class can be missing from a resample of units
        try:
            one = value(draw())
        except MeasureError:
            continue
        if math.isfinite(one):
            found.append(one)
        if len(found) == repeats:
            return np.array(found)
    raise MeasureError("the metric is not defined on most resamples of these cases: there are too few of a class")
