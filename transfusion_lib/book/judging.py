"""The tables of the page "How we judge", from the claims themselves: margins, rules, power, the papers' own numbers."""

from collections.abc import Iterator, Sequence

from transfusion_lib import papers
from transfusion_lib.book.execute import Build
from transfusion_lib.markup import markdown
from transfusion_lib.papers import Row
from transfusion_lib.papers.claims import (
    CLEAR,
    FINAL,
    GOOD_PART,
    LARGE,
    MATCH,
    POOLED,
    PREDICTS,
    SIMILARITY,
    SLOPE,
    TASK,
    TOP,
)
from transfusion_lib.papers.power import ENOUGH

PAGE = "how-we-judge.md"
MARGINS = (
    (f"{TASK:g} AUROC", "a score on one task", "The first paper calls gaps of 0.9 and 1.0 points comparable, and on "
     "2,000 test images the standard error of one AUROC is 0.005 to 0.01."),
    (f"{LARGE:g} AUROC", "a score with a large data set", "Ten thousand test images allow a closer look."),
    (f"{POOLED:g} AUROC", "non-inferiority on average over tasks", "An average is more certain than a task."),
    (f"{FINAL:g} AUROC", "when a score is final", "Doubling the steps changes it by less."),
    (f"{SLOPE:g} AUROC", "ten points of top-5 accuracy (T3)", "The slope in the first paper's Table 1 is 0.004."),
    (f"{SIMILARITY:g}", "two similarities that hardly differ (T5)", "Figure 2: 0.03 to 0.05 in large networks, under "
     "0.015 in small ones."),
    (f"{CLEAR:g}", "a similarity that is clearly higher (T7)", "Figure 3: 0.1 and more in the lowest stages, within "
     "0.05 above them."),
    (f"{PREDICTS:g}", "an R^2 that predicts (T8, N2)", "Between 0.75 and 0.84, which the paper calls correlated, and "
     "0.32 and less."),
    (f"{GOOD_PART:g}", "a good part of a gain (T12)", "A quarter is the least that deserves the words."),
    (f"{MATCH:g}", "the part of a gain that a match may miss (T14, T15)", "Figure 8: Slim misses 0.3 %."),
    (f"{TOP:g}", "similarity at the top over the bottom (R4)", "What still approaches that of random features."),
)  # fmt: skip


def write(build: Build) -> None:
    """Write what ``how-we-judge.md`` includes, if the book has that page: the power of 29 claims takes seconds."""
    if not (build.source / PAGE).is_file():
        return
    rows = papers.table()
    parts = {
        "margins": markdown(("margin", "of", "why"), MARGINS),
        "power": _underpowered(rows),
        "claims": markdown(
            ("claim", "holds if", "power", "the paper's number", "our rule on it"),
            ((f"[{r.id}](judge-{r.id})", r.rule, str(r.power), r.printed, r.printed_outcome) for r in rows),
        ),
        "details": "\n".join(line for row in rows for line in _details(row)),
    }
    for name, text in parts.items():
        (build.source / f"judging-{name}.md").write_text(text + "\n", encoding="utf-8")


def _underpowered(rows: Sequence[Row]) -> str:
    low = [row for row in rows if row.power.underpowered]
    listed = ", ".join(f"{row.id} ({row.power.whole:.2f})" for row in low)
    return (
        f"{len(rows) - len(low)} of {len(rows)} claims have a power of {ENOUGH:g} or more. **Underpowered by design** "
        f"are {listed}: if such a claim is true as a whole, the study may well leave it undecided, in part or in all."
    )


def _details(row: Row) -> Iterator[str]:
    yield f"(judge-{row.id})="
    yield f"**{row.id}.** *{row.words}* ({row.source})\n"
    yield f"- measured: {row.estimand}"
    yield f"- holds if: {row.rule}"
    yield f"- planned (cells of the study: {row.cells}): {row.plan}"
    parts = "; ".join(f"{name} {value:.2f}" for name, value in row.power.parts.items())
    yield f"- power: {row.power}" + (f" ({parts})" if len(row.power.parts) > 1 else "")
    yield f"- the paper's number: {row.printed}"
    if row.printed_sentence:
        yield f"- our rule on it: {row.printed_sentence}"
    yield ""
