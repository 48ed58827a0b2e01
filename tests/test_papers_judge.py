"""The judge on hostile and on ordinary evidence: never a wrong verdict, never a crash, sentences with their numbers."""

import dataclasses
import math
from collections.abc import Hashable

import numpy as np
import pytest

from transfusion_lib import papers, stats
from transfusion_lib.errors import MeasureError
from transfusion_lib.papers import CLAIMS, Arm, Arms, Case, Counts, Evidence, Pairs, Reach, Relation, Slope, judge
from transfusion_lib.papers.judge import needed
from transfusion_lib.papers.rules import OUTCOMES, above, below, of_claim, of_part, p_outside, states, within
from transfusion_lib.stats import Scored

REACH = Reach(networks=["EfficientNet-Lite0"], size=64, images=5000, steps=600)
STEPS = (-1.0, -0.5, 0.0, 0.5, 1.0)


def arm(mean: float, sd: float = 0.004, runs: int = 10) -> Arm:
    """Runs spread evenly around a mean, with that deviation."""
    shape = np.linspace(-1, 1, runs) if runs > 1 else np.zeros(1)
    if runs > 1:
        shape = shape / shape.std(ddof=1)
    order = np.random.default_rng([runs, round(mean * 1e4), round(sd * 1e6)]).permutation(runs)
    return Arm(scores=mean + sd * shape[order], draws=range(runs))


def two_stages(second: Arm, first: Arm, task: str = "knees", **more: float) -> Case:
    """A case of claim R3."""
    return Case(network="net", task=task, measure=Arms(arms={"second stage": second, "first stage": first}, **more))


def of_r3(*cases: Case) -> Evidence:
    """Evidence of R3."""
    return Evidence(parts={"difference": cases}, reach=REACH)


NAN = Arm(scores=[0.85, math.nan, 0.86, 0.85], draws=range(4))


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (two_stages(arm(0.9, runs=1), arm(0.8, runs=1)), "1 run an arm; the rule asks for 3"),
        (two_stages(arm(0.9, runs=2), arm(0.8, runs=2)), "2 runs an arm"),
        (two_stages(arm(0.9), arm(0.8, runs=2)), "2 runs an arm"),
        (two_stages(arm(0.9, sd=0.0), arm(0.8, sd=0.0)), "do not vary"),
        (two_stages(NAN, arm(0.8, runs=4)), "1 of 4 scores are no numbers"),
        (two_stages(Arm(scores=[math.inf] * 4, draws=range(4)), arm(0.8, runs=4)), "4 of 4 scores are no numbers"),
        (two_stages(Arm(scores=[], draws=[]), arm(0.8)), "has no runs"),
        (two_stages(Arm(scores=[0.9, 0.91, 0.92], draws=[1, 2]), arm(0.8)), "need as many draws"),
        (two_stages(Arm(scores=[0.9, 0.91, 0.92], draws=[50, 51, 52]), arm(0.8)), "0 runs an arm"),
        (two_stages(arm(0.9), arm(0.8), shared=1.0), "give their test cases"),
        (Case(network="net", measure=Arms(arms={"second stage": arm(0.9)})), 'unknown arm "first stage"'),
        (Case(network="net", measure=Arms(arms={})), "unknown arm"),
    ],
)
def test_evidence_that_decides_nothing_is_undecided_and_says_why(case: Case, reason: str) -> None:
    """However large the effect: one run, no spread, NaN, an empty arm, other draws, an official split without cases."""
    found = judge("R3", of_r3(case))
    assert found.outcome == "undecided"
    assert reason in found.sentence
    assert found.findings[0].state == "open"


