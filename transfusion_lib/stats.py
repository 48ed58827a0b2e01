"""Intervals and tests. Each says what varies: the seed of the run, the test case, or both.

The two kinds of uncertainty answer different questions and are never mixed by accident: an interval over seeds says
how far another training run may lie, one over test cases how far another test set may lie. An ``Interval`` keeps its
standard error and degrees of freedom, so that a rule can ask for another level or a one-sided test.

Random numbers come from the caller's NumPy generator. Knows only arrays.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from transfusion_lib.errors import MeasureError

if TYPE_CHECKING:
    import pandas as pd

Vector = NDArray[np.float64]
Metric = Callable[[NDArray[np.generic], NDArray[np.float64]], float]
"""From labels and scores, both with cases first, to a number."""
Varies = Literal["seed", "test case", "seed and test case", "network", "point", "repeat", "nothing"]
"""What another sample would change; "point" is one of the points of a correlation, "repeat" a measurement of time."""
Scale = Literal["linear", "log", "rank correlation", "squared correlation", "proportion"]
"""Where an interval is symmetric: on the estimate, its logarithm, Fisher's z; a proportion's is exact."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with an interval that holds the truth at the stated level."""

    estimate: float
    low: float
    high: float
    what_varies: Varies
    n: int
    """How many of them there were; of two kinds, the scarcer."""
    se: float
    """Standard error on ``scale``."""
    df: float = math.inf
    """Degrees of freedom of the standard error; infinite for a normal approximation."""
    level: float = 0.95
    scale: Scale = "linear"

    def at(self, level: float) -> Self:
        """Return the interval at another level, from the standard error: symmetric on its scale."""
        tail = (1 - _share(level, "level")) / 2
        if self.scale == "proportion":
            low, high = _clopper_pearson(round(self.estimate * self.n), self.n, tail)
        else:
            half, centre = _t_quantile(1 - tail, self.df) * self.se, self._on_scale(self.estimate)
            low, high = (_from_scale(self.scale, centre + sign * half) for sign in (-1, 1))
        return replace(self, low=min(low, self.estimate), high=max(high, self.estimate), level=level)

    def p_above(self, value: float = 0.0) -> float:
        """Return the one-sided p value against the truth being at most ``value``."""
        if self.scale == "proportion":
            return _binomial_tail(round(self.estimate * self.n), self.n, value)
        return _t_tail(self._on_scale(self.estimate) - self._on_scale(value), self.se, self.df)

    def p_below(self, value: float = 0.0) -> float:
        """Return the one-sided p value against the truth being at least ``value``."""
        if self.scale == "proportion":
            return _binomial_tail(self.n - round(self.estimate * self.n), self.n, 1 - value)
        return _t_tail(self._on_scale(value) - self._on_scale(self.estimate), self.se, self.df)

    def p_differs(self, value: float = 0.0) -> float:
        """Return the two-sided p value against the truth being ``value``."""
        return min(1.0, 2 * min(self.p_above(value), self.p_below(value)))

    def p_equivalent(self, margin: float) -> float:
        """Return the p value of the two one-sided tests against the truth being ``margin`` or more from 0 (TOST)."""
        if margin <= 0:
            raise MeasureError(f"an equivalence margin is positive, got {margin}")
        return max(self.p_above(-margin), self.p_below(margin))

    def _on_scale(self, value: float) -> float:
        if self.scale == "log":
            return math.log(value)
        if self.scale == "squared correlation":
            return math.atanh(min(math.sqrt(value), 1 - 1e-12))
        if self.scale == "rank correlation":  # half a step below a perfect order, where Fisher's z is infinite
            return math.atanh(math.copysign(min(abs(value), 1 - 6 / (self.n * (self.n**2 - 1))), value))
        return value


# Over seeds: contrasts of the means of independent groups


