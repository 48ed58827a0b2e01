"""What holds for the repository as a whole: one lock, one version, clean notebooks, imports that point one way."""

import ast
import json
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import transfusion_lib
from transfusion_lib import chapters
from transfusion_lib.book import address, parameters, project

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MODULES = sorted((ROOT / "transfusion_lib").rglob("*.py"))
HERE = project.find(ROOT)


# Versions


def locked() -> dict[str, set[Version]]:
    """Return the versions of each package in the lock; more than one where platforms differ."""
    found: dict[str, set[Version]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / "requirements.lock").read_text(), re.M):
        found.setdefault(canonicalize_name(name), set()).add(Version(version))
    return found


def declared() -> list[Requirement]:
    """Return every requirement of pyproject.toml, the extras' included."""
    extras = PYPROJECT["project"]["optional-dependencies"].values()
    return [Requirement(text) for texts in (PYPROJECT["project"]["dependencies"], *extras) for text in texts]


def test_every_requirement_is_locked_in_a_version_that_it_allows() -> None:
    versions = locked()
    for requirement in declared():
        found = versions.get(canonicalize_name(requirement.name), set())
        assert found, f"{requirement.name} is not in requirements.lock: make lock"
        assert all(requirement.specifier.contains(version) for version in found), f"{requirement}: {found}: make lock"


def test_every_locked_version_has_hashes_and_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text()
    blocks = re.split(r"\n(?=\S)", text.strip())
    assert len(blocks) > 100
    for block in blocks:
        assert re.match(r"[\w.-]+==[^\s;]+( ;[^\n]*)? \\\n    --hash=sha256:[0-9a-f]{64}", block), block[:100]
    assert not re.search(r"://|--index|--find-links|@ ", text)


def test_conda_takes_its_packages_from_the_lock_alone() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert pip == {"pip": ["-r requirements.lock"]}, "a version here would drift from the lock"
    python, *rest = conda
    assert rest == ["pip"]
    name, _, version = python.partition("=")
    assert name == "python"
    specifier = Requirement(f"python{PYPROJECT['project']['requires-python']}").specifier
    assert specifier.contains(f"{version}.0")
    assert all(f"python_full_version < '{edge}'" not in (ROOT / "requirements.lock").read_text() for edge in ("3.11",))


def test_one_version_everywhere() -> None:
    version = transfusion_lib.__version__
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert re.search(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text(), re.M)[1] == version  # type: ignore[index]
    assert PYPROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "transfusion_lib.__version__"}


def test_both_papers_are_cited_alike() -> None:
    citation = (ROOT / "CITATION.cff").read_text()
    for page in ("README.md", "book/references.bib"):
        text = (ROOT / page).read_text()
        for number in ("1902.07208", "2106.05152"):
            assert number in text, page
            assert number in citation


# Commands


def targets() -> set[str]:
    """Return what ``make`` can make."""
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))


def test_every_make_command_that_is_written_down_exists() -> None:
    pages = ["README.md", "CONTRIBUTING.md", ".ci/run", ".github/workflows/check.yml", ".github/workflows/book.yml"]
    pages += [f"book/{path.name}" for path in (ROOT / "book").glob("*.md")]
    asked = {word for page in pages for word in re.findall(r"\bmake ([a-z]+)\b", (ROOT / page).read_text())}
    assert {"book", "test", "chapter", "check", "lock", "lab"} <= asked
    assert asked <= targets() | {"it"}, "make it: a word of prose"


