"""The build: parameters, profiles, execution, and a gate that lets nothing failed, unexecuted or stale pass."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.books import OPENING, PARAMETERS, REPOSITORY, add_chapter, code, notebook, prose, small_project
from transfusion_lib.book import assemble, build, check, execute, mathml, parameters, profiles, project, render, status
from transfusion_lib.book.execute import Build
from transfusion_lib.book.profiles import Profile
from transfusion_lib.book.project import Chapter, Project
from transfusion_lib.chapters.kit import planned
from transfusion_lib.chapters.kit.findings import Findings
from transfusion_lib.errors import BuildError, ParameterError, SpecError, UserError


@pytest.fixture
def place(tmp_path: Path) -> Project:
    """A project with the repository's pages and settings, and one small chapter."""
    return small_project(tmp_path)


@pytest.fixture
def small(place: Project) -> Chapter:
    """The small chapter."""
    return place.chapter("small")


# Parameters


def test_the_parameters_cell_gives_name_type_default_and_meaning(small: Chapter) -> None:
    found = [(p.name, p.type, p.default, p.meaning) for p in parameters.declared(small)]
    assert found == [
        ("dataset", "str", "fundus", "name of a data set"),
        ("seeds", "list[int]", [0, 1], "one run per seed"),
        ("steps", "int", 10, "of training"),
        ("threshold", "float | None", None, "of the test AUC"),
        ("smoke", "bool", True, ""),
    ]


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("smoke=false", False),
        ("smoke=True", True),
        ("seeds=[0,1,2]", [0, 1, 2]),
        ("seeds=[]", []),
        ("steps=20", 20),
        ("threshold=0.9", 0.9),
        ("threshold=1", 1),
        ("threshold=null", None),
        ("threshold=None", None),
        ("dataset=chest_xray", "chest_xray"),
        ("dataset=7", "7"),
        ("dataset=true", "true"),
        ('dataset="quoted"', "quoted"),
        ("dataset=a=b", "a=b"),
        ("dataset=", ""),
    ],
)
def test_assignments_arrive_typed(small: Chapter, assignment: str, value: Any) -> None:
    found = parameters.given(small, [assignment])[assignment.partition("=")[0]]
    assert found == value
    assert isinstance(found, type(value)) or assignment == "threshold=1"


@pytest.mark.parametrize(
    "assignment",
    [
        "smoke=1",
        "smoke=no",
        "seeds=3",
        "seeds=[true]",
        "seeds=[0.5]",
        "steps=1.5",
        "steps=ten",
        "steps=null",
        "threshold=x",
    ],
)
def test_a_value_of_another_type_is_refused_with_an_example(small: Chapter, assignment: str) -> None:
    name = assignment.partition("=")[0]
    with pytest.raises(ParameterError, match=rf"parameter {name} is .*for example -p {name}="):
        parameters.given(small, [assignment])


def test_an_unknown_parameter_says_which_exist_and_which_was_meant(small: Chapter) -> None:
    with pytest.raises(ParameterError, match=r'"sedes"; did you mean "seeds"\? Known: dataset, seeds, steps') as raised:
        parameters.given(small, ["sedes=[1]"])
    assert raised.value.exit_status == 2


def test_an_assignment_without_equals_is_refused(small: Chapter) -> None:
    with pytest.raises(ParameterError, match="key=value"):
        parameters.given(small, ["steps"])


def test_a_list_of_bare_words_needs_no_quotes(place: Project) -> None:
    chapter = add_chapter(place, "02-words", prose(OPENING), code('models = ["cbr_tiny"]', "parameters"))
    assert parameters.given(chapter, ["models=[resnet50, cbr_tiny]"]) == {"models": ["resnet50", "cbr_tiny"]}


LITERALS = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.integers()),
    st.lists(st.text()),
)


@given(value=LITERALS)
@settings(max_examples=60, deadline=None)
def test_what_json_writes_is_read_back_to_the_same_value_and_type(value: Any) -> None:
    kind = parameters._type_of(value) if value != [] else "list"
    parameter = parameters.Parameter("x", kind, value, "")
    found = parameter.parse(json.dumps(value))
    assert found == value
    assert type(found) is type(value)