def combine(parts: Sequence[Interval], weights: Sequence[float], *, level: float = 0.95) -> Interval:
    """Return the weighted sum of independent estimates that vary alike; Satterthwaite's degrees of freedom (Welch).

    ``combine([a, b], [1, -1])`` is the difference of two groups of seeds that may differ in size and spread.
    """
    if len(parts) != len(weights) or not parts:
        raise MeasureError(f"{len(parts)} estimates need as many weights, got {len(weights)}")
    kinds = {part.what_varies for part in parts}
    if len(kinds) > 1 or any(part.scale != "linear" for part in parts):
        raise MeasureError(f"a sum needs linear estimates that vary alike, got {', '.join(sorted(kinds))}")
    pairs = list(zip(parts, weights, strict=True))
    variances = np.array([(weight * part.se) ** 2 for part, weight in pairs])
    df = _satterthwaite(variances, np.array([part.df for part in parts]))
    return _interval(
        float(sum(weight * part.estimate for part, weight in pairs)),
        math.sqrt(variances.sum()),
        df=df,
        level=level,
        n=min(part.n for part in parts),
        varies=parts[0].what_varies,
    )


def over_seeds(values: ArrayLike, *, what_varies: Varies = "seed", level: float = 0.95) -> Interval:
    """Return the mean of one value per seed with Student's interval. Its standard deviation is ``se * sqrt(n)``.

    Needs at least 2 values: one seed says nothing of how seeds vary. ``what_varies`` names another kind of
    repetition, of a time measurement for example.
    """
    v = _vector(values, "values over seeds", least=2)
    se = float(v.std(ddof=1)) / math.sqrt(len(v))
    return _interval(float(v.mean()), se, df=len(v) - 1, level=level, n=len(v), varies=what_varies)


def contrast(groups: Sequence[ArrayLike], weights: Sequence[float], *, level: float = 0.95) -> Interval:
    """Return the weighted sum of the groups' means, each group one value per seed; Welch's interval."""
    return combine([over_seeds(group) for group in groups], weights, level=level)


