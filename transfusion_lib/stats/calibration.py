"""Whether a probability of 0.8 comes true eight times in ten: reliability curve, Brier score, calibration error."""

from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from transfusion_lib.errors import MeasureError
from transfusion_lib.stats.cases import over_cases
from transfusion_lib.stats.interval import Interval

Array = NDArray[np.float64]
BINS, LEAST = 10, 10
"""Bins of equally many cases, so that every one can be judged; fewer where they would hold fewer than so many."""


def reliability(truth: ArrayLike, chances: ArrayLike, *, bins: int = BINS) -> Array:
    """Return the reliability curve, a row per bin: mean probability, share that came true, number of cases.

    ``truth`` (n,) is 0 or 1, ``chances`` (n,) its probabilities. Bins hold equally many cases; equal probabilities lie
    in one bin, and a bin that would be empty is left out.
    """
    true, chance = _checked(truth, chances)
    place = _bins(chance, bins)
    count = np.bincount(place)
    return np.stack([np.bincount(place, chance) / count, np.bincount(place, true) / count, count], axis=1)


def brier(truth: NDArray[np.generic], chances: Array) -> float:
    """Return the Brier score of probabilities (n,): 0 is perfect, 0.25 is what 0.5 for every case has."""
    return float(np.mean((chances - np.asarray(truth, np.float64)) ** 2))


def plain_ece(truth: NDArray[np.generic], chances: Array) -> float:
    """Return by how much the bins of ``reliability`` miss, weighted by their cases: the ECE as it is mostly printed.

    Chance alone makes it larger than 0, the more the fewer cases; ``ece`` takes that off.
    """
    chance, true, count = reliability(truth, chances).T
    return float(np.abs(chance - true) @ count / count.sum())


def ece(
    truth: ArrayLike,
    chances: ArrayLike,
    *,
    generator: np.random.Generator,
    units: Sequence[Hashable] | None = None,
    repeats: int = 500,
) -> Interval:
    """Return the expected calibration error less what chance adds to it, with its 95 % interval over cases or units.

    It is the error, alike in every bin, that gives the plain ECE on average with the noise of these bins: a gap d with
    noise s shows as the mean of a folded normal. A resample has that noise twice.
    """
    true, chance = _checked(truth, chances)
    cases = range(len(true)) if units is None else units  # not within each class: how common it is counts here
    codes = np.unique([str(case) for case in cases], return_inverse=True)[1]
    place, count = (where := _bins(chance, BINS)), np.bincount(where)
    gap = true - chance - (np.bincount(place, true - chance) / count)[place]
    pairs = np.unique(np.stack([place, codes]), axis=1, return_inverse=True)
    sums = np.bincount(pairs[1].ravel(), gap)  # of a unit's cases in one bin, which may go wrong together
    noise = np.sqrt(np.bincount(pairs[0][0], sums**2)) / count
    errors = np.linspace(0, 1, 501)
    once, twice = (_folded(errors, noise * factor) @ count / count.sum() for factor in (1, np.sqrt(2)))
    found = over_cases(
        lambda some, values: float(np.interp(plain_ece(some, values), twice, errors)),
        true,
        chance,
        units=cases,
        generator=generator,
        repeats=repeats,
    )
    estimate = float(np.interp(plain_ece(true, chance), once, errors))
    return replace(found, estimate=estimate, low=min(found.low, estimate), high=max(found.high, estimate))


def _bins(chance: Array, bins: int) -> NDArray[np.intp]:
    """Return the bin of each probability, from 0 on, none empty."""
    bins = max(1, min(bins, len(chance) // LEAST))
    edges = np.quantile(chance, np.linspace(0, 1, bins + 1)[1:-1], method="inverted_cdf")
    return np.unique(np.searchsorted(edges, chance), return_inverse=True)[1]


def _folded(errors: Array, noise: Array) -> Array:
    """Return the mean size (errors, bins) of a gap of each error that is seen with each noise."""
    from scipy.special import ndtr

    gap, sd = errors[:, None], np.maximum(noise, 1e-9)
    found: Array = sd * np.sqrt(2 / np.pi) * np.exp(-((gap / sd) ** 2) / 2) + gap * (1 - 2 * ndtr(-gap / sd))
    return found


def _checked(truth: ArrayLike, chances: ArrayLike) -> tuple[Array, Array]:
    true, chance = np.asarray(truth, np.float64), np.asarray(chances, np.float64)
    if true.shape != chance.shape or true.ndim != 1 or not len(true):
        raise MeasureError(f"calibration needs a probability for each case, got {true.shape} and {chance.shape}")
    if not (np.isin(true, (0, 1)).all() and (chance >= 0).all() and (chance <= 1).all()):
        raise MeasureError("calibration needs labels 0 or 1 and probabilities from 0 to 1")
    return true, chance
