"""Rules: pure functions from intervals to what becomes of a case, of a part of a claim, and of the claim."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from transfusion_lib.errors import MeasureError
from transfusion_lib.stats import Interval, holm

ALPHA = 0.025
"""One-sided, of either direction: the whole 95 % interval must lie inside a claim's region, or outside it."""

State = Literal["inside", "outside", "open"]
"""Of a case: the claim holds there, fails there, or the interval leaves it open."""
Outcome = Literal["supported", "partly", "contradicted", "undecided", "not tested here"]
OUTCOMES: tuple[Outcome, ...] = ("supported", "partly", "contradicted", "undecided", "not tested here")


@dataclass(frozen=True, kw_only=True)
class Region:
    """The open interval in which a claim says that a quantity lies."""

    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if not self.low < self.high or (math.isinf(self.low) and math.isinf(self.high)):
            raise MeasureError(f"a region has a bound and something inside, got {self.low} to {self.high}")

    def __contains__(self, value: float) -> bool:
        return self.low < value < self.high

    def __str__(self) -> str:
        low, high = (f"{bound:g}".replace("-", "\N{MINUS SIGN}") for bound in (self.low, self.high))
        if math.isinf(self.high):
            return f"above {low}"
        if math.isinf(self.low):
            return f"below {high}"
        return f"within {high}" if self.low == -self.high else f"between {low} and {high}"

    def room(self, value: float) -> float:
        """Return how far ``value`` lies from the nearest bound."""
        return min(abs(value - bound) for bound in (self.low, self.high) if math.isfinite(bound))


def above(bound: float) -> Region:
    """Return the region of superiority over ``bound`` (with a negative bound: of non-inferiority)."""
    return Region(low=bound)


def below(bound: float) -> Region:
    """Return the region under ``bound``."""
    return Region(high=bound)


def within(margin: float) -> Region:
    """Return the region of equivalence to 0."""
    return Region(low=-margin, high=margin)


def speaks(interval: Interval) -> bool:
    """Tell whether an interval can decide anything: finite, and with a spread where one is expected."""
    rounding = 1e-9 * max(1.0, abs(interval.estimate))  # equal numbers differ by their rounding
    spread = interval.se > rounding or interval.scale == "proportion" or interval.what_varies == "nothing"
    return math.isfinite(interval.estimate) and math.isfinite(interval.se) and spread


def p_inside(interval: Interval, region: Region) -> float:
    """Return the p value against the truth lying outside ``region``: one-sided for each bound, the larger counts."""
    if not speaks(interval):
        return 1.0
    low = interval.p_above(region.low) if math.isfinite(region.low) else 0.0
    high = interval.p_below(region.high) if math.isfinite(region.high) else 0.0
    return max(low, high)


def p_outside(interval: Interval, region: Region) -> float:
    """Return the p value against the truth lying inside ``region``.

    With two bounds the truth may hide at either: beyond one, the far one is counted too, so that the error is that
    promised even where the region is narrow.
    """
    if not speaks(interval):
        return 1.0
    if math.isinf(region.high):
        return interval.p_below(region.low)
    if math.isinf(region.low):
        return interval.p_above(region.high)
    below = interval.p_below(region.low) + interval.p_below(region.high)
    above = interval.p_above(region.high) + interval.p_above(region.low)
    return min(1.0, below, above)


def states(intervals: Sequence[Interval], regions: Sequence[Region], *, alpha: float = ALPHA) -> tuple[State, ...]:
    """Return the state of each case of a claim, Holm's correction over all of them in both directions.

    Among all cases where the claim fails, the probability to call any "inside" is at most ``alpha``, and conversely.
    Numbers that nothing varies (counts) are compared as they are and count for no correction.
    """
    found: list[State] = ["open"] * len(intervals)
    tested = [i for i, one in enumerate(intervals) if one.what_varies != "nothing"]
    exact = [i for i, one in enumerate(intervals) if one.what_varies == "nothing" and math.isfinite(one.estimate)]
    for i in exact:
        found[i] = "inside" if intervals[i].estimate in regions[i] else "outside"
    if tested:
        inside = holm([p_inside(intervals[i], regions[i]) for i in tested])
        outside = holm([p_outside(intervals[i], regions[i]) for i in tested])
        for i, p_in, p_out in zip(tested, inside, outside, strict=True):
            found[i] = "inside" if p_in <= alpha else "outside" if p_out <= alpha else "open"
    return tuple(found)


def of_part(cases: Sequence[State], pooled: State) -> Outcome:
    """Return what becomes of one part of a claim, from its cases and the average over them.

    Supported: every case inside. Partly: some inside, some outside. Contradicted: none inside, and the average or
    more than half of the cases outside; never one case of several alone. Undecided otherwise.
    """
    if not cases:
        return "not tested here"
    inside, outside = cases.count("inside"), cases.count("outside")
    if inside == len(cases):
        return "supported"
    if inside and outside:
        return "partly"
    if not inside and (pooled == "outside" or 2 * outside > len(cases)):
        return "contradicted"
    return "undecided"


def of_claim(parts: Sequence[Outcome]) -> Outcome:
    """Return what becomes of a claim, from its parts.

    Supported: all parts. Partly: evidence for and evidence against. Contradicted: no evidence for it, and more than
    half of the tested parts contradicted. Not tested here: none of them. Undecided otherwise, so also where some parts
    hold and others were not tested.
    """
    tested = [part for part in parts if part != "not tested here"]
    if not tested:
        return "not tested here"
    speaks_for = any(part in ("supported", "partly") for part in tested)
    speaks_against = any(part in ("contradicted", "partly") for part in tested)
    if speaks_for and speaks_against:
        return "partly"
    if speaks_against and 2 * tested.count("contradicted") > len(tested):
        return "contradicted"
    return "supported" if speaks_for and parts.count("supported") == len(parts) else "undecided"