def test_the_workflow_of_one_machine_is_the_readmes() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    made = [line for line in lines if line.startswith("make ")]
    assert made == ["make test", "make book", "make chapter NAME=convergence"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert {"make book", "make test"} <= {
        line.partition(" #")[0].strip() for line in (ROOT / "README.md").read_text().splitlines()
    }


def test_no_python_is_an_answer_and_not_a_riddle(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("make", "sh", "echo"):
        where = next(folder / tool for folder in map(Path, os.environ["PATH"].split(":")) if (folder / tool).exists())
        (tools / tool).symlink_to(where)
    for file in ("Makefile", "pyproject.toml", "requirements.lock"):
        (tmp_path / file).write_bytes((ROOT / file).read_bytes())
    done = subprocess.run(
        ["make", "test"], cwd=tmp_path, env={"PATH": str(tools)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "No Python 3.11, 3.12 or 3.13 with venv found" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_make_lab_opens_copies_and_keeps_what_was_edited(tmp_path: Path) -> None:
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "00-a.ipynb").write_text("a")
    for file in ("Makefile", "pyproject.toml", "requirements.lock"):
        (tmp_path / file).write_bytes((ROOT / file).read_bytes())
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    jupyter = tmp_path / ".venv" / "bin" / "jupyter"
    jupyter.write_text('#!/bin/sh\necho "$@"; echo " edited" >> "$2/00-a.ipynb"\n')  # as Lab does when it saves
    jupyter.chmod(0o755)
    (tmp_path / ".venv" / ".ready").touch()
    by_hand = {name: text for name, text in os.environ.items() if not name.startswith("MAKE")}  # also under make test
    for _ in range(2):
        done = subprocess.run(["make", "lab"], cwd=tmp_path, env=by_hand, capture_output=True, text=True, check=True)
        assert done.stdout == "lab lab\n"
    assert (tmp_path / "notebooks" / "00-a.ipynb").read_text() == "a"
    assert (tmp_path / "lab" / "00-a.ipynb").read_text() == "a edited\n edited\n"
    assert "/lab/" in (ROOT / ".gitignore").read_text().splitlines()


# Notebooks


NOTEBOOKS = [pytest.param(chapter, id=chapter.name) for chapter in HERE.chapters]


@pytest.mark.parametrize("chapter", NOTEBOOKS)
def test_a_notebook_is_a_source(chapter: project.Chapter) -> None:
    document = json.loads(chapter.source.read_text())
    assert document["metadata"]["kernelspec"]["name"] == "python3"
    assert "widgets" not in document["metadata"]
    for cell in chapter.cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
            assert "papermill" not in cell["metadata"]


@pytest.mark.parametrize("chapter", NOTEBOOKS)
def test_a_notebooks_cells_are_short_and_hold_no_programs(chapter: project.Chapter) -> None:
    for cell in chapter.cells:
        if cell["cell_type"] != "code" or cell["id"] == address.CELL:
            continue
        lines = [line for line in cell["source"].splitlines() if line.strip()]
        form = "parameters" in cell["metadata"].get("tags", [])  # a line per parameter, to be filled in and not read
        assert 0 < len(lines) <= (30 if form else 15), cell["source"]
        for node in ast.walk(ast.parse(cell["source"])):
            program = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda | ast.For | ast.While | ast.Try
            assert not isinstance(node, program), f"belongs in the library: {ast.unparse(node)}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
                assert str(module).split(".")[0] == "transfusion_lib", f"the library imports that: {ast.unparse(node)}"


@pytest.mark.parametrize("chapter", NOTEBOOKS)
def test_a_notebooks_parameters_say_what_they_mean(chapter: project.Chapter) -> None:
    first = next(cell for cell in chapter.cells if cell["cell_type"] == "code" and cell["id"] != address.CELL)
    assert "parameters" in first["metadata"]["tags"]
    for parameter in parameters.declared(chapter):
        assert parameter.meaning, parameter.name
    assert "?" in (chapter.title[-1], chapter.question[-1]), "a chapter asks something"


@pytest.mark.parametrize("chapter", [chapter for chapter in HERE.chapters if chapter.name in chapters.TABLE])
def test_a_notebooks_parameters_are_its_studys(chapter: project.Chapter) -> None:
    defaults = parameters.effective(chapter, {})
    study = chapters.TABLE[chapter.name]
    assert list(defaults) == list(study.model_fields)
    assert study.of(defaults).data()


@pytest.mark.parametrize("chapter", NOTEBOOKS)
def test_prose_reads_in_any_editor(chapter: project.Chapter) -> None:
    """What only the built book can fill in shows raw in JupyterLab and VS Code."""
    prose = "\n".join(cell["source"] for cell in chapter.cells if cell["cell_type"] == "markdown")
    assert "{glue:" not in prose, "show it from its cell: chapter.say"
    assert "[](" not in prose, "a link needs words"


@pytest.mark.parametrize("chapter", NOTEBOOKS)
def test_no_number_is_typed_into_a_findings_prose(chapter: project.Chapter) -> None:
    prose = "\n".join(cell["source"] for cell in chapter.cells if cell["cell_type"] == "markdown")
    assert not re.search(r"\b0\.\d{2,}|\b\d+(\.\d+)? ?%(?! interval)", prose), "say it from the data: chapter.say"


# What is committed


def committed() -> Iterator[tuple[str, str]]:
    """Yield name and text of every text file under version control."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, done.stdout.split("\0")):
        path = ROOT / name
        if path.suffix in {".png", ".jpg", ".npz", ".safetensors", ".zip"} or not path.is_file() or path.is_symlink():
            continue
        yield name, path.read_text(encoding="utf-8")


def test_nothing_committed_knows_this_machine() -> None:
    shared = "/".join(["..", "shared"])
    for name, text in committed():
        assert shared not in text or name == ".ci/run", name
        assert not re.search(r"(?<![\w./-])/(?:home|Users|root|work)/\w", text), name


# The library


def test_one_file_says_cuda() -> None:
    assert [path.name for path in MODULES if re.search(r"\bcuda\b", path.read_text())] == ["device.py"]


FORBIDDEN = {
    r"^\s*(import|from) pickle\b": "no pickle: safetensors, npz, JSON",
    r"allow_pickle=True": "no pickle",
    r"torch\.load\((?!.*weights_only=True)": "torch.load only with weights_only=True",
    r"torch\.manual_seed|torch\.seed\(": "no global generator: take a torch.Generator",
    r"np\.random\.(?!default_rng|Generator|SeedSequence|PCG64)\w": "no global generator: take a numpy Generator",
    r"^\s*(import random|from random import)\b": "no global generator",
}
ALLOWED = {("train.py", r"torch\.manual_seed|torch\.seed\("): "dropout takes no generator; train forks the global one"}


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_the_library_does_without(pattern: str) -> None:
    found = [path.name for path in MODULES if re.search(pattern, path.read_text(), re.M)]
    assert not [name for name in found if (name, pattern) not in ALLOWED], FORBIDDEN[pattern]


def functions(tree: ast.AST) -> Iterator[Any]:
    """Yield every function in a module's tree."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_functions_fit_on_a_screen() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {node.name}, {node.end_lineno - node.lineno + 1} lines"
        for path in MODULES
        for node in functions(ast.parse(path.read_text()))
        if node.end_lineno - node.lineno + 1 > 60
    ]
    assert not long


def test_a_wheel_has_every_file_of_the_package() -> None:
    """Unasked, setuptools takes modules alone: an installed package would lack weights."""
    named = PYPROJECT["tool"]["setuptools"]["package-data"]["transfusion_lib"]
    package = ROOT / "transfusion_lib"
    packed = {path for pattern in named for path in package.glob(pattern)}
    tracked = subprocess.run(
        ["git", "ls-files", "transfusion_lib"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    others = {ROOT / line for line in tracked.stdout.splitlines() if not line.endswith(".py")}
    assert len(others) > 3
    assert others <= packed
