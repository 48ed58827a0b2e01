"""Where a book's parts are: its chapters, its pages, its profiles, its build folder."""

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from transfusion_lib.errors import BuildError, UserError, unknown


@dataclass(frozen=True)
class Chapter:
    """One notebook without outputs, ``notebooks/NN-name.ipynb``."""

    source: Path

    @property
    def name(self) -> str:
        """The name that the command line knows: ``convergence`` for ``01-convergence.ipynb``."""
        return self.source.stem.partition("-")[2]

    @property
    def page(self) -> str:
        """The page in the table of contents: ``notebooks/01-convergence``."""
        return f"notebooks/{self.source.stem}"

    @cached_property
    def cells(self) -> list[dict[str, Any]]:
        """The notebook's cells, each with ``source`` as one string."""
        cells: list[dict[str, Any]] = read_notebook(self.source)["cells"]
        return cells

    @property
    def title(self) -> str:
        """The heading that the page begins with."""
        return self._opening[0]

    @property
    def question(self) -> str:
        """The paragraph below that heading: the one question of the chapter."""
        return self._opening[1]

    @property
    def _opening(self) -> tuple[str, str]:
        opening = self.cells[0]["source"] if self.cells else ""
        found = re.match(r"# (.+)\n\n(.+(?:\n.+)*)", opening)
        if not found:
            raise BuildError(f"{self.source}: the first cell must be a # heading, an empty line, and the question")
        return found[1].strip(), " ".join(found[2].split())


@dataclass(frozen=True)
class Project:
    """A folder with ``notebooks/``, ``book/`` and ``_config.yml``."""

    root: Path

    @property
    def pages(self) -> Path:
        """The folder of the pages that are not notebooks."""
        return self.root / "book"

    @property
    def build(self) -> Path:
        """The folder of everything that is made; deleting it loses nothing but time."""
        return self.root / "build"

    @cached_property
    def chapters(self) -> tuple[Chapter, ...]:
        """All chapters in reading order; a ``BuildError`` where two share a name or one has no number."""
        found = tuple(Chapter(path) for path in sorted((self.root / "notebooks").glob("*.ipynb")))
        names = [chapter.name for chapter in found]
        for chapter in found:
            if not re.fullmatch(r"\d\d-[a-z0-9_-]+", chapter.source.stem):
                raise BuildError(f"{chapter.source}: call it NN-name.ipynb, two digits and lower case")
            if names.count(chapter.name) > 1:
                raise BuildError(f'{chapter.source}: two chapters are called "{chapter.name}"')
        return found

    def chapter(self, name: str) -> Chapter:
        """Return the chapter called ``name``, or raise a ``UserError`` that names all of them."""
        for chapter in self.chapters:
            if chapter.name == name:
                return chapter
        raise UserError(unknown("chapter", name, self.chapter_names))

    @property
    def chapter_names(self) -> list[str]:
        """The names of all chapters in reading order."""
        return [chapter.name for chapter in self.chapters]


def read_notebook(path: Path) -> dict[str, Any]:
    """Return a notebook (nbformat 4) with each cell's source as one string, or raise a ``BuildError``."""
    try:
        notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            cell["source"] = "".join(cell["source"])
        return notebook
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BuildError(f"{path}: not a notebook ({type(error).__name__}: {error})") from None


def write_notebook(path: Path, notebook: dict[str, Any]) -> None:
    """Write a notebook as JSON."""
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def find(start: Path | None = None) -> Project:
    """Return the project that ``start`` (default: the working directory) lies in, else the one the library lies in."""
    here = (start or Path.cwd()).resolve()
    for folder in _and_parents((here, Path(__file__).resolve())):
        if (folder / "_config.yml").is_file() and (folder / "book" / "_toc.yml").is_file():
            return Project(folder)
    raise UserError(f"{here}: no book here (no _config.yml beside book/_toc.yml); change to the repository's folder")


def import_path() -> str:
    """Return a PYTHONPATH under which a child process imports this very library, installed or not."""
    library = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join(filter(None, [library, os.environ.get("PYTHONPATH")]))


def shown(path: Path) -> str:
    """Return ``path`` as a person types it here: relative to the working directory where that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)


def _and_parents(starts: Iterable[Path]) -> Iterable[Path]:
    for start in starts:
        yield start
        yield from start.parents