def difference(a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> Interval:
    """Return the mean of ``a`` minus the mean of ``b``, one value per seed; Welch's interval."""
    return contrast([a, b], [1.0, -1.0], level=level)


def interaction(
    *, large: ArrayLike, large_base: ArrayLike, small: ArrayLike, small_base: ArrayLike, level: float = 0.95
) -> Interval:
    """Return how much more ``large`` gains over its base than ``small`` over its own (claim T4); Welch's interval."""
    return contrast([large, large_base, small, small_base], [1.0, -1.0, -1.0, 1.0], level=level)


def ratio(a: Interval, b: Interval) -> Interval:
    """Return ``a / b`` of two independent positive estimates, by the delta method on logarithms, at ``a``'s level."""
    if a.estimate <= 0 or b.estimate <= 0:
        raise MeasureError(f"a ratio needs two positive estimates, got {a.estimate:g} and {b.estimate:g}")
    parts = np.array([(part.se / part.estimate) ** 2 for part in (a, b)])
    df, se = _satterthwaite(parts, np.array([a.df, b.df])), math.sqrt(parts.sum())
    value = a.estimate / b.estimate
    return replace(a, estimate=value, se=se, df=df, n=min(a.n, b.n), scale="log").at(a.level)


def share_of_gain(base: ArrayLike, part: ArrayLike, full: ArrayLike, *, level: float = 0.95) -> Interval:
    """Return (base - part) / (base - full), means over seeds: the share of the full gain that ``part`` gives.

    Fieller's interval, which is honest when the full gain is uncertain: where that cannot be told from 0, the share
    can be anything and the interval is infinite. The standard error is the delta method's, and so is ``at``; a rule
    on the share should test the contrast ``(base - part) - share * (base - full)`` instead.
    """
    groups = [_vector(group, "a group of seeds", least=2) for group in (base, part, full)]
    variance = [group.var(ddof=1) / len(group) for group in groups]
    top, bottom = (float(groups[0].mean() - group.mean()) for group in groups[1:])
    df = _satterthwaite(np.array(variance), np.array([len(group) - 1 for group in groups]))
    t = _t_quantile((1 + _share(level, "level")) / 2, df)
    # Solve (top - share * bottom)^2 = t^2 Var(top - share * bottom); the base is in both, hence the covariance.
    v_top, v_bottom, covariance = variance[0] + variance[1], variance[0] + variance[2], variance[0]
    a = bottom**2 - t**2 * v_bottom
    b = top * bottom - t**2 * covariance
    c = top**2 - t**2 * v_top
    if bottom == 0:
        raise MeasureError("there is no gain to take a share of: base and full have the same mean")
    root = math.sqrt(max(0.0, b**2 - a * c))
    low, high = ((b - root) / a, (b + root) / a) if a > 0 else (-math.inf, math.inf)
    share, n = top / bottom, min(len(group) for group in groups)
    se = math.sqrt(max(0.0, v_top - 2 * share * covariance + share**2 * v_bottom)) / abs(bottom)
    return Interval(estimate=share, low=low, high=high, what_varies="seed", n=n, se=se, df=df, level=level)


# Over test cases


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the probability that a positive case scores above a negative one, ties counting half."""
    positive, negative = _cases(labels, scores)
    m = len(positive)
    ranks = _midranks(np.concatenate([positive, negative]))[:m].sum()
    return float((ranks - m * (m + 1) / 2) / (m * len(negative)))


def delong(labels: ArrayLike, scores: ArrayLike, *, level: float = 0.95) -> Interval:
    """Return the AUROC with DeLong's interval over test cases (DeLong et al. 1988; Sun and Xu 2014).

    ``labels`` 0 or 1, ``scores`` larger for 1, both (n,). Clipped to [0, 1]. Where the classes separate perfectly
    DeLong's variance is 0 and says nothing: the interval then comes from all of min(n_0, n_1) cases succeeding.
    Cases must be independent: with several images a patient use ``over_cases`` with ``units``.
    """
    positive, negative = _components(*_cases(labels, scores))
    value, scarce = float(positive.mean()), min(len(positive), len(negative))
    if value in (0.0, 1.0):
        bound = ((1 - _share(level, "level")) / 2) ** (1 / scarce)
        low, high = (bound, 1.0) if value else (0.0, 1 - bound)
        return Interval(
            estimate=value, low=low, high=high, what_varies="test case", n=scarce, se=(1 - bound) / 2, level=level
        )
    se = math.sqrt(_variance_of_mean(positive) + _variance_of_mean(negative))
    found = _interval(value, se, df=math.inf, level=level, n=scarce, varies="test case")
    return replace(found, low=max(0.0, found.low), high=min(1.0, found.high))


def delong_difference(labels: ArrayLike, a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> Interval:
    """Return AUROC of ``a`` minus AUROC of ``b`` on the same cases, with DeLong's paired interval."""
    parts_a, parts_b = _components(*_cases(labels, a)), _components(*_cases(labels, b))
    positive, negative = (left - right for left, right in zip(parts_a, parts_b, strict=True))
    se = math.sqrt(_variance_of_mean(positive) + _variance_of_mean(negative))
    n = min(len(positive), len(negative))
    return _interval(float(positive.mean()), se, df=math.inf, level=level, n=n, varies="test case")


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
    tail = 50 * (1 - _share(level, "level"))
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
    df = _satterthwaite(parts, np.array([seeds.df, cases - 1]))
    se = math.sqrt(parts.sum())
    return _interval(seeds.estimate, se, df=df, level=level, n=seeds.n, varies="seed and test case")


# Counts and families of tests


def exact(value: float) -> Interval:
    """Return a number that nothing varies, a count of parameters for example, in the shape of an interval."""
    return Interval(estimate=value, low=value, high=value, what_varies="nothing", n=1, se=0.0)


def share(successes: int, n: int, *, what_varies: Varies = "seed", level: float = 0.95) -> Interval:
    """Return ``successes / n`` with Clopper and Pearson's exact interval."""
    if not 0 <= successes <= n or n < 1:
        raise MeasureError(f"a share needs between 0 and n successes, got {successes} of {n}")
    p = successes / n
    plain = Interval(
        estimate=p, low=p, high=p, what_varies=what_varies, n=n, se=math.sqrt(p * (1 - p) / n), scale="proportion"
    )
    return plain.at(level)


def holm(p_values: ArrayLike) -> Vector:
    """Return Holm's adjusted p values, in the order given: reject those at most alpha, at family-wise level alpha."""
    p = _vector(p_values, "p values")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


# Time to a threshold


@dataclass(frozen=True, kw_only=True)
class Time:
    """When one run reached a threshold, on its fixed grid of evaluations."""

    step: float
    """The step; where it was not reached, the last step: the time is censored there."""
    reached: bool


@dataclass(frozen=True, kw_only=True)
class Survival:
    """Times to a threshold of several runs, those that never reached it included."""

    times: tuple[Time, ...]
    horizon: float
    """Nobody is censored before it."""
    mean: Interval
    """Mean of the time or the horizon, whichever comes first (restricted mean), in steps."""

    @property
    def reached(self) -> int:
        """How many runs arrived by the horizon."""
        return sum(time.reached and time.step <= self.horizon for time in self.times)

    def curve(self, *, level: float = 0.95) -> "pd.DataFrame":
        """Return the Kaplan-Meier share of runs still below the threshold, by step: share, low, high (pointwise)."""
        import pandas as pd
        from lifelines import KaplanMeierFitter

        fitter = KaplanMeierFitter(alpha=1 - _share(level, "level"))
        fitter.fit([time.step for time in self.times], [time.reached for time in self.times])
        curve: pd.DataFrame = pd.concat([fitter.survival_function_, fitter.confidence_interval_], axis=1)
        curve.columns = pd.Index(["share", "low", "high"])
        return curve


def time_to_threshold(steps: ArrayLike, scores: ArrayLike, *, threshold: float, consecutive: int = 2) -> Time:
    """Return the first grid step from which ``consecutive`` evaluations in a row are at or above ``threshold``.

    One evaluation wobbles, so a bare first crossing is noise; the step reported is the first of the row. A row that
    the last step cuts short does not count: the run is then censored at its last step.
    """
    grid, values = _vector(steps, "steps"), _vector(scores, "scores")
    if len(grid) != len(values):
        raise MeasureError(f"{len(grid)} steps need as many scores, got {len(values)}")
    if np.any(np.diff(grid) <= 0):
        raise MeasureError("steps must increase")
    if consecutive < 1:
        raise MeasureError(f"consecutive is at least 1, got {consecutive}")
    above = np.concatenate([[0], np.cumsum(values >= threshold)])
    in_a_row = above[consecutive:] - above[:-consecutive] == consecutive
    reached = bool(in_a_row.any())
    return Time(step=float(grid[in_a_row.argmax() if reached else -1]), reached=reached)


def survival(
    times: Sequence[Time], *, grid: float = 0.0, horizon: float | None = None, level: float = 0.95
) -> Survival:
    """Return the restricted mean, over seeds, of times to a threshold, with Student's interval.

    ``horizon`` defaults to the shortest censored run, or the latest arrival if all arrived; groups that are compared
    need the same one. As nobody is censored before it, the area under the Kaplan-Meier curve is a plain mean.
    ``grid`` is the number of steps between evaluations: seeds that arrive at the same evaluation did not arrive at
    the same step, so the variance is at least that of a uniform variable on the grid, grid^2 / 12 (unless no run
    arrived).
    """
    if len(times) < 2:
        raise MeasureError(f"times over seeds need at least 2 runs, got {len(times)}")
    censored = [time.step for time in times if not time.reached]
    end = float(horizon if horizon is not None else min(censored, default=max(time.step for time in times)))
    if any(step < end for step in censored):
        raise MeasureError(
            f"a run was stopped at step {min(censored):g}, before the horizon {end:g}: shorten the horizon"
        )
    # Not lifelines' restricted_mean_survival_time: it integrates the step function numerically, slowly and with
    # warnings, and the variance it returns is that of one time, not of their mean.
    plain = over_seeds([min(time.step, end) for time in times], level=level)
    least = grid / math.sqrt(12 * len(times)) if any(time.reached and time.step <= end for time in times) else 0.0
    return Survival(times=tuple(times), horizon=end, mean=replace(plain, se=max(plain.se, least)).at(level))


# Relations


def r_squared(
    x: ArrayLike, y: ArrayLike, *, pairs: Sequence[tuple[Hashable, Hashable]] | None = None, level: float = 0.95
) -> Interval:
    """Return the squared correlation of two (n,) vectors with an interval.

    Independent points: Fisher's z. Where each point is a pair of networks, as in the paper's figure 4, points that
    share a network are not independent: ``pairs`` names them, and the interval comes from leaving out one network
    after the other (jackknife on Fisher's z, Student's t).
    """
    a, b = _vector(x, "x", least=4), _vector(y, "y", least=4)
    if len(a) != len(b):
        raise MeasureError(f"x and y need the same length, got {len(a)} and {len(b)}")
    if pairs is None:
        return _squared(_correlation(a, b), 1 / math.sqrt(len(a) - 3), math.inf, len(a), "point", level)
    if len(pairs) != len(a):
        raise MeasureError(f"{len(a)} points need as many pairs, got {len(pairs)}")
    networks = list(dict.fromkeys(name for pair in pairs for name in pair))
    n = len(networks)
    if n < 4:
        raise MeasureError(f"an interval over networks needs at least 4 networks, got {n}")
    without = [np.array([name not in pair for pair in pairs]) for name in networks]
    left_out = np.arctanh(np.clip([_correlation(a[rows], b[rows]) for rows in without], -1 + 1e-12, 1 - 1e-12))
    se = math.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum())
    return _squared(_correlation(a, b), se, n - 1, n, "network", level)


