"""What a book's chapters lack is trained before they are executed, and they are executed side by side."""

import shutil
from pathlib import Path
from typing import ClassVar

import pytest

from tests.books import OPENING, REPOSITORY, add_chapter, code, prose, small_project
from transfusion_lib import chapters, runs
from transfusion_lib.book import build, prepare, project
from transfusion_lib.book.execute import Build
from transfusion_lib.book.project import Chapter, Project
from transfusion_lib.chapters.kit.study import Study
from transfusion_lib.errors import BuildError
from transfusion_lib.runs import Run
from transfusion_lib.runs.store import Store
from transfusion_lib.spec import RunSpec


class Searching(Study):
    """A study of one small run, and of one more that its result asks for."""

    name: ClassVar[str] = "searching"
    first: ClassVar[RunSpec]
    dataset: str

    def specs(self) -> list[RunSpec]:
        return [self.first.model_copy(update={"data": self.first.data.model_copy(update={"name": self.dataset})})]

    def then(self, runs: list[Run]) -> list[RunSpec]:  # type: ignore[override]
        return [self.specs()[0].model_copy(update={"seed": 9})] if len(runs) == 1 else []


@pytest.fixture
def place(tmp_path: Path) -> Project:
    """A project whose chapters come from the tests."""
    return small_project(tmp_path)


@pytest.fixture
def searching(place: Project, store: Store, small: RunSpec, monkeypatch: pytest.MonkeyPatch) -> Chapter:
    """A chapter whose study searches, in a store of its own."""
    monkeypatch.setattr(Searching, "first", small, raising=False)
    monkeypatch.setitem(chapters.TABLE, "searching", Searching)
    return add_chapter(place, "02-searching", prose(OPENING), code('dataset = "fundus"', "parameters"))


def test_all_runs_are_there_before_a_chapter_asks_for_them(searching: Chapter, store: Store) -> None:
    lines: list[str] = []
    prepare.train([(searching, {})], say=lines.append)
    wanted = [*Searching(dataset="fundus").specs(), *Searching(dataset="fundus").then([None])]  # type: ignore[list-item]
    assert store.keys("runs") == sorted(runs.key(spec) for spec in wanted)
    begun = [line for line in lines if line.startswith("training")]
    assert begun == 2 * ["training the 1 runs that the store lacks; it has 0"], "the search and its second stage"
    again: list[str] = []
    prepare.train([(searching, {})], say=again.append)
    assert again == []


def test_what_has_no_study_or_no_data_is_left_to_its_chapter(
    place: Project, searching: Chapter, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRANSFUSION_DATA", str(tmp_path / "nothing"))
    monkeypatch.chdir(tmp_path)
    prepare.train([(place.chapter("small"), {}), (searching, {"dataset": "chest_xray"})], say=print)
    assert store.keys("runs") == []


def begun(place: Project) -> Build:
    """Return a build of a project with the pages that executed chapters are read beside."""
    made = Build(id="now", profile="live", folder=place.build / "book")
    made.source.mkdir(parents=True)
    shutil.copy(place.pages / "glossary.md", made.source)
    return made


MEET = """
import time
from pathlib import Path
Path('{own}').touch()
end = time.monotonic() + 300
while not Path('{other}').exists() and time.monotonic() < end:
    time.sleep(0.05)
assert Path('{other}').exists(), 'alone'
"""


def test_chapters_are_executed_side_by_side(place: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of two chapters waits until the other one has begun; the environment and the folder stay as they are."""
    monkeypatch.setattr(build, "_at_once", lambda: 2)
    shutil.rmtree(place.root / "notebooks")
    (place.root / "notebooks").mkdir()
    for number, (own, other) in enumerate((("left", "right"), ("right", "left")), start=1):
        add_chapter(place, f"0{number}-{own}", prose(OPENING), code(MEET.format(own=own, other=other).strip()))
    here = Path.cwd()
    executed = build._execute(
        [(chapter, {}) for chapter in Project(place.root).chapters],
        begun(place),
        say=print,
    )
    assert [(row["chapter"], row["outcome"]) for row in executed] == [("left", "passed"), ("right", "passed")]
    assert Path.cwd() == here


def test_a_chapter_that_fails_ends_the_others(place: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_at_once", lambda: 2)
    slow = "import time\nPath('begun').touch()\ntime.sleep(300)"
    wait = "import time\nwhile not Path('begun').exists():\n    time.sleep(0.05)\nraise ValueError('wrong')"
    head = "from pathlib import Path"
    plan: list[tuple[Chapter, dict[str, object]]] = [
        (add_chapter(place, "02-slow", prose(OPENING), code(head), code(slow)), {}),
        (add_chapter(place, "03-wrong", prose(OPENING), code(head), code(wait)), {}),
        (add_chapter(place, "04-never", prose(OPENING), code("open('ran', 'w').close()")), {}),
    ]
    with pytest.raises(BuildError, match=r"chapter wrong .*cell In \[2\] failed"):
        build._execute(plan, begun(place), say=print)
    assert not (place.root / "notebooks" / "ran").exists()


def test_the_books_studies_take_their_chapters_parameters() -> None:
    here = project.find(REPOSITORY)
    found = prepare.studies([(chapter, {}) for chapter in here.chapters])
    assert list(found) == [chapter.name for chapter in here.chapters if chapter.name in chapters.TABLE]
