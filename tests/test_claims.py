"""The rules: what they say, how often they err, and that little or saturated evidence decides nothing."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from transfusion_lib import stats
from transfusion_lib.errors import MeasureError, StoreError
from transfusion_lib.papers import pilot as claims
from transfusion_lib.papers.pilot import TABLE, Arrival, Claim, Evidence, Part, Region, Verdict, judge
from transfusion_lib.papers.pilot.rules import above, below, within
from transfusion_lib.stats import Interval, Time

GOOD_SCORES = {"random": 0.9, "pretrained": 0.91}
FLAT = {"random": 0.001, "pretrained": -0.004}


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def claim(region: Region, **parts: Part) -> Claim:
    return Claim(
        id="X1", statement="x", source="x", chapter="x", parts={"difference": Part("a minus b", region), **parts}
    )


def evidence(**cases: Interval) -> Evidence:
    return Evidence(parts={"difference": cases}, seeds=5)


def interval(estimate: float, half: float, n: int = 5) -> Interval:
    """Return an interval of the given half width over n seeds."""
    plain = stats.over_seeds(np.linspace(-1, 1, n))
    return replace(plain, estimate=estimate, se=plain.se * half / (plain.high - plain.estimate)).at(0.95)


# The table


def test_the_table_is_complete() -> None:
    assert list(TABLE) == [f"T{i}" for i in range(1, 16)] + [f"R{i}" for i in range(1, 12)]
    for one in TABLE.values():
        assert one.statement.endswith(".")
        assert re.match(r"(Raghu|Peng) et al\. \d{4}, ", one.source)
        assert one.min_seeds >= 3
        assert not all(part.presupposed for part in one.parts.values())
        for part in one.parts.values():
            assert str(part.region) in one.rule
            assert part.what in one.estimand
        if "AUROC" in one.estimand or "Dice" in one.estimand:
            assert "scores" in one.needs, one.id
        if "CCA" in one.estimand or "similarity above chance" in one.estimand:
            assert "floors" in one.needs or one.id == "R7", one.id
        if "steps" in one.estimand:
            assert "arrivals" in one.needs, one.id


def test_a_rule_reads_as_a_sentence() -> None:
    assert TABLE["T12"].rule == (
        "Supported if for every case the 95% interval lies inside: good part above 0. Contradicted if one lies "
        "outside, corrected for the number of cases. Inconclusive otherwise, unless first: speed up above 0, and with "
        "fewer than 3 seeds, or a mean score outside 0.55 to 0.995, or no run at the threshold, or all there at the "
        "first evaluation, or half or more of the runs of the base arm not at the threshold."
    )


# The three regions


@pytest.mark.parametrize(
    ("region", "estimate", "half", "outcome"),
    [
        (above(0), 0.02, 0.01, "supported"),
        (above(0), -0.02, 0.01, "contradicted"),
        (above(0), 0.005, 0.01, "inconclusive"),
        (above(0.03), 0.02, 0.005, "contradicted"),
        (above(-0.01), -0.005, 0.004, "supported"),
        (below(0.05), 0.01, 0.01, "supported"),
        (below(0.05), 0.08, 0.01, "contradicted"),
        (within(0.01), 0.0, 0.005, "supported"),
        (within(0.01), 0.008, 0.001, "supported"),  # a real difference, but smaller than matters
        (within(0.01), 0.008, 0.004, "inconclusive"),
        (within(0.01), 0.0, 0.02, "inconclusive"),  # no significant difference is not equivalence
        (within(0.01), -0.03, 0.01, "contradicted"),
    ],
)
def test_regions(region: Region, estimate: float, half: float, outcome: str) -> None:
    assert judge(claim(region), evidence(a=interval(estimate, half))).outcome == outcome


def test_every_case_must_hold_and_one_can_contradict() -> None:
    good, unsure, bad = interval(0.02, 0.01), interval(0.005, 0.01), interval(-0.05, 0.01)
    assert judge(claim(above(0)), evidence(a=good, b=good)).outcome == "supported"
    found = judge(claim(above(0)), evidence(a=good, b=unsure))
    assert found.outcome == "inconclusive"
    assert "1 of 2" in found.reason
    assert "for b;" in found.reason
    found = judge(claim(above(0)), evidence(a=good, b=bad))
    assert found.outcome == "contradicted"
    assert found.reason.startswith("Difference is \N{MINUS SIGN}0.050 (")
    assert "for b; the claim needs the whole interval above 0 (interval corrected for 2 cases)" in found.reason


def test_contradiction_is_corrected_for_the_number_of_cases() -> None:
    barely = interval(-0.0105, 0.01)
    assert judge(claim(above(0)), evidence(a=barely)).outcome == "contradicted"
    assert judge(claim(above(0)), evidence(a=barely, b=interval(0.02, 0.01))).outcome == "inconclusive"


def test_a_failed_presupposition_is_no_contradiction() -> None:
    asked = claim(above(0), speed_up=Part("random minus pretrained", above(0), presupposed=True))
    parts = {"difference": {"a": interval(-0.05, 0.01)}, "speed_up": {"a": interval(-1, 0.5)}}
    found = judge(asked, Evidence(parts=parts, seeds=5))
    assert found.outcome == "inconclusive"
    assert found.reason.startswith("Nothing to judge yet: speed up is ")
    holds = {**parts, "speed_up": {"a": interval(1, 0.5)}}
    assert judge(asked, Evidence(parts=holds, seeds=5)).outcome == "contradicted"


def test_exact_counts_are_judged_as_they_are() -> None:
    assert judge(claim(below(0)), evidence(a=stats.exact(-15e6))).outcome == "supported"
    assert judge(claim(below(0)), evidence(a=stats.exact(0))).outcome == "contradicted"


def test_a_share_of_searches_needs_six_in_agreement() -> None:
    verdicts = [
        judge("R7", Evidence(parts={"agreement": {"all": stats.share(n, n)}}, seeds=n)).outcome for n in (2, 5, 6)
    ]
    assert verdicts == ["inconclusive", "inconclusive", "supported"]
    assert judge("R7", Evidence(parts={"agreement": {"all": stats.share(0, 6)}}, seeds=6)).outcome == "contradicted"


def test_a_region_needs_a_bound_and_room() -> None:
    for low, high in ((1.0, 0.0), (-np.inf, np.inf), (0.0, 0.0)):
        with pytest.raises(MeasureError, match="region"):
            Region(low=low, high=high)


# Too little evidence


def strong(n: int = 5) -> Evidence:
    """Return evidence that supports T1 beyond doubt."""
    return Evidence(parts={"difference": {"ResNet-50": interval(0, 0.001, n)}}, seeds=n, scores=GOOD_SCORES, rises=FLAT)


def test_strong_evidence_supports() -> None:
    assert judge("T1", strong()).outcome == "supported"


@pytest.mark.parametrize(
    ("weaken", "reason"),
    [
        (lambda e: replace(e, seeds=2), "2 seeds; the rule asks for 3"),
        (lambda e: replace(strong(2), seeds=5), "2 seeds"),
        (lambda e: replace(e, seeds=1), "1 seed;"),
        (lambda e: replace(e, parts={}), "Not measured: the change of the final AUROC"),
        (lambda e: replace(e, parts={"difference": {}}), "Not measured: the change of the final AUROC"),
        (lambda e: replace(e, scores={"random": 0.998}), "mean score of random is 0.998"),
        (lambda e: replace(e, scores={"random": 0.52}), "0.520"),
        (lambda e: replace(e, scores={"random": np.nan}), "nan"),
        (lambda e: replace(e, rises={"random": 0.03}), "Not final: the mean score of random still rose by 0.030"),
        (lambda e: _varying(e, what_varies="test case"), "another seed"),
        (lambda e: _varying(e, se=np.inf), "too few runs"),
        (lambda e: _varying(e, estimate=np.nan), "too few runs"),
        (lambda e: _varying(e, se=0.0), "In all seeds the change of the final AUROC by pretraining is +0.000"),
    ],
)
def test_little_or_saturated_evidence_is_inconclusive(weaken: Callable[[Evidence], Evidence], reason: str) -> None:
    found = judge("T1", weaken(strong()))
    assert found.outcome == "inconclusive"
    assert reason in found.reason


def _varying(e: Evidence, **changes: object) -> Evidence:
    cases = {case: replace(one, **changes) for case, one in e.parts["difference"].items()}  # type: ignore[arg-type]
    return replace(e, parts={"difference": cases})


def arrivals(random: tuple[int, float], pretrained: tuple[int, float]) -> dict[str, Arrival]:
    return {
        name: Arrival(reached=reached, runs=5, mean=mean, grid=10)
        for name, (reached, mean) in {"random": random, "pretrained": pretrained}.items()
    }


@pytest.mark.parametrize(
    ("random", "pretrained", "reason"),
    [((0, 500), (0, 500), "No run arrived"), ((5, 10), (5, 0), "first evaluation")],
)
def test_times_that_cannot_be_told_apart_are_inconclusive(
    random: tuple[int, float], pretrained: tuple[int, float], reason: str
) -> None:
    found = judge("T11", _speed_up(arrivals(random, pretrained)))
    assert found.outcome == "inconclusive"
    assert reason in found.reason


def test_censoring_of_one_arm_alone_still_counts() -> None:
    assert judge("T11", _speed_up(arrivals((0, 500), (5, 100)))).outcome == "supported"


@pytest.mark.parametrize(("reached", "outcome"), [(2, "inconclusive"), (3, "supported")])
def test_a_share_of_an_unknown_speed_up_is_inconclusive(reached: int, outcome: str) -> None:
    """T12 asks for a share of the speed-up: where half of the random runs are censored that is unknown; T11 is not."""
    gains = {"ResNet-50": interval(400, 20)}
    arms = {
        "random": Arrival(reached=reached, runs=5, mean=450, grid=10, base=True),
        "Mean Var": Arrival(reached=0, runs=5, mean=500, grid=10),
    }
    given = Evidence(parts={"speed_up": gains, "good_part": gains}, seeds=5, scores=GOOD_SCORES, arrivals=arms)
    assert judge("T12", given).outcome == outcome
    assert judge("T11", replace(given, parts={"speed_up": gains})).outcome == "supported"


def _speed_up(found: dict[str, Arrival]) -> Evidence:
    return Evidence(
        parts={"speed_up": {"ResNet-50": interval(400, 20)}}, seeds=5, scores=GOOD_SCORES, rises=FLAT, arrivals=found
    )


def test_similarity_that_chance_would_give_is_inconclusive() -> None:
    parts = {"large": {"ResNet-50": interval(-0.05, 0.01)}, "small": {"CBR-Tiny": interval(0, 0.01)}}
    assert judge("T5", Evidence(parts=parts, seeds=5, floors={"block4": 0.15})).outcome == "supported"
    found = judge("T5", Evidence(parts=parts, seeds=5, floors={"block3": 0.15, "block4": 0.6}))
    assert found.outcome == "inconclusive"
    assert "0.60 alike in block4" in found.reason


def test_mistakes_of_a_chapter_are_errors() -> None:
    with pytest.raises(MeasureError, match='unknown claim "T99"'):
        judge("T99", None)
    with pytest.raises(MeasureError, match='unknown part "diference"; did you mean "difference"'):
        judge("T1", Evidence(parts={"diference": {}}, seeds=3, scores=GOOD_SCORES, rises=FLAT))
    with pytest.raises(MeasureError, match="needs scores"):
        judge("T1", replace(strong(), scores={}))
    with pytest.raises(MeasureError, match="needs arrivals"):
        judge("T11", Evidence(parts={}, seeds=3, scores=GOOD_SCORES, rises=FLAT))


def test_no_evidence_is_not_tested() -> None:
    assert judge("T1", None).outcome == "not tested"


# How often the rules err. Scores of runs are normal; times are what crossing a noisy curve gives.


def rates(verdicts: Iterator[Verdict]) -> dict[str, float]:
    outcomes = [verdict.outcome for verdict in verdicts]
    return {name: outcomes.count(name) / len(outcomes) for name in ("supported", "contradicted", "inconclusive")}


def performance(effect: float, *, sd: float, seeds: int, networks: int, repeats: int) -> Iterator[Verdict]:
    """Yield verdicts on T1 where transfer changes the AUROC of every network by ``effect``."""
    generator = rng(seeds + networks)
    for _ in range(repeats):
        cases = {
            f"network {i}": stats.difference(
                generator.normal(0.9 + effect, sd, seeds), generator.normal(0.9, 2 * sd, seeds)
            )
            for i in range(networks)
        }
        yield judge("T1", Evidence(parts={"difference": cases}, seeds=seeds, scores=GOOD_SCORES, rises=FLAT))


@pytest.mark.parametrize(("seeds", "networks"), [(3, 1), (3, 6), (10, 1), (10, 6)])
def test_no_effect_is_rarely_contradicted(seeds: int, networks: int) -> None:
    found = rates(performance(0.0, sd=0.03, seeds=seeds, networks=networks, repeats=500))
    assert found["contradicted"] <= 0.05 + 0.02  # 5 % promised, two standard errors of the simulation


@pytest.mark.parametrize(("seeds", "networks"), [(3, 1), (10, 1), (10, 6)])
def test_an_effect_at_the_margin_is_rarely_called_none(seeds: int, networks: int) -> None:
    found = rates(performance(0.01, sd=0.003, seeds=seeds, networks=networks, repeats=800))
    assert found["supported"] <= 0.025 + 0.012
    assert found["contradicted"] <= 0.025 + 0.012


def test_planted_equivalence_and_planted_effect_are_found() -> None:
    """With the paper's deviations (0.05 to 0.1 points) and three seeds, or ten seeds at half a point."""
    assert rates(performance(0.0, sd=0.0005, seeds=3, networks=6, repeats=100))["supported"] > 0.95
    assert rates(performance(0.0, sd=0.003, seeds=10, networks=1, repeats=200))["supported"] > 0.9
    assert rates(performance(0.03, sd=0.005, seeds=10, networks=6, repeats=100))["contradicted"] > 0.9


