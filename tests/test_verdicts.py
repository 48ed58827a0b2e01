"""Verdicts on pages: cards where a chapter announces them, badges on top, one row for every claim, all escaped."""

import re
from pathlib import Path

import pytest

from tests.books import REPOSITORY, code, notebook, prose
from transfusion_lib.book import project, verdicts
from transfusion_lib.book.execute import Build
from transfusion_lib.book.project import Chapter, read_notebook, write_notebook
from transfusion_lib.chapters.kit.planned import Judged
from transfusion_lib.errors import MeasureError
from transfusion_lib.papers import CLAIMS, Arm, Arms, Case, Evidence, judge

CHAPTERS = project.find(REPOSITORY).chapters


@pytest.fixture
def board() -> dict[str, Judged]:
    """A board on which T11 is supported on a task with a hostile name, and T12 waits for two cells."""
    jitter = {"random": (0.01, -0.01, 0.0, 0.02, -0.02), "pretrained": (0.0, 0.02, -0.02, 0.01, -0.01)}
    arms = {
        start: Arm(scores=[level + one for one in jitter[start]], draws=range(5))
        for start, level in (("random", 0.9), ("pretrained", 0.5))
    }
    speed = {"speed": [Case(measure=Arms(arms=arms), network="Net", task="<img src=x onerror=alert(1)>")]}
    found = {"T11": judge("T11", Evidence(parts=speed))}
    waits = {"T12": {"D.lite0": 1.25, "D.resnet50": 2.0}}
    return {name: Judged(verdict=found.get(name) or judge(name, None), waits=waits.get(name, {})) for name in CLAIMS}


def shown(html: str) -> dict[str, object]:
    """Return an output that shows HTML."""
    return {"output_type": "display_data", "metadata": {}, "data": {"text/html": html}}


def test_cards_take_the_place_of_what_announces_them_and_the_rest_stays(
    board: dict[str, Judged], tmp_path: Path
) -> None:
    path = tmp_path / "a.ipynb"
    said = shown(verdicts.answered(["pretrained is <b>first</b>", ""]))
    other = shown('<p class="x">A table.</p>')
    cells = [
        prose("# T\n\nWho is first?\n\nMore."),
        {**code("chapter = open()"), "outputs": [shown(verdicts.noted("A [page](/pilot.md) & more."))]},
        {**code("runs()"), "outputs": [shown(verdicts.scaled("convergence", "Net, <b>64</b> px")), said]},
        {**code("show()"), "outputs": [other, shown(verdicts.placeholder(["T11", "T12"]))]},
        prose("The end."),
    ]
    write_notebook(path, notebook(*cells))
    verdicts.place(path, board)
    opening, opened, ran, cards, end = read_notebook(path)["cells"]
    heading, note, question, box, rest = opening["source"].split("\n\n")
    assert (heading, question, rest) == ("# T", "Who is first?", "More.")
    assert note == "A [page](/pilot.md) & more.", "Markdown again"
    assert box.index("pilot's answer:</b> Pretrained is &lt;b&gt;first&lt;/b&gt;.</p>") < box.index("tf-claims"), (
        "the answer comes first"
    )
    assert re.findall(r'<a href="#(\w+)">', box) == ["T11", "T12"]
    assert box.count("tf-verdict") == 2
    assert "Transfusion:" in box, "the paper's scale"
    assert "Net, &lt;b&gt;64&lt;/b&gt; px" in box, "beside this book's"
    assert opened["outputs"] == ran["outputs"] == []
    assert cards["outputs"][0] == other
    html = cards["outputs"][1]["data"]["text/html"]
    assert re.findall(r'class="tf-claim" id="(\w+)"', html) == ["T11", "T12"]
    assert end["source"] == "The end."
    once = path.read_text()
    verdicts.place(path, board)
    assert path.read_text() == once


def test_a_card_says_the_verdict_its_numbers_the_rule_and_escapes_every_word(board: dict[str, Judged]) -> None:
    html = verdicts.card(board["T11"])
    assert "tf-supported" in html
    assert CLAIMS["T11"].rule in html
    assert "−0.4000" in html, "0.5 minus 0.9"
    assert "<img" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html


def test_a_claim_that_waits_says_for_which_cells_and_how_long(board: dict[str, Judged]) -> None:
    said = verdicts.found(board["T12"])
    assert said.endswith("Not run yet: D.lite0, D.resnet50, about 3.2 core-hours.")
    assert "It takes" in said
    assert "Not run yet" not in verdicts.found(board["T11"])


def test_an_unknown_claim_is_named_where_a_chapter_announces_it() -> None:
    with pytest.raises(MeasureError, match=r"T99"):
        verdicts.placeholder(["T11", "T99"])


def scoreboard(board: dict[str, Judged], chapters: tuple[Chapter, ...], folder: Path) -> str:
    """Return the scoreboard of a book of these chapters."""
    build = Build(id="B", profile="live", folder=folder)
    build.source.mkdir()
    verdicts.write_scoreboard(chapters, board, build, plan="0123456789abcdef")
    return (build.source / "scoreboard.md").read_text()


def test_the_scoreboard_has_every_claim_once_and_leads_to_the_chapter_that_shows_it(
    board: dict[str, Judged], tmp_path: Path
) -> None:
    text = scoreboard(board, CHAPTERS, tmp_path)
    assert sorted(re.findall(r'<tr id="board-(\w+)">', text)) == sorted(CLAIMS)
    assert "29 claims: <b>1</b> supported, <b>28</b> not tested here." in text
    assert "Plan 0123456789ab." in text
    assert "<img" not in text
    pages = {chapter.page: chapter for chapter in CHAPTERS}
    links = re.findall(r'<a href="([^"#]+)\.html#(\w+)">', text)
    assert sorted(claim for _, claim in links) == sorted(CLAIMS)
    for page, claim in links:
        announced = re.findall(r"chapter\.verdicts\((.*?)\)", "".join(cell["source"] for cell in pages[page].cells))
        assert any(f'"{claim}"' in names for names in announced), f"{page} shows no card of {claim}"


def test_a_claim_whose_chapter_this_book_leaves_out_has_no_link(board: dict[str, Judged], tmp_path: Path) -> None:
    text = scoreboard(board, tuple(one for one in CHAPTERS if one.name == "convergence"), tmp_path)
    assert re.findall(r'<a href="([^"]+)">', text) == [
        f"notebooks/01-convergence.html#{k}" for k in ("T11", "T12", "N3")
    ]
    assert text.count("<tr id=") == len(CLAIMS)
