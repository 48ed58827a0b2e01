"""Error rates of each kind of rule on simulated nulls and effects, by the judge itself.

Each test prints its counts (``-s``). 300 studies of each by default, 2,000 with ``-m slow``; a count may exceed its
promise by what 99.9 % of binomial counts do.
"""

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from transfusion_lib import stats
from transfusion_lib.papers import Arm, Arms, Case, Evidence, Pairs, Relation, Slope, judge, two_looks
from transfusion_lib.papers.rules import ALPHA

SD = 0.006
SLOW = (pytest.mark.slow, pytest.mark.timeout(1800))
many = pytest.mark.parametrize("studies", [300, pytest.param(2000, marks=SLOW)])
Make = Callable[[np.random.Generator], Evidence]


def most(promise: float, studies: int) -> int:
    """Return the largest count that a rate of ``promise`` explains."""
    from scipy.stats import binom

    return int(binom.ppf(0.999, studies, promise))


def least(promise: float, studies: int) -> int:
    """Return the smallest count that a rate of ``promise`` explains."""
    from scipy.stats import binom

    return int(binom.ppf(0.001, studies, promise))


def outcomes(claim: str, make: Make, studies: int, label: str) -> Counter[str]:
    """Judge simulated studies, print and return how often each verdict came out, and each state of each part."""
    generator = np.random.default_rng(11)
    found: Counter[str] = Counter()
    for _ in range(studies):
        verdict = judge(claim, make(generator))
        found[verdict.outcome] += 1
        found.update(f"{one.part} {one.state}" for one in verdict.findings if one.state != "open")
    print(f"{label}: {dict(found)} of {studies}")  # noqa: T201
    return found


def arms(generator: np.random.Generator, sd: float = SD, **means: float) -> Arms:
    """Arms of ten draws each, normal around their means; names with underscores for blanks."""
    return Arms(
        arms={
            name.replace("_", " "): Arm(scores=generator.normal(mean, sd, 10), draws=range(10))
            for name, mean in means.items()
        }
    )


def stage(generator: np.random.Generator, effect: float, task: str = "a", tau: float = 0.0) -> Case:
    """One task of claim R3, second stage minus first."""
    truth = 0.85 + generator.normal(effect, tau) if tau else 0.85 + effect
    return Case(network="net", task=task, measure=arms(generator, second_stage=truth, first_stage=0.85))


def pooling(generator: np.random.Generator, effect: float, task: str = "a") -> Case:
    """One task of claim R8, non-inferiority by 0.02."""
    return Case(network="net", task=task, measure=arms(generator, pooled=0.85 + effect, not_pooled=0.85))


def change(generator: np.random.Generator, effect: float, name: str = "net") -> Case:
    """One case of claim T1's large set, equivalence within 0.015, with random starts that are final."""
    of = arms(generator, pretrained=0.85 + effect, random=0.85)
    random = np.asarray(of.arms["random"].scores)
    doubled = Arm(scores=random - 0.001 + 1e-5 * np.arange(10), draws=range(10))
    return Case(network=name, task="large", measure=Arms(arms={**of.arms, "random, doubled": doubled}))


def large(cases: list[Case]) -> Evidence:
    """Evidence of T1's third part alone; the claim is then read off that part."""
    return Evidence(parts={"final": cases, "no change with large data": cases})


def part_of_t1(effects: tuple[float, ...], studies: int, label: str) -> Counter[str]:
    """Judge T1's large set in simulated studies."""
    generator = np.random.default_rng(12)
    found: Counter[str] = Counter()
    for _ in range(studies):
        cases = [change(generator, effect, f"net {i}") for i, effect in enumerate(effects)]
        verdict = judge("T1", large(cases))
        found[next(one.outcome for one in verdict.parts if one.part == "no change with large data")] += 1
        found["any called inside"] += any(one.state == "inside" for one in verdict.findings)
        found["any called outside"] += any(one.state == "outside" for one in verdict.findings)
    print(f"{label}: {dict(found)} of {studies}")  # noqa: T201
    return found


