"""The chapters as sources: no number in their prose is typed by hand, and no code is copied between them."""

import json
import re
from itertools import combinations, pairwise
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))

# What may stand in prose as digits: where something is (a figure, table, section, claim, a numbered step), a name
# (ResNet-50), what is between backticks, a definition's 0 and 1, a suffix in quotes ("-2"), and 95 %, the level of
# every interval.
ALLOWED = (
    r"`[^`]*`",
    r"\]\([^)]*\)|https?://\S+",
    r"\b(Figures?|Tables?|[Ss]ections?|[Aa]ppendix|chapters?|equations?|blocks?)\s+[A-Z]?\.?\d+(\.\d+)*( i+)?"
    r"((,| to| and)\s+\d+(\.\d+)*)*",
    r"\b[A-Za-z][\w-]*\d[\w-]*|\b[23]D\b",
    r"\b95 %",
    r"(?m)^#+ \d+\. ",
    r'"-\d"',
    r"(?<![\d.])[01](?!\.?\d)",
    r"\b(19|20)\d\d\b",
)
# Words that are the same in all chapters: opening, showing, the arguments of a figure.
FRAME = (
    r"from transfusion_lib.*|import .*",
    r"study = \w+\.of\(globals\(\)\)",
    r"chapter = open_chapter\(study\)",
    r"runs = chapter\.runs\(\)",
    r"speed = tables\.speed\(runs, threshold=threshold, in_a_row=in_a_row\)",
    r"chapter\.(answer|foot|show|say|glue|verdicts)\(.*",
    r"[)\]}]*",
)


def cells(path: Path, kind: str) -> list[str]:
    """Return the sources of a notebook's cells of one kind, the parameters cell left out."""
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [
        "".join(cell["source"])
        for cell in found
        if cell["cell_type"] == kind and "parameters" not in cell["metadata"].get("tags", [])
    ]


def typed_numbers(text: str) -> list[str]:
    """Return the numbers in a Markdown text that no rule allows, each with a little of what stands around it."""
    for pattern in ALLOWED:
        text = re.sub(pattern, "", text)
    return [text[max(0, one.start() - 20) : one.end() + 20] for one in re.finditer(r"\d[\d.,]*", text)]


def copied(first: list[str], second: list[str]) -> list[str]:
    """Return pairs of lines in a row that two notebooks share, beyond the frame; one shared line is a call."""
    pairs = [{pair for cell in one for pair in pairwise(_own(cell))} for one in (first, second)]
    return ["\n".join(pair) for pair in pairs[0] & pairs[1]]


def _own(cell: str) -> list[str]:
    """Return the lines of a cell that are not the frame."""
    lines = [line.strip() for line in cell.splitlines()]
    return [line for line in lines if line and not any(re.fullmatch(pattern, line) for pattern in FRAME)]


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in NOTEBOOKS])
def test_no_number_in_prose_is_typed(path: Path) -> None:
    found = {text: numbers for text in cells(path, "markdown") if (numbers := typed_numbers(text))}
    assert not found, (
        f"{path.name}: let a cell say these numbers, or allow their kind in ALLOWED: {list(found.values())}"
    )


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in NOTEBOOKS])
def test_prose_reads_the_same_in_lab_and_in_the_book(path: Path) -> None:
    """JupyterLab and VS Code show MyST's roles and directives raw, and an empty link not at all."""
    raw = r"\{[a-z:]+\}`|```\{|\[\]\("
    assert not [text for text in cells(path, "markdown") if re.search(raw, text)]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("The AUROC rose by 0.03.", 1),
        ("After 60 steps, 3 of 5 seeds.", 3),
        ("It was 12 % faster at 224 pixels.", 2),
        ("Figure 7, Tables 1 and 2, Figures 6 to 8, section 5, T13, ResNet-50, EfficientNet-Lite0, conv1, block2.", 0),
        ("{glue:text}`steps_64` of `seed=3`, {cite:t}`raghu2019transfusion`, a 95 % interval, mean 0, variance 1.", 0),
        ("An AUROC of {glue:text}`x` or 0.9", 1),
    ],
)
def test_the_rule_for_numbers_knows_what_it_should(text: str, count: int) -> None:
    assert len(typed_numbers(text)) == count, typed_numbers(text)


@pytest.mark.parametrize(
    ("first", "second"), [pytest.param(a, b, id=f"{a.stem}, {b.stem}") for a, b in combinations(NOTEBOOKS, 2)]
)
def test_no_code_is_copied_between_chapters(first: Path, second: Path) -> None:
    found = copied(cells(first, "code"), cells(second, "code"))
    assert not found, f"{first.name} and {second.name} share code; it belongs in the library: {found}"


def test_copied_code_is_found() -> None:
    own = ["study = A.of(globals())\nchapter = open_chapter(study)\na = f(1)\nb = g(a)"]
    assert copied(own, ["x = 1\na = f(1)\nb = g(a)\ny = 2"]) == ["a = f(1)\nb = g(a)"]
    assert not copied(own, ["a = f(1)\nc = g(a)"])
    assert not copied(own, ["study = A.of(globals())\nchapter = open_chapter(study)"])
