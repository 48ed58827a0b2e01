"""The measures against known answers, theory, an independent derivation, and the traps of public code."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from transfusion_lib.analysis import similarity
from transfusion_lib.analysis.similarity import (
    Moments,
    cca,
    cka,
    expected_coefficients,
    factor,
    procrustes,
    pwcca,
    svcca,
)
from transfusion_lib.errors import MeasureError

Matrix = NDArray[np.float64]
CORRELATIONS = np.array([0.99, 0.9, 0.7, 0.5, 0.2, 0.05])

MEASURES: dict[str, Callable[[Any, Any], float]] = {
    "cca": lambda x, y: cca(x, y).mean,
    "cca_98": lambda x, y: cca(x, y).mean_98,
    "svcca": lambda x, y: svcca(x, y).mean,
    "pwcca": lambda x, y: pwcca(x, y).value,
    "cka": lambda x, y: cka(x, y).value,
    "cka_debiased": lambda x, y: cka(x, y, debiased=True).value,
    "procrustes": lambda x, y: procrustes(x, y).value,
}
each_measure = pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)


def normal(seed: int, *shape: int) -> Matrix:
    return np.random.default_rng(seed).standard_normal(shape)


def related(seed: int, *, n: int = 400, d_x: int = 7, d_y: int = 5) -> tuple[Matrix, Matrix]:
    """Return two layers that share something: y is a noisy linear map of x."""
    x = normal(seed, n, d_x)
    return x, x @ normal(seed + 1, d_x, d_y) + 2 * normal(seed + 2, n, d_y)


def prescribed(seed: int, *, n: int = 500) -> tuple[Matrix, Matrix]:
    """Return mixed and shifted layers whose sample canonical correlations are exactly CORRELATIONS."""
    k = len(CORRELATIONS)
    centred = normal(seed, n, 2 * k)
    q = np.linalg.qr(centred - centred.mean(0))[0]
    left, right = q[:, :k], q[:, :k] * CORRELATIONS + q[:, k:] * np.sqrt(1 - CORRELATIONS**2)
    return left @ normal(seed + 1, k, k) + 3.0, right @ normal(seed + 2, k, k) - 1.0


def rotation(seed: int, d: int) -> Matrix:
    return np.linalg.qr(normal(seed, d, d))[0]


def by_eigenvalues(x: Matrix, y: Matrix) -> Any:
    """Return canonical correlations by the textbook's eigenvalue problem, which shares no code with ours."""
    x, y = x - x.mean(0), y - y.mean(0)
    product = np.linalg.solve(x.T @ x, x.T @ y) @ np.linalg.solve(y.T @ y, y.T @ x)
    values = np.sort(np.linalg.eigvals(product).real.clip(0))[::-1]
    return np.sqrt(values[: min(x.shape[1], y.shape[1])])


# Known answers


def test_prescribed_canonical_correlations_come_back() -> None:
    x, y = prescribed(1)
    np.testing.assert_allclose(cca(x, y).coefficients, CORRELATIONS, rtol=0, atol=1e-10)
    np.testing.assert_allclose(Moments().update(x=x, y=y).cca("x", "y").coefficients, CORRELATIONS, rtol=0, atol=1e-9)


def test_prescribed_correlations_survive_ill_conditioned_mixing_in_memory() -> None:
    x, y = prescribed(1)
    squeeze = rotation(2, 6) @ np.diag(np.logspace(0, -6, 6)) @ rotation(3, 6)
    np.testing.assert_allclose(cca(x @ squeeze, y).coefficients, CORRELATIONS, rtol=0, atol=1e-8)


def test_agrees_with_an_independent_derivation() -> None:
    x, y = related(5)
    np.testing.assert_allclose(cca(x, y).coefficients, by_eigenvalues(x, y), atol=1e-10)


@each_measure
def test_identity_is_one(measure: Callable[[Any, Any], float]) -> None:
    x = normal(1, 300, 8) @ np.diag(np.logspace(0, 3, 8)) + 5
    assert measure(x, x) == pytest.approx(1, abs=1e-9)


