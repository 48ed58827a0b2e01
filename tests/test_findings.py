"""Evidence from runs: the right arms, split by split, and only runs of the plan."""

from pathlib import Path

import numpy as np
import pytest

from tests.planted import run, runs_of
from transfusion_lib import papers
from transfusion_lib.chapters.kit.findings import Findings
from transfusion_lib.errors import MeasureError
from transfusion_lib.papers.plan import Plan, read_plan

BOOK = Path(__file__).parent.parent / "book"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return read_plan(BOOK)


def test_a_run_from_outside_the_plan_judges_nothing(plan: Plan) -> None:
    (cell,) = plan.cell("B.arms")
    spec = plan.specs(cell)[0]
    alien = spec.replace(seed=spec.seed + 5000)
    with pytest.raises(MeasureError, match=r"not a run of the study's plan"):
        Findings(plan, {alien: run(alien, score=0.9)})
    Findings(plan, {spec: run(spec, score=0.9)})


def test_the_cut_is_chosen_by_another_training_on_the_same_split(plan: Plan) -> None:
    """The search's validation chooses block4; the comparison's own best score lies elsewhere and must not be seen."""
    (cell,) = plan.cell("B.arms")
    scores = dict.fromkeys(cell.arms, 0.8) | {"whole": 0.90, "cut after block4": 0.91, "cut after block6": 0.97}
    losses = dict.fromkeys(cell.arms, 0.3) | {"cut after block4": 0.1}
    runs = runs_of(plan, "B.arms", scores) | runs_of(plan, "B.search", scores, val=losses)
    (case,) = Findings(plan, runs).evidence()["R11"].parts["difference"]
    assert isinstance(case.measure, papers.Arms)
    means = case.measure.means()
    assert means["cut"] == pytest.approx(0.91, abs=0.01)
    assert means["whole"] == pytest.approx(0.90, abs=0.01)
    assert case.measure.runs() == cell.runs


def test_without_the_search_there_is_no_evidence_of_the_cut(plan: Plan) -> None:
    (cell,) = plan.cell("B.arms")
    assert "R11" not in Findings(plan, runs_of(plan, "B.arms", dict.fromkeys(cell.arms, 0.9))).evidence()


@pytest.mark.parametrize(("cut", "outcome"), [(0.91, "supported"), (0.85, "contradicted"), (0.88, "undecided")])
def test_planted_effects_reach_the_verdict(plan: Plan, cut: float, outcome: str) -> None:
    (cell,) = plan.cell("B.arms")
    scores = dict.fromkeys(cell.arms, cut) | {"whole": 0.90}
    runs = runs_of(plan, "B.arms", scores) | runs_of(plan, "B.search", scores)
    found = papers.judge("R11", Findings(plan, runs).evidence()["R11"])
    assert found.outcome == outcome, found.sentence


def test_speed_is_the_training_loss_and_the_shares_are_those_planted(plan: Plan) -> None:
    """Mean Var has half of the gain, the lowest stages nearly all: T11 to T13 say so; Gabors nothing: T15 does."""
    (cell,) = plan.cell("D.lite0")
    loss = dict.fromkeys(cell.arms, 0.5) | {"random": 1.0, "Mean Var": 0.75, "covariance": 0.6, "up to conv1": 0.8,
                                            "up to block2": 0.55, "Gabor conv1": 1.0, "pretrained": 0.5}  # fmt: skip
    runs = {
        spec: run(spec, score=0.5, loss=loss[arm] + 0.01 * np.random.default_rng([n, len(arm)]).normal())
        for (_, _, arm, _), specs in plan.arms(cell).items()
        for n, spec in enumerate(specs)
    }
    found = {claim: papers.judge(claim, evidence) for claim, evidence in Findings(plan, runs).evidence().items()}
    assert {claim: found[claim].outcome for claim in ("T11", "T12", "N3")} == dict.fromkeys(
        ("T11", "T12", "N3"), "supported"
    )
    assert found["T15"].outcome == "contradicted"
    assert "T1" not in found


def test_methods_are_compared_split_by_split(plan: Plan) -> None:
    (cell,) = plan.cell("C.arms")
    scores = dict.fromkeys(cell.arms, 0.85) | {"TF above block3": 0.83, "TF above block5": 0.85}
    runs = runs_of(plan, "C.arms", scores) | runs_of(plan, "C.search", dict.fromkeys(cell.arms, 0.85))
    evidence = Findings(plan, runs).evidence()
    case = next(iter(evidence["R1"].parts["difference"]))
    assert isinstance(case.measure, papers.Arms)
    assert case.measure.means()["TF"] == pytest.approx(0.84, abs=0.005)
    assert {case.task for case in evidence["R8"].parts["difference"]} == {plan.tasks[name].title for name in cell.tasks}
    assert "R3" not in evidence
