"""The repository's address: one setting; every button that follows from it opens what is there."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from nbclient import NotebookClient

from tests.books import REPOSITORY, small_project
from transfusion_lib.book import address, build
from transfusion_lib.book.address import Address
from transfusion_lib.book.project import Chapter, Project, read_notebook
from transfusion_lib.errors import BuildError, UserError

HERE = Address("https://github.com/someone/transfusion", "main")


@pytest.fixture
def place(tmp_path: Path) -> Project:
    """A small project with the repository's files that hold the address."""
    project = small_project(tmp_path)
    for file in ("pyproject.toml", "CITATION.cff"):
        shutil.copy(REPOSITORY / file, tmp_path)
    return project


def test_the_repository_has_one_address_everywhere_or_none() -> None:
    found = address.read(Project(REPOSITORY))
    texts = [(REPOSITORY / file).read_text() for file in ("pyproject.toml", "CITATION.cff")]
    places = ["[project.urls]" in texts[0], "repository-code" in texts[1]]
    for chapter in Project(REPOSITORY).chapters:
        cells = [cell["source"] for cell in chapter.cells if cell.get("id") == address.CELL]
        places.append(bool(cells))
        assert cells == ([] if found is None else ["".join(found.cell["source"])]), chapter.name
    assert set(places) == {found is not None}, "transfusion address URL sets all of them"


def test_it_is_set_everywhere_and_set_again(place: Project) -> None:
    assert address.read(place) is None
    changed = address.write(place, Address("https://github.com/a/b", "dev"))
    assert {path.name for path in changed} == {"_config.yml", "pyproject.toml", "CITATION.cff", "01-small.ipynb"}
    address.write(place, HERE)
    assert address.write(place, HERE) == []
    assert address.read(place) == HERE
    assert 'Repository = "https://github.com/someone/transfusion"' in (place.root / "pyproject.toml").read_text()
    assert yaml.safe_load((place.root / "CITATION.cff").read_text())["repository-code"] == HERE.url
    cells = Chapter(place.chapters[0].source).cells
    assert [cell.get("id") for cell in cells].count(address.CELL) == 1
    assert "git clone --quiet --depth 1 --branch main https://github.com/someone/transfusion" in cells[1]["source"]
    assert "a/b" not in json.dumps(cells)


@pytest.mark.parametrize("url", ["github.com/a/b", "https://example.org/a/b", "https://github.com/a", "x'; rm -rf /"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UserError, match=r"for example https://github\.com/owner/name"):
        address.parse(url, "main")
    with pytest.raises(UserError, match="branch"):
        address.parse(HERE.url, "a b")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_every_button_opens_a_notebook_of_the_repository(place: Project) -> None:
    address.write(place, HERE)
    pages = build.chapter(Project(place.root), "small", say=lambda _line: None).parents[1]
    text = (pages / "notebooks" / "01-small.html").read_text()
    links = [
        part.split('"')[0] for part in text.split('href="')[1:] if part.startswith(("https://mybinder", "https://c"))
    ]
    assert {address.opened(link) for link in links} == {(HERE.url, HERE.branch, "notebooks/01-small.ipynb")}
    assert len(links) == 2, "Binder and Colab"
    assert "urlpath=lab/tree/notebooks/01-small.ipynb" in text
    assert "google.colab" not in text, "Colab's cell is no part of the page"
    (place.root / "notebooks" / "01-small.ipynb").rename(place.root / "notebooks" / "02-small.ipynb")
    with pytest.raises(BuildError, match=r"opens notebooks/01-small\.ipynb, which the repository does not have"):
        address.settle(pages, place)


def test_without_an_address_there_is_no_button() -> None:
    settings = yaml.safe_load((REPOSITORY / "_config.yml").read_text()) | {"repository": {"url": "", "branch": "main"}}
    address.buttons(settings)
    assert settings["launch_buttons"] == {"thebe": False}
    assert "repository" not in settings
    assert settings["html"]["use_repository_button"] is False


FAKE_COLAB = """\
import sys, types
sys.modules["google.colab"] = types.ModuleType("google.colab")
said = []
class Shell:
    def system(self, command):
        said.append(command)
get_ipython = Shell
{cell}
assert [line.split()[0] for line in said] == ["git", "pip"], said
assert sys.path[0] == "/content/book"
"""


def test_colabs_cell_fetches_there_and_does_nothing_here() -> None:
    cell = "".join(HERE.cell["source"])
    for program in (FAKE_COLAB.format(cell=cell), f"{cell}\nassert '/content/book' not in sys.path"):
        subprocess.run([sys.executable, "-c", program], check=True)


COLAB = """\
import shutil, subprocess, sys, types
sys.modules["google.colab"] = types.ModuleType("google.colab")  # what Colab's own cell looks for
get_ipython().system = lambda command: subprocess.run(command, shell=True, check=True)"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_on_a_machine_like_colabs_the_tutorial_runs_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address leads to this checkout, and pip is only asked: Colab itself and its download are not tried here."""
    clone, tools = tmp_path / "content" / "book", tmp_path / "tools"
    tools.mkdir()
    (tools / "pip").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
    (tools / "pip").chmod(0o755)
    branch = subprocess.run(
        ["git", "branch", "--show-current"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.strip()
    if not branch:
        pytest.skip("no branch is checked out that could be cloned")
    monkeypatch.setattr(address, "FOLDER", str(clone))
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    for name, value in {
        "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.file://{REPOSITORY}.insteadOf",
        "GIT_CONFIG_VALUE_0": HERE.url, "TRANSFUSION_STORE": str(tmp_path / "store"), "PYTHONPATH": "",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    import nbformat

    notebook: Any = nbformat.read(REPOSITORY / "notebooks" / "00-tutorial.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    cell.source += "\nsize, images, seeds, steps = 32, 32, [0, 1], 4"
    first = "".join(Address(HERE.url, branch).cell["source"])
    last = f"import transfusion_lib\nassert transfusion_lib.__file__.startswith({str(clone)!r})"
    made = [nbformat.v4.new_code_cell(source) for source in (COLAB, first, last)]  # type: ignore[no-untyped-call]
    notebook.cells = [*made[:2], *notebook.cells, made[2]]
    NotebookClient(notebook, timeout=280, kernel_name="python3").execute(cwd=str(tmp_path))
    assert "4 runs: 4 trained now" in json.dumps(notebook)
    assert (tmp_path / "asked").read_text() == f"install --quiet {clone}[book]\n"


def test_binder_installs_the_lock_and_then_the_library() -> None:
    assert "requirements.lock" in (REPOSITORY / "environment.yml").read_text()
    post = REPOSITORY / "postBuild"
    assert post.stat().st_mode & 0o111
    assert "pip install --no-deps --no-build-isolation --editable ." in post.read_text()
    assert not (REPOSITORY / "binder").exists(), "Binder would read that folder and nothing else"
    assert not (REPOSITORY / ".binder").exists(), "Binder would read that folder and nothing else"


def test_the_written_cell_is_a_notebook_again(place: Project) -> None:
    address.write(place, HERE)
    import nbformat

    document = nbformat.read(place.chapters[0].source, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(document)
    assert read_notebook(place.chapters[0].source)["cells"][1]["id"] == address.CELL
