"""The benchmarks, and the page of the last ones: what was measured, beside what was promised, on which machine."""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from transfusion_lib.book import project
from transfusion_lib.errors import UserError, unknown
from transfusion_lib.runs import sums

TITLES = {
    "train": "Training",
    "gpu": "Training on a GPU",
    "data": "Loading and drawing images",
    "similarity": "Similarity of representations",
    "store": "Many runs",
    "book": "The book",
    "newcomer": "From a clone to",
}


def measure(what: str, out: Path | None = None, *, say: Callable[[str], None], **options: Any) -> tuple[Any, Path]:
    """Run a benchmark of this checkout; return its result as JSON values and the file that keeps it.

    A ``UserError`` names the benchmarks, or says that an installation has none.
    """
    if what not in TITLES:
        raise UserError(unknown("benchmark", what, TITLES))
    root = project.find().root
    if not (root / "benchmarks" / "report.py").is_file():
        raise UserError(f"{root} has no folder benchmarks: they are measured from a checkout, not from an installation")
    sys.path.insert(0, str(root))
    path = out or root / "build" / "bench" / f"{what}.json"
    report = import_module("benchmarks.report").Report(what, say, path)
    import_module(f"benchmarks.{what}").measure(report, **options)
    return report.result(), path


def page(*folders: Path) -> str:
    """Return the page in Markdown; of each benchmark the result in the first folder that has one."""
    lines = [
        "# Benchmarks",
        "",
        "Each figure comes from `transfusion bench`; the machine stands above it.",
        "",
    ]
    found = {name: result for name in TITLES if (result := _result(name, folders)) is not None}
    if not found:
        lines += ["Nothing was measured here yet: `transfusion bench train`.", ""]
    for name, result in found.items():
        lines += [f"## {TITLES[name]}", "", _machine(result["made"]), "", *_tables(result["rows"])]
        lines += [f"- {_text(note)}" for note in result["notes"]] + [""]
    return "\n".join(lines)


def _tables(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the figures of several subjects ("cbr_tiny: of the limit") as one table and all details in a fold.

    The longer side goes down the page.
    """
    several = [row for row in rows if ": " in row["what"]]
    if not several:
        return [*_listed(rows), ""]
    cells = {tuple(row["what"].split(": ", 1)): _cell(row) for row in several}
    subjects, figures = (list(dict.fromkeys(pair[side] for pair in cells)) for side in (0, 1))
    if len(subjects) > len(figures):
        table = _grid(subjects, figures, lambda down, right: cells.get((down, right), ""))
    else:
        table = _grid(figures, subjects, lambda down, right: cells.get((right, down), ""))
    alone = [row for row in rows if row not in several]
    return [*table, "", *_listed(alone), "", ":::{dropdown} Spreads and details", "", *_listed(several), "", ":::", ""]


def _grid(rows: Sequence[str], columns: Sequence[str], cell: Callable[[str, str], str]) -> list[str]:
    head = ["", *map(_text, columns)]
    body = [[_text(row), *(cell(row, column) for column in columns)] for row in rows]
    return _lines([head, *body])


def _listed(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a table with a row for each figure, without columns that are empty."""
    columns = {
        "figure": [_text(row["what"]) for row in rows],
        "measured": [_value(row) for row in rows],
        "promised": [_promise(row) for row in rows],
        "": [_text(row["details"]) for row in rows],
    }
    filled = {name: column for name, column in columns.items() if any(column)}
    return _lines([list(filled), *zip(*filled.values(), strict=True)]) if rows else []


def _cell(row: Mapping[str, Any]) -> str:
    return _value(row) + (f"<br>{_promise(row)}" if row["target"] else "")


def _result(name: str, folders: tuple[Path, ...]) -> dict[str, Any] | None:
    for folder in folders:
        path = folder / f"{name}.json"
        if path.is_file():
            result: dict[str, Any] = sums.json_of(folder.parent, f"{folder.name}/{path.name}")
            return result
    return None


def _machine(made: dict[str, Any]) -> str:
    machine, commit = made["machine"], made["commit"] or "no git checkout"
    gpu = machine.get("gpu", "no GPU")
    return _text(
        f"{machine['processor']}, {machine['cores']} cores, {gpu}; PyTorch {made['versions']['torch']}; "
        f"{made['finished'][:10]}, code {commit[:12]}{' with changes' if made['dirty'] else ''}."
    )


def _lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table whose first row is its head."""
    return [f"| {' | '.join(row)} |" for row in (rows[0], ["---"] * len(rows[0]), *rows[1:])]


def _value(row: Mapping[str, Any]) -> str:
    number = f"{row['value']:,.0f}" if abs(row["value"]) >= 999.5 else f"{row['value']:.3g}"
    return f"{number} {_text(row['unit'])}".strip()


def _promise(row: Mapping[str, Any]) -> str:
    judged = {None: "", True: "met", False: "**missed**"}[row["met"]]
    return f"{row['target']}: {judged}" if row["target"] else ""


def _text(words: str) -> str:
    """Return words as a table shows them as they are."""
    return words.replace("|", "\\|").replace("<", "&lt;")
