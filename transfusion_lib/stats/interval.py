"""An estimate with its interval, and the distributions behind it."""

import math
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from transfusion_lib.errors import MeasureError

Vector = NDArray[np.float64]
Varies = Literal[
    "seed",
    "test case",
    "seed and test case",
    "draw of the split and seed",
    "draw of the split, seed and test case",
    "network",
    "task",
    "data set",
    "point",
    "repeat",
    "nothing",
]
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
        tail = (1 - proper_share(level, "level")) / 2
        if self.scale == "proportion":
            low, high = _clopper_pearson(round(self.estimate * self.n), self.n, tail)
        else:
            half, centre = t_quantile(1 - tail, self.df) * self.se, self._on_scale(self.estimate)
            low, high = (_from_scale(self.scale, centre + sign * half) for sign in (-1, 1))
        return replace(self, low=min(low, self.estimate), high=max(high, self.estimate), level=level)

    def p_above(self, value: float = 0.0) -> float:
        """Return the one-sided p value against the truth being at most ``value``."""
        if self.scale == "proportion":
            return _binomial_tail(round(self.estimate * self.n), self.n, value)
        return t_tail(self._on_scale(self.estimate) - self._on_scale(value), self.se, self.df)

    def p_below(self, value: float = 0.0) -> float:
        """Return the one-sided p value against the truth being at least ``value``."""
        if self.scale == "proportion":
            return _binomial_tail(self.n - round(self.estimate * self.n), self.n, 1 - value)
        return t_tail(self._on_scale(value) - self._on_scale(self.estimate), self.se, self.df)

    def p_differs(self, value: float = 0.0) -> float:
        """Return the two-sided p value against the truth being ``value``."""
        return min(1.0, 2 * min(self.p_above(value), self.p_below(value)))

    def p_equivalent(self, margin: float) -> float:
        """Return the p value of the two one-sided tests against the truth being ``margin`` or more from 0 (TOST)."""
        if margin <= 0:
            raise MeasureError(f"an equivalence margin is positive, got {margin}")
        return max(self.p_above(-margin), self.p_below(margin))

    def __str__(self) -> str:
        """Say it in words: the estimate, its interval, and what another sample would change."""
        return (
            f"{self.estimate:.4g} ({self.low:.4g} to {self.high:.4g}, {self.level:.0%} interval; "
            f"{self.what_varies} varies, n = {self.n})"
        )

    def _repr_html_(self) -> str:
        return f"<b>{self.estimate:.4g}</b> {str(self).partition(' ')[2]}"

    def _on_scale(self, value: float) -> float:
        if self.scale == "log":
            return math.log(value)
        if self.scale == "squared correlation":
            return math.atanh(min(math.sqrt(value), 1 - 1e-12))
        if self.scale == "rank correlation":  # half a step below a perfect order, where Fisher's z is infinite
            return math.atanh(math.copysign(min(abs(value), 1 - 6 / (self.n * (self.n**2 - 1))), value))
        return value


def interval(estimate: float, se: float, *, df: float, level: float, n: int, varies: Varies) -> Interval:
    """Return a linear interval from a standard error, symmetric at ``level``."""
    wide = Interval(estimate=estimate, low=estimate, high=estimate, what_varies=varies, n=int(n), se=se, df=df)
    return wide.at(level)


def satterthwaite(parts: NDArray[np.float64], df: NDArray[np.float64] | NDArray[np.int64]) -> float:
    """Return the degrees of freedom of a sum of independent variances."""
    total = parts.sum()
    if total == 0:
        return float(np.sum(df))
    return float(total**2 / np.sum(parts**2 / df))


def t_quantile(share: float, df: float) -> float:
    """Return the quantile of Student's t, of the normal for infinite ``df``."""
    from scipy.special import ndtri, stdtrit

    return float(ndtri(share) if math.isinf(df) else stdtrit(df, share))


def t_tail(distance: float, se: float, df: float) -> float:
    """Return the probability of a t variable above ``distance / se``."""
    from scipy.special import ndtr, stdtr

    if se == 0:
        return 0.0 if distance > 0 else 1.0
    t = distance / se
    return float(ndtr(-t) if math.isinf(df) else stdtr(df, -t))


def vector(values: ArrayLike, name: str, *, least: int = 1) -> Vector:
    """Return finite float64 numbers (n,), at least ``least`` of them; ``name`` is for the error."""
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or len(array) < least:
        raise MeasureError(f"{name}: need one row of at least {least} numbers, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise MeasureError(f"{name}: {int((~np.isfinite(array)).sum())} of {len(array)} are NaN or infinite")
    return array


def proper_share(value: float, name: str) -> float:
    """Return ``value`` if it lies strictly between 0 and 1."""
    if not 0 < value < 1:
        raise MeasureError(f"{name} lies between 0 and 1, got {value}")
    return value


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


def midranks(values: Vector) -> Vector:
    """Return the ranks from 1, those of equal values their mean."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    middle: Vector = (last - (counts - 1) / 2)[place]
    return middle
