"""The rooms of the library: imports point one way, and the training library needs none of the book's packages."""

import ast
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