@many
def test_superiority(studies: int) -> None:
    """R3 in one task: no effect errs to either side by alpha; an effect of two standard errors has its power."""
    null = outcomes("R3", lambda g: Evidence(parts={"difference": [stage(g, 0.0)]}), studies, "superiority, null")
    assert null["supported"] <= most(ALPHA, studies)
    assert null["contradicted"] <= most(ALPHA, studies)
    there = outcomes("R3", lambda g: Evidence(parts={"difference": [stage(g, 0.01)]}), studies, "superiority, +0.01")
    promised = stats.power(effect=0.01, se=SD * math.sqrt(2 / 10), df=9, low=0.0)
    assert least(promised, studies) <= there["supported"] <= most(promised, studies)
    assert there["contradicted"] == 0
    gone = outcomes("R3", lambda g: Evidence(parts={"difference": [stage(g, -0.01)]}), studies, "superiority, -0.01")
    assert gone["supported"] == 0
    assert least(promised, studies) <= gone["contradicted"] <= most(promised, studies)


@many
def test_non_inferiority(studies: int) -> None:
    """R8: truth on the margin errs by alpha to either side; no difference has the promised power."""

    def at(effect: float) -> Make:
        return lambda g: Evidence(parts={"difference": [pooling(g, effect)]})

    null = outcomes("R8", at(-0.02), studies, "non-inferiority, on the margin")
    assert null["supported"] <= most(ALPHA, studies)
    assert null["contradicted"] <= most(ALPHA, studies)
    there = outcomes("R8", at(0.0), studies, "non-inferiority, no difference")
    promised = stats.power(effect=0.0, se=SD * math.sqrt(2 / 10), df=9, low=-0.02)
    assert there["supported"] >= least(promised, studies)


@many
def test_equivalence(studies: int) -> None:
    """T1's large set, one network: on the margin alpha, at no difference the power, far outside contradicted."""
    null = part_of_t1((0.015,), studies, "equivalence, on the margin")
    assert null["supported"] <= most(ALPHA, studies)
    assert null["contradicted"] <= most(ALPHA, studies)
    there = part_of_t1((0.0,), studies, "equivalence, no difference")
    promised = stats.power(effect=0.0, se=SD * math.sqrt(2 / 10), df=9, low=-0.015, high=0.015)
    assert least(promised, studies) <= there["supported"] <= most(promised, studies)
    assert there["contradicted"] == 0
    far = part_of_t1((-0.04,), studies, "equivalence, -0.04")
    assert far["supported"] == 0
    assert far["contradicted"] > 0.95 * studies


@many
def test_several_cases_are_corrected_both_ways(studies: int) -> None:
    """Six networks on the margin: any called inside, or any outside, by alpha in all; one outlier gives "partly"."""
    null = part_of_t1((0.015,) * 6, studies, "six cases on the margin")
    assert null["any called inside"] <= most(ALPHA, studies)
    assert null["any called outside"] <= most(ALPHA, studies)
    assert null["supported"] == 0
    assert null["contradicted"] <= most(ALPHA, studies)
    one = part_of_t1((0.0, 0.0, 0.0, 0.0, 0.0, 0.05), studies, "five within, one at +0.05")
    assert one["supported"] == one["contradicted"] == 0
    assert one["partly"] > 0.9 * studies


@many
def test_one_case_of_several_alone_never_contradicts(studies: int) -> None:
    """Two of three cases open on the margin and one far outside: undecided, unless the average or most cases say so."""
    found = part_of_t1((0.012, -0.012, 0.035), studies, "one of three outside")
    assert found["any called outside"] > 0.5 * studies
    assert found["contradicted"] <= most(ALPHA, studies)


