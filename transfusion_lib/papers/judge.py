"""From evidence to a verdict, by the claim's rule and nothing else."""

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from transfusion_lib import stats
from transfusion_lib.errors import MeasureError, unknown
from transfusion_lib.papers.claims import CLAIMS, INFORMATIVE, Claim, Part
from transfusion_lib.papers.evidence import Arms, Case, Counts, Evidence, Measure, Printed, Relation, Weights, merged
from transfusion_lib.papers.rules import (
    ALPHA,
    Outcome,
    Region,
    State,
    of_claim,
    of_part,
    p_inside,
    p_outside,
    speaks,
    states,
)
from transfusion_lib.stats import Interval, Spread
from transfusion_lib.stats.words import number

MOST = 200
"""Runs beyond which no one would decide a claim by more of them."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """When the runs are looked at, and with which level."""

    alpha: float = ALPHA
    """One-sided."""
    runs: int | None = None
    """Planned runs of each arm: with fewer nothing is judged yet, more are a mistake. None judges what there is."""
    extension: int | None = None
    """Runs of each arm to which the plan goes on where the claim is undecided."""


ONE_LOOK = Look()


def two_looks(*, first: int = 8, last: int = 12, share: float | None = None) -> tuple[Look, Look]:
    """Return the first look and the planned extension, whose levels make ``ALPHA`` together (``stats.levels``)."""
    early, late = stats.levels(ALPHA, first=first, last=last, share=share)
    return Look(alpha=early, runs=first, extension=last), Look(alpha=late, runs=last)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One number that a verdict rests on."""

    part: str
    case: str
    state: State
    region: Region
    estimate: float
    """NaN if it has none."""
    low: float
    high: float
    n: int
    what_varies: str
    reason: str = ""
    """Why it decides nothing, where that is not its interval's width."""


@dataclass(frozen=True, kw_only=True)
class PartVerdict:
    """What became of one part of a claim."""

    part: str
    outcome: Outcome
    sentence: str
    """Empty where there is nothing to say."""
    average: Interval | None = None
    """Over tasks; its n counts tasks if there are three or more."""
    predicted: Interval | None = None
    """Where the effect in a further task may lie."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of a claim, and why."""

    claim: str
    outcome: Outcome
    sentence: str
    """The verdict in English, with its numbers."""
    parts: tuple[PartVerdict, ...] = ()
    findings: tuple[Finding, ...] = ()
    scale: str = ""
    """On which networks, image size, images and steps it rests."""
    alpha: float = ALPHA
    runs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Unit:
    """One thing that a part's rule reads: a case, or an average over tasks."""

    part: str
    name: str
    spread: Spread | None
    reason: str = ""
    void: bool = False
    """Left out, since a premise of its claim does not hold or its scores are saturated."""
    without: tuple["_Unit", ...] = ()
    """Of an average, the cases that were left out."""

    @property
    def interval(self) -> Interval:
        """The interval; without a spread, one that decides nothing."""
        return self.spread.interval if self.spread is not None else _NOTHING


_NOTHING = Interval(estimate=math.nan, low=math.nan, high=math.nan, what_varies="seed", n=0, se=math.nan)


