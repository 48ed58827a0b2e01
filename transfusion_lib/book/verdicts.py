"""Verdicts as pages show them: a card for each claim in its chapter, badges on top of it, the scoreboard.

The study's runs alone are judged (``planned.board``), once a build; a chapter announces its claims by a placeholder.
"""

import html
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from transfusion_lib import markup
from transfusion_lib.book.execute import Build
from transfusion_lib.book.project import Chapter, read_notebook, write_notebook
from transfusion_lib.chapters.kit.planned import Judged
from transfusion_lib.errors import MeasureError, unknown
from transfusion_lib.markup import text
from transfusion_lib.papers import CLAIMS
from transfusion_lib.papers.judge import Finding, Verdict
from transfusion_lib.papers.rules import OUTCOMES
from transfusion_lib.stats.words import number

Board = Mapping[str, Judged]
UNTESTED = OUTCOMES[-1]
MARKS = dict(zip(OUTCOMES, "✓◐✗?–", strict=True))
PAPERS = {"T": "Transfusion (Raghu et al. 2019)", "R": "TruncatedTL (Peng et al. 2023)", "N": "Later questions"}
SCALE = {
    "T": "ResNet-50 and small networks, 587 px, 5,000 to 250,000 images, about 100,000 steps",
    "R": "ResNet-50, 224 px, to 224,000 images, to convergence",
}
"""At which scale each paper worked."""
COLUMNS = ("part", "case", "estimate", "95 % interval", "claimed region", "lies", "n", "varies")
_NOTE = '<p class="tf-pilot">'
_ANSWER = '<p class="tf-answer">'
_HERE, _PILOT = "<b>The answer here:</b>", "<b>The pilot's answer:</b>"
_SCALE = '<p class="tf-scale">'
_PLACE = re.compile(r'<div class="tf-verdicts" data-claims="([\w ]+)">')


def placeholder(claims: Sequence[str]) -> str:
    """Return what stands in a notebook in place of verdicts; ``place`` puts the cards there when a book is built."""
    for claim in claims:
        if claim not in CLAIMS:
            raise MeasureError(unknown("claim", claim, CLAIMS))
    named = " ".join(claims)
    return (
        f'<div class="tf-verdicts" data-claims="{named}">Verdicts of the study: <code>transfusion claims</code></div>'
    )


def noted(line: str) -> str:
    """Return a line of Markdown that ``place`` puts at the head of the page."""
    return f"{_NOTE}{text(line)}</p>"


def answered(findings: Sequence[str]) -> str:
    """Return a chapter's findings as its answer; ``place`` puts it below the question."""
    said = " ".join(f"{one[:1].upper()}{one[1:].rstrip('.')}." for one in findings if one)
    return f"{_ANSWER}{_HERE} {text(said)}</p>"


def scaled(chapter: str, here: str) -> str:
    """Return the scale of the paper that a chapter is about, and ``here`` its own; ``place`` puts it at the head."""
    papers = dict.fromkeys(name[0] for name, claim in CLAIMS.items() if claim.chapter == chapter)
    theirs = "".join(f"<b>{PAPERS[one].partition(' (')[0]}:</b> {SCALE[one]}. " for one in papers if one in SCALE)
    return f"{_SCALE}{theirs}<b>Here:</b> {text(here)}.</p>"


def place(notebook: Path, board: Board) -> None:
    """Put cards in place of an executed chapter's placeholders, and its claims with badges below its question."""
    document = read_notebook(notebook)
    claims: list[str] = []
    notes: list[str] = []
    strips: list[str] = []
    answers: list[str] = []
    for cell in document["cells"]:
        kept = []
        for output in cell.get("outputs", []):
            found = "".join(output.get("data", {}).get("text/html", ""))
            if match := _PLACE.match(found):
                named = match[1].split()
                claims += named
                output["data"]["text/html"] = "".join(card(board[claim]) for claim in named)
            if found.startswith(_SCALE):
                strips.append(found)
            elif found.startswith(_ANSWER):
                answers.append(found.replace(_HERE, _PILOT) if notes else found)
            elif found.startswith(_NOTE):
                notes.append(html.unescape(found.removeprefix(_NOTE).removesuffix("</p>")))
            else:
                kept.append(output)
        if "outputs" in cell:
            cell["outputs"] = kept
    opening = document["cells"][0]
    heading, question, *rest = opening["source"].split("\n\n")
    lines = "".join(
        f'<p>{badge(board[name].verdict)} <a href="#{name}"><b>{name}</b></a> <span>{text(CLAIMS[name].words)}<br>'
        f'<span class="tf-source">{text(answer(board[name]))}</span></span></p>'
        for name in claims
    )
    head = "".join(answers) + (f'<div class="tf-claims">{lines}</div>' if lines else "") + "".join(strips)
    boxes = [markup.raw(head).rstrip("\n")] if head else []
    opening["source"] = "\n\n".join([heading, *notes, question, *boxes, *rest])
    write_notebook(notebook, document)