@many
@pytest.mark.parametrize("tasks", [2, 3, 5])
def test_averages_over_tasks(studies: int, tasks: int) -> None:
    """R3 pooled: two tasks by themselves, three and five with random effects that differ between tasks."""
    tau = 0.004 if tasks > 2 else 0.0

    def at(effect: float) -> Make:
        return lambda g: Evidence(parts={"difference": [stage(g, effect, f"task {i}", tau) for i in range(tasks)]})

    null = outcomes("R3", at(0.0), studies, f"average over {tasks} tasks, null")
    assert null["supported"] <= most(ALPHA, studies)
    assert null["contradicted"] <= most(ALPHA, studies)
    there = outcomes("R3", at(0.02), studies, f"average over {tasks} tasks, +0.02")
    assert there["supported"] > (0.6 if tasks == 3 else 0.9) * studies
    assert there["contradicted"] == 0


@many
def test_trends_within_runs(studies: int) -> None:
    """T6's slopes over depth, one a run: no trend errs by alpha; with both parts true the claim is supported."""

    def at(slope: float, lowest: float) -> Make:
        def make(g: np.random.Generator) -> Evidence:
            falls = Case(network="net", measure=arms(g, sd=0.05, slope=slope))
            stays = Case(network="both", measure=arms(g, sd=0.05, large=0.5 + lowest, small=0.5))
            return Evidence(parts={"trend": [falls], "lowest stage": [stays]})

        return make

    null = outcomes("T6", at(0.0, 0.0), studies, "trend, null")
    assert sum(null[f"{part} inside"] for part in ("trend", "lowest stage")) <= most(ALPHA, studies)
    assert sum(null[f"{part} outside"] for part in ("trend", "lowest stage")) <= most(ALPHA, studies)
    there = outcomes("T6", at(-0.2, 0.2), studies, "trend, effect")
    assert there["supported"] > 0.95 * studies


@many
def test_slope_over_networks(studies: int) -> None:
    """T3 with five networks, three sources each, two tasks; networks differ by 0.004 whatever their source."""
    lengths = np.array([[2.0, 4.5, 7.6], [2.5, 5.0, 7.7], [3.0, 5.5, 6.8], [2.2, 4.8, 7.4], [3.6, 6.5, 9.2]])

    def at(slope: float) -> Make:
        def make(g: np.random.Generator) -> Evidence:
            x = np.tile(lengths.ravel(), 2)
            own = np.tile(np.repeat(g.normal(0, 0.004, 5), 3), 2)
            y = slope * x + own + g.normal(0, 0.002, 30) + np.repeat([0.8, 0.9], 15)
            names = np.tile(np.repeat(list("abcde"), 3), 2).tolist()
            points = Slope(x=x, y=y, networks=names, tasks=["s"] * 15 + ["t"] * 15)
            return Evidence(parts={"slope": [Case(measure=points)]})

        return make

    null = outcomes("T3", at(0.01), studies, "slope, on the margin")
    assert null["supported"] <= most(ALPHA, studies)
    assert null["contradicted"] <= most(ALPHA, studies)
    there = outcomes("T3", at(0.004), studies, "slope, the paper's 0.004")
    assert there["supported"] > 0.9 * studies
    steep = outcomes("T3", at(0.02), studies, "slope, 0.02")
    assert steep["contradicted"] > 0.9 * studies
    assert steep["supported"] == 0


@many
def test_correlations(studies: int) -> None:
    """N2 over 24 networks and tasks: R^2 on its bound of 0.5 errs by alpha; one of 0 and of 0.9 are told apart."""

    def at(squared: float) -> Make:
        def make(g: np.random.Generator) -> Evidence:
            x = g.normal(size=24)
            y = math.sqrt(squared) * x + math.sqrt(1 - squared) * g.normal(size=24)
            return Evidence(parts={"correlation": [Case(measure=Relation(x=x, y=y))]})

        return make

    null = outcomes("N2", at(0.5), studies, "R^2, on the bound")
    assert null["supported"] <= most(ALPHA, studies)
    assert null["contradicted"] <= most(1.2 * ALPHA, studies)  # Fisher's z leans upward by r / (2 (n - 1))
    assert outcomes("N2", at(0.0), studies, "R^2 of 0")["supported"] > 0.8 * studies
    assert outcomes("N2", at(0.9), studies, "R^2 of 0.9")["contradicted"] > 0.8 * studies