def judge(claim: str | Claim, evidence: Evidence | None, *, look: Look = ONE_LOOK) -> Verdict:
    """Return the verdict on a claim (or its id) from what was measured; None was not measured.

    Numbers that decide nothing (one run, no spread, NaN, an empty arm) give "undecided" with the reason. Evidence of
    parts that the claim does not have, of another kind than its rule reads, or with more runs than the planned look
    raises a ``MeasureError``: the mistake is the caller's.
    """
    if isinstance(claim, str):
        if claim not in CLAIMS:
            raise MeasureError(unknown("claim", claim, CLAIMS))
        claim = CLAIMS[claim]
    if evidence is None or not any(evidence.parts.get(name) for name in claim.asked):
        return _not_tested(claim, evidence, f"It takes {claim.untested}.")
    _check(claim, evidence)
    made = _planned(claim, evidence, look)
    if made:
        return _not_tested(claim, evidence, made)
    units = {name: _units(claim, name, evidence) for name in claim.asked}
    kept = [unit for its in units.values() for unit in its if not unit.void]
    regions = [claim.parts[unit.part].region for unit in kept]
    state = dict(zip(map(id, kept), states([u.interval for u in kept], regions, alpha=look.alpha), strict=True))
    averages = {name: _average(claim.parts[name], evidence.parts.get(name, ()), units[name]) for name in claim.asked}
    outside = _averages_outside(claim, averages, look.alpha)
    found = {
        name: of_part([state[id(u)] for u in its if not u.void], "outside" if name in outside else "open")
        for name, its in units.items()
    }
    tested = [outcome for name, outcome in found.items() if units[name] or not evidence.printed]
    outcome = of_claim(tested)
    level = 1 - 2 * look.alpha
    writer = _Writer(claim=claim, evidence=evidence, level=level, alpha=look.alpha, state=state)
    parts = tuple(
        PartVerdict(
            part=name,
            outcome=found[name],
            sentence=writer.part(name, found[name], units[name], averages[name]),
            average=_mean(averages[name]),
            predicted=averages[name].predicted if averages[name] else None,  # type: ignore[union-attr]
        )
        for name in claim.asked
    )
    return Verdict(
        claim=claim.id,
        outcome=outcome,
        sentence=writer.whole(outcome, parts, units, look),
        parts=parts,
        findings=tuple(
            _finding(unit, claim.parts[unit.part], state.get(id(unit), "open"), level)
            for its in units.values()
            for unit in its
        ),
        scale=_scale(evidence),
        alpha=look.alpha,
        runs=evidence.runs,
    )


def _check(claim: Claim, evidence: Evidence) -> None:
    for name, cases in evidence.parts.items():
        if name not in claim.parts:
            raise MeasureError(f"claim {claim.id}: {unknown('part', name, claim.parts)}")
        kinds: tuple[type[Measure], ...] = (claim.parts[name].takes,)
        if evidence.printed:
            kinds += (Printed, Counts)
        for case in cases:
            if not isinstance(case.measure, kinds):
                raise MeasureError(
                    f"claim {claim.id}, {name}: takes {' or '.join(kind.__name__ for kind in kinds)}, "
                    f"got {type(case.measure).__name__}"
                )


def _planned(claim: Claim, evidence: Evidence, look: Look) -> str:
    """Return why nothing is judged yet, if the planned runs are not all made."""
    if look.runs is None:
        return ""
    counts = [
        case.measure.runs()
        for name in claim.asked
        for case in evidence.parts.get(name, ())
        if isinstance(case.measure, Arms)
    ]
    if counts and max(counts) > look.runs:
        raise MeasureError(
            f"claim {claim.id}: this look is at {look.runs} runs of each arm, the evidence has {max(counts)}; "
            "judge the first look by the planned runs, and only then the extension"
        )
    if counts and min(counts) < look.runs:
        return f"{min(counts)} of {look.runs} planned runs of each arm are made; the rule looks when all are."
    return ""


def _units(claim: Claim, name: str, evidence: Evidence) -> list[_Unit]:
    """Return what the rule of a part reads: each case, or for each method the average over tasks."""
    part = claim.parts[name]
    cases = [
        (case, variant, weights, _case(claim, name, case, variant, weights, evidence))
        for case in evidence.parts.get(name, ())
        for variant, weights in part.contrasts.items()
    ]
    if part.scope == "each":
        return [unit for *_, unit in cases]
    groups: dict[str, list[tuple[Case, Weights, _Unit]]] = {}
    for case, variant, weights, unit in cases:
        label = ", ".join(word for word in (variant, case.what) if word)
        groups.setdefault(label, []).append((case, weights, unit))
    return [_group(name, label, its) for label, its in groups.items()]