@given(text=st.text())
@settings(max_examples=60, deadline=None)
def test_any_text_is_a_string(text: str) -> None:
    parameter = parameters.Parameter("x", "str", "", "")
    assert parameter.parse(text) == text or json.loads(text) == parameter.parse(text)


@pytest.mark.parametrize(
    "source",
    ["steps = 5 * 2", "for i in range(3):\n    steps = i", "import os", "sizes = (1, 2)", "steps: int = 0.5", "x = y"],
)
def test_a_parameters_cell_holds_typed_literals_only(place: Project, source: str) -> None:
    chapter = add_chapter(place, "02-bad", prose(OPENING), code(source, "parameters"))
    with pytest.raises(BuildError, match=r"02-bad\.ipynb"):
        parameters.declared(chapter)


# Profiles


def test_the_profiles_load() -> None:
    here = project.find(REPOSITORY)
    assert profiles.names(here) == ["live", "paper", "published"]
    assert [name for name in profiles.names(here) if profiles.load(here, name).live] == ["live", "paper"]
    for name in profiles.names(here):
        for chapter in here.chapters:
            profiles.load(here, name).parameters(chapter)


def test_live_is_the_notebooks_own_parameters() -> None:
    assert profiles.load(project.find(REPOSITORY), "live").chapter == {}


def test_an_unknown_profile_says_which_exist(place: Project) -> None:
    with pytest.raises(
        UserError,
        match=r'"lve"; did you mean "live"\? Known: live, paper, published',
    ):
        profiles.load(place, "lve")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('description = "x"\nlive = "yes"', "live"),
        ('description = "x"', "live"),
        ('description = "x"\nlive = true\nlifes = 1', "lifes"),
        ('description = "x"\nlive = true\n[chapter.smal]\nsteps = 1', 'did you mean "small"'),
        ('description = "x"\nlive = true\n[chapter.small]\nstep = 1', 'did you mean "steps"'),
        ('description = "x"\nlive = true\n[chapter.small]\nsteps = "1"', "steps is int"),
        ('description = "x"\nlive = true\npilot = ["smal"]', 'did you mean "small"'),
        ('description = "x"\nlive = false\ntrained = ["smal"]', 'did you mean "small"'),
        ("description = ", "book/profiles/mine.toml"),
    ],
)
def test_a_faulty_profile_names_its_file_and_the_fault(place: Project, text: str, message: str) -> None:
    (place.pages / "profiles" / "mine.toml").write_text(text)
    with pytest.raises(UserError, match=r"book/profiles/mine\.toml") as raised:
        profiles.load(place, "mine").parameters(place.chapter("small"))
    assert message in str(raised.value)


def test_an_assignment_wins_over_the_profile_and_the_profile_over_the_notebook(place: Project, small: Chapter) -> None:
    profile = Profile(name="mine", description="", live=True, chapter={"small": {"steps": 20, "seeds": [5]}})
    values = profile.parameters(small, ["steps=30"])
    effective = parameters.effective(small, values)
    assert (effective["steps"], effective["seeds"], effective["dataset"]) == (30, [5], "fundus")


def test_the_current_profile_comes_from_the_environment(place: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.root / "notebooks")
    monkeypatch.delenv(profiles.VARIABLE, raising=False)
    assert profiles.current().name == "live"
    monkeypatch.setenv(profiles.VARIABLE, "published")
    assert not profiles.current().live


# The project


def test_a_project_is_found_from_any_folder_below_it(place: Project) -> None:
    assert project.find(place.root / "notebooks").root == place.root.resolve()


def test_an_unknown_chapter_says_which_exist(place: Project) -> None:
    with pytest.raises(UserError, match=r'"01-small"; did you mean "small"\? Known: small'):
        place.chapter("01-small")


@pytest.mark.parametrize("name", ["small", "1-small", "01-Small", "03-small"])
def test_chapters_are_numbered_and_named_once(place: Project, name: str) -> None:
    project.write_notebook(place.root / "notebooks" / f"{name}.ipynb", notebook(prose(OPENING)))
    with pytest.raises(BuildError, match=r'NN-name\.ipynb|two chapters are called "small"'):
        _ = Project(place.root).chapters


