"""Pages made from the sources they describe."""

import re
from pathlib import Path

import pytest

from transfusion_lib.book import manual, parameters, project
from transfusion_lib.book.execute import Build


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the two pages include, by name."""
    build = Build(id="B", profile="live", folder=tmp_path_factory.mktemp("build"))
    build.source.mkdir()
    manual.write(project.find(Path(__file__)).chapters, build)
    return {path.stem.removeprefix("manual-"): path.read_text() for path in build.source.glob("*.md")}


def test_every_parameter_of_every_chapter_is_listed(pages: dict[str, str]) -> None:
    for chapter in project.find(Path(__file__)).chapters:
        assert f"NAME={chapter.name} " in pages["parameters"]
        for one in parameters.declared(chapter):
            assert f"| `{one.name}` |" in pages["parameters"]
            assert one.meaning, f"{chapter.name}: say what {one.name} means"


def test_public_names_are_listed_with_their_docstrings_and_private_ones_are_not(pages: dict[str, str]) -> None:
    assert "`` class RunSpec ``\n: Everything that can change a run's numbers." in pages["library"]
    assert "`` RunSpec.key(self, *, data: str, weights: str | None) -> str ``" in pages["library"]
    assert not re.search(r"`` (class )?(\w+\.)?_", pages["library"])
    assert "``\n: \n" not in pages["library"], "every public class and function has a docstring"


def test_a_docstring_shows_what_it_says() -> None:
    assert manual._plain("an [a] of ``x[0]`` and n_test *now*") == r"an \[a\] of ``x[0]`` and n\_test \*now\*"
    assert manual._plain("a table:\n\n| a | b |\n|---|---|") == "a table:\n\n| a | b |\n|---|---|"
