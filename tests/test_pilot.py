"""The pilot: called so on every page of its own, withdrawn where it does not test the claim, kept on one page."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.books import REPOSITORY, code, notebook, prose
from transfusion_lib.book import landing, pilot, profiles, project, verdicts
from transfusion_lib.book.execute import Build
from transfusion_lib.papers import pilot as claims
from transfusion_lib.papers.pilot import TABLE, WITHDRAWN, Evidence
from transfusion_lib.stats import over_seeds

HERE = project.find(REPOSITORY)


def evidence(claim: str, **estimates: float) -> Evidence:
    """Return strong evidence at an estimate for each part of a claim."""
    parts = {name: {"Net": over_seeds([value - 0.001, value, value + 0.001])} for name, value in estimates.items()}
    return Evidence(parts=parts, seeds=3, scores={"a": 0.9}, rises={"a": 0.0}, floors={"a": 0.1})


def test_the_page_keeps_a_verdict_on_every_claim_with_what_was_wrong() -> None:
    found = pilot.entries(HERE)
    assert list(found) == list(TABLE)
    assert all(entry.verdict in {"supported", "contradicted", "inconclusive"} for entry in found.values())
    shown = pilot.table(HERE)
    assert all(f"{claim}. " in shown for claim in TABLE)
    for claim, entry in found.items():
        assert set(entry.parts) <= set(TABLE[claim].parts)


@pytest.mark.parametrize(
    ("claim", "estimates"),
    [
        ("T2", {"difference": 0.05}),
        ("T9", {"movement": 0.1}),
        ("T10", {"pretrained": 0.7, "scratch": 0.0, "erased": 0.2}),
    ],
)
def test_what_the_records_do_not_test_has_no_verdict(claim: str, estimates: dict[str, float]) -> None:
    strong = evidence(claim, **estimates)
    assert claims.judge(claim, strong).outcome == "supported"
    found = pilot.judge(claim, strong)
    assert found.outcome == WITHDRAWN
    assert found.reason == pilot.entries(HERE)[claim].withdrawn
    assert found.findings, "its numbers stay in sight"
    assert WITHDRAWN in verdicts.card(found)
    assert pilot.judge(claim, None).outcome == "not tested"


@pytest.mark.parametrize(
    ("claim", "estimates", "rest"),
    [
        ("T5", {"large": -0.1, "small": 0.0}, "supported"),
        ("T5", {"large": -0.1, "small": -0.1}, "contradicted"),
        ("T6", {"large": -0.1, "trend": -0.5}, "supported"),
    ],
)
def test_a_claim_that_is_withdrawn_in_part_says_what_became_of_the_rest(
    claim: str, estimates: dict[str, float], rest: str
) -> None:
    found = pilot.judge(claim, evidence(claim, **estimates))
    assert found.outcome == WITHDRAWN
    assert f"The other half is {rest} in the pilot." in found.reason


def test_all_other_claims_are_judged_as_ever() -> None:
    strong = evidence("T1", difference=0.0)
    assert pilot.judge("T1", strong) == claims.judge("T1", strong)


def test_published_records_are_the_pilots_until_others_replace_them() -> None:
    own = [name for name in profiles.names(HERE) if profiles.load(HERE, name).pilot]
    assert own == [name for name in profiles.names(HERE) if name.startswith("published")]


def test_its_pages_say_so_between_heading_and_question(tmp_path: Path) -> None:
    build = Build(id="B", profile="published", folder=tmp_path)
    build.source.mkdir()
    line = pilot.line(HERE, shift=True)
    executed = notebook(prose("# A\n\nB?"), code("open_chapter(study)"))
    executed["metadata"]["transfusion"] = {"chapter": "breadth", "profile": "published"}
    html = {"text/html": verdicts.noted(line)}
    executed["cells"][1]["outputs"] = [{"output_type": "display_data", "data": html, "metadata": {}}]
    path = tmp_path / "a.ipynb"
    project.write_notebook(path, executed)
    verdicts.place(path, build)
    opening, opened = json.loads(path.read_text())["cells"]
    assert "".join(opening["source"]) == f"# A\n\n{line}\n\nB?"
    assert opened["outputs"] == []
    assert "not performance" in line
    assert "not performance" not in pilot.line(HERE, shift=False)
    published = profiles.load(HERE, "published")
    landing.write_pilot(HERE, published, build)
    assert (build.source / "pilot-line.md").read_text().strip() == line
    assert "<table>" in (build.source / "pilot-verdicts.md").read_text()
    landing.write_pilot(HERE, published.model_copy(update={"pilot": False}), build)
    assert (build.source / "pilot-line.md").read_text().strip() == ""


def test_the_scoreboard_and_the_chapter_have_one_badge(tmp_path: Path) -> None:
    build = Build(id="B", profile="published", folder=tmp_path)
    build.source.mkdir()
    found = pilot.judge("T9", evidence("T9", movement=0.1))
    claims.write(build.verdicts, [replace(found, runs=())], profile="published")
    verdicts.write_scoreboard([project.Chapter(Path("notebooks/05-filters.ipynb"))], build)
    board = (build.source / "scoreboard.md").read_text()
    assert f"<b>1</b> {WITHDRAWN}" in board
    assert verdicts.badge(found) in board
    assert found.reason in board
    assert "supported" not in board