def test_a_chapter_opens_with_its_title_and_question(place: Project, small: Chapter) -> None:
    assert (small.title, small.question) == ("Small", "Does it build?")
    with pytest.raises(BuildError, match="heading"):
        _ = add_chapter(place, "02-mute", prose("No heading")).title


# Assembling


def test_the_contents_keep_only_the_chapters_of_the_build(place: Project) -> None:
    add_chapter(place, "02-other", prose(OPENING))
    place = Project(place.root)
    full = list(assemble.pages(assemble.contents(place, place.chapters)))
    one = list(assemble.pages(assemble.contents(place, [place.chapter("small")])))
    assert "notebooks/02-other" in full
    assert one == [page for page in full if page != "notebooks/02-other"]


def test_a_chapter_that_the_contents_do_not_name_is_refused(place: Project) -> None:
    project.write_notebook(place.root / "notebooks" / "02-lost.ipynb", notebook(prose(OPENING)))
    with pytest.raises(BuildError, match=r"_toc\.yml does not name notebooks/02-lost"):
        assemble.contents(Project(place.root), [])


# The gate


@pytest.fixture
def made(place: Project) -> Build:
    """A build under way."""
    return Build(id="now", profile="live", folder=place.build / "book")


def ran(number: int, source: str = "x = 1", *outputs: dict[str, Any]) -> dict[str, Any]:
    """Return a code cell as papermill leaves it."""
    done = {"tags": [], "papermill": {"status": "completed", "exception": False}}
    return {**code(source), "execution_count": number, "metadata": done, "outputs": list(outputs)}


def executed(chapter: Chapter, made: Build, *cells: dict[str, Any]) -> Path:
    """Write an executed notebook as ``execute`` does, and return its path."""
    document = notebook(prose(OPENING), *cells)
    document["metadata"]["transfusion"] = execute.stamp(chapter, {}, made)
    path = made.source / f"{chapter.page}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    project.write_notebook(path, document)
    return path


def image(alt: str | None) -> dict[str, Any]:
    """Return a figure's output."""
    metadata = {} if alt is None else {"alt": alt}
    return {"output_type": "display_data", "data": {"image/svg+xml": "<svg/>"}, "metadata": metadata}


def test_a_whole_notebook_passes(small: Chapter, made: Build) -> None:
    output = {"output_type": "stream", "name": "stdout", "text": ["50 % of\n", "them"]}
    path = executed(small, made, ran(1), ran(2, "y = 2", output), ran(3, "z", image("a curve that rises")))
    check.executed(small, path, {}, made)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ({**ran(2), "metadata": {"papermill": {"status": "pending"}}}, "not executed (pending)"),
        ({**ran(2), "metadata": {"papermill": {"status": "running"}}}, "not executed (running)"),
        ({**ran(2), "metadata": {}}, "not executed (never started)"),
        (ran(3), "execution count 3"),
        ({**ran(2), "execution_count": None}, "execution count None"),
        (ran(2, " \n"), "empty"),
        (
            ran(2, "f()", {"output_type": "error", "ename": "KeyError", "evalue": "'x'", "traceback": []}),
            "KeyError: 'x'",
        ),
        (ran(2, "f()", {"output_type": "stream", "name": "stderr", "text": "careful"}), "stderr: careful"),
        (
            ran(2, "f()", {"output_type": "stream", "name": "stdout", "text": ["\r 10%|#   | 1/10 [00:01<00:09]"]}),
            "progress bar",
        ),
        (
            ran(2, "f()", {"output_type": "display_data", "data": {check._WIDGET: {}}, "metadata": {}}),
            "widget",
        ),
        (ran(2, "f()", image(None)), "without alt text"),
        (ran(2, "f()", image("")), "without alt text"),
    ],
)
def test_a_faulty_cell_does_not_pass(small: Chapter, made: Build, cell: dict[str, Any], message: str) -> None:
    path = executed(small, made, ran(1), cell)
    with pytest.raises(BuildError, match="chapter small does not pass") as raised:
        check.executed(small, path, {}, made)
    assert "code cell 2: " in str(raised.value)
    assert message in str(raised.value)


