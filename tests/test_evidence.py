"""From planted learning curves and scores to verdicts on T1-T4 and T11-T15; little or coarse evidence decides none."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import pytest

from transfusion_lib.chapters.convergence import tables as convergence_tables
from transfusion_lib.chapters.hybrids import tables as hybrids_tables
from transfusion_lib.chapters.kit import arrivals as kit_arrivals
from transfusion_lib.chapters.kit.arrivals import Arms
from transfusion_lib.chapters.performance import cost_tables
from transfusion_lib.chapters.performance import tables as performance_tables
from transfusion_lib.chapters.transfusion import tables as transfusion_tables
from transfusion_lib.papers.pilot import Evidence, judge

LARGE, SMALL = "ResNet-50", "CBR-Tiny"
RULE = {"threshold": 0.85, "in_a_row": 2}
Times = Mapping[str, tuple[float, ...]]


def curves(arrivals: Times, *, network: str = LARGE, grid: int = 10, top: float = 0.93) -> pd.DataFrame:
    """Return curves of 200 steps that lie at 0.7 and, from each seed's arrival on, a little above ``top``."""
    last, rows = 200, []
    for init, times in arrivals.items():
        for seed, time in enumerate(times):
            for step in range(0, last + 1, grid):
                late = top + 0.001 * seed + 1e-5 * step
                score = late if step >= time else 0.7 + 0.002 * seed
                rows.append((network, init, seed, step, score, f"{init}-{seed}"))
    return pd.DataFrame(rows, columns=["network", "init", "seed", "step", "auroc", "run"])


def arms(frame: pd.DataFrame) -> Arms:
    return kit_arrivals.arms(frame, **RULE)  # type: ignore[arg-type]


def outcome(claim: str, evidence: Evidence | None) -> tuple[str, str]:
    found = judge(claim, evidence)
    return found.outcome, found.reason


PAPER: Times = {  # as in Figures 6 to 8
    "random": (150, 160, 160),
    "Mean Var": (80, 90, 80),
    "Gabor conv1": (80, 80, 90),
    "conv1": (80, 80, 80),
    "block2": (40, 40, 30),
    "Slim": (30, 30, 30),
    "pretrained": (30, 30, 20),
}


def speed_verdicts(times: Times, **how: object) -> dict[str, tuple[str, str]]:
    """Return the verdicts on T11 to T15 of planted arrivals."""
    frame = curves(times, **how)  # type: ignore[arg-type]
    found = arms(frame)
    given = {
        "T11": convergence_tables.speed_evidence(found, frame),
        "T12": convergence_tables.statistics_evidence(found, frame),
        "T13": transfusion_tables.transfusion_evidence(found, frame, network=LARGE),
        "T14": hybrids_tables.slim_evidence(found, frame, network=LARGE),
        "T15": hybrids_tables.gabor_evidence(found, frame, network=LARGE),
    }
    return {claim: outcome(claim, evidence) for claim, evidence in given.items()}


def test_the_papers_pattern_is_supported() -> None:
    found = speed_verdicts(PAPER)
    assert {claim: verdict for claim, (verdict, _) in found.items()} == dict.fromkeys(found, "supported"), found


@pytest.mark.parametrize(
    ("claim", "change"),
    [
        ("T11", {"pretrained": (190, 190, 180)}),
        ("T12", {"Mean Var": (160, 170, 160)}),
        ("T13", {"conv1": (150, 150, 160)}),
        ("T14", {"Slim": (110, 120, 110)}),
        ("T15", {"Gabor conv1": (150, 150, 140)}),
    ],
)
def test_the_opposite_is_contradicted(claim: str, change: Times) -> None:
    assert speed_verdicts({**PAPER, **change})[claim][0] == "contradicted"


@pytest.mark.parametrize(
    ("spoil", "how", "says"),
    [
        (lambda times: {init: seeds[:2] for init, seeds in times.items()}, {}, "2 seeds; the rule asks for 3"),
        (lambda times: {init: seeds[:1] for init, seeds in times.items()}, {}, "1 seed; the rule asks for 3"),
        (lambda times: times, {"top": 0.9985}, "Saturated"),
        (lambda times: dict.fromkeys(times, (0, 0, 0)), {}, "first evaluation"),
        (lambda times: times, {"grid": 200}, "No run arrived"),
        (lambda times: dict.fromkeys(times, (300, 300, 300)), {}, "No run arrived"),
    ],
)
def test_little_saturated_or_coarse_evidence_is_inconclusive(
    spoil: Callable[[Times], Times], how: dict[str, object], says: str
) -> None:
    for claim, (verdict, reason) in speed_verdicts(spoil(PAPER), **how).items():
        assert verdict == "inconclusive", claim
        assert says in reason, (claim, reason)


def test_where_random_never_arrives_speed_is_judged_and_shares_of_it_are_not() -> None:
    found = speed_verdicts({**PAPER, "random": (300, 300, 160)})
    assert found["T11"][0] == "supported"
    for claim in ("T12", "T13", "T14", "T15"):
        assert found[claim][0] == "inconclusive"
    assert "share of it unknown" in found["T12"][1]