def times(generator: np.random.Generator, mean: float, *, seeds: int) -> list[Time]:
    """Return the arrivals on a grid of 20 steps, censored at 400, of log-normal times."""
    drawn = mean * np.exp(generator.normal(0, 0.3, seeds))
    return [Time(step=min(400.0, 20 * np.ceil(t / 20)), reached=bool(t <= 400)) for t in drawn]


def convergence(random: float, pretrained: float, *, seeds: int, repeats: int) -> Iterator[Verdict]:
    """Yield verdicts on T11 from curves to restricted means, as a chapter makes them."""
    generator = rng(seeds)
    for _ in range(repeats):
        arms = {
            "random": times(generator, random, seeds=seeds),
            "pretrained": times(generator, pretrained, seeds=seeds),
        }
        found = {name: stats.survival(arm, grid=20, horizon=400) for name, arm in arms.items()}
        gain = stats.combine([found["random"].mean, found["pretrained"].mean], [1, -1])
        arrived = {
            name: Arrival(reached=one.reached, runs=seeds, mean=one.mean.estimate, grid=20)
            for name, one in found.items()
        }
        yield judge(
            "T11",
            Evidence(parts={"speed_up": {"a": gain}}, seeds=seeds, scores=GOOD_SCORES, rises=FLAT, arrivals=arrived),
        )