@pytest.mark.parametrize("word", ["build", "chapter", "profile", "parameters", "source"])
def test_a_stale_notebook_does_not_pass(small: Chapter, made: Build, word: str) -> None:
    path = executed(small, made, ran(1))
    document = project.read_notebook(path)
    document["metadata"]["transfusion"][word] = "earlier"
    project.write_notebook(path, document)
    with pytest.raises(BuildError, match=f"stale: its {word} is 'earlier'"):
        check.executed(small, path, {}, made)


def test_a_notebook_of_other_parameters_or_of_an_edited_source_does_not_pass(small: Chapter, made: Build) -> None:
    path = executed(small, made, ran(1))
    with pytest.raises(BuildError, match="stale: its parameters"):
        check.executed(small, path, {"steps": 11}, made)
    small.source.write_text(small.source.read_text().replace("print(", "print(1, "))
    with pytest.raises(BuildError, match="stale: its source"):
        check.executed(small, path, {}, made)


def test_a_notebook_that_is_not_there_does_not_pass(small: Chapter, made: Build) -> None:
    with pytest.raises(BuildError, match="chapter small was not executed"):
        check.executed(small, made.source / "notebooks" / "01-small.ipynb", {}, made)


def test_alt_text_goes_where_the_renderer_reads_it(small: Chapter, made: Build) -> None:
    nested = copy.deepcopy(image(None))
    nested["metadata"] = {"image/svg+xml": {"alt": "bars"}}
    path = executed(small, made, ran(1, "a", image("curves")), ran(2, "b", nested), ran(3))
    check.label(path)
    cells = project.read_notebook(path)["cells"][1:]
    assert [cell["metadata"].get("mystnb", {}).get("image", {}).get("alt") for cell in cells] == [
        "curves",
        "bars",
        None,
    ]


def test_two_figures_in_one_cell_are_refused(small: Chapter, made: Build) -> None:
    path = executed(small, made, ran(1, "show(a), show(b)", image("curves"), image("bars")))
    with pytest.raises(BuildError, match=r"two figures in one cell"):
        check.label(path)


PAGE = '<img src="_images/a.svg" alt="curves"><script src="_static/a.js"></script><p data-build="now">'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "method: not rendered"),
        (PAGE.replace("now", "earlier"), "method: not made by this build"),
        (PAGE.replace('alt="curves"', 'alt="_images/a.svg"'), "method: an image without alt text"),
        (PAGE.replace(' alt="curves"', ""), "method: an image without alt text"),
        (PAGE + '<script src="https://cdn.example/x.js"></script>', "method: asks another host"),
        (PAGE + '<link href="//fonts.example/x.css" rel="stylesheet">', "method: asks another host"),
        (PAGE + '<a href="https://example.org">a link is no request</a>', None),
    ],
)
def test_rendered_pages_are_this_builds_and_whole(made: Build, text: str | None, message: str | None) -> None:
    made.html.mkdir(parents=True)
    (made.html / "index.html").write_text(PAGE)
    if text is not None:
        (made.html / "method.html").write_text(text)
    if message is None:
        check.rendered(made.html, ["index", "method"], made)
        return
    with pytest.raises(BuildError) as raised:
        check.rendered(made.html, ["index", "method"], made)
    assert message in str(raised.value)
    assert "index:" not in str(raised.value)


def test_formulas_become_mathml_and_faulty_ones_are_errors() -> None:
    from docutils import nodes
    from sphinx.errors import SphinxError

    assert "<msqrt>" in mathml._mathml(nodes.math("", r"\sqrt{d/n}"), as_block=False)
    with pytest.raises(SphinxError, match="nosuch"):
        mathml._mathml(nodes.math("", r"\nosuch{1}"), as_block=True)


# The whole


def test_a_broken_cell_stops_the_build_with_chapter_cell_and_traceback(place: Project, small: Chapter) -> None:
    broken = "total = 0\nprint(total / len(seeds[:0]))"
    add_chapter(
        place, "02-broken", prose(OPENING), code("seeds = [1]", "parameters"), code(broken), code("print('never')")
    )
    lines: list[str] = []
    with pytest.raises(BuildError) as raised:
        build.book(Project(place.root), only="broken", say=lines.append)
    message = str(raised.value)
    assert "chapter broken (02-broken.ipynb), cell In [2] failed" in message
    assert "    print(total / len(seeds[:0]))" in message
    assert "ZeroDivisionError: division by zero" in message
    assert "\x1b" not in message
    assert raised.value.exit_status == 1
    assert not (place.build / "book" / "html").exists()


