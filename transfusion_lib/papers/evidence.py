"""Evidence: arrays that runs give, in the shapes that the claims are judged by. Each gives the spread of a contrast.

``Arms`` is the usual one: arms of runs, one score a run, and the claim's part says which weighted sum of the arms'
means it is about. The others are for quantities that are no score of a run.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from transfusion_lib import stats
from transfusion_lib.errors import MeasureError, unknown
from transfusion_lib.stats import Interval, Scored, Spread

Weights = Mapping[str, float]
MIN_RUNS = 3
"""Fewer runs of an arm decide nothing: two give one degree of freedom."""


class Measure(Protocol):
    """Anything that a rule can read: a weighted sum of named quantities, with its spread."""

    def spread(self, weights: Weights) -> Spread:
        """Return the estimate with its 95 % interval; a ``MeasureError`` where these numbers give none."""
        ...


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Runs that differ by seed and draw of the split alone."""

    scores: ArrayLike
    """(runs,) one number a run: final test AUROC, Dice, mean training loss, a slope over its stages."""
    draws: Sequence[int]
    """(runs,) the data seed of each run: arms are compared draw by draw, several trainings of a draw averaged."""
    tested: Sequence[Scored] = ()
    """(runs,) what each run said of its test cases, where they were kept."""


@dataclass(frozen=True, kw_only=True)
class Arms:
    """Arms of one network on one task, trained on the same draws of the split."""

    arms: Mapping[str, Arm]
    shared: float = 0.0
    """Share of test images that two draws have in common: 0 fresh images, 1 one official split (which needs cases)."""
    of_draw: float = 1.0
    """The draw's share of the variance between runs (see ``stats.over_draws``); read where no test cases are given."""

    def spread(self, weights: Weights) -> Spread:
        """Return the weighted sum of the arms' means over the draws that all arms have."""
        arms = {name: self._arm(name) for name, weight in weights.items() if weight}
        draws = sorted(set.intersection(*(set(arm.draws) for arm in arms.values())))
        if len(draws) < MIN_RUNS:
            raise MeasureError(f"{_runs(len(draws))} an arm; the rule asks for {MIN_RUNS}")
        values = sum((weights[name] * _by_draw(arm, draws) for name, arm in arms.items()), start=np.zeros(len(draws)))
        if all(arm.tested for arm in arms.values()):
            kept = [[t for t, d in zip(a.tested, a.draws, strict=True) if d in set(draws)] for a in arms.values()]
            return stats.over_draws_and_cases(values, kept, [weights[name] for name in arms])
        return stats.over_draws(values, shared=self.shared, of_draw=self.of_draw)

    def means(self) -> dict[str, float]:
        """Return the mean score of each arm."""
        return {name: float(np.mean(np.asarray(arm.scores, np.float64))) for name, arm in self.arms.items()}

    def runs(self) -> int:
        """Return the number of draws of the smallest arm."""
        return min((len(set(arm.draws)) for arm in self.arms.values()), default=0)

    def _arm(self, name: str) -> Arm:
        if name not in self.arms:
            raise MeasureError(unknown("arm", name, self.arms))
        arm = self.arms[name]
        scores = np.asarray(arm.scores, np.float64)
        if scores.ndim != 1 or not len(scores):
            raise MeasureError(f"arm {name} has no runs")
        if len(arm.draws) != len(scores) or len(arm.tested) not in (0, len(scores)):
            raise MeasureError(f"arm {name}: {len(scores)} runs need as many draws, and test cases of all or of none")
        if not np.isfinite(scores).all():
            bad = int((~np.isfinite(scores)).sum())
            raise MeasureError(f"arm {name}: {bad} of {len(scores)} scores are no numbers (a run that diverges counts)")
        return arm


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Similarities over pairs of networks, in which each network is in several pairs (T5)."""

    values: Mapping[str, ArrayLike]
    """By kind of pair, one number a pair."""
    pairs: Mapping[str, Sequence[tuple[Hashable, Hashable]]]
    kinds: Mapping[Hashable, Hashable]
    """The start of each network."""

    def spread(self, weights: Weights) -> Spread:
        """Return the weighted sum of the means over pairs; networks vary."""
        for name in weights:
            if name not in self.values or name not in self.pairs:
                raise MeasureError(unknown("kind of pair", name, self.values))
        return _of_runs(
            stats.over_pairs(
                [self.values[name] for name in weights],
                list(weights.values()),
                pairs=[self.pairs[name] for name in weights],
                kinds=self.kinds,
            )
        )


@dataclass(frozen=True, kw_only=True)
class Relation:
    """Two numbers of each point whose squared correlation is asked (T8, N2)."""

    x: ArrayLike
    y: ArrayLike
    pairs: Sequence[tuple[Hashable, Hashable]] | None = None
    """The two networks of each point, where networks are in several points."""

    def spread(self, weights: Weights) -> Spread:
        """Return R^2."""
        return _of_runs(stats.r_squared(self.x, self.y, pairs=self.pairs))


@dataclass(frozen=True, kw_only=True)
class Slope:
    """Points of several networks and tasks whose common slope is asked (T3)."""

    x: ArrayLike
    y: ArrayLike
    networks: Sequence[Hashable]
    tasks: Sequence[Hashable]

    def spread(self, weights: Weights) -> Spread:
        """Return the slope of y on x within tasks; networks vary."""
        return _of_runs(stats.slope_over_networks(self.x, self.y, networks=self.networks, tasks=self.tasks))


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Numbers that nothing varies: parameters, multiply-adds, a printed number without its deviation."""

    values: Mapping[str, float]

    def spread(self, weights: Weights) -> Spread:
        """Return the weighted sum; it has no interval."""
        for name in weights:
            if name not in self.values:
                raise MeasureError(unknown("count", name, self.values))
        return Spread(
            interval=stats.exact(sum(w * self.values[name] for name, w in weights.items())), of_runs=0.0, of_images=0.0
        )


