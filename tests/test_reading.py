"""What an executed chapter gains for its readers: folded parameters and linked terms."""

from pathlib import Path

import pytest

from tests.books import code, notebook, prose
from transfusion_lib.book import reading
from transfusion_lib.book.execute import Build
from transfusion_lib.book.project import read_notebook, write_notebook

GLOSSARY = (
    "# Words\n\n```{glossary}\nCCA\n  A measure.\n\ncut point\n  A place.\n\nseed\n  A number.\n\nrun\n  One.\n```\n"
)


@pytest.fixture
def made(tmp_path: Path) -> Build:
    """A build whose glossary has four words."""
    build = Build(id="20261121T120000Z-abcd", profile="live", folder=tmp_path)
    build.source.mkdir()
    (build.source / "glossary.md").write_text(GLOSSARY)
    return build


def test_terms_are_the_glossarys_without_those_of_plain_prose() -> None:
    assert reading.terms(GLOSSARY) == ["cut point", "seed", "CCA"]


@pytest.mark.parametrize(
    ("text", "linked"),
    [
        ("Three seeds, one seed.", "Three {term}`seeds <seed>`, one seed."),
        ("# A seed\n\nNo `seed`, no $seed$, no [seed](x.md).", "# A seed\n\nNo `seed`, no $seed$, no [seed](x.md)."),
        ("SVCCA and CCA-like, then CCA.", "SVCCA and CCA-like, then {term}`CCA <CCA>`."),
        ("{glue:text}`seed` of a cut point", "{glue:text}`seed` of a {term}`cut point <cut point>`"),
        ("```python\nseed = 1\n```\n\nreseeds", "```python\nseed = 1\n```\n\nreseeds"),
        ("It runs.", "It runs."),
    ],
)
def test_the_first_use_of_a_term_in_prose_is_linked(text: str, linked: str) -> None:
    assert reading.linked(text, reading.terms(GLOSSARY)) == linked


def test_a_term_is_linked_once_a_page_and_parameters_are_folded(made: Build) -> None:
    path = made.source / "a.ipynb"
    cells = [prose("# T\n\nA seed?"), code("seeds = [1]  # of a = b\nsteps: int = 3", "parameters"), prose("The seed.")]
    write_notebook(path, notebook(*cells))
    reading.prepare(path, made)
    first, form, second = read_notebook(path)["cells"]
    assert first["source"] == "# T\n\nA {term}`seed <seed>`?"
    assert second["source"] == "The seed."
    assert form["metadata"]["tags"] == ["parameters", "hide-input"]
    assert form["metadata"]["mystnb"]["code_prompt_show"] == "Run with: seeds, steps"
