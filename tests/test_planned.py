"""What the plan's cells say: whole ones alone, what waits and how long, and chapters that ask for its runs."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.planted import runs_of
from transfusion_lib import chapters
from transfusion_lib.book import parameters, profiles, project
from transfusion_lib.chapters.kit import planned
from transfusion_lib.papers import CLAIMS
from transfusion_lib.papers.plan import Plan, read_plan
from transfusion_lib.runs import Run
from transfusion_lib.runs.records import _placeless
from transfusion_lib.spec import RunSpec

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def plan() -> Plan:
    return read_plan(ROOT / "book")


class Recorded(dict[RunSpec, Run]):
    """Records that a test plants."""

    def has(self, spec: RunSpec) -> bool:
        return spec in self

    def load(self, specs: Sequence[RunSpec]) -> list[Run]:
        return [self[spec] for spec in specs]


def lesions(plan: Plan) -> Recorded:
    """Return all runs of cell B, in which whatever is cut is as good as the whole."""
    scores = dict.fromkeys(plan.cell("B.arms")[0].arms, 0.9)
    return Recorded(runs_of(plan, "B.arms", scores) | runs_of(plan, "B.search", scores))


def test_a_cell_that_lacks_a_run_says_nothing_and_waits_for_that_run(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = lesions(plan)
    lost = plan.specs(plan.cell("B.search")[0])[-1]
    del records[lost]
    monkeypatch.setattr(planned, "_records", lambda: records)
    found = planned.found(plan)
    assert set(found.runs) == set(plan.specs(plan.cell("B.arms")[0]))
    board = planned.board(found)
    assert board["R11"].verdict.outcome == "not tested here"
    assert board["R11"].waits == {"B.search": pytest.approx(plan.hours(lost))}
    whole = plan.cell("D.lite0")[0]
    assert board["T12"].waits["D.lite0"] == pytest.approx(sum(map(plan.hours, plan.specs(whole))))


def test_a_claim_whose_cells_are_whole_is_judged_and_waits_for_nothing(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = lesions(plan)
    monkeypatch.setattr(planned, "_records", lambda: records)
    board = planned.board(planned.found(plan))
    assert list(board) == list(CLAIMS)
    assert board["R11"].waits == {}
    assert board["R11"].verdict.outcome != "not tested here"
    assert [name for name, one in board.items() if one.verdict.outcome != "not tested here"] == ["R11"]


def test_without_records_nothing_is_found_and_everything_waits(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planned, "_records", lambda: None)
    found = planned.found(plan)
    assert not found.runs
    assert all(one.waits and one.verdict.outcome == "not tested here" for one in planned.board(found).values())


@pytest.mark.parametrize(
    ("name", "cell"),
    [("convergence", "D.lite0"), ("transfusion", "D.lite0"), ("hybrids", "D.lite0"), ("segmentation", "B.arms")],
)
def test_a_published_chapter_of_the_study_asks_for_runs_of_the_plan_and_no_others(
    plan: Plan, name: str, cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRANSFUSION_DATA", raising=False)
    here = project.find(ROOT)
    profile, chapter = profiles.load(here, "published"), here.chapter(name)
    assert name not in profile.pilot
    study = chapters.TABLE[name].of(parameters.effective(chapter, profile.parameters(chapter)))
    asked = study.specs()
    assert asked
    assert set(map(_placeless, asked)) <= set(map(_placeless, plan.specs(plan.cell(cell)[0])))
