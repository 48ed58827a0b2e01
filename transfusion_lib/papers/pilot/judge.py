"""From evidence to a verdict, by the claim's rule and nothing else."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from transfusion_lib import markup
from transfusion_lib.errors import MeasureError, unknown
from transfusion_lib.papers.pilot.rules import LEVEL, SETTLED, Claim, Part, Region, in_words
from transfusion_lib.papers.pilot.table import TABLE
from transfusion_lib.stats import Interval
from transfusion_lib.stats.words import told

Outcome = Literal["supported", "contradicted", "inconclusive", "not tested", "not tested as the paper means it"]
WITHDRAWN: Outcome = "not tested as the paper means it"
Cases = Mapping[str, Mapping[str, Interval]]

LARGEST_FLOOR = 0.5
"""Where chance gives more than half of the scale, differences of similarity are compressed beyond use."""


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """How the runs of one arm arrived at the threshold, to see whether times are resolved at all."""

    reached: int
    runs: int
    mean: float
    """Restricted mean, in steps."""
    grid: float
    """Steps between evaluations."""
    base: bool = False
    """Whether speed-ups are counted from this arm: where it does not arrive they are lower bounds."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a chapter hands over about one claim."""

    parts: Cases
    """For each part of the claim, each case (network, data set, stage) with its interval."""
    seeds: int
    """The smallest number of seeds behind any of the intervals."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Mean final score of each arm, where the claim needs them."""
    rises: Mapping[str, float] = field(default_factory=dict)
    """By how much the mean score of each arm rose over the last third of its steps, where the claim needs it."""
    arrivals: Mapping[str, Arrival] = field(default_factory=dict)
    """Arrival of each arm at the threshold, where the claim needs them."""
    floors: Mapping[str, float] = field(default_factory=dict)
    """Expected similarity of independent data of each comparison, where the claim needs them."""
    runs: tuple[str, ...] = ()
    """Keys of the runs behind it."""
    figure: str | None = None
    """The page and anchor of the figure that shows it."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One number that a verdict rests on."""

    part: str
    case: str
    estimate: float
    low: float
    high: float
    level: float
    what_varies: str
    n: int
    region: str
    """What the claim says of it."""

    @property
    def row(self) -> tuple[str, ...]:
        """The cells of a table with the columns ``COLUMNS``."""
        return (in_words(self.part), self.case, told((self.estimate, self.low, self.high)),
                f"{self.what_varies}, {self.n}", self.region)  # fmt: skip