@each_measure
def test_symmetric_except_pwcca(measure: Callable[[Any, Any], float]) -> None:
    x, y = related(2)
    same = abs(measure(x, y) - measure(y, x)) < 1e-9
    assert same != (measure is MEASURES["pwcca"])


def test_mean_98_is_the_rule_of_google_svcca() -> None:
    for coefficients in (
        cca(*related(3)).coefficients,
        np.array([0.9, 0.5, 0.01, 0.001]),
        np.array([0.5]),
        np.zeros(3),
    ):
        total = coefficients.sum()
        first = next(i for i in range(1, len(coefficients) + 1) if coefficients[:i].sum() >= 0.98 * total)
        result = similarity.CCA(coefficients, n=100, ranks=(4, 4))
        assert result.mean_98 == pytest.approx(coefficients[:first].mean())
    assert similarity.CCA(np.array([0.9, 0.5, 0.01, 0.001]), n=100, ranks=(4, 4)).mean_98 == pytest.approx(0.7)


def test_pwcca_weights_are_the_shares_of_x() -> None:
    x, y = related(4)
    centred, other = x - x.mean(0), y - y.mean(0)
    u, v = np.linalg.qr(centred)[0], np.linalg.qr(other)[0]
    left, rho, _ = np.linalg.svd(u.T @ v, full_matrices=False)
    weights = np.abs((u @ left).T @ centred).sum(1)
    result = pwcca(x, y)
    np.testing.assert_allclose(result.weights, weights / weights.sum(), atol=1e-10)
    assert result.value == pytest.approx((weights * rho).sum() / weights.sum())


def test_procrustes_is_the_distance_of_ding_et_al() -> None:
    x, y = related(6, d_x=5)
    unit_x, unit_y = ((z - z.mean(0)) / np.linalg.norm(z - z.mean(0)) for z in (x, y))
    u, _, vt = np.linalg.svd(unit_x.T @ unit_y)
    distance = np.linalg.norm(unit_x @ (u @ vt) - unit_y) ** 2
    assert 2 - 2 * procrustes(x, y).value == pytest.approx(distance)


def test_biased_cka_is_the_formula_with_kernel_matrices() -> None:
    x, y = related(7, n=60)
    h = np.eye(60) - 1 / 60
    k, m = h @ x @ x.T @ h, h @ y @ y.T @ h
    assert cka(x, y).value == pytest.approx((k * m).sum() / np.linalg.norm(k) / np.linalg.norm(m))


def naive_hsic(x: Matrix, y: Matrix) -> float:
    """Return the unbiased estimator as Song et al. 2012 (equation 5) write it, with n x n matrices."""
    n = len(x)
    k, m = x @ x.T, y @ y.T
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    ones = np.ones(n)
    first = np.trace(k @ m) + (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
    return float(first - 2 / (n - 2) * (ones @ k @ m @ ones)) / (n * (n - 3))


def test_debiased_cka_is_the_formula_with_kernel_matrices() -> None:
    x, y = related(8, n=50)
    naive = naive_hsic(x, y) / np.sqrt(naive_hsic(x, x) * naive_hsic(y, y))
    assert cka(x, y, debiased=True).value == pytest.approx(naive, rel=1e-9)
    assert cka(x + 100, y - 7, debiased=True).value == pytest.approx(naive, rel=1e-7)


# Invariances, exactly as theory says


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), d_x=st.integers(1, 8), d_y=st.integers(1, 8), log_scale=st.floats(-3, 3))
def test_invariances(seed: int, d_x: int, d_y: int, log_scale: float) -> None:
    x, y = related(seed, n=60, d_x=d_x, d_y=d_y)
    shifted, scale = x + normal(seed + 3, d_x), 10.0**log_scale
    turned = scale * shifted @ rotation(seed + 4, d_x) - 2
    for name in ("cca", "cca_98", "svcca", "cka", "cka_debiased", "procrustes"):
        assert MEASURES[name](turned, y) == pytest.approx(MEASURES[name](x, y), abs=1e-7), name
    mapped = shifted @ (normal(seed + 5, d_x, d_x) + 3 * np.eye(d_x)) * np.logspace(-4, 4, d_x)
    assert cca(mapped, y).mean == pytest.approx(cca(x, y).mean, abs=1e-6)
    assert pwcca(y, mapped).value == pytest.approx(pwcca(y, x).value, abs=1e-6)
    assert pwcca(scale * shifted[:, ::-1], y).value == pytest.approx(pwcca(x, y).value, abs=1e-7)