@many
def test_pairs_of_networks(studies: int) -> None:
    """T5 over ten random and ten pretrained networks: networks vary, not pairs; no gap errs by alpha."""
    random, other = [f"r{i}" for i in range(10)], [f"p{i}" for i in range(10)]
    within = [(a, b) for i, a in enumerate(random) for b in random[i + 1 :]]
    across = [(a, b) for a in random for b in other]

    def similarities(g: np.random.Generator, gap: float, sd: float) -> Pairs:
        own = {name: g.normal(0, sd) for name in (*random, *other)}

        def values(pairs: list[tuple[str, str]], mean: float) -> list[float]:
            return [mean + own[a] + own[b] + g.normal(0, sd / 4) for a, b in pairs]

        return Pairs(
            values={"random, pretrained": values(across, 0.4 + gap), "random, random": values(within, 0.4)},
            pairs={"random, pretrained": across, "random, random": within},
            kinds={name: name[0] for name in own},
        )

    def at(gap: float, small: float) -> Make:
        return lambda g: Evidence(
            parts={
                "large": [Case(network="ResNet-50", measure=similarities(g, gap, 0.02))],
                "small": [Case(network="CBR-Small", measure=similarities(g, small, 0.005))],
            }
        )

    null = outcomes("T5", at(0.0, 0.02), studies, "pairs, no gap and on the margin")
    assert sum(null[f"{part} inside"] for part in ("large", "small")) <= most(ALPHA, studies)
    assert sum(null[f"{part} outside"] for part in ("large", "small")) <= most(ALPHA, studies)
    assert outcomes("T5", at(-0.05, 0.0), studies, "pairs, effect")["supported"] > 0.9 * studies


@many
def test_shares_of_a_gain_and_their_premise(studies: int) -> None:
    """T12: without a gain there is nothing to share, with a quarter of it alpha, with three quarters supported."""

    def at(gain: float, share: float) -> Make:
        def make(g: np.random.Generator) -> Evidence:
            means = {"random": 0.5, "pretrained": 0.5 - gain, "mean_var": 0.5 - share * gain}
            runs = {name: Arm(scores=g.normal(mean, 0.01, 10), draws=range(10)) for name, mean in means.items()}
            case = Case(network="net", measure=Arms(arms=runs))
            return Evidence(parts={"gain": [case], "a good part": [case]})

        return make

    none = outcomes("T12", at(0.0, 1.0), studies, "share, no gain")
    assert none["not tested here"] >= studies - most(ALPHA, studies)
    null = outcomes("T12", at(0.1, 0.25), studies, "share, a quarter")
    assert null["supported"] <= most(ALPHA, studies)
    assert null["contradicted"] <= most(ALPHA, studies)
    assert outcomes("T12", at(0.1, 0.75), studies, "share, three quarters")["supported"] > 0.95 * studies


@many
def test_two_looks_err_as_one(studies: int) -> None:
    """R3 at 8 runs and, where undecided, at 12: either look together err by alpha; one look twice would err more."""
    first, last = two_looks(first=8, last=12)
    generator = np.random.default_rng(13)
    supported = contradicted = 0
    for _ in range(studies):
        scores = {name: generator.normal(0.85, SD, 12) for name in ("second stage", "first stage")}

        def at(runs: int, scores: dict[str, NDArray[np.float64]] = scores) -> Evidence:
            cut = {name: Arm(scores=values[:runs], draws=range(runs)) for name, values in scores.items()}
            return Evidence(parts={"difference": [Case(network="net", task="a", measure=Arms(arms=cut))]})

        verdict = judge("R3", at(8), look=first)
        if verdict.outcome == "undecided":
            verdict = judge("R3", at(12), look=last)
        supported += verdict.outcome == "supported"
        contradicted += verdict.outcome == "contradicted"
    print(f"two looks, null: supported {supported}, contradicted {contradicted} of {studies}")  # noqa: T201
    assert supported <= most(ALPHA, studies)
    assert contradicted <= most(ALPHA, studies)