def card(judged: Judged) -> str:
    """Return a claim, its verdict in words, the paper's number, and folded the rule and every number."""
    verdict, claim = judged.verdict, CLAIMS[judged.verdict.claim]
    rows = [_finding(one) for one in verdict.findings]
    numbers = f"<details><summary>numbers</summary>{markup.grid(COLUMNS, rows)}</details>" if rows else ""
    return (
        f'<div class="tf-claim" id="{claim.id}"><p>{badge(verdict)} <b>{claim.id}.</b> {text(claim.words)} '
        f'<span class="tf-source">{text(claim.source)}</span></p><p>{text(found(judged))}</p>'
        f"<p><b>The paper:</b> {text(claim.printed)}</p>"
        f"<details><summary>the rule</summary><p>Measured: {text(claim.estimand)}.</p>"
        f"<p>Holds if: {text(claim.rule)}.</p></details>{numbers}</div>"
    )


def answer(judged: Judged) -> str:
    """Return what the study found of a claim, or what it takes, in a few sentences."""
    verdict, claim = judged.verdict, CLAIMS[judged.verdict.claim]
    said = verdict.sentence.removeprefix(f"{verdict.outcome[:1].upper()}{verdict.outcome[1:]}. ")
    return said if verdict.findings else f"It takes {claim.untested}."


def found(judged: Judged) -> str:
    """Return ``answer``, its scale and the runs that are missing, as sentences."""
    parts = [answer(judged), judged.verdict.scale]
    if judged.waits:
        hours = sum(judged.waits.values())
        parts.append(f"Not run yet: {', '.join(judged.waits)}, about {max(hours, 0.1):.1f} core-hours.")
    return " ".join(part for part in parts if part)


def badge(verdict: Verdict) -> str:
    """Return the outcome in a word, with its colour and a mark that needs none."""
    name, mark = verdict.outcome.replace(" ", "-"), MARKS[verdict.outcome]
    return f'<span class="tf-verdict tf-{name}"><span aria-hidden="true">{mark} </span>{verdict.outcome}</span>'


def write_scoreboard(chapters: Sequence[Chapter], board: Board, build: Build, *, plan: str) -> None:
    """Write ``scoreboard.md``, which the landing page includes: a line a claim, its numbers, what they say.

    ``plan`` is the hash of the study's plan.
    """
    pages = {chapter.name: chapter.page for chapter in chapters}
    counts = {outcome: sum(one.verdict.outcome == outcome for one in board.values()) for outcome in OUTCOMES}
    total = ", ".join(f"<b>{number}</b> {outcome}" for outcome, number in counts.items() if number)
    parts = [f'<p class="tf-total">{len(board)} claims: {total}. <span class="tf-source">Plan {plan[:12]}.</span></p>']
    for letter, paper in PAPERS.items():
        its = {name: one for name, one in board.items() if name.startswith(letter)}
        rows = "".join(_row(one, pages) for one in its.values() if one.verdict.outcome != UNTESTED)
        waiting = [name for name, one in its.items() if one.verdict.outcome == UNTESTED]
        if rows:
            words = ("verdict", "claim", "the paper", "here")
            head = "".join(f'<th scope="col">{word}</th>' for word in words)
            top = f"<caption>{paper}</caption><thead><tr>{head}</tr></thead>"
            parts.append(f'<table class="tf-board">{top}<tbody>{rows}</tbody></table>')
        if waiting:
            parts.append(_waiting(paper, [its[name] for name in waiting], pages))
    (build.source / "scoreboard.md").write_text(markup.raw("\n".join(parts)), encoding="utf-8")


def _waiting(paper: str, judged: Sequence[Judged], pages: Mapping[str, str]) -> str:
    """Return the claims of a paper that wait for their runs, folded: a line each, with cells and hours."""
    lines = "".join(
        f'<tr id="board-{claim.id}"><td><b>{_named(one, pages)}</b> {text(claim.words)}</td>'
        f"<td>{text(claim.printed)}</td><td>{text(found(one))}</td></tr>"
        for one, claim in ((one, CLAIMS[one.verdict.claim]) for one in judged)
    )
    hours = sum({cell: hours for one in judged for cell, hours in one.waits.items()}.values())
    wait = f"wait for their runs, about {hours:.0f} core-hours" if hours else "are not tested here"
    named = " ".join(one.verdict.claim for one in judged)
    head = '<tr><th scope="col">claim</th><th scope="col">the paper</th><th scope="col">what it takes</th></tr>'
    return (
        f"<details><summary>{paper}: {len(judged)} claims {wait} ({named})</summary>"
        f'<table class="tf-board"><thead>{head}</thead><tbody>{lines}</tbody></table></details>'
    )


def _named(judged: Judged, pages: Mapping[str, str]) -> str:
    claim = CLAIMS[judged.verdict.claim]
    page = pages.get(claim.chapter)
    return f'<a href="{page}.html#{claim.id}">{claim.id}</a>' if page else claim.id


def _row(judged: Judged, pages: Mapping[str, str]) -> str:
    claim = CLAIMS[judged.verdict.claim]
    name = _named(judged, pages)
    return (
        f'<tr id="board-{claim.id}"><td>{badge(judged.verdict)}</td><td><b>{name}</b> {text(claim.words)}</td>'
        f"<td>{text(claim.printed)}</td><td>{text(found(judged))}</td></tr>"
    )


def _finding(one: Finding) -> tuple[str, ...]:
    lies = {"inside": "inside", "outside": "outside", "open": "undecided"}[one.state]
    estimate, low, high = (number(value, places=4, signed=True) for value in (one.estimate, one.low, one.high))
    numbers = ("", "") if math.isnan(one.estimate) else (estimate, f"{low} to {high}")
    return (one.part, one.case, *numbers, str(one.region), one.reason or lies, str(one.n), one.what_varies)