def test_what_is_not_invariant_changes() -> None:
    x, y = related(9)
    stretched = x * np.logspace(0, 2, x.shape[1])
    for name in ("svcca", "pwcca", "cka", "cka_debiased", "procrustes"):
        assert abs(MEASURES[name](stretched, y) - MEASURES[name](x, y)) > 0.01, name


# Independent data and the floor


@pytest.mark.parametrize(
    ("n", "d_x", "d_y", "repeats"),
    [(40, 1, 1, 400), (60, 1, 12, 200), (100, 10, 10, 60), (400, 60, 20, 20), (150, 60, 80, 10), (300, 100, 250, 4)],
)
def test_independent_data_lie_on_the_floor(n: int, d_x: int, d_y: int, repeats: int) -> None:
    results = [cca(normal(2 * i, n, d_x), normal(2 * i + 1, n, d_y)) for i in range(repeats)]
    means = np.array([result.mean for result in results])
    error = 4 * means.std() / np.sqrt(repeats) + 0.01 * results[0].floor
    assert means.mean() == pytest.approx(results[0].floor, abs=error)
    assert np.mean([result.mean_98 for result in results]) == pytest.approx(results[0].floor_98, abs=error + 0.01)


def test_the_floor_of_the_papers_sizes() -> None:
    assert similarity.CCA(np.ones(512), n=2_000, ranks=(512, 512)).floor == pytest.approx(0.44, abs=0.005)
    squared = expected_coefficients(20_000, 512, 512) ** 2
    assert squared.mean() == pytest.approx(
        512 / 19_999, rel=0.01
    )  # exact for any n: E[sum of squares] = d d' / (n - 1)


def test_cka_and_procrustes_floors_are_means_over_permutations() -> None:
    rng = np.random.default_rng(0)
    x, y = related(10, n=80, d_x=12, d_y=9)
    x, y = x * np.logspace(0, 1, 12), y * np.logspace(1, 0, 9)
    for name in ("cka", "procrustes"):
        measure = getattr(similarity, name)
        shuffled = [measure(x, y[rng.permutation(80)]).value for _ in range(200)]
        assert np.mean(shuffled) == pytest.approx(measure(x, y).floor, rel=0.06), name
    assert np.mean([cka(x, y[rng.permutation(80)], debiased=True).value for _ in range(200)]) == pytest.approx(
        0, abs=0.01
    )


def test_pwcca_and_svcca_of_independent_data_lie_on_their_floor() -> None:
    x, y = normal(1, 1000, 60) * np.logspace(0, 2, 60), normal(2, 1000, 60)
    assert pwcca(x, y).value == pytest.approx(pwcca(x, y).floor, rel=0.06)
    result = svcca(x, y)
    assert result.ranks[0] < 40 < result.ranks[1]
    assert result.mean == pytest.approx(result.floor, rel=0.06)