def spearman(x: ArrayLike, y: ArrayLike, *, level: float = 0.95) -> Interval:
    """Return Spearman's rank correlation of two (n,) vectors, n at least 4, with Bonett and Wright's interval (2000).

    A perfect order counts as half a step below 1, the smallest change that n ranks can show, so that its interval
    is not a point.
    """
    a, b = _vector(x, "x", least=4), _vector(y, "y", least=4)
    if len(a) != len(b):
        raise MeasureError(f"x and y need the same length, got {len(a)} and {len(b)}")
    r, n = _correlation(_midranks(a), _midranks(b)), len(a)
    se = math.sqrt((1 + r**2 / 2) / (n - 3))
    plain = Interval(estimate=r, low=r, high=r, what_varies="point", n=n, se=se, scale="rank correlation")
    return plain.at(level)


def trend(x: ArrayLike, y: ArrayLike, *, level: float = 0.95) -> Interval:
    """Return the least-squares slope of ``y`` on ``x``, one point per run, with Student's interval."""
    a, b = _vector(x, "x", least=3), _vector(y, "y", least=3)
    if len(a) != len(b):
        raise MeasureError(f"x and y need the same length, got {len(a)} and {len(b)}")
    spread = ((a - a.mean()) ** 2).sum()
    if spread == 0:
        raise MeasureError("a trend needs x to vary")
    slope = float((a - a.mean()) @ (b - b.mean()) / spread)
    rest = b - b.mean() - slope * (a - a.mean())
    se = math.sqrt(float(rest @ rest) / (len(a) - 2) / spread)
    return _interval(slope, se, df=len(a) - 2, level=level, n=len(a), varies="seed")