def _group(part: str, label: str, its: Sequence[tuple[Case, Weights, _Unit]]) -> _Unit:
    """Return the average over tasks of one method; one case of it without a number leaves it open."""
    kept = [(case, weights, unit) for case, weights, unit in its if not unit.void]
    if not kept:
        return replace(its[0][2], name=label)
    silent = [unit for *_, unit in kept if unit.spread is None]
    if silent:
        return replace(silent[0], name=label)
    pool = _pool([(case, weights) for case, weights, _ in kept], [unit for *_, unit in kept])
    if pool is None:
        return _Unit(part=part, name=label, spread=None, reason="its tasks cannot be averaged")
    without = tuple(unit for *_, unit in its if unit.void)
    return _Unit(part=part, name=label, spread=_spread_of(pool, kept), without=without)


def _spread_of(pool: stats.Pooled, kept: Sequence[tuple[Case, Weights, _Unit]]) -> Spread:
    images = sum(unit.spread.of_images for *_, unit in kept if unit.spread) / len(kept) ** 2
    variance = pool.mean.se**2
    if pool.tasks >= stats.MIN_TASKS:  # tasks vary: more of them reduce all of it
        images = 0.0
    return Spread(interval=pool.mean, of_runs=max(variance - images, 0.0), of_images=min(images, variance))


def _case(claim: Claim, name: str, case: Case, variant: str, weights: Weights, evidence: Evidence) -> _Unit:
    part = claim.parts[name]
    called = f"{variant} ({case.name})" if variant and case.name else variant or case.name
    doubt, void = _premises(claim, case, evidence)
    if doubt:
        return _Unit(part=name, name=called, spread=None, reason=doubt, void=void)
    try:
        spread = case.measure.spread(weights)
    except MeasureError as error:
        return _Unit(part=name, name=called, spread=None, reason=str(error))
    saturated = _saturated(part, case.measure, weights)
    if saturated:
        return _Unit(part=name, name=called, spread=spread, reason=saturated, void=True)
    if not speaks(spread.interval):
        finite = math.isfinite(spread.interval.estimate)
        why = "its numbers do not vary, so they have no interval" if finite else "it is no number"
        return _Unit(part=name, name=called, spread=None, reason=why)
    return _Unit(part=name, name=called, spread=spread)


def _premises(claim: Claim, case: Case, evidence: Evidence) -> tuple[str, bool]:
    """Return why a case is not judged, and whether it is left out: a premise fails, or was not measured."""
    for name, part in claim.parts.items():
        if not part.premise or (evidence.printed and name not in evidence.parts):
            continue
        same = [one for one in evidence.parts.get(name, ()) if (one.network, one.task) == (case.network, case.task)]
        its = [one for one in same if one.what == case.what] or same
        if not its:
            return f"{part.asks} was not measured", False
        try:
            found = its[0].measure.spread(part.contrasts[""]).interval
        except MeasureError as error:
            return f"{part.asks} has no number: {error}", False
        if not part.by_estimate and not speaks(found):
            return f"{part.asks} has no number: its runs do not vary", False
        held = found.estimate in part.region if part.by_estimate else states([found], [part.region])[0] == "inside"
        if not held:
            size = _number(found, part, evidence.unit)
            seen = _clean(part.effect.format(of="", case=case.name, number=size, speed=evidence.speed))
            return f"{seen}; {part.asks} takes {_wanted(part)}", not part.by_estimate
    return "", False


def _saturated(part: Part, measure: Measure, weights: Weights) -> str:
    if not part.scores or not isinstance(measure, Arms):
        return ""
    low, high = INFORMATIVE
    for arm, score in measure.means().items():
        if arm in weights and score > high:
            return f"saturated: the mean score of {arm} is {score:.3f}, above {high:g}, so nothing can be gained"
        if arm in weights and not score >= low:
            return f"nothing learnt: the mean score of {arm} is {score:.3f}, below {low:g}"
    return ""