def test_ties_decide_nothing_and_do_not_crash() -> None:
    """All scores equal in both arms: no spread, no verdict."""
    same = Arm(scores=[0.85] * 10, draws=range(10))
    assert judge("R3", of_r3(two_stages(same, same))).outcome == "undecided"
    alike = Arms(arms={"pooled": same, "not pooled": same})
    assert judge("R8", Evidence(parts={"difference": [Case(measure=alike)]})).outcome == "undecided"
    shifted = Arm(scores=np.linspace(0.8, 0.9, 10) + 0.05, draws=range(10))  # differences equal but for rounding
    unshifted = Arm(scores=np.linspace(0.8, 0.9, 10), draws=range(10))
    assert judge("R3", of_r3(two_stages(shifted, unshifted))).outcome == "undecided"
    flat = Relation(x=[1.0] * 12, y=np.arange(12.0))
    assert judge("N2", Evidence(parts={"correlation": [Case(measure=flat)]})).outcome == "undecided"
    points = Slope(x=[70.0] * 5, y=STEPS, networks=list("abcde"), tasks=["t"] * 5)
    assert judge("T3", Evidence(parts={"slope": [Case(measure=points)]})).outcome == "undecided"


def test_a_good_case_beside_a_broken_one_gives_no_verdict_on_both() -> None:
    """An average over tasks needs all of its tasks; a rule for each case all of them."""
    good, broken = two_stages(arm(0.9), arm(0.8)), two_stages(NAN, arm(0.8, runs=4), task="skin")
    assert judge("R3", of_r3(good)).outcome == "supported"
    assert judge("R3", of_r3(good, broken)).outcome == "undecided"

    def pooled(pooling: Arm, plain: Arm, task: str) -> Case:
        return Case(network="net", task=task, measure=Arms(arms={"pooled": pooling, "not pooled": plain}))

    fine, ill = pooled(arm(0.851), arm(0.85), "knees"), pooled(NAN, arm(0.85, runs=4), "skin")
    both = judge("R8", Evidence(parts={"difference": [fine, ill]}))
    assert both.outcome == "undecided"
    assert "No number for net on skin" in both.sentence


def test_a_reversed_effect_contradicts_and_names_its_scale() -> None:
    """In the same line as the verdict: small scale, network, pixels, images, steps."""
    found = judge("R3", of_r3(two_stages(arm(0.80), arm(0.85))))
    assert found.outcome == "contradicted"
    assert found.sentence.startswith(
        "Contradicted, at small scale, with EfficientNet-Lite0 at 64 px, up to 5,000 training images, 600 steps. "
        "The second stage of the search changed the final AUROC on average over tasks by −0.050 (−0.0"
    )
    assert found.scale.startswith("Small scale: EfficientNet-Lite0")


def test_undecided_says_its_numbers_its_lean_and_what_would_decide_it() -> None:
    """As a colleague would: effect, interval, margin, direction, runs."""
    wide = Case(
        network="EfficientNet-Lite0",
        task="knees",
        measure=Arms(arms={"pooled": arm(0.855, sd=0.04), "not pooled": arm(0.85, sd=0.03)}),
    )
    found = judge("R8", Evidence(parts={"difference": [wide]}, reach=REACH))
    assert found.outcome == "undecided"
    assert found.sentence.startswith(
        "Undecided. Pooling before the head changed the final AUROC of EfficientNet-Lite0 on knees by +0.005 (−0.0"
    )
    assert (
        "'no worse' needs the whole interval above \N{MINUS SIGN}0.02. It leans to support. It needs about "
        in found.sentence
    )


def test_more_runs_do_not_replace_test_images() -> None:
    """Where the images that all draws share carry the variance it says so, instead of a number of runs."""
    runs = stats.over_draws([0.01, 0.012, 0.008, 0.011], shared=0.0)
    assert needed(dataclasses.replace(runs, of_images=0.0), above(0.009)).startswith("It needs about ")
    images = dataclasses.replace(runs, of_images=1e-3)
    assert needed(images, above(0.0)) == "More runs would not decide it: it needs more test images."