def test_a_missing_arm_is_not_tested() -> None:
    found = speed_verdicts({"random": (50, 60, 60)})
    assert {verdict for verdict, _ in found.values()} == {"not tested"}
    small = curves(PAPER, network=SMALL)
    assert convergence_tables.speed_evidence(arms(small), small) is None, "the claim is about large networks"


def test_one_grid_step_apart_is_not_certain() -> None:
    """Every seed arrives one evaluation earlier: the variance within the grid keeps three seeds from certainty."""
    frame = curves({"random": (40, 40, 40), "pretrained": (30, 30, 30)})
    assert judge("T11", convergence_tables.speed_evidence(arms(frame), frame)).findings[0].low < 5
    frame = curves({"random": (40, 40, 40), "pretrained": (40, 40, 40)})
    assert outcome("T11", convergence_tables.speed_evidence(arms(frame), frame))[0] == "inconclusive"


def test_the_mean_on_the_way_orders_arms_that_never_arrive() -> None:
    frame = curves({"random": (300, 300, 300), "pretrained": (20, 30, 30)})
    frame.loc[frame["init"] == "random", "auroc"] += np.linspace(0, 0.01, len(frame[frame["init"] == "random"]))
    row = kit_arrivals.speed_ups(arms(frame)).iloc[0]
    assert row["lower_bound"]
    assert np.isnan(row["share"])
    assert row["way_low"] > 0.15
    shown = kit_arrivals.speed_up_table(arms(frame)).iloc[0]
    assert shown["speed-up in steps"].startswith("at least ")


def test_the_share_of_the_speed_up_has_fiellers_interval() -> None:
    row = kit_arrivals.speed_ups(arms(curves(PAPER))).set_index("init").loc["Mean Var"]
    assert row["share"] == pytest.approx((470 / 3 - 250 / 3) / (470 / 3 - 80 / 3))
    assert row["share_low"] < row["share"] < row["share_high"]
    assert row["gain"] == pytest.approx(220 / 3)


def test_marginal_gains_add_up_to_the_whole() -> None:
    found = transfusion_tables.marginal_gains(arms(curves(_reached())))
    assert found["stage"].tolist() == ["conv1", "block2", "pretrained"]
    assert found["steps"].sum() == pytest.approx(470 / 3 - 80 / 3)
    assert transfusion_tables.marginal_title(found) == (
        f"{LARGE}, steps saved: conv1 +77 (+65 to +89) and block2 +43 (+31 to +55); "
        f"{LARGE}, AUROC on the way gained: conv1 +0.088 (+0.076 to +0.100) and block2 +0.050 (+0.032 to +0.068)"
    )


def _reached() -> Times:
    return {start: PAPER[start] for start in ("random", "conv1", "block2", "pretrained")}


# Final scores


def scores(values: Mapping[tuple[str, str], float], *, sd: float, seeds: int = 3, rise: float = 0.0) -> pd.DataFrame:
    """Return final scores: the planted mean of each (network, start), spread evenly over the seeds."""
    rows = [
        (network, init, seed, 5000, "referable", mean + sd * offset, rise, f"{network}-{init}-{seed}")
        for (network, init), mean in values.items()
        for seed, offset in enumerate(np.linspace(-1, 1, seeds) if seeds > 1 else [0.0])
    ]
    return pd.DataFrame(rows, columns=["network", "init", "seed", "images", "task", "auroc", "rise", "run"])


