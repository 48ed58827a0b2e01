"""Verdicts as pages show them: the card where a claim is judged, badges on top of its chapter, the scoreboard."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transfusion_lib import markup
from transfusion_lib.book.execute import Build
from transfusion_lib.book.project import Chapter, read_notebook, write_notebook
from transfusion_lib.papers import pilot as claims
from transfusion_lib.papers.pilot import TABLE, WITHDRAWN, Claim, Verdict

MARKS = {"supported": "✓", "contradicted": "✗", "inconclusive": "?", WITHDRAWN: "–", "not tested": "–"}
_NOTE = '<p class="tf-pilot">'
_CLAIMS = '<div class="tf-claims">'
PAPERS = {"T": "Transfusion (Raghu et al. 2019)", "R": "TruncatedTL (Peng et al. 2023)"}


def card(verdict: Verdict) -> str:
    """Return a claim, its verdict, the reason, and every number that it rests on."""
    claim = TABLE[verdict.claim]
    rows = [one.row for one in verdict.findings]
    numbers = f"<details><summary>numbers</summary>{markup.grid(claims.COLUMNS, rows)}</details>" if rows else ""
    return (
        f'<div class="tf-claim" id="{claim.id}"><p>{badge(verdict)} <b>{claim.id}.</b> {markup.text(claim.statement)} '
        f'<span class="tf-source">{markup.text(claim.source)}</span></p><p>{markup.text(verdict.reason)}</p>'
        f"<details><summary>the rule</summary><p>{markup.text(claim.estimand)}.</p>"
        f"<p>{markup.text(claim.rule)}</p></details>{numbers}</div>"
    )


def badge(verdict: Verdict) -> str:
    """Return the outcome in a word, with its colour and a mark that needs none."""
    mark = MARKS[verdict.outcome]
    name = verdict.outcome.replace(" ", "-")
    return f'<span class="tf-verdict tf-{name}"><span aria-hidden="true">{mark} </span>{verdict.outcome}</span>'


def placeholder(chapter: str) -> str | None:
    """Return the claims that a chapter will judge, if any; ``place`` adds the verdicts once they are known."""
    lines = _lines({}, chapter)
    return f"{_CLAIMS}{lines}</div>" if lines else None


def noted(line: str) -> str:
    """Return a line of Markdown that ``place`` puts at the head of the page."""
    return f"{_NOTE}{markup.text(line)}</p>"


def place(notebook: Path, build: Build) -> None:
    """Put the verdicts of an executed chapter below its question, in place of the output that announced its claims.

    A line that is ``noted`` goes above the question.
    """
    document = read_notebook(notebook)
    made = document["metadata"]["transfusion"]
    chapter = made["chapter"]
    known = claims.read(build.verdicts, profile=made["profile"])
    taken: list[str] = []
    for cell in document["cells"]:
        if "outputs" in cell:
            taken += [found for output in cell["outputs"] if (found := _announced(output))]
            cell["outputs"] = [output for output in cell["outputs"] if not _announced(output)]
    notes = [html.unescape(one.removeprefix(_NOTE).removesuffix("</p>")) for one in taken if one.startswith(_NOTE)]
    boxes = [markup.raw(f"{_CLAIMS}{_lines(known, chapter)}</div>")] if len(taken) > len(notes) else []
    if taken:
        opening = document["cells"][0]
        heading, question, *rest = opening["source"].split("\n\n")
        opening["source"] = "\n\n".join([heading, *notes, question, *boxes, *rest])
    write_notebook(notebook, document)


def _announced(output: Mapping[str, Any]) -> str:
    """Return the HTML of an output that belongs at the head of the page, an empty text of any other."""
    found = "".join(output.get("data", {}).get("text/html", ""))
    return found if found.startswith((_CLAIMS, _NOTE)) else ""


def write_scoreboard(chapters: Sequence[Chapter], build: Build) -> None:
    """Write ``scoreboard.md``, which the landing page includes: one row a claim, linked to where it was judged."""
    guests = [chapter for chapter in chapters if chapter.guest is not None]
    also = list(dict.fromkeys(build.profile_of(chapter) for chapter in guests))
    board = claims.scoreboard(build.verdicts, profile=build.profile, also=also)
    pages = {chapter.name: chapter.page for chapter in chapters if chapter.guest is None}
    further = [(chapter, claims.read(build.verdicts, profile=build.profile_of(chapter))) for chapter in guests]
    count = {outcome: sum(verdict.outcome == outcome for verdict in board) for outcome in MARKS}
    total = ", ".join(f"<b>{number}</b> {outcome}" for outcome, number in count.items() if number)
    parts = [f'<p class="tf-total">{len(board)} claims: {total}.</p>', *(_strip(board, letter) for letter in PAPERS)]
    for letter, paper in PAPERS.items():
        rows = "".join(_row(verdict, pages, further) for verdict in board if verdict.claim.startswith(letter))
        head = '<tr><th scope="col">verdict</th><th scope="col">claim</th><th scope="col">what we find</th></tr>'
        parts.append(
            f'<table class="tf-board"><caption>{paper}</caption><thead>{head}</thead><tbody>{rows}</tbody></table>'
        )
    (build.source / "scoreboard.md").write_text(markup.raw("\n".join(parts)), encoding="utf-8")


def _strip(board: Sequence[Verdict], letter: str) -> str:
    """Return one paper's claims as a line of cells, each a link to its row below."""
    cells = "".join(
        f'<a class="tf-cell tf-{one.outcome.replace(" ", "-")}" href="#board-{one.claim}" '
        f'aria-label="{one.claim}: {one.outcome}" title="{one.outcome}: {markup.text(TABLE[one.claim].statement)}">'
        f'{one.claim} <span aria-hidden="true">{MARKS[one.outcome]}</span></a>'
        for one in board
        if one.claim.startswith(letter)
    )
    return f'<div class="tf-strip"><span>{PAPERS[letter]}</span><div>{cells}</div></div>'


def _row(verdict: Verdict, pages: Mapping[str, str], further: Sequence[tuple[Chapter, Mapping[str, Verdict]]]) -> str:
    claim = TABLE[verdict.claim]
    page = next((page.page for page, known in further if known.get(claim.id) == verdict), pages.get(claim.chapter))
    name = f'<a href="{page}.html#{claim.id}">{claim.id}</a>' if page and verdict.outcome != "not tested" else claim.id
    return (
        f'<tr id="board-{claim.id}"><td>{badge(verdict)}</td><td><b>{name}</b> {markup.text(claim.statement)}</td>'
        f"<td>{markup.text(verdict.reason)}{_elsewhere(claim, further)}</td></tr>"
    )


def _elsewhere(claim: Claim, further: Sequence[tuple[Chapter, Mapping[str, Verdict]]]) -> str:
    """Return what the book's further pages found of a claim, if they tested it, each linked to its page."""
    links = [
        f'<br>{badge(known[claim.id])} <a href="{page.page}.html#{claim.id}">{markup.text(page.guest.title)}</a>'
        for page, known in further
        if page.guest and page.name == claim.chapter and claim.id in known and known[claim.id].outcome != "not tested"
    ]
    return "".join(links)


def _lines(known: Mapping[str, Verdict], chapter: str) -> str:
    lines = []
    for claim in TABLE.values():
        if claim.chapter == chapter:
            outcome = badge(known[claim.id]) if claim.id in known else ""
            lines.append(f'<p>{outcome} <a href="#{claim.id}"><b>{claim.id}</b></a> {markup.text(claim.statement)}</p>')
    return "".join(lines)
