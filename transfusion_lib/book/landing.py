"""What the landing page shows of the chapters: a sentence of three of them, and the most telling figure."""

import ast
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from transfusion_lib.book import pilot
from transfusion_lib.book.check import alternative
from transfusion_lib.book.execute import Build
from transfusion_lib.book.profiles import Profile
from transfusion_lib.book.project import Chapter, Project, read_notebook
from transfusion_lib.markup import plain, raw

SENTENCES = {
    "performance": "The end of training",
    "convergence": "The way there",
    "differential": "How much of a network is needed",
}
"""Chapters whose glued ``finding`` stands on the landing page, and what it is about."""

FIGURE = "convergence"
"""The chapter whose first figure stands there: the first paper's Figure 6."""


def write(chapters: Sequence[Chapter], build: Build) -> None:
    """Write ``landing.md``, which the landing page includes, from the executed notebooks of this build."""
    own = {chapter.name: chapter for chapter in chapters if chapter.guest is None}
    lines: list[str] = []
    for name, about in SENTENCES.items():
        if name in own and (found := _glued(_executed(own[name], build), "finding")):
            lines.append(f"- **{about}.** {_sentence(found)} → [{own[name].title}](/{own[name].page}.ipynb)")
    if FIGURE in own and (drawn := _first_figure(_executed(own[FIGURE], build))):
        svg, alt = drawn
        (build.source / "landing.svg").write_text(svg, encoding="utf-8")
        lines += [
            "",
            "```{figure} landing.svg",
            f":alt: {json.dumps(alt, ensure_ascii=False)}",
            ":class: dark-light",
            ":width: 100%",
            "",
        ]
        lines += [f"From [{own[FIGURE].title}](/{own[FIGURE].page}.ipynb), where its data and code are.", "```"]
    (build.source / "landing.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_pilot(project: Project, profile: Profile, build: Build) -> None:
    """Write what the page on the pilot includes, and the line on it that the landing page includes, if it is shown."""
    (build.source / "pilot-verdicts.md").write_text(raw(pilot.table(project)), encoding="utf-8")
    (build.source / "pilot-line.md").write_text(
        f"{pilot.line(project, shift=True) if profile.pilot else ''}\n", encoding="utf-8"
    )


def _executed(chapter: Chapter, build: Build) -> dict[str, Any]:
    return read_notebook(Path(build.source / f"{chapter.page}.ipynb"))


def _outputs(notebook: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for cell in notebook["cells"]:
        yield from cell.get("outputs", [])


def _glued(notebook: dict[str, Any], name: str) -> str | None:
    """Return the text that a chapter glued under ``name``, or None."""
    for output in _outputs(notebook):
        if output.get("metadata", {}).get("scrapbook", {}).get("name") == name:
            return str(ast.literal_eval(next(iter(output["data"].values()))))
    return None


def _first_figure(notebook: dict[str, Any]) -> tuple[str, str] | None:
    """Return the SVG and the alt text of a chapter's first figure, or None."""
    for output in _outputs(notebook):
        if svg := "".join(output.get("data", {}).get("image/svg+xml", "")):
            return svg, alternative(output)
    return None


def _sentence(text: str) -> str:
    """Return a finding as a sentence of Markdown: a capital, a full stop, and no line break."""
    words = " ".join(text.split())
    return plain(words[:1].upper() + words[1:] + ("" if words.endswith((".", "!", "?")) else "."))
