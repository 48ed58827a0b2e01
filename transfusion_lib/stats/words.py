"""What intervals let one say: numbers rounded as they support, and an order, an extreme or a sign where they have it.

Every generated title, finding and verdict takes its words from here, so that none says more than its figure shows.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from transfusion_lib.stats.interval import Interval
from transfusion_lib.stats.seeds import combine

LEVEL = 0.95
PLACES = 3
"""Of a score without an interval."""
MOST = 6


def listed(names: Sequence[str]) -> str:
    """Return names as a list in a sentence: a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def number(value: float, *, places: int = PLACES, signed: bool = False) -> str:
    """Return a number with so many decimals and a true minus; ``signed`` also has the plus."""
    text = f"{value:{'+' if signed else ''},.{places}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def share(value: float) -> str:
    """Return a share in per cent, those below one per cent with a decimal."""
    text = f"{value:.{1 if 0 < abs(value) < 0.01 else 0}%}"
    return text.replace("%", " %").replace("-", "\N{MINUS SIGN}")


def places(low: float, high: float, *, marks: Sequence[float] = (0.0,)) -> int:
    """Return the decimals that an interval supports: two digits of its half width, none of one above 3.

    More where an end would else be rounded to one of ``marks``, so that it seems to touch what it does not.
    """
    half = (high - low) / 2
    if not (math.isfinite(half) and half > 0):
        return PLACES
    found = 0 if half >= 3 else min(MOST, 1 - math.floor(math.log10(half)))
    ends = [(end, mark) for end in (low, high) for mark in marks if math.isfinite(mark) and end != mark]
    while found < MOST and any(round(end, found) == round(mark, found) for end, mark in ends):
        found += 1
    return found


def told(one: Interval | Sequence[float], *, signed: bool = False, marks: Sequence[float] = (0.0,)) -> str:
    """Return an estimate and its interval, ``+0.005 (-0.025 to +0.036)``; the estimate alone where it has none.

    Not an ``Interval``, it is estimate, low and high.
    """
    estimate, low, high = (one.estimate, one.low, one.high) if isinstance(one, Interval) else one
    if math.isnan(estimate):
        return "not known"
    if math.isnan(low) or math.isnan(high) or low == high:
        whole = float(estimate).is_integer() and abs(estimate) >= 1
        return number(estimate, places=0 if whole else PLACES, signed=signed)
    if math.isinf(low) or math.isinf(high):
        return f"{number(estimate, signed=signed)}, anything by its interval"
    digits = places(low, high, marks=marks)
    shown = [number(value, places=digits, signed=signed) for value in (estimate, low, high)]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


def direction(low: float, high: float) -> int:
    """Return 1 where an interval lies above 0, -1 where it lies below, 0 where it holds 0 or is unknown."""
    return int(low > 0) - int(high < 0) if low < high else 0


def order(values: Mapping[str, Interval], *, unless: Callable[[str, str], bool] | None = None) -> list[list[str]]:
    """Return the names in groups from the lowest to the highest, every group apart from all that follow.

    Two are apart where the interval of their difference, corrected for the number of pairs, leaves 0 out, and
    ``unless(lower, higher)`` does not object. Inside a group there is no order: nothing may be said of one.
    """
    known = {name: one for name, one in values.items() if math.isfinite(one.se) and one.n > 1}
    names = sorted(known, key=lambda name: known[name].estimate)
    pairs = max(1, len(names) * (len(names) - 1) // 2)

    def apart(lower: str, higher: str) -> bool:
        gap = combine([known[higher], known[lower]], [1, -1], level=1 - (1 - LEVEL) / pairs)
        return gap.se > 0 and gap.low > 0 and not (unless and unless(lower, higher))

    groups: list[list[str]] = []
    for place, name in enumerate(names):
        new = place > 0 and all(apart(lower, higher) for lower in names[:place] for higher in names[place:])
        if new or not groups:
            groups.append([])
        groups[-1].append(name)
    # What a mapping holds in an order of its own stays in it where the numbers have none.
    return [[name for name in values if name in group] for group in groups]


def in_order(groups: Sequence[Sequence[str]]) -> str | None:
    """Return "a first, then b and c" of two groups and more; None of one, which has no order."""
    if len(groups) < 2:
        return None
    first, *rest = (listed(list(group)) for group in groups)
    return f"{first} first, then {', then '.join(rest)}"


def extreme(values: Mapping[str, Interval], *, highest: bool = True) -> str | None:
    """Return the name whose value is apart from all others, the highest or the lowest, or None."""
    groups = order(values)
    if len(groups) < 2:
        return None
    end = groups[-1 if highest else 0]
    return end[0] if len(end) == 1 else None
