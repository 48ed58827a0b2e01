"""Several sets of parameters of one chapter on one page."""

from pathlib import Path
from typing import Any

import pytest

from tests.books import OPENING, PARAMETERS, add_chapter, code, prose, small_project
from transfusion_lib.book import build, compare, parameters
from transfusion_lib.book.project import Project
from transfusion_lib.errors import ParameterError

DRAW = """\
from IPython.display import HTML, display
from myst_nb import glue
svg = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 9 9'><path d='M0 0 L{steps} 9'/></svg>"
display({"image/svg+xml": svg}, raw=True, metadata={"image/svg+xml": {"alt": f"a line to {steps}"}})
display(HTML("<div class='tf-below'><p>Lines & more.</p></div>".replace("'", '"')))
glue("double", 2 * steps, display=False)
glue("same", 1, display=False)"""


@pytest.fixture
def place(tmp_path: Path) -> Project:
    """A project whose chapter "drawn" has a figure and two glued numbers."""
    project = small_project(tmp_path)
    add_chapter(project, "02-drawn", prose(OPENING), code(PARAMETERS, "parameters"), code(DRAW))
    return Project(project.root)


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["steps=3"], [{}, {"steps": 3}]),
        (["steps=3", "steps=4 seeds=[0, 1, 2]"], [{"steps": 3}, {"steps": 4, "seeds": [0, 1, 2]}]),
        (["dataset=/my images/a", "steps = 4"], [{"dataset": "/my images/a"}, {"steps": 4}]),
    ],
)
def test_a_set_is_assignments_between_spaces_and_one_is_beside_what_is(
    place: Project, texts: list[str], found: list[dict[str, Any]]
) -> None:
    assert compare.sets(place.chapter("drawn"), {"smoke": False}, texts) == [{"smoke": False, **one} for one in found]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["steps=10"], "two of the sets are the same"),
        (["steps=3", "steps=4", "steps=3"], "two of the sets are the same"),
        (["stepps=3"], 'did you mean "steps"'),
        (["steps"], "key=value"),
        ([f"steps={k}" for k in range(1, 29)], "at most 26"),
    ],
)
def test_sets_that_cannot_be_compared_are_refused(place: Project, texts: list[str], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        compare.sets(place.chapter("drawn"), {}, texts)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_page_shows_what_differs_figures_and_words_side_by_side(place: Project) -> None:
    said: list[str] = []
    page = build.comparison(place, "drawn", ["steps=3", "steps=4"], assignments=["smoke=False"], say=said.append)
    text = page.read_text()
    assert page.name == "index.html"
    assert text.index("<code>steps</code>") < text.index('alt="A: a line to 3"') < text.index('alt="B: a line to 4"')
    assert "Lines &amp; more." in text
    assert "<td>6</td><td>8</td>" in text, "the glued number that differs"
    assert "<code>same</code>" not in text
    assert "4 parameters are the same" in text
    for letter, steps in (("A", 3), ("B", 4)):
        assert f"L{steps} 9" in (page.parent / "_static" / "sets" / f"{letter}-1.svg").read_text()
        assert (page.parent / "notebooks" / f"02-drawn-{letter.lower()}.html").is_file()
    assert said[:2] == ["[1/2] drawn, set A, profile live", "[2/2] drawn, set B, profile live"]


def test_the_parameters_of_a_set_are_typed(place: Project) -> None:
    one = place.chapter("drawn")
    (_, second) = compare.sets(one, {}, ["seeds=[5] threshold=0.9"])
    assert parameters.effective(one, second)["threshold"] == 0.9
