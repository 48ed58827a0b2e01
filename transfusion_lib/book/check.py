"""The gate: no failed, unexecuted, half-executed or stale page passes, and none without what a reader needs.

papermill writes a failed notebook and Jupyter Book publishes it with exit 0, so nothing is taken on trust here.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from transfusion_lib.book.execute import Build, stamp
from transfusion_lib.book.project import Chapter, read_notebook, write_notebook
from transfusion_lib.errors import BuildError

_WIDGET = "application/vnd.jupyter.widget-view+json"
_BAR = re.compile(r"\d+%\|.*\| *\d+/")  # a frame of a tqdm bar


def executed(chapter: Chapter, notebook: Path, values: Mapping[str, Any], build: Build) -> None:
    """Raise a ``BuildError`` with every fault of an executed notebook, if it has any.

    ``values`` are the parameters that the chapter was to run with.
    """
    if not notebook.is_file():
        raise BuildError(f"chapter {chapter.name} was not executed: no {notebook}")
    document = read_notebook(notebook)
    found = document["metadata"].get("transfusion", {})
    faults = [
        f"stale: its {word} is {found.get(word)!r}, not {due!r}"
        for word, due in stamp(chapter, values, build).items()
        if found.get(word) != due
    ]
    code = [cell for cell in document["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(code, start=1):
        faults += [f"code cell {number}: {fault}\n{_first_lines(cell['source'])}" for fault in _faults(cell, number)]
    if faults:
        raise BuildError(f"chapter {chapter.name} does not pass:\n" + "\n".join(faults))


def _faults(cell: Any, number: int) -> Iterator[str]:
    """Yield the faults of the ``number``-th code cell of an executed notebook."""
    if not cell["source"].strip():
        yield "empty"
        return
    status = cell["metadata"].get("papermill", {}).get("status", "never started")
    if status != "completed":
        yield f"not executed ({status})"
    if cell["execution_count"] != number:
        yield f"execution count {cell['execution_count']}: run the chapter from top to bottom, once"
    for output in cell["outputs"]:
        yield from _output_faults(output)


def _output_faults(output: Any) -> Iterator[str]:
    """Yield the faults of one output of a cell."""
    data = output.get("data", {})
    text = "".join(output.get("text", ""))
    if output["output_type"] == "error":
        yield f"{output['ename']}: {output['evalue']}"
    if output.get("name") == "stderr":
        yield f"wrote to stderr: {text.strip()[:400]}"
    elif _BAR.search(text):
        yield "printed a progress bar into the page"
    if _WIDGET in data:
        yield "left a widget, which needs scripts from another host; show it in live sessions only"
    if any(kind.startswith("image/") for kind in data) and not alternative(output):
        yield "a figure without alt text (the key alt in its output's metadata)"


def alternative(output: Any) -> str:
    """Return the alt text in a figure's output: the key ``alt`` of its metadata, or of its image type's."""
    metadata = output.get("metadata", {})
    nested = (kind.get("alt") for kind in metadata.values() if isinstance(kind, dict))
    return str(metadata.get("alt") or next(filter(None, nested), ""))


def label(notebook: Path) -> None:
    """Copy each figure's alt text from its output to ``mystnb.image.alt`` of its cell, where MyST-NB reads it.

    The cell has one such field: two figures of one cell that differ in alt text raise a ``BuildError``.
    """
    document = read_notebook(notebook)
    for cell in document["cells"]:
        texts = {text for output in cell.get("outputs", []) if (text := alternative(output))}
        if len(texts) > 1:
            where = _first_lines(cell["source"])
            raise BuildError(f"{notebook.name}: two figures in one cell; give each its own\n{where}")
        if texts:
            # These options replace those of _config.yml: without the class the theme filters the figure in the dark.
            cell["metadata"].setdefault("mystnb", {})["image"] = {"alt": texts.pop(), "classes": "dark-light"}
    write_notebook(notebook, document)


def rendered(html: Path, pages: Iterable[str], build: Build) -> None:
    """Raise a ``BuildError`` for every page that this build did not make, and every fault that a reader would meet."""
    faults = []
    for page in [*pages, "index"]:
        file = html / f"{page}.html"
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        if not text:
            faults.append(f"{page}: not rendered")
        elif f'data-build="{build.id}"' not in text and 'http-equiv="Refresh"' not in text:
            faults.append(f"{page}: not made by this build")
        faults += [f"{page}: {fault}" for fault in _page_faults(text)]
    if faults:
        raise BuildError("the book does not pass:\n" + "\n".join(dict.fromkeys(faults)))


def _page_faults(text: str) -> Iterator[str]:
    for tag in re.findall(r"<img\b[^>]*>", text):
        if 'alt="_images' in tag or "alt=" not in tag:
            yield f"an image without alt text: {tag[:160]}"
    for tag in re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", text):
        if re.search(r"""(?:src|href)=["'](?:https?:)?//""", tag) and 'rel="canonical"' not in tag:
            yield f"asks another host: {tag[:160]}"


def _first_lines(source: str) -> str:
    return "\n".join(f"    {line}" for line in source.splitlines()[:5])
