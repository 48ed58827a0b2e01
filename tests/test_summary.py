"""The landing page's sentences, titles and figure: what planted runs of the study let it say, and no more."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.planted import run, runs_of
from transfusion_lib.book import landing
from transfusion_lib.book.execute import Build
from transfusion_lib.chapters.kit import planned
from transfusion_lib.chapters.kit.findings import Findings
from transfusion_lib.chapters.kit.planned import Judged
from transfusion_lib.chapters.summary import tables
from transfusion_lib.papers import CLAIMS, Verdict, judge
from transfusion_lib.papers.plan import Plan, read_plan
from transfusion_lib.runs import Run
from transfusion_lib.spec import RunSpec
from transfusion_lib.stats import words

NOTHING = {name: Judged(verdict=judge(name, None), waits={}) for name in CLAIMS}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return read_plan(Path(__file__).parent.parent / "book")


def ways(plan: Plan, *, random: float, pretrained: float, tasks: int = 3) -> dict[RunSpec, Run]:
    """Return runs of cell D with these validation scores at the first step; on further tasks both are random's."""
    (cell,) = plan.cell("D.lite0")
    found = {}
    for (task, _, arm, _), specs in plan.arms(cell).items():
        first = pretrained if arm == "pretrained" and task in cell.tasks[:tasks] else random
        for number, spec in enumerate(specs):
            noise = 0.01 * np.random.default_rng([number, len(arm), len(task)]).normal()
            found[spec] = run(spec, score=0.9, way=(0.5, first + noise, 0.7, 0.7, 0.7, 0.9 + noise))
    return found


@pytest.mark.parametrize(
    ("pretrained", "tasks", "answer", "counted", "ahead"),
    [
        (0.8, 3, "yes", "clearly higher on 3", 3),
        (0.8, 1, "on 1 of 3 tasks", "clearly higher on 1", 1),
        (0.6, 3, "not clearly", "clearly higher on 0", 0),
        (0.4, 3, "no", "clearly higher on 0, lower on 3", 0),
    ],
)
def test_sooner_is_said_as_far_as_the_tasks_have_it(
    plan: Plan, pretrained: float, tasks: int, answer: str, counted: str, ahead: int
) -> None:
    found = Findings(plan, ways(plan, random=0.6, pretrained=pretrained, tasks=tasks))
    said = tables.sentences(found, NOTHING)[0]
    assert said.startswith(f"**Sooner: {answer}.** After 40 steps networks from ImageNet weights"), said
    assert said.endswith(f"(means over 3 tasks; {counted})."), said
    assert re.search(r"from random weights 0\.(59|60)\d ", said), said
    title = tables.sooner_title(tables.leads(found))
    assert title == f"Pretrained is clearly ahead on {ahead} of 3 tasks at step 40, on 0 at step 200"
    way = tables.on_the_way(found)
    assert set(way["runs"]) == {plan.cell("D.lite0")[0].runs}
    assert way.groupby("start")["mean"].first().to_dict() == {
        "pretrained": pytest.approx(pretrained, abs=0.02), "random": pytest.approx(0.6, abs=0.02)
    }  # fmt: skip


def rows(*changes: tuple[float, float, float]) -> pd.DataFrame:
    """Return cuts that keep this share of the parameters and change the score within these ends."""
    columns = ["share", "low", "high"]
    return pd.DataFrame(changes, columns=columns)


@pytest.mark.parametrize(
    ("frame", "title"),
    [
        (rows((0.1, -0.05, -0.03), (0.4, -0.01, 0.01), (0.7, -0.01, 0.02)), "With 40 % of its"),
        (rows((0.1, 0.01, 0.03), (0.4, -0.01, 0.01)), "With 10 % of its"),
        (rows((0.1, -0.05, 0.03), (0.4, -0.019, -0.001)), "With 40 % of its"),
        (rows((0.1, -0.05, -0.03), (0.4, -0.02, 0.03)), "No cut network is shown to lose less than 0.02"),
        (rows((0.25, float("nan"), float("nan"))), "No cut network is shown to lose less than 0.02"),
    ],
)
def test_the_smallest_cut_is_named_whose_whole_interval_lies_above_the_margin(frame: pd.DataFrame, title: str) -> None:
    said = tables.kept_title(frame)
    assert said == title or said == f"{title} parameters a network loses less than 0.02"


def test_how_much_can_go_is_the_smallest_cut_that_is_shown_to_lose_little(plan: Plan) -> None:
    (cell,) = plan.cell("B.arms")
    scores = dict.fromkeys(cell.arms, 0.9) | {"cut after block2": 0.85}
    found = Findings(plan, runs_of(plan, "B.arms", scores))
    kept = tables.kept(found).set_index("cut")
    assert list(kept.index) == [name for name in cell.arms if name != "whole"]
    assert kept["share"].is_monotonic_increasing, "a later cut keeps more"
    assert kept["share"].between(0, 1, inclusive="neither").all()
    assert kept.loc["cut after block2", "mean"] == pytest.approx(-0.05, abs=0.01)
    said = tables.sentences(found, NOTHING)[2]
    share = words.share(float(kept["share"]["cut after block3"]))
    assert said.startswith(f"**Smaller: yes.** U-Net over EfficientNet-Lite0 with {share} of its parameters"), said
    assert "test Dice on outlines of skin lesions" in said

    worse = Findings(plan, runs_of(plan, "B.arms", dict.fromkeys(cell.arms, 0.8) | {"whole": 0.9}))
    assert tables.sentences(worse, NOTHING)[2].startswith("**Smaller: not shown.**")


def test_in_the_end_is_the_verdict_on_final_scores_and_nothing_is_said_of_runs_that_are_missing(plan: Plan) -> None:
    nothing = tables.sentences(Findings(plan, {}), NOTHING)
    assert [said.split("**")[1] for said in nothing] == ["Sooner?", "Better in the end?", "Smaller?"]
    assert all("Not run yet" in said and "core-hours" in said for said in nothing)
    told = NOTHING | {"T1": Judged(verdict=Verdict(claim="T1", outcome="undecided", sentence="Both."), waits={})}
    assert tables.sentences(Findings(plan, {}), told)[1] == "**Better in the end?** Both."


def test_the_landing_page_has_three_answers_and_a_figure_where_there_are_runs(plan: Plan, tmp_path: Path) -> None:
    build = Build(id="B", profile="live", folder=tmp_path)
    drawings = build.source / "_static"
    drawings.mkdir(parents=True)
    landing.write(Findings(plan, {}), NOTHING, build)
    assert (build.source / "answers.md").read_text().count("- **") == 3
    assert {path.name for path in drawings.iterdir()} == {"methods.svg", "verdicts.svg"}, "they need no runs"
    assert (
        f"0 of {len({s for c in plan.cells for s in plan.specs(c)}):,} planned"
        in (build.source / "glance.md").read_text()
    )

    (cell,) = plan.cell("B.arms")
    runs = ways(plan, random=0.6, pretrained=0.8) | runs_of(plan, "B.arms", dict.fromkeys(cell.arms, 0.9))
    found = Findings(plan, runs)
    landing.write(found, planned.board(found), build)
    text = (build.source / "answers.md").read_text()
    assert text.count("- **") == 3
    assert ':alt: "Pretrained is clearly ahead on 3 of 3 tasks at step 40, on 0 at step 200. With ' in text
    assert (drawings / "summary.svg").read_text().startswith("<?xml")
    glance = (build.source / "glance.md").read_text()
    assert f"| {len(runs)} of " in glance
    assert "EfficientNet-Lite0" in glance
    assert "a processor" in glance