COLUMNS = ("quantity", "case", "estimate (95 % interval)", "what varies", "claim says")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of a claim, and why."""

    claim: str
    outcome: Outcome
    reason: str
    """One sentence."""
    findings: tuple[Finding, ...] = ()
    seeds: int | None = None
    runs: tuple[str, ...] = ()
    figure: str | None = None

    def _repr_html_(self) -> str:
        """Show in a notebook the claim, the outcome, the reason, and the numbers that it rests on."""
        rows = [one.row for one in self.findings]
        said = f"<b>{markup.text(self.claim)}: {self.outcome}.</b>"
        said += f" {markup.text(TABLE[self.claim].statement)}" if self.claim in TABLE else ""
        return f"<p>{said}</p><p>{markup.text(self.reason)}</p>{markup.grid(COLUMNS, rows) if rows else ''}"


def judge(claim: str | Claim, evidence: Evidence | None) -> Verdict:
    """Return the verdict on a claim (or its id) from what was measured; None is not tested.

    Evidence for parts that the claim does not have, or without what its saturation checks need, is a mistake of the
    chapter's and raises a ``MeasureError``.
    """
    if isinstance(claim, str):
        if claim not in TABLE:
            raise MeasureError(unknown("claim", claim, TABLE))
        claim = TABLE[claim]
    if evidence is None:
        takes = f": it takes {claim.takes}" if claim.takes else ""
        return Verdict(claim=claim.id, outcome="not tested", reason=f"Nothing in this profile measures it{takes}.")
    _complete(claim, evidence)
    outcome, reason = _decide(claim, evidence)
    findings = tuple(
        _finding(claim.parts[name], name, case, interval)
        for name, cases in evidence.parts.items()
        for case, interval in cases.items()
        if _finite(interval)
    )
    return Verdict(
        claim=claim.id,
        outcome=outcome,
        reason=reason,
        findings=findings,
        seeds=evidence.seeds,
        runs=evidence.runs,
        figure=evidence.figure,
    )


def _complete(claim: Claim, evidence: Evidence) -> None:
    for name in evidence.parts:
        if name not in claim.parts:
            raise MeasureError(f"claim {claim.id}: {unknown('part', name, claim.parts)}")
    for check in claim.needs:
        if not getattr(evidence, check):
            raise MeasureError(f"claim {claim.id}: the evidence needs {check} to tell whether the data are saturated")


def _decide(claim: Claim, evidence: Evidence) -> tuple[Outcome, str]:
    doubt = _too_little(claim, evidence) or _saturated(claim, evidence)
    if doubt:
        return "inconclusive", doubt
    given = {name: cases for name, cases in evidence.parts.items() if claim.parts[name].presupposed}
    asked = {name: cases for name, cases in evidence.parts.items() if not claim.parts[name].presupposed}
    for name, case, interval in _each(given):
        if not _inside(interval.at(LEVEL), claim.parts[name].region):
            return "inconclusive", f"Nothing to judge yet: {_say(claim, name, case, interval.at(LEVEL))}."
    number = sum(len(cases) for cases in asked.values())
    level = 1 - (1 - LEVEL) / number
    undecided = []
    for name, case, interval in _each(asked):
        if _outside(interval.at(level), claim.parts[name].region):
            corrected = f" (interval corrected for {number} cases)" if number > 1 else ""
            return "contradicted", f"{_capital(_say(claim, name, case, interval.at(level)))}{corrected}."
        if not _inside(interval.at(LEVEL), claim.parts[name].region):
            undecided.append(_say(claim, name, case, interval.at(LEVEL)))
    if undecided:
        among = f"Open in {len(undecided)} of {number} cases, for example: " if number > 1 else "Open: "
        return "inconclusive", f"{among}{undecided[0]}."
    regions = "; ".join(f"{_quantity(claim, name)} is {claim.parts[name].region}" for name in asked)
    found = "" if number > 1 else f" {_told(claim, *_each(asked)[0])}"
    cases = f"in all {number} cases" if number > 1 else "with its whole interval"
    return "supported", f"{_capital(regions)} {cases}, over {evidence.seeds} seeds{':' if found else ''}{found}."


def _too_little(claim: Claim, evidence: Evidence) -> str | None:
    """Return why the evidence is too little for any verdict, if it is."""
    missing = [name for name in claim.parts if not evidence.parts.get(name)]
    if missing:
        return f"Not measured: {'; '.join(_quantity(claim, name).rstrip(',') for name in missing)}."
    counts = [interval.n for *_, interval in _each(evidence.parts) if interval.what_varies.startswith("seed")]
    seeds = min([evidence.seeds, *counts])
    if seeds < claim.min_seeds:
        return f"{seeds} seed{'' if seeds == 1 else 's'}; the rule asks for {claim.min_seeds}."
    for name, case, interval in _each(evidence.parts):
        what = _quantity(claim, name).rstrip(",")
        if interval.what_varies == "test case":
            return f"For {case} the interval of {what} does not cover what another seed would change."
        if not _finite(interval):
            return f"For {case} there are too few runs for an interval of {what}."
    return None


def _saturated(claim: Claim, evidence: Evidence) -> str | None:
    """Return why the data cannot show a difference, if they cannot."""
    low, high = claim.informative
    for arm, score in evidence.scores.items():
        if score > high:
            return f"Saturated: the mean score of {arm} is {score:.3f}, above {high:g}, so nothing can be gained."
        if not score >= low:
            return f"Nothing learnt: the mean score of {arm} is {score:.3f}, below {low:g}: nothing to compare yet."
    if evidence.arrivals:
        arms = evidence.arrivals.values()
        if not any(arm.reached for arm in arms):
            return "No run arrived at the threshold, so all times are censored."
        if all(arm.mean <= arm.grid for arm in arms):
            return "All arms were at the threshold by the first evaluation: the grid is too coarse to tell them apart."
    for arm, arrival in evidence.arrivals.items():
        if claim.shares and arrival.base and 2 * arrival.reached <= arrival.runs:
            return (
                f"{arrival.reached} of {arrival.runs} runs of {arm} reached the threshold: the speed-up is larger than "
                "these steps can show, and a share of it unknown."
            )
    for arm, rise in evidence.rises.items():
        if rise > SETTLED:
            return f"Not final: the mean score of {arm} still rose by {rise:.3f} over the last third of its steps."
    for name, case, interval in _each(evidence.parts):
        if interval.se == 0 and interval.what_varies != "nothing" and interval.scale != "proportion":
            what = f"{_quantity(claim, name)} is {_told(claim, name, case, interval)}"
            return f"In all seeds {what}: numbers that do not vary have no interval."
    for where, floor in evidence.floors.items():
        if not floor <= LARGEST_FLOOR:
            return f"Unrelated data would already be {floor:.2f} alike in {where}: too few samples for its channels."
    return None


def _inside(interval: Interval, region: Region) -> bool:
    return interval.low > region.low and interval.high < region.high


def _outside(interval: Interval, region: Region) -> bool:
    return interval.high <= region.low or interval.low >= region.high


def _finite(interval: Interval) -> bool:
    return math.isfinite(interval.estimate) and math.isfinite(interval.se)


def _each(parts: Cases) -> list[tuple[str, str, Interval]]:
    return [(name, case, interval) for name, cases in parts.items() for case, interval in cases.items()]


def _say(claim: Claim, name: str, case: str, interval: Interval) -> str:
    """Return a quantity, its number and its case, and what the claim needs of it."""
    needs = f"the claim needs {'the whole interval ' if interval.se else 'it '}{claim.parts[name].region}"
    return f"{_quantity(claim, name)} is {_told(claim, name, case, interval)}; {needs}"


def _told(claim: Claim, name: str, case: str, interval: Interval) -> str:
    part = claim.parts[name]
    return f"{told(interval, signed=not part.plain, marks=(0.0, part.region.low, part.region.high))} for {case}"


def _quantity(claim: Claim, name: str) -> str:
    return claim.parts[name].said or in_words(name)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _finding(part: Part, name: str, case: str, interval: Interval) -> Finding:
    shown = interval.at(LEVEL)
    return Finding(
        part=name,
        case=case,
        estimate=shown.estimate,
        low=shown.low,
        high=shown.high,
        level=shown.level,
        what_varies=shown.what_varies,
        n=shown.n,
        region=str(part.region),
    )