@dataclass(frozen=True, kw_only=True)
class Printed:
    """What a paper prints: the mean, deviation and number of repetitions of each arm."""

    arms: Mapping[str, tuple[float, float, int]]

    def spread(self, weights: Weights) -> Spread:
        """Return the weighted sum of independent arms (Welch)."""
        parts: list[Interval] = []
        for name in weights:
            if name not in self.arms:
                raise MeasureError(unknown("arm", name, self.arms))
            mean, deviation, n = self.arms[name]
            if n < MIN_RUNS:
                raise MeasureError(f"{_runs(n)} an arm; the rule asks for {MIN_RUNS}")
            se = deviation / n**0.5
            plain = Interval(estimate=mean, low=mean, high=mean, what_varies="seed", n=n, se=se, df=n - 1)
            parts.append(plain)
        return _of_runs(stats.combine(parts, list(weights.values())))


@dataclass(frozen=True, kw_only=True)
class Case:
    """One place where a part of a claim is measured."""

    measure: Measure
    network: str = ""
    task: str = ""
    what: str = ""
    """What else tells it from the others: a stage, a method, a number of images."""

    @property
    def name(self) -> str:
        """The case in words."""
        head = self.network or self.what
        where = f"{head} on {self.task}" if head and self.task else head or self.task
        return f"{where} ({self.what})" if self.network and self.what else where


@dataclass(frozen=True, kw_only=True)
class Reach:
    """The scale of the evidence, which stands with each verdict."""

    networks: Sequence[str]
    size: int
    """Pixels."""
    images: int
    """For training."""
    steps: int

    @property
    def small(self) -> bool:
        """Whether this is small beside the papers: 224 px and more, 100,000 images and more."""
        return self.size < 224 or self.images < 100_000

    def __str__(self) -> str:
        """Say it in words."""
        networks = ", ".join(self.networks)
        return f"{networks} at {self.size} px, up to {self.images:,} training images, {self.steps:,} steps"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was measured of one claim."""

    parts: Mapping[str, Sequence[Case]]
    reach: Reach | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    """Why a part was not tested here."""
    printed: bool = False
    """The paper's own numbers: parts that it does not print are left out, numbers without deviation are taken."""
    speed: str = "the mean training loss"
    """What speed was measured by."""
    unit: str = ""
    """Of its numbers, as in "steps"; AUROC, losses and shares have none."""
    runs: tuple[str, ...] = ()
    """Keys of the runs behind it."""


def merged(measures: Sequence[Measure], weights: Sequence[Weights]) -> tuple[Measure, Weights] | None:
    """Return the average of contrasts of ``Arms`` as one, so that draws which they share are paired, or None."""
    if not all(isinstance(one, Arms) for one in measures):
        return None
    sets = [one for one in measures if isinstance(one, Arms)]
    if len({(one.shared, one.of_draw) for one in sets}) > 1:
        return None
    k = len(sets)
    arms = {f"{i}: {name}": arm for i, one in enumerate(sets) for name, arm in one.arms.items()}
    sums = {f"{i}: {name}": weight / k for i, one in enumerate(weights) for name, weight in one.items()}
    return Arms(arms=arms, shared=sets[0].shared, of_draw=sets[0].of_draw), sums


def _by_draw(arm: Arm, draws: Sequence[int]) -> NDArray[np.float64]:
    scores, of = np.asarray(arm.scores, np.float64), np.asarray(arm.draws)
    return np.array([scores[of == draw].mean() for draw in draws])


def _of_runs(interval: Interval) -> Spread:
    return Spread(interval=interval, of_runs=interval.se**2, of_images=0.0)


def _runs(n: int) -> str:
    return "1 run" if n == 1 else f"{n} runs"
