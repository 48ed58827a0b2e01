"""One chapter under several sets of parameters: each executed whole, and a page that shows them side by side."""

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from transfusion_lib.book import parameters
from transfusion_lib.book.check import alternative
from transfusion_lib.book.execute import Build
from transfusion_lib.book.project import Chapter, read_notebook
from transfusion_lib.errors import ParameterError
from transfusion_lib.markup import raw, text

Values = Mapping[str, Any]
_OPEN, _CLOSE = '<div class="pst-scrollable-table-container"><table class="table">', "</table></div>"
_CAPTION = re.compile(r'<div class="tf-below"><p>(.*?)</p>', re.S)


@dataclass(frozen=True)
class Column:
    """One set of parameters and its executed notebook."""

    letter: str
    values: Values
    """All of them, defaults included."""
    notebook: Path


def sets(chapter: Chapter, base: Values, texts: Sequence[str]) -> list[dict[str, Any]]:
    """Return what each of ``texts``, ``"steps=30 seeds=[0,1]"``, makes of the values in ``base``.

    A single text is compared with ``base`` itself. Two sets that are the same raise a ``ParameterError``.
    """
    words = [re.split(r"\s+(?=\w+\s*=)", one.strip()) for one in texts]
    found = [dict(base) | parameters.given(chapter, one) for one in words]
    if len(found) == 1:
        found.insert(0, dict(base))
    if len(found) > len(ascii_uppercase):
        raise ParameterError(f"{len(found)} sets of parameters; at most {len(ascii_uppercase)} fit on a page")
    seen: list[dict[str, Any]] = []
    for one in found:
        whole = parameters.effective(chapter, one)
        if whole in seen:
            raise ParameterError(f"two of the sets are the same: {_differing(chapter, [whole, *seen]) or whole}")
        seen.append(whole)
    return found


def page(chapter: Chapter, columns: Sequence[Column], build: Build) -> str:
    """Return the page in Markdown, and write its figures below ``_static/sets`` of ``build.source``."""
    (build.source / "_static" / "sets").mkdir(parents=True, exist_ok=True)
    parts = [
        "---\nhtml_theme.sidebar_secondary.remove: true\n---",
        f"# {chapter.title}, {len(columns)} times",
        chapter.question,
        raw(_parameters(chapter, columns)),
    ]
    numbers = _numbers(columns)
    if numbers:
        parts += ["## What the text says", raw(numbers)]
    figures = [_figures(column, build) for column in columns]
    if any(figures):
        parts.append("## Figures")
    for place in range(max(map(len, figures), default=0)):
        parts += [f"### {place + 1}", raw(_side_by_side([found[place : place + 1] for found in figures], columns))]
    return "\n\n".join(parts) + "\n"


def _parameters(chapter: Chapter, columns: Sequence[Column]) -> str:
    """Return the parameters in which the sets differ, and a link to each set's own page."""
    differing = _differing(chapter, [column.values for column in columns])
    meanings = {one.name: one.meaning for one in parameters.declared(chapter)}
    head = "".join(
        f'<th scope="col"><a href="{_address(chapter, column)}">{column.letter}</a></th>' for column in columns
    )
    rows = "".join(
        f'<tr><th scope="row"><code>{name}</code> <span class="tf-source">{text(meanings[name])}</span></th>'
        + "".join(
            f"<td><code>{text(json.dumps(column.values[name], ensure_ascii=False))}</code></td>" for column in columns
        )
        + "</tr>"
        for name in differing
    )
    same = {name: value for name, value in columns[0].values.items() if name not in differing}
    rest = "".join(
        f"<tr><th><code>{name}</code></th><td><code>{text(json.dumps(v, ensure_ascii=False))}</code></td></tr>"
        for name, v in same.items()
    )
    return (
        f'{_OPEN}<thead><tr><th scope="col">what differs</th>{head}</tr></thead><tbody>{rows}</tbody>'
        f"{_CLOSE}<details><summary>{len(same)} parameters are the same</summary><table>{rest}</table></details>"
    )


def _differing(chapter: Chapter, values: Sequence[Values]) -> list[str]:
    return [
        one.name for one in parameters.declared(chapter) if any(v[one.name] != values[0][one.name] for v in values[1:])
    ]


def _numbers(columns: Sequence[Column]) -> str:
    """Return the numbers and words that the chapters glued into their text, where they differ."""
    glued = [_glued(column.notebook) for column in columns]
    rows = "".join(
        f'<tr><th scope="row"><code>{name}</code></th>'
        + "".join(f"<td>{text(found.get(name, '–'))}</td>" for found in glued)
        + "</tr>"
        for name in dict.fromkeys(name for found in glued for name in found)
        if len({found.get(name) for found in glued}) > 1
    )
    return f"{_OPEN}<thead>{_head('word', columns)}</thead><tbody>{rows}</tbody>{_CLOSE}" if rows else ""


def _glued(notebook: Path) -> dict[str, str]:
    found = {}
    for output in _outputs(notebook):
        name = output.get("metadata", {}).get("scrapbook", {}).get("name")
        if name:
            [said] = [value for kind, value in output["data"].items() if kind.endswith("text/plain")]
            found[name] = "".join(said).strip("'\"")
    return found


def _figures(column: Column, build: Build) -> list[tuple[str, str, str]]:
    """Write the figures of one executed notebook; return each one's address, alt text and caption."""
    found: list[tuple[str, str, str]] = []
    for output in _outputs(column.notebook):
        data = output.get("data", {})
        if "image/svg+xml" in data:
            address = f"_static/sets/{column.letter}-{len(found) + 1}.svg"
            (build.source / address).write_text("".join(data["image/svg+xml"]), encoding="utf-8")
            found.append((address, alternative(output), ""))
        elif found and (caption := _CAPTION.search("".join(data.get("text/html", "")))):
            found[-1] = (*found[-1][:2], html.unescape(caption[1]))
    return found


def _side_by_side(found: Sequence[Sequence[tuple[str, str, str]]], columns: Sequence[Column]) -> str:
    cells = "".join(
        f"<figure><figcaption><b>{column.letter}</b> {text(caption)}</figcaption>"
        f'<img class="dark-light" src="{address}" alt="{text(f"{column.letter}: {alt}")}"></figure>'
        for column, drawn in zip(columns, found, strict=True)
        for address, alt, caption in drawn
    )
    return f'<div class="tf-sets">{cells}</div>'


def _head(first: str, columns: Sequence[Column]) -> str:
    letters = "".join(f'<th scope="col">{column.letter}</th>' for column in columns)
    return f'<tr><th scope="col">{first}</th>{letters}</tr>'


def _outputs(notebook: Path) -> list[Any]:
    return [output for cell in read_notebook(notebook)["cells"] for output in cell.get("outputs", [])]


def _address(chapter: Chapter, column: Column) -> str:
    return f"{name(chapter, column.letter)}.html"


def name(chapter: Chapter, letter: str) -> str:
    """Return the page of one set, as the table of contents names it."""
    return f"{chapter.page}-{letter.lower()}"


def contents(toc: Any, chapter: Chapter, letters: Sequence[str]) -> Any:
    """Return a table of contents in which the chapter is replaced by one page for each set."""
    if isinstance(toc, list):
        kept = [contents(entry, chapter, letters) for entry in toc if entry.get("file") != chapter.page]
        own = any(entry.get("file") == chapter.page for entry in toc)
        return [{"file": name(chapter, one), "title": one} for one in letters if own] + kept
    if isinstance(toc, dict):
        return {word: contents(value, chapter, letters) for word, value in toc.items()}
    return toc