# Numerical rank: dead, constant, duplicate and dependent neurons; few samples


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_useless_neurons_change_nothing(dtype: Any) -> None:
    x, y = (np.asarray(part, dtype) for part in related(11))
    constant = np.full((len(x), 1), 0.1, dtype)
    dead, twice, sums = np.zeros((len(x), 2), dtype), x[:, :2], x[:, :1] + x[:, 1:2]
    padded = np.concatenate([x, dead, constant, twice, sums], 1)
    plain, worse = cca(x, y), cca(padded, y)
    assert worse.ranks == plain.ranks == (7, 5)
    np.testing.assert_allclose(worse.coefficients, plain.coefficients, atol=1e-5 if dtype is np.float32 else 1e-9)
    streamed = Moments().update(x=padded, y=y).cca("x", "y")
    assert streamed.ranks == (7, 5)
    np.testing.assert_allclose(streamed.coefficients, plain.coefficients, atol=1e-5)
    for name, measure in MEASURES.items():
        assert np.isfinite(measure(padded, np.concatenate([y, constant], 1))), name


@each_measure
def test_a_layer_that_never_varies_is_an_error(measure: Callable[[Any, Any], float]) -> None:
    x = normal(1, 50, 4)
    for dead in (np.zeros((50, 3)), np.full((50, 3), 0.1), np.full((50, 3), 0.1, np.float32)):
        with pytest.raises(MeasureError, match="no neuron varies"):
            measure(x, dead)


@each_measure
def test_one_dominant_direction_gives_numbers(measure: Callable[[Any, Any], float]) -> None:
    x = normal(1, 200, 6)
    x[:, 0] *= 1e6
    value = measure(x, x + 1e-3 * normal(2, 200, 6))
    assert 0.5 < value <= 1


def test_more_neurons_than_samples() -> None:
    x, y = normal(1, 30, 50), normal(2, 30, 40)
    result = cca(x, y)
    assert result.ranks == (29, 29)
    assert result.forced == 29
    np.testing.assert_allclose(result.coefficients, 1, atol=1e-9)
    assert result.mean == pytest.approx(result.floor)
    assert cca(normal(3, 30, 20), normal(4, 30, 15)).forced == 6
    kernels = [z - z.mean(0) for z in (x, y)]
    k, m = (z @ z.T for z in kernels)
    assert cka(x, y).value == pytest.approx((k * m).sum() / np.linalg.norm(k) / np.linalg.norm(m))
    assert procrustes(x, x @ rotation(3, 50)).value == pytest.approx(1)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (normal(1, 10, 3), normal(1, 11, 3), "same samples"),
        (normal(1, 1, 3), normal(1, 1, 3), "at least 2 samples"),
        (normal(1, 10, 3, 4, 4), normal(1, 10, 3, 4, 4), r"activations\.rows"),
        (np.full((10, 2), np.nan), normal(1, 10, 2), "20 activations are NaN"),
        (normal(1, 10, 3) + 1j, normal(1, 10, 3), "real"),
        (np.zeros((10, 0)), normal(1, 10, 3), "activations are"),
    ],
)
def test_hostile_input_is_an_error(x: Any, y: Any, message: str) -> None:
    for measure in MEASURES.values():
        with pytest.raises(MeasureError, match=message):
            measure(x, y)


def test_small_or_impossible_requests_are_errors() -> None:
    x = normal(1, 3, 2)
    with pytest.raises(MeasureError, match="at least 4 samples"):
        cka(x, x, debiased=True)
    with pytest.raises(MeasureError, match="share of the variance"):
        svcca(x, x, keep=0)


# Traps of public code (google/svcca, anatome)


def test_pwcca_takes_a_wider_first_layer_and_ignores_shifts() -> None:
    x, y = related(12, d_x=9, d_y=4)
    assert 0 < pwcca(x, y).value < 1
    assert pwcca(x + 100, y).value == pytest.approx(pwcca(x, y).value, abs=1e-9)


def test_svcca_of_independent_layers_is_not_identity() -> None:
    assert svcca(normal(1, 5000, 20), normal(2, 5000, 20)).mean < 0.1


def test_svcca_keeps_what_it_says() -> None:
    x = rotation(1, 300)[:, :5]
    x = (np.linalg.qr(x - x.mean(0))[0]) * np.sqrt([90, 5, 4, 0.9, 0.1])
    assert svcca(x, x, keep=0.9).ranks == (1, 1)
    assert svcca(x, x, keep=0.99).ranks == (3, 3)
    assert svcca(x, x, keep=1.0).ranks == (5, 5)


