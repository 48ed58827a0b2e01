"""Statistics of the judge against known answers: metafor's example, the plan's table of seeds, whole bootstraps."""

import math

import numpy as np
import pytest

from transfusion_lib import stats
from transfusion_lib.errors import MeasureError
from transfusion_lib.stats import Scored

# BCG vaccine, log risk ratios and their variances, as metafor's README prints them (13 trials).
BCG = (
    (-0.8893, -1.5854, -1.3481, -1.4416, -0.2175, -0.7861, -1.6209, 0.0120, -0.4694, -1.3713, -0.3394, 0.4459, -0.0173),
    (0.3256, 0.1946, 0.4154, 0.0200, 0.0512, 0.0069, 0.2230, 0.0040, 0.0564, 0.0730, 0.0124, 0.5325, 0.0714),
)


def effects(y: tuple[float, ...], v: tuple[float, ...]) -> list[stats.Interval]:
    """Intervals with these estimates and variances."""
    return [
        stats.Interval(estimate=a, low=a, high=a, what_varies="seed", n=10, se=math.sqrt(b), df=9)
        for a, b in zip(y, v, strict=True)
    ]


def test_random_effects_give_the_numbers_that_metafor_prints() -> None:
    """``rma(yi, vi, test="knha")``: -0.7145, se 0.1808, tau^2 0.3132, -1.1084 to -0.3206; prediction 0.14 to 1.76."""
    mean, se, tau2 = stats.random_effects(*BCG, floor=False)
    assert (round(float(mean), 4), round(float(se), 4)) == (-0.7145, 0.1808)
    assert tau2 == pytest.approx(0.3132, abs=1e-4)
    found = stats.pooled(effects(*BCG))
    assert (found.mean.low, found.mean.high) == pytest.approx((-1.1084, -0.3206), abs=1e-4)
    assert found.predicted is not None
    assert [round(math.exp(end), 2) for end in (found.predicted.low, found.predicted.high)] == [0.14, 1.76]
    assert (found.tasks, found.mean.df, found.mean.what_varies) == (13, 12, "task")


def test_sets_are_pooled_one_by_one() -> None:
    """Leading axes are separate sets: the same numbers as alone."""
    y, v = np.array(BCG[0]), np.array(BCG[1])
    together = stats.random_effects(np.stack([y, y[::-1] / 2]), np.stack([v, v[::-1]]))
    for row, (one, other) in enumerate(((y, v), (y[::-1] / 2, v[::-1]))):
        alone = stats.random_effects(one, other)
        assert [part[row] for part in together] == pytest.approx([float(part) for part in alone])


def test_tasks_that_happen_to_agree_do_not_narrow_the_interval() -> None:
    """Hartung and Knapp's own interval would be far narrower than any of the three tasks allows."""
    v = (1e-4, 1e-4, 1e-4)
    _, plain, _ = stats.random_effects((0.0100, 0.0101, 0.0099), v, floor=False)
    _, floored, tau2 = stats.random_effects((0.0100, 0.0101, 0.0099), v)
    assert tau2 == 0
    assert float(floored) == pytest.approx(math.sqrt(1e-4 / 3))
    assert float(plain) < float(floored) / 50


def test_two_tasks_give_their_own_average_and_no_prediction() -> None:
    """One degree of freedom would decide nothing, so two tasks speak for themselves alone."""
    found = stats.pooled(effects((0.01, 0.03), (1e-4, 1e-4)))
    assert found.mean.estimate == pytest.approx(0.02)
    assert found.mean.se == pytest.approx(math.sqrt(2e-4) / 2)
    assert found.predicted is None


@pytest.mark.parametrize(
    ("sd", "equivalence", "non_inferiority"),
    [(0.004, [6, 4, 3], 5), (0.006, [11, 6, 4], 9), (0.010, [27, 13, 8], 23)],
)
def test_the_plans_table_of_seeds_is_reproduced(sd: float, equivalence: list[int], non_inferiority: int) -> None:
    """Seeds an arm for 90 % power, margins 0.01, 0.015 and 0.02, and non-inferiority by 0.01."""
    assert [stats.runs_needed(sd=sd, margin=margin) for margin in (0.01, 0.015, 0.02)] == equivalence
    assert stats.runs_needed(sd=sd, margin=0.01, kind="non-inferiority") == non_inferiority


def test_power_is_that_of_the_noncentral_t() -> None:
    """A one-sided test's power has a closed form."""
    from scipy.stats import nct, t

    for df, shift in ((5, 3.0), (18, 2.2), (40, 0.0)):
        exact = nct.sf(t.ppf(0.975, df), df, shift)
        assert stats.power(effect=shift, se=1.0, df=df, low=0.0) == pytest.approx(exact, abs=5e-4)


def test_an_effect_on_the_margin_needs_more_runs_than_anyone_makes() -> None:
    """It is said so instead of searched for."""
    with pytest.raises(MeasureError, match="too near the margin"):
        stats.runs_needed(sd=0.01, margin=0.01, effect=0.0099)


def test_the_resampled_variance_is_nadeau_and_bengios() -> None:
    """(1 / n + n_test / n_train) s^2 for 80 training and 20 test images; without shared images s^2 / n."""
    values = np.array([0.81, 0.83, 0.80, 0.85, 0.82])
    found = stats.over_draws(values, shared=20 / 100)
    assert found.interval.se**2 == pytest.approx(values.var(ddof=1) * (1 / 5 + 20 / 80))
    assert found.interval.df == 4
    assert stats.over_draws(values, shared=0.0).interval.se == pytest.approx(stats.over_seeds(values).se)
    half = stats.over_draws(values, shared=0.2, of_draw=0.5).interval.se ** 2
    assert half == pytest.approx(values.var(ddof=1) * (1 / 5 + 0.5 * 20 / 80))