@pytest.mark.parametrize("seeds", [3, 10])
def test_equal_speed_is_rarely_called_a_difference(seeds: int) -> None:
    found = rates(convergence(250, 250, seeds=seeds, repeats=400))  # about one run in twenty is censored
    assert found["supported"] <= 0.025 + 0.016
    assert found["contradicted"] <= 0.025 + 0.016


def test_a_threefold_speed_up_is_found() -> None:
    assert rates(convergence(300, 100, seeds=5, repeats=40))["supported"] > 0.9


# The papers' own numbers through the rules: mean and deviation of three repetitions, in points


def from_paper(mean: float, sd: float) -> Interval:
    return stats.over_seeds([mean - sd, mean, mean + sd])  # three values with this mean and deviation


TABLE_1 = {
    "ResNet-50": ((0.964, 0.0005), (0.967, 0.0004), 0.92),
    "Inception-v3": ((0.966, 0.0013), (0.967, 0.0005), 0.939),
    "CBR-LargeT": ((0.962, 0.0004), (0.962, 0.0004), 0.775),
    "CBR-LargeW": ((0.958, 0.0004), (0.958, 0.0005), 0.751),
    "CBR-Small": ((0.957, 0.0004), (0.958, 0.0001), 0.676),
    "CBR-Tiny": ((0.958, 0.0003), (0.958, 0.0001), 0.735),
}


