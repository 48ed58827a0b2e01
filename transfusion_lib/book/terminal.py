"""What the command line prints: tables and values for people, JSON for programs, progress beside them."""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transfusion_lib.errors import printable

if TYPE_CHECKING:
    from transfusion_lib.data import Check, Datasheet
    from transfusion_lib.runs import Todo
    from transfusion_lib.spec import RunSpec
    from transfusion_lib.training.train import Progress

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]


def note(line: str) -> None:
    """Print a line for a person: not on standard output, which a program may read."""
    typer.echo(printable(line), err=True)


def say(line: str) -> None:
    """Print a line, without what would move the cursor."""
    typer.echo(printable(line))


def now_and_then(words: Callable[..., str]) -> Callable[..., None]:
    """Return a listener that notes what ``words`` makes of what it hears, at most every five seconds."""
    said = time.monotonic()

    def listen(*heard: Any) -> None:
        nonlocal said
        if time.monotonic() - said > 5:
            said = time.monotonic()
            note(f"    {words(*heard)}")

    return listen


def step(spec: "RunSpec", progress: "Progress") -> str:
    """Return how far a run is."""
    from transfusion_lib.training.metrics import headline

    name, score = headline(progress.curve)
    return f"step {progress.step} of {spec.train.steps}, {name} {score:.3f}"


def open_page(page: Path, *, browse: bool) -> None:
    """Print a page's address, and with ``browse`` open it in the browser."""
    address = page.resolve().as_uri()
    typer.echo(f"open {address}")
    if browse:
        import webbrowser

        webbrowser.open(address)


def print_json(value: Any) -> None:
    """Print a value as JSON; what JSON does not know as text."""
    text = json.dumps(value, indent=1, ensure_ascii=False, default=str)
    typer.echo("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))


def print_lines(lines: Iterable[str], *, before: str = "") -> None:
    """Print lines as they come, each with the word ``before`` it, as `say` does."""
    for line in lines:
        say(f"{before}{line}")


def print_rows(rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print rows as JSON or as a table."""
    (print_json if as_json else print_table)(rows)


def columns(rows: Iterable[Mapping[str, Any]], *names: str) -> list[dict[str, Any]]:
    """Return the named columns of rows."""
    return [{name: row[name] for name in names} for row in rows]


def print_plan(plan: "Sequence[Todo]", *, as_json: bool) -> None:
    """Print how runs stand, and what the missing ones need."""
    from transfusion_lib.runs import label
    from transfusion_lib.runs.standing import duration, remarks

    if as_json:
        print_json([{**asdict(one), "spec": one.spec.model_dump(mode="json"), "command": one.command} for one in plan])
        return
    print_table([
        {"run": one.key[:12], "state": one.state,
         "estimate": None if one.estimate_s is None else duration(one.estimate_s), "what": label(one.spec)}
        for one in plan
    ])  # fmt: skip
    print_lines(remarks(plan))


def print_sheet(sheet: "Datasheet") -> None:
    """Print a data set's datasheet."""
    print_pairs({"name": sheet.name, **sheet.lines})
    _print_splits(sheet)
    print_lines(sheet.left_out, before="left out: ")
    print_lines([*sheet.remarks, *sheet.leaks], before="note: ")


def print_check(path: str, found: "Check") -> None:
    """Print what the check of someone's own files found."""
    layout, problems = found.name or "unknown", len(found.problems)
    print_lines([f"{path}: {found.images} images, layout {layout}, {problems} problems"])
    if found.sheet is not None:
        _print_splits(found.sheet)
    print_lines(found.problems)
    print_lines(found.notes, before="note: ")


def _print_splits(sheet: "Datasheet") -> None:
    """Print a column for each split: images, units, and images of each class."""
    counts = {name: [column[k] for column in sheet.counts.values()] for k, name in enumerate(sheet.classes)}
    totals = {"images": list(sheet.images.values()), "units": list(sheet.units.values())}
    rows = [*totals.items(), *((f"  {name}", row) for name, row in counts.items())]
    print_table([{"": what, **dict(zip(sheet.images, row, strict=True))} for what, row in rows])


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows with equal keys as aligned columns under their names."""
    if not rows:
        return
    cells = [list(map(printable, rows[0])), *([printable(_text(value)) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        typer.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def print_pairs(values: Mapping[str, Any]) -> None:
    """Print names and values, a pair a line."""
    width = max(map(len, values))
    for name, value in values.items():
        typer.echo(f"{name.ljust(width)}  {printable(_text(value))}")


def _text(value: Any) -> str:
    """Return a value as a person reads it in a table."""
    match value:
        case str():
            return value
        case None:
            return "-"
        case bool():
            return json.dumps(value)
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.4g}"
        case tuple():
            return ", ".join(map(str, value))
        case _:
            return json.dumps(value, default=str)