def test_an_official_split_needs_its_test_cases() -> None:
    """All runs share all test images: their spread says nothing of other images."""
    with pytest.raises(MeasureError, match="give their test cases"):
        stats.over_draws([0.8, 0.81, 0.82], shared=1.0)


def test_the_plain_variance_of_overlapping_draws_is_too_small_and_the_corrected_one_is_not() -> None:
    """Mean of image effects over ten draws of 400 from a pool of 1,000: errors against a truth of 0, of 600 studies."""
    generator = np.random.default_rng(3)
    plain = corrected = by_cases = 0
    studies = 600
    for _ in range(studies):
        images = generator.normal(0, 1, 1000)
        draws = [generator.permutation(1000)[:400] for _ in range(10)]
        values = np.array([images[draw].mean() for draw in draws]) + generator.normal(0, 0.02, 10)
        tested = [Scored(scores=images[draw], labels=None, units=draw.tolist()) for draw in draws]
        plain += stats.over_seeds(values).p_differs() < 0.05
        corrected += stats.over_draws(values, shared=0.4).interval.p_differs() < 0.05
        by_cases += stats.over_draws_and_cases(values, [tested], [1.0]).interval.p_differs() < 0.05
    counts = f"plain {plain}, Nadeau and Bengio {corrected}, test cases {by_cases}"
    print(f"errors of {studies}, 30 promised: {counts}")  # noqa: T201
    assert plain > 120
    assert corrected <= 52  # 99.99 % of the binomial
    assert 10 <= by_cases <= 52


def test_influences_give_the_variance_of_a_bootstrap_of_whole_patients() -> None:
    """Two eyes of each of 150 patients, two arms on the same images, AUROC: as ``over_cases`` with units gives."""
    generator = np.random.default_rng(4)
    patients = np.repeat(np.arange(150), 2)
    labels = (generator.random(150) < 0.4)[patients].astype(int)
    common = generator.normal(0, 1, 150)[patients]
    a = labels + common + generator.normal(0, 0.5, 150)[patients]
    b = 0.8 * labels + common + generator.normal(0, 0.5, 150)[patients]
    whole = stats.over_cases(
        stats.auroc, labels, a, minus=b, units=patients.tolist(), generator=np.random.default_rng(5), repeats=1500
    )
    tested = [[Scored(scores=arm, labels=labels, units=patients.tolist())] * 3 for arm in (a, b)]
    value = stats.auroc(labels, a) - stats.auroc(labels, b)
    found = stats.over_draws_and_cases([value, value + 1e-9, value - 1e-9], tested, [1.0, -1.0])
    assert math.sqrt(found.of_images) == pytest.approx(whole.se, rel=0.08)
    images = [[Scored(scores=arm, labels=labels, units=range(300))] * 3 for arm in (a, b)]
    assert stats.over_draws_and_cases([0.0, 1e-9, 2e-9], images, [1.0, -1.0]).of_images < 0.8 * found.of_images


def test_levels_of_two_looks_make_alpha_together() -> None:
    """Pocock-type spending gives 8 of 12 runs 0.76 of alpha; simulated normal looks err as promised."""
    first, last = stats.levels(0.025, first=8, last=12)
    assert first == pytest.approx(0.025 * math.log(1 + (math.e - 1) * 8 / 12))
    assert first < 0.025 > last > 0.025 - first
    from scipy.special import ndtri

    z = np.random.default_rng(6).normal(size=(400_000, 12))
    early, late = z[:, :8].sum(1) / math.sqrt(8), z.sum(1) / math.sqrt(12)
    either = (early > ndtri(1 - first)) | (late > ndtri(1 - last))
    assert either.mean() == pytest.approx(0.025, abs=8e-4)
    assert stats.levels(0.025, first=8, last=12, share=0.9)[0] == pytest.approx(0.0225)
    with pytest.raises(MeasureError, match="more runs than the first look"):
        stats.levels(0.025, first=12, last=8)


def test_the_slope_over_networks_ignores_what_tasks_differ_in() -> None:
    """An exact slope within two tasks far apart, and an interval that grows when one network falls out of line."""
    x = np.tile([1.0, 2.0, 3.0, 4.0, 5.0], 2)
    y = 0.3 * x + np.repeat([0.0, 10.0], 5)
    named = {"networks": list("abcde") * 2, "tasks": ["s"] * 5 + ["t"] * 5}
    found = stats.slope_over_networks(x, y, **named)  # type: ignore[arg-type]
    assert found.estimate == pytest.approx(0.3)
    assert found.se < 1e-9
    bent = y.copy()
    bent[[4, 9]] += 1.0
    assert stats.slope_over_networks(x, bent, **named).se > 0.05  # type: ignore[arg-type]
    with pytest.raises(MeasureError, match="at least 4 networks"):
        stats.slope_over_networks(x, y, networks=list("aabbccaabb"), tasks=["s"] * 10)


def test_holm_steps_down() -> None:
    """Holm's own kind of example: 0.01, 0.04, 0.03, 0.005 give 0.03, 0.06, 0.06, 0.02."""
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
