"""Calibration and operating points: known answers, planted miscalibration, intervals that cover."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.metrics import brier_score_loss, roc_curve

from transfusion_lib.errors import MeasureError
from transfusion_lib.stats import auroc, over_cases
from transfusion_lib.stats.calibration import brier, ece, plain_ece, reliability
from transfusion_lib.stats.decisions import rate, threshold

Array = NDArray[np.float64]


def planted(n: int, shift: float, *, seed: int, per: int = 1) -> tuple[NDArray[np.bool_], Array, list[int]]:
    """Return labels, probabilities that are ``shift`` too high everywhere, and units of ``per`` cases."""
    rng = np.random.default_rng(seed)
    unit = np.repeat(np.arange(n // per), per)
    true = np.repeat(rng.uniform(0.2, 0.8, n // per), per)
    shared, own = np.repeat(rng.random(n // per), per), rng.random(len(unit))
    labels = np.where(rng.random(len(unit)) < 0.8, shared, own) < true
    return labels, true + shift, unit.tolist()


def test_the_reliability_curve_is_the_shares_of_its_bins() -> None:
    chances = np.repeat([0.1, 0.3, 0.9], [10, 20, 10])
    labels = np.concatenate([np.arange(10) < 2, np.arange(20) < 6, np.arange(10) < 9])
    curve = reliability(labels, chances, bins=4)
    assert curve == pytest.approx(np.array([[0.1, 0.2, 10], [0.3, 0.3, 20], [0.9, 0.9, 10]]))
    assert plain_ece(labels, chances) == pytest.approx(0.1 * 10 / 40)
    assert brier(labels, chances) == pytest.approx(brier_score_loss(labels, chances))


@pytest.mark.parametrize("shift", [0.05, 0.1, -0.15])
def test_planted_miscalibration_is_measured(shift: float) -> None:
    labels, chances, _ = planted(4000, shift, seed=1)
    found = ece(labels, chances, generator=np.random.default_rng(0), repeats=200)
    assert found.estimate == pytest.approx(abs(shift), abs=0.02)
    assert found.low <= abs(shift) <= found.high


def test_what_chance_adds_is_taken_off() -> None:
    """The plain error of calibrated probabilities is far from 0 on few cases; the mean of the estimate is not."""
    plain, estimates = [], []
    for seed in range(40):
        labels, chances, _ = planted(200, 0.0, seed=seed)
        plain.append(plain_ece(labels, chances))
        estimates.append(ece(labels, chances, generator=np.random.default_rng(0), repeats=2).estimate)
    assert np.mean(plain) > 0.07
    assert np.mean(estimates) < np.mean(plain) / 2


@pytest.mark.parametrize(("shift", "per"), [(0.0, 1), (0.1, 1), (0.0, 4), (0.1, 4)])
def test_intervals_of_the_calibration_error_cover(shift: float, per: int) -> None:
    covered = 0
    for seed in range(40):
        labels, chances, units = planted(400, shift, seed=seed, per=per)
        found = ece(
            labels, chances, units=units if per > 1 else None, generator=np.random.default_rng(seed), repeats=100
        )
        covered += found.low <= shift <= found.high
    assert covered >= 34, "of 40; with 95 % fewer than 34 come once in 600 times"


def test_clustered_intervals_cover_and_plain_ones_do_not() -> None:
    """Four images of each of 60 patients, who differ: the AUROC between patients is known."""
    between, within, distance = 1.0, 0.5, 1.2
    truth = norm.cdf(distance / math.sqrt(2 * (between**2 + within**2)))
    covered = {"clustered": 0, "plain": 0}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        unit = np.repeat(np.arange(60), 4)
        labels = unit % 2
        scores = distance * labels + np.repeat(rng.normal(0, between, 60), 4) + rng.normal(0, within, 240)
        for name, units in (("clustered", unit.tolist()), ("plain", None)):
            found = over_cases(auroc, labels, scores, units=units, generator=rng, repeats=150)
            covered[name] += found.low <= truth <= found.high
    assert covered["clustered"] >= 52, "of 60"
    assert covered["plain"] <= 48


def test_thresholds_are_those_of_the_roc_curve() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random(300) < 0.4
    chances = (0.3 * labels + rng.random(300) * 0.7).round(2)
    false_alarms, hits, _ = roc_curve(labels, chances)
    for level in (0.5, 0.8, 0.9, 0.99):
        at = threshold(labels, chances, aim="specificity", level=level)
        assert (chances[~labels] < at).mean() >= level
        assert (chances[labels] >= at).mean() == pytest.approx(hits[1 - false_alarms >= level].max())
        at = threshold(labels, chances, aim="sensitivity", level=level)
        assert (chances[labels] >= at).mean() >= level
        assert (chances[~labels] < at).mean() == pytest.approx((1 - false_alarms)[hits >= level].max())
    with pytest.raises(MeasureError, match="cases of both kinds"):
        threshold([1, 1], [0.2, 0.3], aim="specificity", level=0.9)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=2, max_size=30), st.integers(50, 99))
def test_a_threshold_survives_rounding(cases: list[tuple[bool, float]], level: int) -> None:
    """No probability lies on it, so that the last digit of another machine moves no case."""
    labels, chances = np.array([one for one, _ in cases]), np.array([one for _, one in cases]).round(4)
    if labels.all() or not labels.any():
        return
    at = threshold(labels, chances, aim="sensitivity", level=level / 100)
    assert at == 0 or np.abs(chances - at).min() > 1e-5


def test_rates_have_exact_intervals_and_clustered_ones() -> None:
    labels = np.repeat([1, 0], 20)
    chances = np.where(labels == 1, 0.9, 0.1)
    perfect = rate("sensitivity", labels, chances, at=0.5, generator=np.random.default_rng(0))
    assert (perfect.estimate, perfect.high) == (1.0, 1.0)
    assert perfect.low == pytest.approx(0.025 ** (1 / 20))
    few = rate(
        "sensitivity", labels, chances, at=0.5, units=[k // 5 for k in range(40)], generator=np.random.default_rng(0)
    )
    assert few.low == pytest.approx(0.025 ** (1 / 4)), "four patients, however many images"
    chances[:5] = 0.1
    mixed = rate(
        "sensitivity", labels, chances, at=0.5, units=[k // 5 for k in range(40)], generator=np.random.default_rng(0)
    )
    plain = rate("sensitivity", labels, chances, at=0.5, generator=np.random.default_rng(0))
    assert mixed.estimate == plain.estimate == 0.75
    assert mixed.high - mixed.low > 1.5 * (plain.high - plain.low)