# Below


def _interval(estimate: float, se: float, *, df: float, level: float, n: int, varies: Varies) -> Interval:
    wide = Interval(estimate=estimate, low=estimate, high=estimate, what_varies=varies, n=int(n), se=se, df=df)
    return wide.at(level)


def _squared(r: float, se: float, df: float, n: int, varies: Varies, level: float) -> Interval:
    """Return r squared with its interval from the standard error of Fisher's z."""
    plain = Interval(
        estimate=r**2, low=0.0, high=1.0, what_varies=varies, n=n, se=se, df=df, scale="squared correlation"
    )
    return plain.at(level)


def _from_scale(scale: Scale, value: float) -> float:
    if scale == "log":
        return math.exp(value)
    if scale == "squared correlation":
        return math.tanh(max(value, 0.0)) ** 2
    return math.tanh(value) if scale == "rank correlation" else value


def _clopper_pearson(successes: int, n: int, tail: float) -> tuple[float, float]:
    from scipy.special import betaincinv

    low = betaincinv(successes, n - successes + 1, tail) if successes else 0.0
    high = betaincinv(successes + 1, n - successes, 1 - tail) if successes < n else 1.0
    return float(low), float(high)


def _binomial_tail(successes: int, n: int, share: float) -> float:
    """Return the probability of at least so many successes."""
    from scipy.special import betainc

    return float(betainc(successes, n - successes + 1, share)) if successes else 1.0


