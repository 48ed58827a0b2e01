"""Where the repository is on the web: one setting, from which launch buttons and Colab's first cell follow.

Without an address there are no buttons, because none could work. ``transfusion address URL`` writes it to the four
places that other programs read: ``_config.yml``, ``pyproject.toml``, ``CITATION.cff``, the notebooks' first code cell.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote, urlsplit

from transfusion_lib.book.project import Project, write_notebook
from transfusion_lib.errors import BuildError, UserError

CELL = "colab-install"
"""Id of the notebooks' cell for Colab; it does nothing elsewhere, and pages leave it out."""
FOLDER = "/content/book"
_FORM = re.compile(r"https://(?:github|gitlab)\.com/([\w.-]+)/([\w.-]+?)(?:\.git|/)?")


@dataclass(frozen=True)
class Address:
    """A public repository and the branch that readers get."""

    url: str
    branch: str = "main"

    @property
    def cell(self) -> dict[str, Any]:
        """The first code cell of a notebook that Colab opens: on its empty machine it fetches this repository."""
        source = (
            "import sys\n\n"
            'if "google.colab" in sys.modules:  # a fresh machine: fetch the library; elsewhere it is here already\n'
            f"    get_ipython().system('git clone --quiet --depth 1 --branch {self.branch} {self.url} {FOLDER}')\n"
            f"    get_ipython().system('pip install --quiet \"{FOLDER}[book]\"')\n"
            f'    sys.path.insert(0, "{FOLDER}")'
        )
        return {
            "cell_type": "code",
            "id": CELL,
            "metadata": {"tags": ["remove-cell"]},
            "source": source.splitlines(keepends=True),
            "outputs": [],
            "execution_count": None,
        }


def read(project: Project) -> Address | None:
    """Return the address in ``_config.yml``, or None if none is set."""
    import yaml

    settings = yaml.safe_load((project.root / "_config.yml").read_text(encoding="utf-8"))
    found = settings.get("repository") or {}
    return Address(found["url"], found["branch"]) if found.get("url") else None


def parse(url: str, branch: str) -> Address:
    """Return an address, or raise a ``UserError`` that says which form it must have."""
    found = _FORM.fullmatch(url)
    if found is None:
        raise UserError(f'"{url}" is no address of a public repository; for example https://github.com/owner/name')
    if not re.fullmatch(r"[\w./-]+", branch):
        raise UserError(f'"{branch}" is no name of a branch; for example main')
    return Address(url.removesuffix("/").removesuffix(".git"), branch)


def write(project: Project, address: Address) -> list[Path]:
    """Set the address everywhere, in place of the one before; return the files that changed."""
    place = f'repository: {{url: "{address.url}", branch: {address.branch}}}'
    urls = f'[project.urls]\nRepository = "{address.url}"\n\n'
    changed = [
        _replaced(project.root / "_config.yml", r"^repository: \{[^}\n]*\}", place),
        _replaced(
            project.root / "pyproject.toml", r"^(?:\[project\.urls\]\n[^\n]*\n\n)?(?=\[project\.scripts\])", urls
        ),
        _replaced(
            project.root / "CITATION.cff",
            r"^(?:repository-code: [^\n]*\n)?(?=license:)",
            f"repository-code: {address.url}\n",
        ),
        *(_with_cell(chapter.source, address) for chapter in project.chapters),
    ]
    return [path for path in changed if path is not None]


def buttons(settings: dict[str, Any]) -> None:
    """Turn the buttons that need an address off where ``settings`` of the book have none, and on where they do."""
    there = bool((settings.get("repository") or {}).get("url"))
    if not there:
        settings.pop("repository", None)
        settings["launch_buttons"] = {"thebe": False}
    html = settings.setdefault("html", {})
    html["use_repository_button"] = html["use_issues_button"] = there


def settle(html: Path, project: Project, pages: Mapping[str, str] = MappingProxyType({})) -> None:
    """Let launch buttons open sources, and raise a ``BuildError`` for each that the repository does not have.

    ``pages`` names for a page that is not called as its notebook the page that is.
    """
    address = read(project)
    faults = []
    for page, source in pages.items():
        path = html / f"{page}.html"
        text = path.read_text(encoding="utf-8")
        path.write_text(
            re.sub(rf'(href="https://[^"]+/){re.escape(page)}\.ipynb"', rf'\1{source}.ipynb"', text), "utf-8"
        )
    for path in sorted(html.rglob("*.html")):
        name = path.relative_to(html)
        for link in re.findall(r'href="(https://(?:mybinder|colab)\.[^"]+)"', path.read_text(encoding="utf-8")):
            where = opened(link)
            if address is None or where[:2] != (address.url, address.branch):
                faults.append(f"{name}: {link} is not at {address}")
            elif not (project.root / where[2]).is_file():
                faults.append(f"{name}: {link} opens {where[2]}, which the repository does not have")
    if faults:
        raise BuildError("launch buttons do not work:\n" + "\n".join(faults))


def opened(link: str) -> tuple[str, str, str]:
    """Return the repository, branch and path that a link to Binder or Colab opens."""
    parts = urlsplit(unquote(link.replace("&amp;", "&")))
    if "colab" in parts.netloc:
        _, host, owner, name, _, branch, path = parts.path.split("/", 6)
        return (f"https://{host}.com/{owner}/{name}", branch, path)
    _, _, kind, owner, name, branch = parts.path.split("/", 5)
    host = {"gh": "github", "gl": "gitlab"}[kind]
    return (f"https://{host}.com/{owner}/{name}", branch, parts.query.removeprefix("urlpath=lab/tree/"))


def _replaced(path: Path, pattern: str, text: str) -> Path | None:
    """Put ``text`` where ``pattern`` stands in a file; return the file if that changed it."""
    before = path.read_text(encoding="utf-8")
    after, count = re.subn(pattern, text.replace("\\", r"\\"), before, count=1, flags=re.M)
    if not count:
        raise BuildError(f"{path}: no place for the address ({pattern})")
    path.write_text(after, encoding="utf-8")
    return path if after != before else None


def _with_cell(notebook: Path, address: Address) -> Path | None:
    document = json.loads(notebook.read_text(encoding="utf-8"))  # its lines stay lines, for a short diff
    cells = [cell for cell in document["cells"] if cell.get("id") != CELL]
    first = next(place for place, cell in enumerate(cells) if cell["cell_type"] == "code")
    cells.insert(first, address.cell)
    if cells == document["cells"]:
        return None
    write_notebook(notebook, {**document, "cells": cells})
    return notebook
