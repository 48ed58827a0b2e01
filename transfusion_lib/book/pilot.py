"""The pilot: the first edition's verdicts with what was wrong, and which of them its records cannot give at all."""

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from transfusion_lib import markup
from transfusion_lib.book.project import Project, find
from transfusion_lib.papers import pilot as claims
from transfusion_lib.papers.pilot import TABLE, WITHDRAWN, Evidence, Verdict


class Entry(BaseModel):
    """What the pilot said of one claim."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    verdict: str
    found: str
    """The numbers that it rested on."""
    wrong: str
    """What was wrong with it."""
    withdrawn: str | None = None
    """Why the records do not test the claim as the paper means it; None where they do, if badly."""
    parts: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """The parts of the claim that ``withdrawn`` is about; none is all."""


def entries(project: Project) -> Mapping[str, Entry]:
    """Return what the pilot said, by claim, from ``book/pilot.toml``."""
    return {claim: Entry(**fields) for claim, fields in _file(project).items() if isinstance(fields, dict)}


def line(project: Project, *, shift: bool) -> str:
    """Return what stands at the head of every page with the pilot's results, in Markdown.

    ``shift`` tells whether some of its scores are of test images of another distribution.
    """
    words = _file(project)
    made = f"**Pilot:** {words['line']}{', ' + str(words['shift']) if shift else ''}"
    return f"{made}; replaced as the study's records arrive. What was wrong: [The pilot](/pilot.md)."


def judge(claim: str, evidence: Evidence | None) -> Verdict:
    """Return the verdict on a claim from the pilot's records; withdrawn where they do not test what the paper means.

    Of a claim that is withdrawn in part, the reason also says what became of the rest.
    """
    verdict, entry = claims.judge(claim, evidence), entries(find())[claim]
    if evidence is None or entry.withdrawn is None:
        return verdict
    reason, whole = entry.withdrawn, TABLE[claim]
    kept = {name: part for name, part in whole.parts.items() if entry.parts and name not in entry.parts}
    if kept:
        known = {name: cases for name, cases in evidence.parts.items() if name in kept}
        rest = claims.judge(replace(whole, parts=kept), replace(evidence, parts=known))
        reason += f" The other half is {rest.outcome} in the pilot. {rest.reason}"
    return replace(verdict, outcome=WITHDRAWN, reason=reason)


def table(project: Project) -> str:
    """Return the pilot's verdicts as a table, a row a claim."""
    head = ("claim", "the pilot's verdict", "on these numbers", "what was wrong")
    rows = [
        (f"{claim}. {TABLE[claim].statement}", entry.verdict, entry.found, entry.wrong)
        for claim, entry in entries(project).items()
    ]
    return markup.grid(head, rows)


def _file(project: Project) -> dict[str, object]:
    return tomllib.loads((project.pages / "pilot.toml").read_text(encoding="utf-8"))