def _satterthwaite(parts: NDArray[np.float64], df: NDArray[np.float64] | NDArray[np.int64]) -> float:
    """Return the degrees of freedom of a sum of independent variances."""
    total = parts.sum()
    if total == 0:
        return float(np.sum(df))
    return float(total**2 / np.sum(parts**2 / df))


def _t_quantile(share: float, df: float) -> float:
    from scipy.special import ndtri, stdtrit

    return float(ndtri(share) if math.isinf(df) else stdtrit(df, share))


def _t_tail(distance: float, se: float, df: float) -> float:
    """Return the probability of a t variable above ``distance / se``."""
    from scipy.special import ndtr, stdtr

    if se == 0:
        return 0.0 if distance > 0 else 1.0
    t = distance / se
    return float(ndtr(-t) if math.isinf(df) else stdtr(df, -t))


def _components(positive: Vector, negative: Vector) -> tuple[Vector, Vector]:
    """Return, for each positive case, the share of negative ones below it, and for each negative the converse."""
    everyone = _midranks(np.concatenate([positive, negative]))
    m, n = len(positive), len(negative)
    return (everyone[:m] - _midranks(positive)) / n, 1 - (everyone[m:] - _midranks(negative)) / m


def _midranks(values: Vector) -> Vector:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    middle: Vector = (last - (counts - 1) / 2)[place]
    return middle


def _variance_of_mean(values: Vector) -> float:
    if len(values) < 2:
        raise MeasureError("DeLong's variance needs at least 2 cases of each class")
    return float(values.var(ddof=1) / len(values))


def _cases(labels: ArrayLike, scores: ArrayLike) -> tuple[Vector, Vector]:
    """Return the scores of the positive and of the negative cases."""
    truth, values = _vector(labels, "labels"), _vector(scores, "scores")
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


def _correlation(x: Vector, y: Vector) -> float:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        raise MeasureError("a correlation needs both x and y to vary")
    return float(np.clip(np.corrcoef(x, y)[0, 1], -1, 1))


def _vector(values: ArrayLike, name: str, *, least: int = 1) -> Vector:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or len(array) < least:
        raise MeasureError(f"{name}: need one row of at least {least} numbers, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise MeasureError(f"{name}: {int((~np.isfinite(array)).sum())} of {len(array)} are NaN or infinite")
    return array


def _share(value: float, name: str) -> float:
    if not 0 < value < 1:
        raise MeasureError(f"{name} lies between 0 and 1, got {value}")
    return value