def _average(part: Part, cases: Sequence[Case], units: Sequence[_Unit]) -> stats.Pooled | None:
    """Return the average of a part over its tasks, networks and variants averaged within each task."""
    if part.scope == "pooled":
        spreads = [unit.spread.interval for unit in units if unit.spread and not unit.void]
        if len(spreads) != 1:
            return None  # methods are judged one by one, never averaged
        return stats.Pooled(mean=spreads[0], predicted=None, tau=0.0, tasks=spreads[0].n)
    pairs = [(case, weights) for case in cases for weights in part.contrasts.values()]
    kept = [(pair, unit) for pair, unit in zip(pairs, units, strict=True) if unit.spread and not unit.void]
    return _pool([pair for pair, _ in kept], [unit for _, unit in kept])


def _pool(pairs: Sequence[tuple[Case, Weights]], units: Sequence[_Unit]) -> stats.Pooled | None:
    by_task: dict[str, list[tuple[Measure, Weights, Interval]]] = {}
    for (case, weights), unit in zip(pairs, units, strict=True):
        by_task.setdefault(case.task, []).append((case.measure, weights, unit.interval))
    try:
        return stats.pooled([_within_task(its) for its in by_task.values()]) if by_task else None
    except MeasureError:
        return None  # shares and correlations have no average here


def _within_task(its: Sequence[tuple[Measure, Weights, Interval]]) -> Interval:
    if len(its) == 1:
        return its[0][2]
    one = merged([measure for measure, *_ in its], [weights for _, weights, _ in its])
    if one is not None:
        measure, weights = one
        return measure.spread(weights).interval
    return stats.combine([interval for *_, interval in its], [1 / len(its)] * len(its))


def _averages_outside(claim: Claim, averages: Mapping[str, stats.Pooled | None], alpha: float) -> set[str]:
    """Return the parts whose average lies outside their region, Holm's correction over the parts."""
    there = {name: pool.mean for name, pool in averages.items() if pool is not None}
    exact = {name for name, mean in there.items() if mean.what_varies == "nothing"}
    tested = [name for name in there if name not in exact]
    found = {name for name in exact if there[name].estimate not in claim.parts[name].region}
    if tested:
        adjusted = stats.holm([p_outside(there[name], claim.parts[name].region) for name in tested])
        found |= {name for name, p in zip(tested, adjusted, strict=True) if p <= alpha}
    return found


def _mean(pool: stats.Pooled | None) -> Interval | None:
    return pool.mean if pool else None


def _finding(unit: _Unit, part: Part, state: State, level: float) -> Finding:
    one = unit.interval if unit.spread is None else unit.interval.at(level)
    return Finding(
        part=unit.part,
        case=unit.name,
        state=state,
        region=part.region,
        estimate=one.estimate,
        low=one.low,
        high=one.high,
        n=one.n,
        what_varies=one.what_varies,
        reason=unit.reason,
    )


def _not_tested(claim: Claim, evidence: Evidence | None, why: str) -> Verdict:
    said = "; ".join(evidence.missing.values()) if evidence and evidence.missing else ""
    sentence = f"Not tested here. {said + '.' if said else why}"
    return Verdict(
        claim=claim.id,
        outcome="not tested here",
        sentence=sentence,
        scale=_scale(evidence) if evidence else "",
        runs=evidence.runs if evidence else (),
    )


def _scale(evidence: Evidence) -> str:
    if evidence.reach is None:
        return ""
    return f"{'Small scale: ' if evidence.reach.small else ''}{evidence.reach}."