def little(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows beside the same from many images."""
    return pd.concat([rows, rows.assign(images=250_000, auroc=0.95)])


EQUAL = {(network, init): 0.95 for network in (LARGE, SMALL) for init in ("random", "pretrained")}
LITTLE = {**EQUAL, (LARGE, "random"): 0.88}


def test_equal_ends_support_t1_and_t2_and_a_gap_contradicts_them() -> None:
    equal = scores(EQUAL, sd=0.001)
    assert outcome("T1", performance_tables.transfer_evidence(equal))[0] == "supported"
    assert outcome("T2", performance_tables.small_networks_evidence(equal))[0] == "supported"
    apart = scores({**EQUAL, (LARGE, "pretrained"): 0.99}, sd=0.001)
    assert outcome("T1", performance_tables.transfer_evidence(apart))[0] == "contradicted"
    assert outcome("T2", performance_tables.small_networks_evidence(apart))[0] == "contradicted"


def test_a_larger_gain_of_the_large_network_supports_t4() -> None:
    assert outcome("T4", performance_tables.little_data_evidence(little(scores(LITTLE, sd=0.002))))[0] == "supported"
    turned = scores({**EQUAL, (SMALL, "random"): 0.88}, sd=0.002)
    assert outcome("T4", performance_tables.little_data_evidence(little(turned)))[0] == "contradicted"


def test_one_size_of_the_training_set_says_nothing_of_little_data() -> None:
    assert performance_tables.little_data_evidence(scores(LITTLE, sd=0.002)) is None


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"sd": 0.001, "seeds": 2}, "2 seeds"),
        ({"sd": 0.001, "seeds": 1}, "1 seed;"),
        ({"sd": 0.03}, "Open"),
        ({"sd": 0.0}, "numbers that do not vary"),
        ({"sd": 0.001, "rise": 0.05}, "Not final"),
    ],
)
def test_too_little_for_a_verdict_on_final_scores(how: dict[str, float], says: str) -> None:
    frame = scores(EQUAL, **how)  # type: ignore[arg-type]
    given = {
        "T1": performance_tables.transfer_evidence(frame),
        "T2": performance_tables.small_networks_evidence(frame),
        "T4": performance_tables.little_data_evidence(little(frame)),
    }
    for claim, evidence in given.items():
        verdict, reason = outcome(claim, evidence)
        assert verdict == "inconclusive", claim
        assert says in reason, (claim, reason)


def test_saturated_scores_are_inconclusive() -> None:
    frame = scores(dict.fromkeys(EQUAL, 0.998), sd=0.0005)
    assert "Saturated" in outcome("T1", performance_tables.transfer_evidence(frame))[1]


def test_source_accuracy_is_ranked_within_one_source_task_only() -> None:
    names = ["ResNet-50", "ResNet-34", "ResNet-18", "CBR-Tiny", "CBR-Small"]
    means = {(name, "pretrained"): 0.9 + 0.01 * k for k, name in enumerate(names)}
    rows = scores(means, sd=0.001)
    source = pd.DataFrame({"network": names, "source task": "imagenet", "top5": [90.0, 91, 92, 93, 94]})
    evidence = performance_tables.source_evidence(rows, source)
    assert evidence is not None
    assert evidence.parts["correlation"]["referable"].estimate == pytest.approx(1)
    mixed = source.assign(**{"source task": ["imagenet", "imagenet", "other", "other", "imagenet"]})
    assert performance_tables.source_evidence(rows, mixed) is None
    assert outcome("T3", performance_tables.source_evidence(rows, mixed))[0] == "not tested"
    titles = [
        cost_tables.source_title(cost_tables.source_table(one.assign(**{"from": "ours"}), rows))
        for one in (source, mixed)
    ]
    interval = evidence.parts["correlation"]["referable"]
    assert titles[0].startswith("Over 5 networks of one source, rank correlation +1.00 (")
    assert f"({interval.low:+.2f} to {interval.high:+.2f})".replace("-", "\N{MINUS SIGN}") in titles[0]
    assert titles[1] == "3 of our networks share a source task: too few to rank"


def test_effects_are_corrected_for_their_number() -> None:
    rows = pd.concat([scores(LITTLE, sd=0.02), scores(LITTLE, sd=0.02).assign(task="grade")])
    alone = performance_tables.effects(scores(LITTLE, sd=0.02))
    one = float(alone.loc[alone["network"] == LARGE, "p differs"].iloc[0])
    four = performance_tables.effects(rows)
    assert four.loc[four["network"] == LARGE, "p differs"].iloc[0] == pytest.approx(2 * one)
    assert four["p equivalent"].between(0, 1).all()
    alone = performance_tables.effects(scores(LITTLE, sd=0.02, seeds=1))
    assert alone["low"].isna().all()
    assert alone["effect"].tolist() == pytest.approx([0.07, 0.0])


def test_the_title_counts_effects_after_their_correction() -> None:
    one = scores({(LARGE, "random"): 0.95, (LARGE, "pretrained"): 0.93}, sd=0.008)
    found = performance_tables.effects(one)
    assert found["high"].iloc[0] < 0
    assert performance_tables.effect_title(found).startswith(
        f"Final score: transfer lowers that of {LARGE} by \N{MINUS SIGN}0.02"
    )
    rest = [
        scores({("CBR-Tiny", "random"): 0.9, ("CBR-Tiny", "pretrained"): 0.9}, sd=0.01).assign(task=k) for k in "abc"
    ]
    family = performance_tables.effects(pd.concat([one, *rest]))
    assert family["high"].iloc[0] < 0
    assert performance_tables.effect_title(family) == "Final score: no clear change in 4 of 4 comparisons"


def test_the_title_of_little_data_calls_a_gain_clear_after_its_correction() -> None:
    gain = {(LARGE, "random"): 0.90, (LARGE, "pretrained"): 0.93, ("CBR-Tiny", "random"): 0.9}
    for sd, end in (
        (0.05, "images: no clear change in 2 of 2 comparisons"),
        (0.002, f"raises that of {LARGE} by +0.0300 (+0.0255 to +0.0345); no clear change in 1 of 2 comparisons"),
    ):
        found = performance_tables.effects(little(scores({**gain, ("CBR-Tiny", "pretrained"): 0.9}, sd=sd)))
        assert performance_tables.small_title(found).endswith(end)