def test_the_runs_that_it_asks_for_decide_it_nine_times_in_ten() -> None:
    """The number in the sentence keeps what it promises, if the estimate is the truth."""
    generator = np.random.default_rng(2)
    values = 0.005 + 0.02 * (np.arange(10) - 4.5) / np.arange(10).std(ddof=1)
    said = needed(stats.over_draws(values, shared=0.0), within(0.02))
    n = int(said.split("about ")[1].split()[0])
    decided = 0
    for _ in range(400):
        one = stats.over_draws(generator.normal(0.005, 0.02, n), shared=0.0).interval
        decided += states([one], [within(0.02)])[0] == "inside"
    assert 0.86 < decided / 400 < 0.97


def test_two_draws_that_share_images_are_less_certain() -> None:
    """The same scores support a claim as fresh images, and leave it open as draws from one small pool."""
    apart = two_stages(arm(0.856), arm(0.85))
    assert judge("R3", of_r3(apart)).outcome == "supported"
    together = two_stages(arm(0.856), arm(0.85), shared=0.48)
    assert judge("R3", of_r3(together)).outcome == "undecided"


def test_an_official_split_is_judged_by_its_test_cases() -> None:
    """Seeds alone would be certain; twenty patients are not, two thousand are."""
    generator = np.random.default_rng(8)

    def tested(patients: int, lift: float) -> Arm:
        labels = np.tile([0, 1], patients // 2)
        base = np.random.default_rng(1).normal(0, 1, patients)
        runs = [
            Scored(
                scores=base + lift * labels + generator.normal(0, 0.3, patients), labels=labels, units=range(patients)
            )
            for _ in range(5)
        ]
        scores = [stats.auroc(run.labels, run.scores) for run in runs if run.labels is not None]
        return Arm(scores=scores, draws=range(5), tested=runs)

    few = two_stages(tested(20, 1.3), tested(20, 1.0), shared=1.0)
    many = two_stages(tested(2000, 1.3), tested(2000, 1.0), shared=1.0)
    assert judge("R3", of_r3(few)).outcome == "undecided"
    verdict = judge("R3", of_r3(many))
    assert verdict.outcome == "supported"
    assert verdict.findings[0].what_varies == "draw of the split, seed and test case"


def test_saturated_and_unlearnt_cases_are_left_out() -> None:
    """At 0.998 nothing can be gained, at 0.5 nothing was learnt; where all are so the claim is not tested here."""
    full = two_stages(arm(0.998, sd=0.0005), arm(0.997, sd=0.0005))
    empty = two_stages(arm(0.52), arm(0.50), task="skin")
    found = judge("R3", of_r3(full, empty))
    assert found.outcome == "not tested here"
    assert "Saturated: the mean score of second stage is 0.998" in found.sentence
    assert judge("R3", of_r3(full, two_stages(arm(0.9), arm(0.8), task="x-rays"))).outcome == "supported"


def test_t15_has_nothing_to_match_where_conv1_alone_gives_nothing() -> None:
    """Gabors equal to a start that gains nothing are no match of anything."""

    def loss(random: float, conv1: float, gabor: float) -> Evidence:
        values = {"random": random, "conv1": conv1, "gabor": gabor}
        measure = Arms(arms={name: arm(mean, sd=0.01) for name, mean in values.items()})
        case = Case(network="ResNet-50", task="knees", measure=measure)
        return Evidence(parts={"something to match": [case], "speed": [case]})

    nothing = judge("T15", loss(0.50, 0.499, 0.499))
    assert nothing.outcome == "not tested here"
    assert "Random minus pretrained conv1 came to +0.001" in nothing.sentence
    assert "'something to match' takes the whole interval above 0" in nothing.sentence
    assert judge("T15", loss(0.50, 0.40, 0.40)).outcome == "supported"
    assert judge("T15", loss(0.50, 0.40, 0.49)).outcome == "contradicted"


def test_scores_that_are_not_final_leave_t1_open() -> None:
    """Twice the steps add 0.03 to random starts: these are no final scores. Not measured is no better."""
    arms = {"pretrained": arm(0.852), "random": arm(0.85), "random, doubled": arm(0.88)}
    case = Case(network="net", task="knees", measure=Arms(arms=arms))
    rising = judge("T1", Evidence(parts={"final": [case], "no change": [case]}))
    assert rising.outcome == "undecided"
    assert "Doubling the steps changed the final AUROC of random starts by +0.030" in rising.sentence
    unknown = judge("T1", Evidence(parts={"no change": [case]}))
    assert "'final' was not measured" in unknown.sentence
    still = Case(network="net", task="knees", measure=Arms(arms=arms | {"random, doubled": arm(0.851)}))
    held = judge("T1", Evidence(parts={"final": [still], "no change": [still]}))
    assert {one.part: one.outcome for one in held.parts}["no change"] == "supported"
    assert held.outcome == "undecided"  # Two of its parts were not tested.


def test_methods_are_judged_each_for_itself() -> None:
    """R1: TF and TTL hold on average, LWFT does not: partly, with names and numbers."""
    arms = {"full": arm(0.85), "TF": arm(0.851), "TTL": arm(0.855), "LWFT": arm(0.80)}
    cases = [Case(network="net", task=task, measure=Arms(arms=arms)) for task in ("knees", "skin")]
    found = judge("R1", Evidence(parts={"difference": cases}))
    assert found.outcome == "partly"
    assert "It holds for TF, TTL; not for LWFT: LWFT differed in final AUROC" in found.sentence
    assert "by −0.050" in found.sentence


def test_unbalanced_and_repeated_draws_are_paired_by_draw() -> None:
    """Draws that one arm lacks are left out, two trainings of one draw averaged: the split's common part cancels."""
    splits = np.array([0.02, -0.01, 0.03, 0.0, -0.04, 0.01])
    a = Arm(scores=np.repeat(0.86 + splits, 2) + np.tile([0.001, -0.001], 6), draws=np.repeat(range(6), 2).tolist())
    jitter = np.array([1, -2, 2, -1, 1, 0]) * 1e-4
    b = Arm(scores=[*(0.85 + splits + jitter), 0.99], draws=[*range(6), 77])
    found = judge("R3", of_r3(two_stages(a, b)))
    assert found.outcome == "supported"
    assert found.findings[0].n == 6
    assert found.findings[0].estimate == pytest.approx(0.01, abs=1e-3)
    assert found.findings[0].high - found.findings[0].low < 0.001


def test_a_look_waits_for_its_runs_and_refuses_more() -> None:
    """Eight runs are planned: seven are not judged, nine are refused, and undecided names the extension."""
    first, last = papers.two_looks(first=8, last=12)
    early = judge("R3", of_r3(two_stages(arm(0.9, runs=7), arm(0.8, runs=7))), look=first)
    assert early.outcome == "not tested here"
    assert "7 of 8 planned runs of each arm are made" in early.sentence
    with pytest.raises(MeasureError, match="this look is at 8 runs"):
        judge("R3", of_r3(two_stages(arm(0.9, runs=9), arm(0.8, runs=9))), look=first)
    open_ = judge("R3", of_r3(two_stages(arm(0.851, runs=8), arm(0.85, runs=8))), look=first)
    assert open_.outcome == "undecided"
    assert "The planned extension to 12 runs of each arm comes next." in open_.sentence
    assert judge("R3", of_r3(two_stages(arm(0.9, runs=12), arm(0.8, runs=12))), look=last).outcome == "supported"
    assert first.alpha + last.alpha > 0.025 > max(first.alpha, last.alpha)


def test_mistakes_of_the_caller_are_errors_that_name_the_repair() -> None:
    """Unknown claims, unknown parts, evidence of another kind."""
    with pytest.raises(MeasureError, match='unknown claim "T99"'):
        judge("T99", None)
    with pytest.raises(MeasureError, match='unknown part "diference"; did you mean "difference"'):
        judge(
            "R3",
            Evidence(
                parts={"diference": [two_stages(arm(0.9), arm(0.8))], "difference": [two_stages(arm(0.9), arm(0.8))]}
            ),
        )
    with pytest.raises(MeasureError, match="takes Arms, got Counts"):
        judge("R3", of_r3(Case(measure=Counts(values={"second stage": 0.9, "first stage": 0.8}))))


def test_nothing_measured_says_what_it_takes_or_why_not() -> None:
    """Without evidence the claim names what it needs; with a reason the reason."""
    assert judge("T9", None).sentence == f"Not tested here. It takes {CLAIMS['T9'].untested}."
    told = judge("T9", Evidence(parts={}, missing={"movement": "The pilot compared networks of other filter sizes"}))
    assert told.sentence == "Not tested here. The pilot compared networks of other filter sizes."


def test_every_claim_can_be_supported_and_contradicted() -> None:
    """Each of the 29, from evidence of the kind that it takes, deep inside and deep outside of its regions."""
    for claim in CLAIMS.values():
        for inside, expected in ((True, "supported"), (False, "contradicted")):
            parts = {
                name: [
                    _case(claim.parts[name], task, inside or claim.parts[name].premise) for task in ("knees", "skin")
                ]
                for name in claim.parts
            }
            found = judge(claim, Evidence(parts=parts, reach=REACH))
            assert found.outcome == expected, (claim.id, found.sentence)
            assert "{" not in found.sentence
            assert "nan" not in found.sentence.lower().split()
            assert "  " not in found.sentence


def _case(part: papers.Part, task: str, inside: bool) -> Case:
    """Evidence of a part whose every contrast lies inside its region, or outside of it."""
    low, high = part.region.low, part.region.high
    middle = 0.0 if math.isfinite(low + high) else (high - 0.2 if math.isfinite(high) else low + 0.2)
    beyond = (high if math.isfinite(high) else low) + (0.2 if math.isfinite(high) else -0.2)
    value, generator = middle if inside else beyond, np.random.default_rng(3)
    if part.takes is Slope:
        x = np.repeat([1.0, 2.0, 3.0, 4.0, 5.0], 2)
        points = Slope(x=x, y=value * x + generator.normal(0, 1e-3, 10), networks=list("aabbccddee"), tasks=[task] * 10)
        return Case(task=task, measure=points)
    if part.takes is Relation:
        x, share = generator.normal(size=60), 0.98 if value > part.region.room(0.0) else 0.0
        return Case(what=task, measure=Relation(x=x, y=math.sqrt(share) * x + math.sqrt(1 - share) * x[::-1] ** 2))
    weights = list(part.contrasts.values())
    names = sorted({name for one in weights for name in one})
    matrix = np.array([[one.get(name, 0.0) for name in names] for one in weights])
    means = np.linalg.lstsq(matrix, np.full(len(weights), value), rcond=None)[0]
    if part.scores:
        means = 0.75 + means - means.mean() if np.allclose(matrix.sum(1), 0) else means
    if part.takes is Counts:
        return Case(what=task, measure=Counts(values=dict(zip(names, means.tolist(), strict=True))))
    if part.takes is Pairs:
        nets = {name: [f"{name[-6:]}{i}" for i in range(6)] for name in ("random", "pretrained")}
        within_pairs = [(a, b) for i, a in enumerate(nets["random"]) for b in nets["random"][i + 1 :]]
        across = [(a, b) for a in nets["random"] for b in nets["pretrained"]]
        by = {"random, pretrained": across, "random, random": within_pairs}
        values = {n: means[names.index(n)] + generator.normal(0, 1e-3, len(by[n])) for n in names}
        kinds: dict[Hashable, Hashable] = {net: kind for kind, those in nets.items() for net in those}
        return Case(what=task, measure=Pairs(values=values, pairs=by, kinds=kinds))
    runs = {
        name: Arm(scores=mean + generator.normal(0, 1e-3, 10), draws=range(10))
        for name, mean in zip(names, means, strict=True)
    }
    return Case(task=task, measure=Arms(arms=runs))


def hostile(part: papers.Part, values: list[float]) -> Case:
    """Evidence of a part whose every number is one of ``values``."""
    n, names = len(values), sorted({name for one in part.contrasts.values() for name in one})
    pairs = [(f"a{i}", f"b{i}") for i in range(n)]
    if part.takes is Slope:
        return Case(measure=Slope(x=values, y=values, networks=list(range(n)), tasks=["t"] * n))
    if part.takes is Relation:
        return Case(measure=Relation(x=values, y=values, pairs=pairs))
    if part.takes is Pairs:
        kinds: dict[Hashable, Hashable] = {name: name[0] for pair in pairs for name in pair}
        return Case(measure=Pairs(values=dict.fromkeys(names, values), pairs=dict.fromkeys(names, pairs), kinds=kinds))
    if part.takes is Counts:
        return Case(measure=Counts(values=dict.fromkeys(names, values[0] if values else math.nan)))
    return Case(measure=Arms(arms={name: Arm(scores=values, draws=range(n)) for name in names}))


@pytest.mark.parametrize(
    "values",
    [[], [0.8], [0.8, 0.9], [math.nan] * 5, [0.8, math.nan, 0.9, 0.7, 0.8], [math.inf] * 5, [0.8] * 9, [0.0] * 9],
    ids=str,
)
def test_no_claim_is_decided_by_numbers_that_say_nothing(values: list[float]) -> None:
    """Empty, one, two, NaN, infinite, constant: for each of the 29, in all parts at once, and beside a good case.

    Constant AUROCs of 0 have learnt nothing, so that the good case beside them counts alone, and the sentence says so.
    """
    for claim in CLAIMS.values():
        ill = {name: [hostile(part, values)] for name, part in claim.parts.items() if part.takes is not Counts}
        assert judge(claim, Evidence(parts=ill)).outcome in ("undecided", "not tested here"), claim.id
        mixed = {
            name: [_case(part, "knees", True), *ill.get(name, [])] if name in ill else [_case(part, "knees", True)]
            for name, part in claim.parts.items()
        }
        verdict = judge(claim, Evidence(parts=mixed))
        left_out = verdict.outcome == "supported" and "Left out: " in verdict.sentence and values[:1] == [0.0]
        assert verdict.outcome in ("undecided", "not tested here") or left_out, (claim.id, verdict.sentence)


def test_a_count_that_is_no_number_is_open() -> None:
    """Counts have no interval, but they must be numbers."""
    nothing = Case(what="FTL", measure=Counts(values={"TTL": math.nan, "other": 23.5}))
    found = judge("R2", Evidence(parts={"smaller": [nothing]}))
    assert found.outcome == "undecided"
    assert "it is no number" in found.sentence


def test_rules_on_states_alone() -> None:
    """The table of verdicts: never one case of several alone, never a verdict from what was not tested."""
    assert of_part(["inside", "inside"], "open") == "supported"
    assert of_part(["inside", "outside", "open"], "outside") == "partly"
    assert of_part(["outside", "open", "open"], "open") == "undecided"
    assert of_part(["outside", "open", "open"], "outside") == "contradicted"
    assert of_part(["outside", "outside", "open"], "open") == "contradicted"
    assert of_part(["inside", "open"], "outside") == "undecided"
    assert of_part([], "outside") == "not tested here"
    assert of_claim(["supported", "not tested here"]) == "undecided"
    assert of_claim(["supported", "contradicted"]) == "partly"
    assert of_claim(["contradicted", "undecided"]) == "undecided"
    assert of_claim(["contradicted", "contradicted", "undecided"]) == "contradicted"
    assert of_claim(["not tested here"]) == "not tested here"
    assert len(OUTCOMES) == 5


def test_a_narrow_region_does_not_double_the_error() -> None:
    """Outside of a region much narrower than the interval is claimed with both tails counted."""
    one = stats.Interval(estimate=0.0, low=0, high=0, what_varies="seed", n=10, se=1.0, df=9)
    assert p_outside(one, within(1e-9)) == pytest.approx(1.0)
    two = dataclasses.replace(one, estimate=2.262157)  # Student's 97.5 % with 9 degrees of freedom
    assert p_outside(two, within(1e-9)) == pytest.approx(0.05, abs=1e-6)
    assert p_outside(two, below(0.0)) == pytest.approx(0.025, abs=1e-6)