@dataclass(frozen=True, kw_only=True)
class _Writer:
    """Writes verdicts in English."""

    claim: Claim
    evidence: Evidence
    level: float
    alpha: float
    state: Mapping[int, State]

    def part(self, name: str, outcome: Outcome, units: Sequence[_Unit], pool: stats.Pooled | None) -> str:
        """Return the sentences of one part, without its verdict's name; cases that were left out are named."""
        said = self._part(name, outcome, units, pool)
        void = [one for unit in units for one in (unit, *unit.without) if one.void]
        if outcome == "not tested here" or not void:
            return said
        return f"{said} Left out: {_names(void)} ({void[0].reason})."

    def _part(self, name: str, outcome: Outcome, units: Sequence[_Unit], pool: stats.Pooled | None) -> str:
        part, kept = self.claim.parts[name], [unit for unit in units if not unit.void]
        if outcome == "not tested here":
            waits = self.evidence.missing.get(name, "the runs that decide it are not finished")
            return _capital("; ".join(_reasons(units)) or waits) + "."
        by = {state: [u for u in kept if self.state[id(u)] == state] for state in ("inside", "outside", "open")}
        if outcome == "supported":
            worst = max(kept, key=lambda unit: _nearness(unit, part.region))
            exact = all(unit.interval.what_varies == "nothing" for unit in kept)
            all_of = f"{'both' if len(kept) == 2 else f'all {len(kept)}'} {'numbers' if exact else 'intervals'}"
            more = f"; {all_of} do, and this one is the nearest to the bound" if kept[1:] else ""
            return f"{self._seen(part, worst)}, which lies {part.region} as {part.asks} asks{more}."
        if outcome == "partly":
            against = f"{_names(by['inside'])}; not for {_names(by['outside'])}: {self._seen(part, by['outside'][0])}"
            rest = f" It leaves {_names(by['open'])} open." if by["open"] else ""
            return f"It holds for {against}, where {part.asks} takes {_wanted(part)}.{rest}"
        if outcome == "contradicted":
            if pool is not None and len(kept) > 1 and p_outside(pool.mean, part.region) <= self.alpha:
                over = _over(pool, len(kept))
                seen = self._say(part, pool.mean, of=over, case=f"the others {over}")
            else:
                seen = self._seen(part, max(kept, key=lambda unit: p_inside(unit.interval, part.region)))
            count = f" ({len(by['outside'])} of {len(kept)} cases lie outside)" if len(kept) > 1 else ""
            return f"{seen}{count}; {part.asks} takes {_wanted(part)}."
        return self._undecided(part, kept, by["open"], by)

    def whole(
        self,
        outcome: Outcome,
        parts: Sequence[PartVerdict],
        units: Mapping[str, Sequence[_Unit]],
        look: Look,
    ) -> str:
        """Return the verdict of the claim in words."""
        printed = self.evidence.printed
        shown = [one for one in parts if not (printed and one.outcome == "not tested here")]
        if len(self.claim.asked) > 1:
            said = " ".join(f"{_capital(one.part)}, {one.outcome}: {one.sentence}" for one in shown)
        else:
            said = shown[0].sentence
        reach, head = self.evidence.reach, _capital(outcome)
        if outcome == "contradicted" and reach is not None:
            head += f", {'at small scale, ' if reach.small else ''}with {reach}"
        left = [one.part for one in parts if one.outcome == "not tested here"]
        tail = ""
        if printed and left:
            tail = f" The paper prints nothing that this rule could read of: {', '.join(left)}."
        if printed and any(unit.interval.what_varies == "nothing" for its in units.values() for unit in its):
            tail += " It prints no deviations here, so its numbers are compared as they stand."
        if outcome == "undecided" and look.extension is not None:
            tail += f" The planned extension to {look.extension} runs of each arm comes next."
        return f"{head}. {said}{tail}"

    def _undecided(
        self, part: Part, kept: Sequence[_Unit], left: Sequence[_Unit], by: Mapping[str, Sequence[_Unit]]
    ) -> str:
        silent = [unit for unit in left if unit.spread is None]
        numbered = [unit for unit in left if unit.spread is not None]
        said = []
        if numbered:
            widest = max(numbered, key=lambda unit: p_inside(unit.interval, part.region))
            assert widest.spread is not None
            said.append(f"{self._seen(part, widest)}; {part.asks} needs the whole interval {part.region}.")
            said.append(self._lean(part, kept, by))
            said.append(needed(widest.spread, part.region, alpha=self.alpha / len(kept)))
        elif by["outside"] or by["inside"]:
            said.append(self._lean(part, kept, by))
        if silent:
            said.append(f"No number for {_names(silent)}: {silent[0].reason}.")
        return " ".join(word for word in said if word)

    def _lean(self, part: Part, kept: Sequence[_Unit], by: Mapping[str, Sequence[_Unit]]) -> str:
        numbers = [unit for unit in kept if unit.spread is not None]
        agree = sum(unit.interval.estimate in part.region for unit in numbers)
        if agree == len(numbers):
            lean = "It leans to support"
        else:
            lean = "It leans against the claim" if agree == 0 else "It leans neither way"
        count = f": {agree} of {len(numbers)} estimates lie {part.region}" if len(numbers) > 1 else ""
        settled = [f"{len(by[s])} {word}" for s, word in (("inside", "hold"), ("outside", "fail")) if by[s]]
        return f"{lean}{count}{f' ({chr(44).join(settled)} for certain)' if settled else ''}."

    def _seen(self, part: Part, unit: _Unit) -> str:
        of = "on average over tasks" if part.scope == "pooled" else f"of {unit.name}" if unit.name else ""
        return self._say(part, unit.interval, of=of, case=unit.name or "it")

    def _say(self, part: Part, interval: Interval, *, of: str, case: str) -> str:
        size = _number(interval, part, self.evidence.unit, self.level)
        return _clean(part.effect.format(of=of, case=case, number=size, speed=self.evidence.speed))


