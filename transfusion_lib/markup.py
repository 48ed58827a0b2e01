"""Small pieces of HTML and Markdown; everything in them is text unless it says otherwise."""

import html
import re
from collections.abc import Iterable, Mapping, Sequence

from transfusion_lib.errors import printable


def text(value: object) -> str:
    """Return a value as text that a page shows as it is: a folder or a label must not become markup."""
    return html.escape("\n".join(map(printable, str(value).split("\n"))))


def plain(value: object) -> str:
    """Return a value as words of a line of Markdown that show it as it is."""
    return re.sub(r"([\\`*_{}\[\]<>#|$~&^!])", r"\\\1", " ".join(printable(str(value)).split()))


def code(value: object) -> str:
    """Return a value as code in a table of Markdown."""
    words = printable(str(value)).replace("|", r"\|")
    fence = "`" * (1 + max(map(len, re.findall("`+", words)), default=0))
    return f"{fence} {words} {fence}" if "`" in words else f"{fence}{words}{fence}"


def raw(markup: str) -> str:
    """Return HTML as a block of Markdown."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", markup)), default=0))
    return f"{fence}{{raw}} html\n{markup}\n{fence}\n"


def table(rows: Mapping[str, object]) -> str:
    """Return a table of names and values."""
    body = "".join(f"<tr><th>{text(name)}</th><td>{text(value)}</td></tr>" for name, value in rows.items())
    return f"<table>{body}</table>"


def grid(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table with a line of headings."""
    lines = "".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    words = "".join(f"<th>{text(word)}</th>" for word in head)
    return f"<table><thead><tr>{words}</tr></thead><tbody>{lines}</tbody></table>"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; a ``|`` inside a cell is escaped, unless it is so already."""
    lines = (head, ["---"] * len(head), *([re.sub(r"(?<!\\)\|", r"\|", cell) for cell in row] for row in rows))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def sparkline(values: Sequence[float], *, width: int = 120, height: int = 24) -> str:
    """Return a curve in the size of a word, SVG: evenly spaced, from its lowest to its highest value."""
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    across, scale = width / (len(values) - 1), (height - 4) / ((high - low) or 1)
    points = " ".join(f"{k * across:.1f},{height - 2 - (v - low) * scale:.1f}" for k, v in enumerate(values))
    label = (
        f"rises from {values[0]:.3f} to {values[-1]:.3f}" if values[-1] >= values[0] else f"falls to {values[-1]:.3f}"
    )
    return (
        f'<svg role="img" aria-label="{label}" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'<polyline points="{points}" fill="none" stroke="currentColor" stroke-width="1.5"/></svg>'
    )
