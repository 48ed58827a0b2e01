"""The page of the last benchmarks: what was measured, beside what was promised, on which machine."""

import json
from pathlib import Path
from typing import Any

TITLES = {
    "train": "Training",
    "gpu": "Training on a GPU",
    "data": "Loading and drawing images",
    "similarity": "Similarity of representations",
    "store": "Many runs",
    "book": "The book",
    "newcomer": "From a clone to",
}


def page(*folders: Path) -> str:
    """Return the page in Markdown; of each benchmark the result in the first folder that has one."""
    lines = [
        "# Speed",
        "",
        "Each figure comes from `transfusion bench`; the machine stands above it.",
        "",
    ]
    found = {name: result for name in TITLES if (result := _result(name, folders)) is not None}
    if not found:
        lines += ["Nothing was measured here yet: `transfusion bench train`.", ""]
    for name, result in found.items():
        lines += [f"## {TITLES[name]}", "", _machine(result["made"]), ""]
        lines += ["| figure | measured | promised | |", "|---|---|---|---|", *map(_row, result["rows"]), ""]
        lines += [f"- {_text(note)}" for note in result["notes"]] + [""]
    return "\n".join(lines)


def _result(name: str, folders: tuple[Path, ...]) -> dict[str, Any] | None:
    for folder in folders:
        path = folder / f"{name}.json"
        if path.is_file():
            result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return result
    return None


def _machine(made: dict[str, Any]) -> str:
    machine, commit = made["machine"], made["commit"] or "no git checkout"
    gpu = machine.get("gpu", "no GPU")
    return _text(
        f"{machine['processor']}, {machine['cores']} cores, {gpu}; PyTorch {made['versions']['torch']}; "
        f"{made['finished'][:10]}, code {commit[:12]}{' with changes' if made['dirty'] else ''}."
    )


def _row(row: dict[str, Any]) -> str:
    judged = {None: "", True: "met", False: "**missed**"}[row["met"]]
    promised = f"{row['target']}: {judged}" if row["target"] else ""
    return f"| {_text(row['what'])} | {row['value']:,.3g} {_text(row['unit'])} | {promised} | {_text(row['details'])} |"


def _text(words: str) -> str:
    """Return words as a table shows them as they are."""
    return words.replace("|", "\\|").replace("<", "&lt;")