def test_a_mistake_of_the_users_is_told_without_a_traceback(place: Project) -> None:
    mistake = "from transfusion_lib.errors import SpecError\nraise SpecError('unknown data set')"
    add_chapter(place, "02-mistaken", prose(OPENING), code(mistake))
    with pytest.raises(SpecError) as raised:
        build.book(Project(place.root), only="mistaken", say=lambda _line: None)
    assert str(raised.value) == "chapter mistaken, cell In [1]: unknown data set"
    assert raised.value.exit_status == 2


def test_a_kernel_that_dies_names_the_cell(place: Project) -> None:
    add_chapter(place, "02-dying", prose(OPENING), code("x = 1"), code("import os\nos._exit(1)"))
    with pytest.raises(BuildError, match=r"(?s)chapter dying: its kernel died.*os\._exit\(1\)"):
        build.book(Project(place.root), only="dying", say=lambda _line: None)


def test_one_chapter_with_parameters_becomes_a_book(place: Project) -> None:
    show = "import os\nprint(seeds, smoke, os.environ['TRANSFUSION_PROFILE'])"
    tell = "with open(os.environ['TRANSFUSION_PROGRESS'], 'a') as file:\n    print('run', 40 + 2, 'trained', file=file)"
    add_chapter(place, "02-told", prose(OPENING), code(PARAMETERS, "parameters"), code(show), code(tell))
    lines: list[str] = []
    page = build.chapter(Project(place.root), "told", assignments=["smoke=false", "seeds=[3]"], say=lines.append)
    html = page.read_text()
    assert "[3] False live" in html
    assert "run 42 trained" not in html
    assert any(line.strip() == "run 42 trained" for line in lines)
    assert "tag_injected-parameters" in html
    assert not page.with_name("01-small.html").exists()
    row = json.loads((page.parents[2] / "build.json").read_text())["chapters"][0]
    assert (row["chapter"], row["outcome"], row["changed"]) == ("told", "passed", ["seeds", "smoke"])
    assert row["parameters"]["seeds"] == [3]
    assert "seeds=[3]" in (page.parents[1] / "status.html").read_text()


def test_other_parameters_have_another_folder_and_the_environment_is_left_alone(
    place: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = []

    def record(_project: Project, _plan: Any, _profile: Profile, folder: Path, **_options: Any) -> Path:
        folders.append(folder.name)
        return folder

    monkeypatch.setattr(build, "_make", record)
    for assignments in (["seeds=[0]"], ["seeds=[1]"], ["seeds=[0]", "steps=10"]):
        build.chapter(place, "small", assignments=assignments, say=print)
    assert folders[0] != folders[1]
    assert folders[0] == folders[2], "a parameter set to its default is no other parameter"


def test_the_status_page_keeps_a_pipe_out_of_its_table(made: Build) -> None:
    row = {
        "chapter": "a", "title": "A", "page": "notebooks/01-a", "outcome": "passed", "seconds": 1.0,
        "started": "2026-01-01T00:00:00Z", "profile": "live", "parameters": {"x": "a|b"}, "changed": [],
    }  # fmt: skip
    made.source.mkdir(parents=True)
    study = Findings(planned.plan(), {})
    status.write([row], Profile(name="live", description="d", live=True, chapter={}), made, study=study)
    line = next(line for line in (made.source / "status.md").read_text().splitlines() if "01-a" in line)
    assert line.count("|") == 5, "parameters are folded below it"


def test_toggles_of_the_contents_have_names_and_lists_of_references_no_role(tmp_path: Path) -> None:
    """What Sphinx leaves unnamed a screen reader cannot say."""
    link = '<a class="reference internal" href="notebooks/03-performance.html">Performance</a><details>'
    page = tmp_path / "index.html"
    page.write_text(f'{link}<summary><span></span></summary></details><div role="list" class="citation-list"></div>')
    render._mend(tmp_path)
    assert page.read_text() == (
        f'{link}<summary aria-label="Pages under Performance"><span></span></summary></details>'
        '<div class="citation-list"></div>'
    )