def test_the_papers_table_1_supports_its_claims_1_and_2() -> None:
    random = {name: from_paper(*row[0]) for name, row in TABLE_1.items()}
    transfer = {name: from_paper(*row[1]) for name, row in TABLE_1.items()}
    scores = {name: one.estimate for name, one in transfer.items()}
    effect = {name: stats.combine([transfer[name], random[name]], [1, -1]) for name in TABLE_1}
    assert (
        judge("T1", Evidence(parts={"difference": effect}, seeds=3, scores=scores, rises=FLAT)).outcome == "supported"
    )
    gap = {
        f"{small}, {large}": stats.combine([start[small], start[large]], [1, -1])
        for start in (random, transfer)
        for small in ("CBR-Small", "CBR-Tiny")
        for large in ("ResNet-50", "Inception-v3")
    }
    assert judge("T2", Evidence(parts={"difference": gap}, seeds=3, scores=scores, rises=FLAT)).outcome == "supported"


def test_six_networks_cannot_settle_claim_3() -> None:
    source, target = [row[2] for row in TABLE_1.values()], [row[1][0] for row in TABLE_1.values()]
    found = judge(
        "T3",
        Evidence(
            parts={"correlation": {"RETINA": stats.spearman(source, target)}}, seeds=3, scores=GOOD_SCORES, rises=FLAT
        ),
    )
    assert found.outcome == "inconclusive"
    assert found.findings[0].estimate > 0.5  # the paper's own table leans against it


