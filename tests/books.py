"""Small books to test with."""

import re
import shutil
from pathlib import Path
from typing import Any

from transfusion_lib.book import project
from transfusion_lib.book.project import Chapter, Project

REPOSITORY = Path(__file__).resolve().parents[1]
OPENING = "# Small\n\nDoes it build?"
PARAMETERS = (
    'dataset = "fundus"  # name of a data set\n'
    "seeds = [0, 1]  # one run per seed\n"
    "steps = 10  # of training\n"
    "threshold: float | None = None  # of the test AUC\n"
    "smoke = True"
)


def code(source: str, *tags: str) -> dict[str, Any]:
    """Return a code cell that was not executed."""
    return {
        "cell_type": "code",
        "source": source,
        "metadata": {"tags": list(tags)},
        "outputs": [],
        "execution_count": None,
    }


def prose(source: str) -> dict[str, Any]:
    """Return a Markdown cell."""
    return {"cell_type": "markdown", "source": source, "metadata": {}}


def notebook(*cells: dict[str, Any]) -> dict[str, Any]:
    """Return a notebook of the format that JupyterLab writes."""
    numbered = [{"id": f"cell-{number}", **cell} for number, cell in enumerate(cells)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": numbered, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def add_chapter(place: Project, name: str, *cells: dict[str, Any]) -> Chapter:
    """Write ``notebooks/NAME.ipynb`` and list it in the table of contents."""
    path = place.root / "notebooks" / f"{name}.ipynb"
    project.write_notebook(path, notebook(*cells))
    toc = place.pages / "_toc.yml"
    entry = f"parts:\n  - caption: More\n    chapters:\n      - file: notebooks/{name}\n"
    toc.write_text(toc.read_text().replace("parts:\n", entry, 1))
    return Chapter(path)


def small_project(folder: Path) -> Project:
    """Return a project in ``folder`` with the repository's pages and settings, and one small chapter."""
    shutil.copytree(REPOSITORY / "book", folder / "book")
    shutil.copy(REPOSITORY / "_config.yml", folder)
    (folder / "notebooks").mkdir()
    toc = folder / "book" / "_toc.yml"
    toc.write_text("\n".join(line for line in toc.read_text().splitlines() if "notebooks/" not in line) + "\n")
    for file in (folder / "book" / "profiles").glob("*.toml"):
        head = file.read_text().partition("[chapter")[0]
        file.write_text(re.sub(r"^(chapters|pilot|trained) = \[.*?\]\n", "", head, flags=re.DOTALL | re.MULTILINE))
    place = Project(folder)
    add_chapter(place, "01-small", prose(OPENING), code(PARAMETERS, "parameters"), code("print(seeds, smoke)"))
    return Project(folder)
