"""The rooms of the library: imports point one way, and the training library needs none of the book's packages."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parents[1] / "transfusion_lib"
WORDS = {"spec", "errors", "paths", "markup"}
TRAINING = [WORDS, {"data", "networks"}, {"training"}, {"runs"}]
ORDER = [*TRAINING, {"analysis"}, {"chapters", "cutting"}, {"book"}, {"__main__"}]
"""Each room imports itself and the rooms before it."""
APART = {"stats": WORDS, "papers": WORDS | {"stats"}}
"""Arrays, specs and errors only; rooms after the training library import them."""
BOOKS = {"IPython", "ipywidgets", "lifelines", "matplotlib", "nbformat", "pandas", "scipy", "seaborn", "statsmodels"}


def allowed(room: str) -> set[str]:
    """Return the rooms that a room may import."""
    if room in APART:
        return APART[room] | {room}
    place = next(k for k, names in enumerate(ORDER) if room in names)
    above = set() if place < len(TRAINING) else set(APART)
    return set().union(*ORDER[:place]) | above | ({room} if room not in WORDS else WORDS)


def imports(path: Path) -> Iterator[str]:
    """Yield the dotted names of the modules that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            assert not node.level, f"{path}: import by the full name"
            yield from (f"{node.module}.{name.name}" for name in node.names)


FILES = [
    pytest.param(path, id=path.relative_to(LIBRARY).as_posix())
    for path in sorted(LIBRARY.rglob("*.py"))
    if path != LIBRARY / "__init__.py"
]


@pytest.mark.parametrize("path", FILES)
def test_imports_point_one_way(path: Path) -> None:
    room = path.relative_to(LIBRARY).with_suffix("").parts[0]
    asked = {name.split(".")[1] for name in imports(path) if name.startswith("transfusion_lib.")} - {"__version__"}
    assert not asked - allowed(room), f"{room} may import {sorted(allowed(room))}"
    if room in set().union(*TRAINING):
        outside = {name.split(".")[0] for name in imports(path)} - {"transfusion_lib"}
        assert not outside & BOOKS, "the training library does without the book's packages"


# Nothing is public that nothing reaches


REACHED = [*LIBRARY.rglob("*.py"), *LIBRARY.parent.glob("benchmarks/*.py"), *LIBRARY.parent.glob("notebooks/*.ipynb")]
WAITING = {"delong_difference", "trend", "floor_98", "two_looks", "runs_needed", "small_retina"}
"""Statistics, a floor, a second look, a printed table: only tests call them, so each needs a caller or goes."""


def declared(path: Path) -> Iterator[str]:
    """Yield the public functions, classes and methods of a module; commands and validators are called by name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bodies = [tree.body, *(node.body for node in tree.body if isinstance(node, ast.ClassDef))]
    for node in (node for body in bodies for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)):
        named = " ".join(ast.unparse(decorator) for decorator in node.decorator_list)
        if not node.name.startswith("_") and not re.search(r"\b(command|callback|\w+_validator)\b", named):
            yield node.name


def used(path: Path) -> Iterator[str]:
    """Yield the names that a module or a notebook's text reads; an import or a definition alone reads nothing."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        yield from re.findall(r"\w+", text)
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


def test_nothing_is_public_that_no_chapter_and_no_command_reaches() -> None:
    reached = {name for path in REACHED for name in used(path)}
    by_name = (LIBRARY.parent / "_config.yml").read_text() + (LIBRARY.parent / "pyproject.toml").read_text()
    reached |= set(re.findall(r"\w+", by_name)) | {"setup"}  # Sphinx calls an extension's ``setup``
    alone = {name for path in LIBRARY.rglob("*.py") for name in declared(path)} - reached
    assert alone == WAITING