# Arrays and tensors; factors; streaming


def test_tensors_and_arrays_give_the_same() -> None:
    x, y = related(13)
    for name, measure in MEASURES.items():
        on_tensors = measure(torch.from_numpy(x).requires_grad_(), torch.from_numpy(y))
        assert on_tensors == measure(x, y), name
    result = cca(torch.from_numpy(x).float(), torch.from_numpy(y).float())
    assert isinstance(result.coefficients, np.ndarray)
    np.testing.assert_allclose(result.coefficients, cca(x, y).coefficients, atol=1e-6)


def test_factors_give_the_same_as_arrays() -> None:
    x, y = related(14)
    left, right = factor(x), factor(y)
    np.testing.assert_array_equal(cca(left, right).coefficients, cca(x, y).coefficients)
    assert pwcca(left, y).value == pwcca(x, y).value
    assert svcca(left, right).mean == svcca(x, y).mean


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(1, 399), max_size=4), offset=st.sampled_from([0.0, 1e3, 1e6]))
def test_streaming_gives_the_same_as_memory(cuts: list[int], offset: float) -> None:
    x, y = related(15)
    moments = Moments()
    for rows in np.split(np.arange(400), sorted(set(cuts))):
        moments.update({"first": x[rows] + offset, "second": y[rows] - offset})
    np.testing.assert_allclose(moments.cca("first", "second").coefficients, cca(x, y).coefficients, atol=1e-8)
    assert moments.n == 400
    assert moments.svcca("first", "second").mean == pytest.approx(svcca(x, y).mean, abs=1e-8)
    assert moments.pwcca("second", "first").value == pytest.approx(pwcca(y, x).value, abs=1e-8)
    assert moments.procrustes("first", "second").value == pytest.approx(procrustes(x, y).value, abs=1e-8)
    for debiased in (False, True):
        streamed = moments.cka("second", "first", debiased=debiased).value
        assert streamed == pytest.approx(cka(x, y, debiased=debiased).value, abs=1e-8)
    np.testing.assert_allclose(moments.mean("first"), x.mean(0) + offset, rtol=1e-12)
    np.testing.assert_allclose(moments.scatter("second", "first"), (y - y.mean(0)).T @ (x - x.mean(0)), atol=1e-4)


def test_streaming_blocks_of_rows_and_columns_are_all_counted() -> None:
    x = normal(1, 8192 + 100, 3)
    for d in (1, 2, 3):
        moments = Moments().update(x=x[:, :d])
        np.testing.assert_allclose(moments.scatter("x", "x"), np.atleast_2d(np.cov(x[:, :d].T)) * (len(x) - 1))


def test_more_samples_after_an_answer_are_counted() -> None:
    x, y = related(16)
    moments = Moments().update(x=x[:200], y=y[:200])
    assert moments.cca("x", "y").mean == pytest.approx(cca(x[:200], y[:200]).mean)
    assert moments.update(x=x[200:], y=y[200:]).cca("x", "y").mean == pytest.approx(cca(x, y).mean)


def test_streaming_refuses_what_does_not_belong() -> None:
    x, y = related(17)
    with pytest.raises(MeasureError, match="unknown layer"):
        Moments().cca("x", "y")
    moments = Moments().update(x=x, y=y)
    with pytest.raises(MeasureError, match="same layers and neurons"):
        moments.update(x=x[:, :3], y=y)
    with pytest.raises(MeasureError, match="same samples"):
        moments.update(x=x, y=y[:5])
    with pytest.raises(MeasureError, match='unknown layer "z"'):
        moments.cca("x", "z")
    with pytest.raises(MeasureError, match="no layer"):
        moments.update({})
    with pytest.raises(MeasureError, match="NaN"):
        moments.update(x=np.full_like(x, np.nan), y=y)
    assert moments.n == 400
