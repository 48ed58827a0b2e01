"""What the landing page includes: the study's three sentences, its figure, and the study beside the papers."""

import json
from pathlib import Path

from transfusion_lib.book.execute import Build
from transfusion_lib.chapters.kit import style
from transfusion_lib.chapters.kit.findings import Findings
from transfusion_lib.chapters.kit.planned import Judged
from transfusion_lib.chapters.summary import drawings, figures, tables

FIGURE = "summary.svg"
"""In ``book/_static``, for the README too; ``transfusion publish --study`` draws it again."""


WORDS = (
    "Means of all runs of an arm with 95 % intervals; each run draws its own split of the images. Ahead is clear where "
    "the interval of the difference, split by split, leaves 0 out."
)


def write(findings: Findings, board: dict[str, Judged], build: Build) -> None:
    """Write ``answers.md``, with the figure where the study has runs for it, ``glance.md``, and the pages' drawings."""
    lines = [f"- {sentence}" for sentence in tables.sentences(findings, board)]
    if alt := draw(findings, build.source / "_static"):
        lines += [
            "",
            f"```{{figure}} _static/{FIGURE}",
            f":alt: {json.dumps(alt, ensure_ascii=False)}",
            ":class: dark-light",
            ":width: 100%",
            "",
        ]
        lines += [WORDS, "```"]
    for name, drawn in (("methods", drawings.methods), ("verdicts", drawings.verdicts)):
        (build.source / "_static" / f"{name}.svg").write_text(style.svg(drawn()), encoding="utf-8")
    (build.source / "answers.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (build.source / "glance.md").write_text(tables.glance(findings) + "\n", encoding="utf-8")


def draw(findings: Findings, folder: Path) -> str:
    """Draw the figure into ``folder`` and return what it shows, in words; nothing where it has no runs yet."""
    way, kept = tables.on_the_way(findings), tables.kept(findings)
    if way.empty or kept.empty:
        return ""
    titles = {"sooner": tables.sooner_title(tables.leads(findings)), "kept": tables.kept_title(kept)}
    svg = style.svg(figures.summary(way, kept, titles=titles))
    (folder / FIGURE).write_text(svg, encoding="utf-8")
    return f"{titles['sooner']}. {titles['kept']}."
