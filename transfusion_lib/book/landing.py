"""What the landing page includes: the study's three sentences, its figure, and how the study compares to the papers."""

from transfusion_lib.book.execute import Build
from transfusion_lib.chapters.kit import style
from transfusion_lib.chapters.kit.findings import Findings
from transfusion_lib.chapters.kit.planned import Judged
from transfusion_lib.chapters.summary import figures, tables


def write(findings: Findings, board: dict[str, Judged], build: Build) -> None:
    """Write ``answers.md``, with the figure where the study has runs for it, and ``glance.md``."""
    lines = [f"- {sentence}" for sentence in tables.sentences(findings, board)]
    way, kept = tables.on_the_way(findings), tables.kept(findings)
    if not way.empty and not kept.empty:
        titles = {"sooner": tables.sooner_title(tables.leads(findings)), "kept": tables.kept_title(kept)}
        (build.source / "summary.svg").write_text(
            style.svg(figures.summary(way, kept, titles=titles)), encoding="utf-8"
        )
        alt = f"{titles['sooner']}. {titles['kept']}."
        lines += ["", "```{figure} summary.svg", f":alt: {alt}", ":class: dark-light", ":width: 100%", ""]
        lines += ["Means of all runs of an arm with 95 % intervals; each run draws its own split of the images.", "```"]
    (build.source / "answers.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (build.source / "glance.md").write_text(tables.glance(findings) + "\n", encoding="utf-8")
