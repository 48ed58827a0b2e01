"""From probabilities to yes or no: thresholds chosen on some cases, the rates that they have on others."""

from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from transfusion_lib.errors import MeasureError
from transfusion_lib.stats.cases import Metric, over_cases
from transfusion_lib.stats.interval import Interval
from transfusion_lib.stats.seeds import share

Rate = Literal["sensitivity", "specificity"]


def threshold(truth: ArrayLike, chances: ArrayLike, *, aim: Rate, level: float) -> float:
    """Return the probability from which on a case counts as positive, so that ``aim`` reaches ``level`` on these cases.

    Of all that reach it, the one that is best for the other rate. It lies halfway between two probabilities, so that
    rounding moves no case over it; 0 makes every case positive, above 1 none is.
    """
    true, chance = np.asarray(truth).astype(bool), np.asarray(chances, np.float64)
    if true.all() or not true.any():
        raise MeasureError(f"an operating point needs cases of both kinds, got {true.sum()} positive of {len(true)}")
    values = np.unique(chance)
    candidates = np.concatenate([[0.0], (values[:-1] + values[1:]) / 2, [(values[-1] + 1.1) / 2]])
    mine = np.sort(chance[true == (aim == "sensitivity")])
    below = np.searchsorted(mine, candidates) / len(mine)
    found = candidates[(below if aim == "specificity" else 1 - below) >= level - 1e-12]
    return float(found[0] if aim == "specificity" else found[-1])


def rate(
    rate: Rate,
    truth: ArrayLike,
    chances: ArrayLike,
    *,
    at: float,
    generator: np.random.Generator,
    units: Sequence[Hashable] | None = None,
    repeats: int = 500,
) -> Interval:
    """Return sensitivity or specificity at the threshold ``at``, with its 95 % interval over cases, or over ``units``.

    Clopper and Pearson's interval for independent cases. With units it is a bootstrap of units; where no case is
    wrong, or none right, Clopper and Pearson's for as many cases as there are units.
    """
    true, chance = np.asarray(truth).astype(bool), np.asarray(chances, np.float64)
    mine = true if rate == "sensitivity" else ~true
    found = _rate(true, chance, rate=rate, at=at)
    if units is not None and 0 < found < 1:
        metric: Metric = lambda some, values: _rate(some.astype(bool), values, rate=rate, at=at)  # noqa: E731
        return over_cases(metric, true, chance, units=units, generator=generator, repeats=repeats)
    n = int(mine.sum()) if units is None else len({unit for unit, is_mine in zip(units, mine, strict=True) if is_mine})
    if not n:
        raise MeasureError(f"{rate} needs {'positive' if rate == 'sensitivity' else 'negative'} cases")
    return share(round(found * n), n, what_varies="test case")


def _rate(true: NDArray[np.bool_], chance: NDArray[np.float64], *, rate: Rate, at: float) -> float:
    """Return the share of the positive cases above, or of the negative ones below a threshold; NaN without any."""
    right = chance[true] >= at if rate == "sensitivity" else chance[~true] < at
    return float(right.mean()) if len(right) else float("nan")
