"""Statistics against golden values, exact formulas, and the coverage they promise."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from transfusion_lib import stats
from transfusion_lib.errors import MeasureError
from transfusion_lib.stats import Interval, Time

# 113 patients with subarachnoid haemorrhage (Turck et al. 2010), as in the R package pROC (aSAH): first 72 of good,
# then 41 of poor outcome. S100beta in ug/l, and the WFNS grade.
S100B = (
    0.13,
    0.14,
    0.1,
    0.04,
    0.47,
    0.18,
    0.1,
    0.1,
    0.04,
    0.08,
    0.04,
    0.09,
    0.11,
    0.07,
    0.17,
    0.07,
    0.11,
    0.13,
    0.19,
    0.05,
    0.16,
    0.14,
    0.34,
    0.09,
    0.5,
    0.46,
    0.16,
    0.07,
    0.43,
    0.45,
    0.11,
    0.08,
    0.09,
    0.08,
    0.06,
    0.13,
    0.1,
    0.14,
    0.15,
    0.06,
    0.05,
    0.09,
    0.04,
    0.09,
    0.08,
    0.16,
    0.09,
    0.08,
    0.33,
    0.11,
    0.28,
    0.07,
    0.1,
    0.32,
    0.07,
    0.05,
    0.24,
    0.38,
    0.1,
    0.15,
    0.08,
    0.14,
    0.1,
    0.07,
    0.04,
    0.19,
    0.15,
    0.47,
    0.17,
    0.15,
    0.5,
    0.48,
    0.13,
    0.1,
    0.16,
    0.12,
    0.44,
    0.71,
    0.49,
    0.07,
    0.33,
    0.09,
    0.07,
    0.41,
    0.35,
    0.48,
    0.96,
    0.25,
    0.86,
    0.52,
    2.07,
    0.07,
    0.77,
    0.3,
    0.03,
    0.09,
    0.23,
    0.7,
    0.27,
    0.71,
    0.08,
    0.26,
    0.13,
    0.1,
    0.11,
    0.22,
    0.56,
    0.14,
    0.58,
    0.32,
    0.82,
    0.74,
    0.44,
)
WFNS = (
    "11115122122111212113414155112411221212211112121132421411542211131224411132455552521254425552525245441442255225555"
)
POOR = np.repeat([0, 1], [72, 41])
GRADE = np.array(list(WFNS), float)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def covers(found: Interval, truth: float) -> bool:
    return found.low <= truth <= found.high


# DeLong


def test_delong_golden_value() -> None:
    found = stats.delong(POOR, S100B)
    assert found.estimate == pytest.approx(0.7313686, abs=5e-8)
    assert (round(found.low, 4), round(found.high, 4)) == (0.6301, 0.8326)  # pROC: 95% CI: 0.6301-0.8326 (DeLong)
    assert found.what_varies == "test case"


def test_delong_paired_golden_value() -> None:
    found = stats.delong_difference(POOR, GRADE, S100B)  # pROC's own tests: roc.test(r.wfns, r.s100b)
    assert found.estimate / found.se == pytest.approx(2.20898359144091, rel=1e-12)
    assert found.p_differs() == pytest.approx(0.0271757822291882, rel=1e-10)
    assert (found.low, found.high) == pytest.approx((0.0104061769564846, 0.174214419249478), rel=1e-10)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=4, max_size=40))
def test_auroc_and_auprc_agree_with_scikit_learn_ties_included(cases: list[tuple[bool, int]]) -> None:
    labels, scores = np.array(cases, float).T
    if len(set(labels)) == 2:
        assert stats.auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
        assert stats.auprc(labels, scores) == pytest.approx(average_precision_score(labels, scores))


def test_delong_of_perfect_separation_is_no_point() -> None:
    labels = np.repeat([0, 1], [50, 20])
    perfect = stats.delong(labels, labels)
    assert (perfect.estimate, perfect.high) == (1, 1)
    assert perfect.low == pytest.approx(0.025 ** (1 / 20))
    reverse = stats.delong(labels, -labels)
    assert (reverse.low, reverse.high) == pytest.approx((0, 1 - 0.025 ** (1 / 20)))


def test_delong_coverage() -> None:
    generator, labels = rng(1), np.repeat([0, 1], [60, 40])
    truth = 0.5 * math.erfc(-1 / 2)  # AUROC of normals 1 apart: Phi(1 / sqrt(2))
    hits = [covers(stats.delong(labels, generator.normal(labels)), truth) for _ in range(800)]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.025)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 0, 0], [1, 2, 3], "both classes"),
        ([0, 1, 2], [1, 2, 3], "0 or 1"),
        ([0, 1], [1, 2, 3], "same cases"),
        ([0, 1, 1], [1, 2, math.nan], "NaN"),
        ([0, 1, 1], [1, 3, 2.0], None),
        ([0, 1, 1], [1, 1, 2.0], "at least 2 cases of each class"),
    ],
)
def test_delong_of_hostile_input(labels: Any, scores: Any, message: str | None) -> None:
    if message is None:
        assert stats.delong(labels, scores).estimate == 1
    else:
        with pytest.raises(MeasureError, match=message):
            stats.delong(labels, scores)


# Bootstrap over cases


def test_bootstrap_agrees_with_delong_and_is_seeded() -> None:
    first, second = (stats.over_cases(stats.auroc, POOR, S100B, generator=rng(3), repeats=600) for _ in range(2))
    assert first == second
    delong = stats.delong(POOR, S100B)
    assert first.estimate == pytest.approx(delong.estimate)
    assert (first.low, first.high, first.se) == pytest.approx((delong.low, delong.high, delong.se), abs=0.015)
    paired = stats.over_cases(stats.auroc, POOR, GRADE, minus=S100B, generator=rng(3), repeats=600)
    exact = stats.delong_difference(POOR, GRADE, S100B)
    assert (paired.low, paired.high) == pytest.approx((exact.low, exact.high), abs=0.015)


def test_bootstrap_by_units_sees_that_copies_add_nothing() -> None:
    labels, scores, units = np.repeat(POOR, 4), np.repeat(S100B, 4), np.repeat(np.arange(113), 4)
    naive = stats.over_cases(stats.auroc, labels, scores, generator=rng(1), repeats=200)
    by_unit = stats.over_cases(stats.auroc, labels, scores, units=units.tolist(), generator=rng(1), repeats=200)
    single = stats.over_cases(stats.auroc, POOR, S100B, generator=rng(1), repeats=200)
    assert naive.se == pytest.approx(single.se / 2, rel=0.2)
    assert by_unit.se == pytest.approx(single.se, rel=0.2)
    assert by_unit.n == 113


def test_bootstrap_of_a_rare_class_by_units_draws_again() -> None:
    labels, units = np.array([1, 0, 0, 0, 0, 0]), list("abcdef")
    found = stats.over_cases(stats.auroc, labels, [3, 1, 2, 4, 0, 1], units=units, generator=rng(1), repeats=50)
    assert 0 <= found.low <= found.estimate <= found.high <= 1
    with pytest.raises(MeasureError, match="too few of a class"):
        stats.over_cases(lambda labels, scores: math.nan, labels, labels, generator=rng(1), repeats=5)


# Over seeds


def test_interval_over_seeds_is_students() -> None:
    found = stats.over_seeds([1.0, 2.0, 4.0])
    assert found.estimate == pytest.approx(7 / 3)
    assert found.high - found.estimate == pytest.approx(4.302652729911275 * np.std([1, 2, 4], ddof=1) / math.sqrt(3))
    assert found.se * math.sqrt(3) == pytest.approx(np.std([1, 2, 4], ddof=1))
    assert (found.n, found.df, found.what_varies) == (3, 2, "seed")


def test_difference_is_welchs_test() -> None:
    from scipy.stats import ttest_ind

    a, b = [0.9, 0.91, 0.93, 0.95], [0.85, 0.9, 0.8]
    found, peer = stats.difference(a, b), ttest_ind(a, b, equal_var=False)
    assert found.p_differs() == pytest.approx(peer.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(peer.confidence_interval(0.95)))
    assert found.df == pytest.approx(peer.df)


def test_a_contrast_is_a_difference_of_differences() -> None:
    found = stats.contrast([[5.0, 5.2], [3.0, 3.2], [4.0, 4.2], [3.5, 3.7]], [1, -1, -1, 1])
    assert found.estimate == pytest.approx(1.5)
    assert found.se == pytest.approx(math.sqrt(4 * 0.02 / 2))
    assert found.df == pytest.approx(4)


@pytest.mark.parametrize("seeds", [3, 8])
def test_coverage_over_seeds(seeds: int) -> None:
    generator = rng(seeds)
    groups = [generator.normal(0, [[sd]], (1000, seeds)) for sd in (1.0, 3.0)]
    over = [covers(stats.over_seeds(a), 0) for a in groups[1]]
    welch = [covers(stats.difference(a, b), 0) for a, b in zip(*groups, strict=True)]
    assert np.mean(over) == pytest.approx(0.95, abs=0.02)
    assert np.mean(welch) == pytest.approx(0.95, abs=0.02)


def test_coverage_over_seeds_and_cases() -> None:
    """Scores = case effect + seed effect on the separation: both kinds of error, one truth."""
    generator, labels, truth, hits, seeds_only = rng(0), np.repeat([0, 1], 30), 0.5 * math.erfc(-0.5), [], []
    for _ in range(60):
        cases, shift = generator.normal(0, math.sqrt(0.95), 60), generator.normal(1.0, 0.05, (3, 1))
        scores = labels * shift + cases + generator.normal(0, math.sqrt(0.05), (3, 60))
        found = stats.over_seeds_and_cases(stats.auroc, labels, scores, generator=generator, repeats=40)
        hits.append(covers(found, truth))
        seeds_only.append(covers(stats.over_seeds([stats.auroc(labels, run) for run in scores]), truth))
    assert np.mean(hits) > 0.87  # 0.94 of 400 such data sets, with 60 resamples
    assert np.mean(seeds_only) < 0.7  # another test set would differ by more than other seeds do
    assert found.what_varies == "seed and test case"


def test_difference_over_seeds_and_cases_keeps_the_pairing_of_cases() -> None:
    generator, labels = rng(8), np.repeat([0, 1], 50)
    cases = labels + generator.normal(0, 1, 100)
    a, b = (cases + generator.normal(0, 0.1, (3, 100)) for _ in range(2))
    paired = stats.over_seeds_and_cases(stats.auroc, labels, a, minus=b, generator=generator, repeats=100)
    alone = stats.over_seeds_and_cases(stats.auroc, labels, a, generator=generator, repeats=100)
    assert paired.se < alone.se / 3
    assert abs(paired.estimate) < 4 * paired.se


@pytest.mark.parametrize("call", [lambda: stats.over_seeds([1.0]), lambda: stats.difference([1.0, 2.0], [3.0])])
def test_one_seed_has_no_interval(call: Any) -> None:
    with pytest.raises(MeasureError, match="at least 2 numbers"):
        call()


# Tests


def test_equivalence_is_two_one_sided_tests() -> None:
    from statsmodels.stats.weightstats import ttost_ind

    a, b = [0.90, 0.91, 0.905, 0.91], [0.902, 0.909, 0.905, 0.904]
    found = stats.difference(a, b)
    assert found.p_equivalent(0.01) == pytest.approx(ttost_ind(a, b, -0.01, 0.01, usevar="unequal")[0])
    assert (found.p_equivalent(0.01) < 0.05) == (found.at(0.9).low > -0.01 and found.at(0.9).high < 0.01)
    with pytest.raises(MeasureError, match="positive"):
        found.p_equivalent(0)


def test_equivalence_rarely_errs_at_the_margin() -> None:
    generator = rng(2)
    at_margin = [(generator.normal(0.01, 0.004, 5), generator.normal(0, 0.004, 5)) for _ in range(1000)]
    passed = [stats.difference(a, b).p_equivalent(0.01) < 0.05 for a, b in at_margin]
    assert np.mean(passed) == pytest.approx(0.05, abs=0.02)


def test_holm_agrees_with_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    p = [0.01, 0.04, 0.03, 0.005, 0.5, 0.04]
    np.testing.assert_allclose(stats.holm(p), multipletests(p, method="holm")[1])
    assert stats.holm([0.9, 0.8]).max() == 1


def test_no_spread_gives_certainty_not_nan() -> None:
    same = stats.difference([0.5, 0.5], [0.4, 0.4])
    assert (same.p_above(), same.p_below(), same.p_equivalent(0.2)) == (0, 1, 0)
    assert (same.low, same.high) == pytest.approx((0.1, 0.1))


def test_share_is_clopper_and_pearsons() -> None:
    from scipy.stats import binomtest

    for successes, n in ((0, 5), (3, 7), (6, 6)):
        found, peer = stats.share(successes, n), binomtest(successes, n)
        interval = peer.proportion_ci(method="exact")
        assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
        assert found.p_above(0.5) == pytest.approx(binomtest(successes, n, 0.5, "greater").pvalue)
        assert found.p_below(0.5) == pytest.approx(binomtest(successes, n, 0.5, "less").pvalue)


def test_combine_refuses_what_does_not_add() -> None:
    seeds, cases = stats.over_seeds([1.0, 2.0]), stats.delong(POOR, S100B)
    with pytest.raises(MeasureError, match="vary alike"):
        stats.combine([seeds, cases], [1, -1])
    with pytest.raises(MeasureError, match="linear"):
        stats.combine([stats.ratio(seeds, seeds)] * 2, [1, -1])


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
def test_intervals_and_p_values_agree_on_every_scale(level: float) -> None:
    x, y = rng(1).normal(size=(2, 40))
    seeds = stats.over_seeds([2.0, 2.5, 2.2])
    for found in (
        seeds,
        stats.ratio(seeds, seeds),
        stats.spearman(x, x + y),
        stats.r_squared(x, x + y),
        stats.share(7, 9),
    ):
        at = found.at(level)
        assert at.estimate == found.estimate
        assert found.p_above(at.low) == pytest.approx((1 - level) / 2, rel=1e-6)
        assert found.p_below(at.high) == pytest.approx((1 - level) / 2, rel=1e-6)
    assert found.at(0.95) == found


# Time to a threshold


GRID = [0, 10, 20, 30, 40]


@pytest.mark.parametrize(
    ("scores", "consecutive", "expected"),
    [
        ([0.5, 0.9, 0.9, 0.9, 0.9], 2, (10, True)),
        ([0.5, 0.95, 0.5, 0.9, 0.9], 2, (30, True)),  # a single crossing is noise
        ([0.5, 0.95, 0.5, 0.9, 0.9], 1, (10, True)),
        ([0.9, 0.9, 0.5, 0.5, 0.5], 2, (0, True)),
        ([0.5, 0.5, 0.5, 0.5, 0.95], 2, (40, False)),  # the row is cut short
        ([0.5, 0.5, 0.5, 0.5, 0.95], 1, (40, True)),
        ([0.5, 0.5, 0.5, 0.5, 0.5], 2, (40, False)),
        ([0.9, 0.9, 0.9, 0.9, 0.9], 6, (40, False)),
    ],
)
def test_time_to_threshold(scores: list[float], consecutive: int, expected: tuple[float, bool]) -> None:
    found = stats.time_to_threshold(GRID, scores, threshold=0.9, consecutive=consecutive)
    assert (found.step, found.reached) == expected


def test_time_to_threshold_refuses_a_broken_curve() -> None:
    for steps, scores in (([0, 1], [0.5]), ([1, 0], [0.5, 0.5]), ([0, 1], [0.5, math.nan]), ([], [])):
        with pytest.raises(MeasureError):
            stats.time_to_threshold(steps, scores, threshold=0.9)


def test_restricted_mean_keeps_the_censored_run() -> None:
    times = [Time(step=100, reached=True), Time(step=200, reached=True), Time(step=400, reached=False)]
    found = stats.survival(times)
    assert (found.horizon, found.reached, found.mean.n) == (400, 2, 3)
    expected = stats.over_seeds([100, 200, 400])
    assert found.mean.estimate == pytest.approx(expected.estimate)
    assert (found.mean.low, found.mean.high) == pytest.approx((expected.low, expected.high))
    assert found.curve()["share"].loc[200.0] == pytest.approx(1 / 3)


def test_restricted_mean_is_the_area_under_the_kaplan_meier_curve() -> None:
    times = [Time(step=step, reached=step < 90) for step in (20, 40, 40, 70, 90, 90)]
    found = stats.survival(times)
    curve = found.curve()
    area = float((curve["share"].to_numpy()[:-1] * np.diff(curve.index.to_numpy(float))).sum())
    assert found.mean.estimate == pytest.approx(area)


def test_restricted_mean_at_a_shorter_horizon() -> None:
    times = [Time(step=100, reached=True), Time(step=200, reached=True), Time(step=400, reached=False)]
    assert stats.survival(times, horizon=150).mean.estimate == pytest.approx((100 + 150 + 150) / 3)
    assert stats.survival(times, horizon=150).reached == 1
    with pytest.raises(MeasureError, match="shorten the horizon"):
        stats.survival(times, horizon=500)
    with pytest.raises(MeasureError, match="at least 2 runs"):
        stats.survival(times[:1])


def test_seeds_that_share_an_evaluation_still_vary() -> None:
    times = [Time(step=100, reached=True)] * 3
    assert stats.survival(times, horizon=200).mean.se == 0
    assert stats.survival(times, horizon=200, grid=60).mean.se == pytest.approx(60 / math.sqrt(12 * 3))
    spread = [Time(step=step, reached=True) for step in (60, 120, 180)]
    assert stats.survival(spread, grid=60).mean.se == pytest.approx(stats.over_seeds([60, 120, 180]).se)


def test_all_runs_censored_or_immediate() -> None:
    never = stats.survival([Time(step=50, reached=False)] * 3, grid=10)
    assert (never.mean.estimate, never.mean.se, never.reached) == (50, 0, 0)
    at_once = stats.survival([Time(step=0, reached=True)] * 3, horizon=50)
    assert (at_once.mean.estimate, at_once.reached) == (0, 3)


def test_ratio_of_times() -> None:
    slow, fast = stats.over_seeds([100.0, 110, 90]), stats.over_seeds([50.0, 52, 48])
    found = stats.ratio(slow, fast)
    assert found.estimate == pytest.approx(2)
    assert 1.5 < found.low < 2 < found.high < 2.7
    with pytest.raises(MeasureError, match="positive"):
        stats.ratio(slow, stats.over_seeds([0.0, 0.0]))


def test_share_of_gain_is_fiellers() -> None:
    found = stats.share_of_gain([100.0, 101, 99], [60.0, 61, 59], [20.0, 21, 19])
    assert found.estimate == pytest.approx(0.5)
    assert 0.45 < found.low < 0.5 < found.high < 0.55
    unsure = stats.share_of_gain([100.0, 150, 50], [60.0, 90, 70], [95.0, 91, 99])
    assert (unsure.low, unsure.high) == (-math.inf, math.inf)


def test_share_of_gain_coverage() -> None:
    generator = rng(11)
    hits = []
    for _ in range(800):
        base, part, full = (generator.normal(mean, 10, 4) for mean in (100, 60, 50))
        hits.append(covers(stats.share_of_gain(base, part, full), 0.8))
    assert np.mean(hits) == pytest.approx(0.95, abs=0.02)


# Relations


def test_r_squared_of_independent_points() -> None:
    generator = rng(5)
    x = generator.normal(size=(400, 30))
    y = 0.7 * x + math.sqrt(1 - 0.49) * generator.normal(size=x.shape)
    found = [stats.r_squared(a, b) for a, b in zip(x, y, strict=True)]
    assert np.mean([covers(one, 0.49) for one in found]) == pytest.approx(0.95, abs=0.03)
    assert found[0].estimate == pytest.approx(np.corrcoef(x[0], y[0])[0, 1] ** 2)
    unrelated = stats.r_squared([-2, -1, 0, 1, 2], [4, 1, 0, 1, 4])
    assert (unrelated.estimate, unrelated.low) == (0, 0)
    assert unrelated.high > 0.5


def test_r_squared_of_pairs_of_networks_is_wider() -> None:
    """Each point is a pair of networks; what is shared lies in the networks, so 28 pairs are not 28 points."""
    generator, hits, naive = rng(6), [], []
    pairs = [(i, j) for i in range(8) for j in range(i)]
    for _ in range(200):
        u = generator.normal(size=8)
        v = 0.6 * u + 0.8 * generator.normal(size=8)
        x, y = (np.array([w[i] + w[j] for i, j in pairs]) for w in (u, v))
        hits.append(covers(stats.r_squared(x, y, pairs=pairs), 0.36))
        naive.append(covers(stats.r_squared(x, y), 0.36))
    assert np.mean(hits) > 0.9
    assert np.mean(naive) < 0.75


def test_spearman_agrees_with_scipy_and_covers() -> None:
    from scipy.stats import spearmanr

    generator = rng(9)
    x = generator.normal(size=(400, 12))
    y = x + generator.normal(size=x.shape)
    found = [stats.spearman(a, b) for a, b in zip(x, y, strict=True)]
    assert found[0].estimate == pytest.approx(spearmanr(x[0], y[0]).statistic)
    truth = 6 / math.pi * math.asin(math.sqrt(0.5) / 2)  # of a bivariate normal with correlation sqrt(1/2)
    assert np.mean([covers(one, truth) for one in found]) == pytest.approx(0.95, abs=0.03)


def test_spearman_of_a_perfect_order_is_no_point() -> None:
    found = stats.spearman([1, 2, 3, 4, 5, 6], [10, 20, 30, 40, 50, 60])
    assert found.estimate == found.high == 1
    assert 0.5 < found.low < 0.95
    assert found.at(0.5).low > found.low
    assert 0.001 < found.p_above(0) < 0.05
    reverse = stats.spearman([1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1])
    assert (reverse.low, reverse.high) == pytest.approx((-1, -found.low))


def test_trend_agrees_with_scipy() -> None:
    from scipy.stats import linregress

    x, y = [0.0, 1, 2, 3, 5], [1.0, 1.9, 3.2, 4.1, 5.5]
    found, peer = stats.trend(x, y), linregress(x, y)
    assert (found.estimate, found.se) == pytest.approx((peer.slope, peer.stderr))
    assert found.p_differs() == pytest.approx(peer.pvalue)


@pytest.mark.parametrize(
    "call",
    [
        lambda: stats.r_squared([1, 2, 3, 4], [1, 1, 1, 1]),
        lambda: stats.spearman([1, 2, 3], [1, 2, 3]),
        lambda: stats.trend([1, 1, 1], [1, 2, 3]),
        lambda: stats.contrast([[1, 2], [3, 4]], [1]),
        lambda: stats.holm([[0.1]]),
        lambda: stats.over_seeds([1, 2], level=95),
        lambda: stats.r_squared([1, 2, 3, 4], [2, 1, 3, 4], pairs=[(0, 1), (0, 2), (1, 2), (1, 0)]),
    ],
)
def test_undefined_requests_are_errors(call: Any) -> None:
    with pytest.raises(MeasureError):
        call()
