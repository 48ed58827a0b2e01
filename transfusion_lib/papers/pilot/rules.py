"""What a claim is: words, a source, and for each quantity the region in which it must lie."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from transfusion_lib import markup
from transfusion_lib.errors import MeasureError

LEVEL = 0.95
"""Of the intervals that a verdict reads; the figures show the same."""

MIN_SEEDS = 3

SETTLED = 0.02
"""A final score that rose by more over the last third of the steps was not yet final."""

Check = Literal["scores", "rises", "arrivals", "floors"]
"""What a chapter must hand over so that saturation can be seen."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """The open interval in which a claim says that a quantity lies."""

    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if not self.low < self.high or (math.isinf(self.low) and math.isinf(self.high)):
            raise MeasureError(f"a region has a bound and something inside, got {self.low} to {self.high}")

    def __str__(self) -> str:
        if math.isinf(self.high):
            said = f"above {self.low:g}"
        elif math.isinf(self.low):
            said = f"below {self.high:g}"
        else:
            said = f"within ±{self.high:g}" if self.low == -self.high else f"between {self.low:g} and {self.high:g}"
        return said.replace("-", "\N{MINUS SIGN}")


def above(bound: float) -> Region:
    """Return the region of superiority over ``bound`` (with a negative bound: of non-inferiority)."""
    return Region(low=bound)


def below(bound: float) -> Region:
    """Return the region under ``bound``."""
    return Region(high=bound)


def within(margin: float) -> Region:
    """Return the region of equivalence to 0."""
    return Region(low=-margin, high=margin)


@dataclass(frozen=True)
class Part:
    """One quantity that a claim is about, measured for one or more cases."""

    what: str
    """The estimand: which difference of which numbers, per case."""
    region: Region
    presupposed: bool = False
    """Where it fails the claim has no subject (no speed-up to share, say): inconclusive, never contradicted."""
    said: str = ""
    """The quantity as a sentence has it, before "is"; the part's name where this is empty."""
    plain: bool = False
    """Whether it is a quantity, and not a difference, which is shown with its sign."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim of a paper and the rule that judges it."""

    id: str
    statement: str
    source: str
    """Paper and table, figure or section."""
    chapter: str
    """The chapter that judges it."""
    parts: Mapping[str, Part]
    needs: tuple[Check, ...] = ()
    min_seeds: int = MIN_SEEDS
    shares: bool = False
    """Whether a part is a share of the speed-up over the base arm, which is unknown where that arm does not arrive."""
    informative: tuple[float, float] = (0.55, 0.995)
    """Mean scores outside say nothing: at the lower end nothing was learnt, at the upper nothing can be gained."""

    takes: str = ""
    """What a profile needs so that it can be tested at all, where that is not plain."""

    def _repr_html_(self) -> str:
        """Show in a notebook what it says, where, and the rule that judges it."""
        rows = {"source": self.source, "chapter": self.chapter, "measured": self.estimand, "rule": self.rule}
        return f"<p><b>{markup.text(self.id)}.</b> {markup.text(self.statement)}</p>{markup.table(rows)}"

    @property
    def estimand(self) -> str:
        """What is measured, in words."""
        return "; ".join(part.what for part in self.parts.values())

    @property
    def rule(self) -> str:
        """How the verdict is reached, in words."""
        said = {name: f"{in_words(name)} {part.region}" for name, part in self.parts.items()}
        asked = "; ".join(said[name] for name, part in self.parts.items() if not part.presupposed)
        given = "; ".join(said[name] for name, part in self.parts.items() if part.presupposed)
        limits = [f"fewer than {self.min_seeds} seeds"]
        if "scores" in self.needs:
            limits.append(f"a mean score outside {self.informative[0]:g} to {self.informative[1]:g}")
        if "rises" in self.needs:
            limits.append(f"a mean score that rises by more than {SETTLED:g} over the last third of the steps")
        if "arrivals" in self.needs:
            limits.append("no run at the threshold, or all there at the first evaluation")
        if self.shares:
            limits.append("half or more of the runs of the base arm not at the threshold")
        if "floors" in self.needs:
            limits.append("a floor above 0.5")
        return (
            f"Supported if for every case the {LEVEL:.0%} interval lies inside: {asked}. Contradicted if one lies "
            f"outside, corrected for the number of cases. Inconclusive otherwise"
            + (f", unless first: {given}" if given else "")
            + f", and with {', or '.join(limits)}."
        )


def in_words(name: str) -> str:
    """Return a part's name as a sentence has it."""
    return name.replace("_", " ")
