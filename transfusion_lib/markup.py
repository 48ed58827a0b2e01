"""Small pieces of HTML for what a notebook's cell shows; everything in them is text unless it says otherwise."""

import html
from collections.abc import Iterable, Mapping, Sequence


def text(value: object) -> str:
    """Return a value as text that a page shows as it is: a folder or a label must not become markup."""
    return html.escape(str(value))


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
    """Return a Markdown table; a ``|`` inside a cell is escaped."""
    lines = (head, ["---"] * len(head), *([cell.replace("|", r"\|") for cell in row] for row in rows))
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
