"""The pilot: the first edition's verdicts with what was wrong with them."""

import tomllib
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from transfusion_lib import markup
from transfusion_lib.book.execute import Build
from transfusion_lib.book.project import Project
from transfusion_lib.papers import CLAIMS


class Entry(BaseModel):
    """What the pilot said of one claim."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    verdict: str
    found: str
    """The numbers that it rested on."""
    wrong: str
    """What was wrong with it."""


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


def write(project: Project, build: Build) -> None:
    """Write what the page on the pilot includes."""
    (build.source / "pilot-verdicts.md").write_text(
        markup.raw(f'<div class="pst-scrollable-table-container">{table(project)}</div>'), encoding="utf-8"
    )


def table(project: Project) -> str:
    """Return the pilot's verdicts as a table, a row a claim."""
    head = ("claim", "the pilot's verdict", "on these numbers", "what was wrong")
    rows = [
        (f"{claim}. {CLAIMS[claim].words}", entry.verdict, entry.found, entry.wrong)
        for claim, entry in entries(project).items()
    ]
    return markup.grid(head, rows)


def _file(project: Project) -> dict[str, object]:
    return tomllib.loads((project.pages / "pilot.toml").read_text(encoding="utf-8"))