def _nearness(unit: _Unit, region: Region) -> float:
    """Return a number that is largest for the case nearest to the bound."""
    if unit.interval.what_varies == "nothing":
        return -region.room(unit.interval.estimate)
    return p_inside(unit.interval, region)


def needed(spread: Spread, region: Region, *, alpha: float = ALPHA, share: float = 0.9) -> str:
    """Return in words what would decide an open case with power ``share``, if its estimate is the truth."""
    one, room = spread.interval, region.room(spread.interval.estimate)
    if one.scale != "linear" or one.n < 2:
        return ""
    kind = "networks" if one.what_varies == "network" else "tasks" if one.what_varies == "task" else "runs an arm"

    def decides(n: int) -> bool:
        reach = stats.t_quantile(1 - alpha, n - 1) + stats.t_quantile(share, n - 1)
        return reach**2 * (spread.of_runs * one.n / n + spread.of_images) <= room**2

    candidates = range(one.n + 1, MOST + 1)
    n = bisect.bisect_left(candidates, True, key=decides)
    if n < len(candidates):
        return f"It needs about {candidates[n]} {kind}."
    if spread.of_images > spread.of_runs:
        return "More runs would not decide it: it needs more test images."
    return f"Its estimate lies so near the bound that {MOST} {kind} would not decide it."


def _number(interval: Interval, part: Part, unit: str, level: float = 0.95) -> str:
    one = interval.at(level) if interval.what_varies != "nothing" else interval
    largest = max(abs(one.low), abs(one.high))
    places = 0 if largest >= 1000 else 1 if largest >= 10 else 3
    said, low, high = (
        number(value, places=places, signed=part.takes is not Relation) for value in (one.estimate, one.low, one.high)
    )
    if one.what_varies != "nothing":
        said += f" ({low} to {high})"
    return f"{said} {unit}" if unit else said


def _wanted(part: Part) -> str:
    return "an estimate " + str(part.region) if part.by_estimate else f"the whole interval {part.region}"


def _over(pool: stats.Pooled, cases: int) -> str:
    return f"on average over {pool.tasks} tasks" if pool.tasks > 1 else f"on average over {cases} cases"


def _names(units: Sequence[_Unit]) -> str:
    names = [unit.name or "the one case" for unit in units]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _reasons(units: Sequence[_Unit]) -> list[str]:
    return list(dict.fromkeys(f"{unit.name}: {unit.reason}" if unit.name else unit.reason for unit in units))[:3]


def _clean(text: str) -> str:
    return " ".join(text.split()).replace(" ,", ",")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
