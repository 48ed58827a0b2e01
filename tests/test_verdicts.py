"""Verdicts on pages: one row for every claim, badges where the claims are judged, and nothing that is not escaped."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.books import code, notebook, prose
from transfusion_lib.book import landing, project, verdicts
from transfusion_lib.book.execute import Build
from transfusion_lib.book.project import Chapter
from transfusion_lib.papers import pilot as claims
from transfusion_lib.papers.pilot import TABLE, Evidence, Verdict
from transfusion_lib.stats import over_seeds


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """A build in which the chapter "convergence" supported T11."""
    made = Build(id="B", profile="quick", folder=tmp_path)
    made.source.mkdir()
    claims.write(made.verdicts, [t11()], profile="quick")
    return made


def t11() -> Verdict:
    """Return a verdict that a planted speed-up supports."""
    evidence = Evidence(
        parts={"speed_up": {"Net": over_seeds([10.0, 11.0, 12.0])}},
        seeds=3,
        scores={"pretrained": 0.9},
        arrivals={"pretrained": claims.Arrival(reached=3, runs=3, mean=20.0, grid=10.0)},
    )
    return claims.judge("T11", evidence)


def test_the_landing_page_has_what_its_chapters_found_and_one_figure(build: Build) -> None:
    glued = {
        "output_type": "display_data",
        "data": {"application/papermill.record/text/plain": "'pretrained first; 3 < 5'"},
        "metadata": {"scrapbook": {"name": "finding"}},
    }
    drawn = {
        "output_type": "display_data",
        "data": {"image/svg+xml": "<svg/>"},
        "metadata": {"image/svg+xml": {"alt": "Curves."}},
    }
    chapter = Chapter(Path("notebooks/01-convergence.ipynb"))
    cells = (prose("# Mean Var\n\nFaster?"), {**code("1"), "outputs": [glued, drawn]})
    (build.source / "notebooks").mkdir()
    project.write_notebook(build.source / "notebooks" / "01-convergence.ipynb", notebook(*cells))
    chapter.__dict__["cells"] = cells
    landing.write([chapter], build)
    text = (build.source / "landing.md").read_text()
    assert r"- **The way there.** Pretrained first; 3 \< 5. → [Mean Var](/notebooks/01-convergence.ipynb)" in text
    assert ':alt: "Curves."' in text
    assert (build.source / "landing.svg").read_text() == "<svg/>"
    landing.write([], build)
    assert (build.source / "landing.md").read_text().strip() == ""


def test_the_scoreboard_has_every_claim_and_links_those_that_were_judged(build: Build) -> None:
    verdicts.write_scoreboard([Chapter(Path("notebooks/01-convergence.ipynb"))], build)
    text = (build.source / "scoreboard.md").read_text()
    assert text.count('<tr id="board-') == len(TABLE) == 26
    assert "<b>1</b> supported, <b>25</b> not tested" in text
    assert '<a href="notebooks/01-convergence.html#T11">T11</a>' in text
    assert text.count('<a href="notebooks') == 1


def test_a_claim_that_only_a_further_page_tested_has_its_verdict_and_links_it(build: Build) -> None:
    guest = Chapter(Path("notebooks/03-performance.ipynb"), guest=project.Guest("other", "other data"))
    claims.write(build.verdicts, [replace(t11(), claim="T3")], profile="other")
    verdicts.write_scoreboard([Chapter(Path("notebooks/03-performance.ipynb")), guest], build)
    text = (build.source / "scoreboard.md").read_text()
    assert "<b>2</b> supported, <b>24</b> not tested" in text
    assert '<a href="notebooks/03-performance-other.html#T3">T3</a>' in text


def test_badges_stand_on_top_of_the_chapter_that_judges(build: Build, tmp_path: Path) -> None:
    executed = notebook(prose("# A\n\nB?"), code("open_chapter(study)"))
    executed["metadata"]["transfusion"] = {"chapter": "convergence", "profile": "quick"}
    html = {"text/html": verdicts.placeholder("convergence")}
    executed["cells"][1]["outputs"] = [{"output_type": "display_data", "data": html, "metadata": {}}]
    path = tmp_path / "a.ipynb"
    project.write_notebook(path, executed)
    verdicts.place(path, build)
    opening, opened = json.loads(path.read_text())["cells"]
    assert opened["outputs"] == [], "the announcement has moved"
    shown = "".join(opening["source"])
    assert shown.startswith("# A\n\nB?\n\n")
    assert "tf-supported" in shown
    assert 'href="#T11"' in shown
    assert "T12" in shown
    assert verdicts.placeholder("none") is None


def test_a_card_shows_reason_rule_and_numbers_as_text() -> None:
    verdict = t11()
    hostile = replace(verdict, findings=(replace(verdict.findings[0], case="<img src=x>"),), reason="<script>")
    shown = verdicts.card(hostile)
    assert 'id="T11"' in shown
    assert TABLE["T11"].statement in shown
    assert "Supported if for every case" in shown
    assert "<img" not in shown
    assert "<script" not in shown
    assert ">11.0 (8.5 to 13.5)<" in shown