# Table 2: (random, transfer) for five networks, each for five pathologies
TABLE_2 = (
    (
        "79.52 0.31 75.23 0.35 85.49 1.32 88.34 1.17 88.70 0.13",
        "79.76 0.47 74.93 1.41 84.42 0.65 88.89 1.66 88.07 1.23",
    ),
    (
        "81.52 0.25 74.83 1.66 88.12 0.25 87.97 1.40 88.37 0.01",
        "80.89 1.68 76.84 0.87 86.15 0.71 89.03 0.74 88.44 0.84",
    ),
    (
        "79.79 0.79 74.63 0.69 86.71 1.45 84.80 0.77 86.53 0.54",
        "80.70 0.31 77.23 0.84 86.87 0.33 89.57 0.34 87.29 0.69",
    ),
    (
        "80.43 0.72 74.36 1.06 88.07 0.60 86.20 1.35 86.14 1.78",
        "80.18 0.85 75.24 1.43 86.48 1.13 89.09 1.04 87.88 1.01",
    ),
    (
        "80.81 0.55 75.17 0.73 85.31 0.82 84.87 1.13 85.56 0.89",
        "80.02 1.06 75.74 0.71 84.28 0.82 89.81 1.08 87.69 0.75",
    ),
)


def test_three_repetitions_of_chexpert_leave_claim_1_open() -> None:
    """No interval of Table 2 fits within a point: "no significant difference" there is no evidence of none."""
    arms = np.array([[np.fromstring(row, sep=" ") for row in pair] for pair in TABLE_2]).reshape(5, 2, 5, 2) / 100
    effect = {
        f"network {i}, pathology {j}": stats.combine([from_paper(*arms[i, 1, j]), from_paper(*arms[i, 0, j])], [1, -1])
        for i in range(5)
        for j in range(5)
    }
    found = judge(
        "T1", Evidence(parts={"difference": effect}, seeds=3, scores={"all": float(arms[..., 0].mean())}, rises=FLAT)
    )
    assert found.outcome == "inconclusive"
    assert found.reason.startswith("Open in 25 of 25 cases, for example: ")


# The record


def test_verdicts_come_back_from_the_record(tmp_path: Path) -> None:
    path = tmp_path / "book" / "verdicts.json"
    first = judge("T1", replace(strong(), runs=("a" * 64,), figure="performance#fig"))
    claims.write(path, [first], profile="quick")
    claims.write(path, [judge("T4", None)], profile="quick")
    claims.write(path, [judge("T1", None)], profile="paper")
    assert claims.read(path, profile="quick") == {"T1": first, "T4": judge("T4", None)}
    assert claims.read(path, profile="paper")["T1"].outcome == "not tested"
    assert sorted(one.name for one in path.parent.iterdir()) == ["verdicts.json", "verdicts.json.lock"]
    replaced = judge("T1", replace(strong(), seeds=2))
    claims.write(path, [replaced], profile="quick")
    assert claims.read(path, profile="quick")["T1"] == replaced


def test_evidence_that_is_not_finite_is_recorded_as_json(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.json"
    claims.write(path, [judge("T1", _varying(strong(), se=np.inf))], profile="quick")
    assert "Infinity" not in path.read_text()
    assert claims.read(path, profile="quick")["T1"].outcome == "inconclusive"


def test_scoreboard_has_a_row_for_every_claim(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.json"
    assert {one.outcome for one in claims.scoreboard(path, profile="quick")} == {"not tested"}
    claims.write(path, [judge("T1", strong())], profile="quick")
    board = claims.scoreboard(path, profile="quick")
    assert [one.claim for one in board] == list(TABLE)
    assert board[0].outcome == "supported"


def test_what_a_profile_does_not_test_has_the_verdict_of_the_next_that_does(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.json"
    weak = judge("T1", replace(strong(), seeds=2))
    claims.write(path, [judge("T1", None), judge("T2", None)], profile="main")
    claims.write(path, [judge("T1", None)], profile="first")
    claims.write(path, [weak], profile="second")
    claims.write(path, [judge("T1", strong())], profile="third")
    board = claims.scoreboard(path, profile="main", also=["first", "second", "third"])
    assert board[0] == weak
    assert board[1] == judge("T2", None)
    assert claims.scoreboard(path, profile="third", also=["second"])[0].outcome == "supported"


@pytest.mark.parametrize("content", ["{", "[]", '{"quick": {"T1": {"claim": "T1"}}}', '{"quick": 3}', "\x00"])
def test_a_damaged_record_is_an_error_that_names_the_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "verdicts.json"
    path.write_text(content)
    with pytest.raises(StoreError, match=r"verdicts\.json: not a record"):
        claims.read(path, profile="quick")


def test_claims_of_another_version_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.json"
    claims.write(path, [judge("T1", strong())], profile="quick")
    known = json.loads(path.read_text())
    known["quick"]["T77"] = {**known["quick"]["T1"], "claim": "T77"}
    path.write_text(json.dumps(known))
    assert list(claims.read(path, profile="quick")) == ["T1"]
