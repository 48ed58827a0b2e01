"""The page "Status of this build", from what papermill recorded in each executed notebook."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from transfusion_lib import data, paths
from transfusion_lib.analysis import audit as recheck
from transfusion_lib.book import made
from transfusion_lib.book.execute import Build
from transfusion_lib.book.profiles import Profile
from transfusion_lib.book.project import Chapter, find, read_notebook
from transfusion_lib.chapters.kit import planned
from transfusion_lib.chapters.kit.curve_tables import called
from transfusion_lib.chapters.kit.findings import Findings
from transfusion_lib.errors import StoreError
from transfusion_lib.markup import code, plain
from transfusion_lib.runs import KIND
from transfusion_lib.runs.records import open_records
from transfusion_lib.runs.store import open_store
from transfusion_lib.training.train import FIRST


def record(chapter: Chapter, notebook: Path) -> dict[str, Any]:
    """Return one row of the status page: chapter, title, outcome, seconds, time of the start, parameters."""
    metadata = read_notebook(notebook)["metadata"]
    run = metadata["papermill"]
    return {
        "chapter": chapter.name,
        "title": chapter.title,
        "page": chapter.page,
        "outcome": "failed" if run["exception"] else "passed",
        "seconds": round(run["duration"], 1),
        "started": run["start_time"][:19] + "Z",
        "profile": metadata["transfusion"]["profile"],
        "parameters": metadata["transfusion"]["parameters"],
        "changed": sorted(run["parameters"]),
    }


def write(rows: Sequence[dict[str, Any]], profile: Profile, build: Build, *, study: Findings) -> None:
    """Write the page ``status.md`` and ``build.json``, which ``transfusion status`` reads."""
    table = [
        "| chapter | outcome | started (UTC) | duration |",
        "|---|---|---|---|",
        *(
            f"| [{row['title']}](/{row['page']}.ipynb) | {row['outcome']} | {row['started'][:16].replace('T', ' ')} "
            f"| {row['seconds']:.0f} s |"
            for row in rows
        ),
    ]
    lines = [
        "# Status of this build",
        "",
        f"Build `{build.id}`, profile **{profile.name}**. {profile.description}",
        "",
        "Every page of this book was made by this build, and every chapter was executed by it from top to bottom.",
        "",
        *table,
        "",
        *_study(study),
        "## Parameters of the chapters",
        "",
        "Those in bold differ from the notebook's own.",
        "",
        *(f"```{{dropdown}} {row['title']}\n{_parameters(row)}\n```" for row in rows),
        "",
        *_records(paths.records_root()),
    ]
    (build.source / "status.md").write_text("\n".join(lines), encoding="utf-8")
    summary = {"build": build.id, "profile": profile.name, "chapters": list(rows)}
    (build.folder / "build.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")


def overview() -> dict[str, Any]:
    """Return what the store holds, and what ``build.json`` says of the book that was made last, as JSON values."""
    store, folder = open_store(), find().build / "book"
    book = made.load(folder, "build.json")
    changed = made.changed(folder) if (folder / made.SUMS).is_file() else []
    found = {"store": str(store.root), "runs": len(store.keys(KIND)), "running": store.working()}
    return {**found, "book": book, "changed": changed}


def _study(study: Findings) -> Iterator[str]:
    """Yield the section on the study: its plan, how far each cell is, how its runs vary, and the chosen rates."""
    plan = study.plan
    yield "## The study\n"
    yield (
        f"Plan `{plan.hash[:12]}` (`book/study.toml`, fixed before its runs): cells of which all runs are recorded are "
        "judged, the others wait. SD is the deviation of a final score over the runs of an arm, each with its own "
        "split.\n"
    )
    spread = planned.spreads(study)
    yield "| cell | what | claims | runs | recorded | core-hours to go | SD: median of its arms | largest |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in planned.standing(plan, store=None):
        median, largest = (f"{value:.4f}" for value in spread[row.cell]) if row.cell in spread else ("", "")
        yield (
            f"| {row.cell} | {row.title} | {row.claims} | {row.runs} | {row.made} | {row.hours_left:.1f} | {median} "
            f"| {largest} |"
        )
    yield "\nLearning rates that pilot runs chose by validation loss (`book/rates.toml`):\n"
    yield "| network | method | rate |\n|---|---|---|"
    for network, methods in plan.rates.items():
        yield from (f"| {called(network)} | {method} | {one.rate:g} |" for method, one in methods.items())
    yield ""


def _records(folder: Path) -> Iterator[str]:
    """Yield the section on the published records: what they took to compute, where, and what the last audit found."""
    try:
        recorded = open_records(folder)
    except StoreError:
        return
    found = [entry.json("record.json") for entry in recorded.by_spec.values()]
    yield "## The published records\n"
    yield (
        f"`{folder.name}/` holds {len(found)} runs, each file with its checksum (`transfusion verify --records`). "
        "`contents.csv` lists them all, `studies/` those of each chapter; `transfusion verify --records KEY` trains "
        "the run of a row again and compares.\n"
    )
    yield "| data | runs | hours of one processor core | hours of one GPU | machines |\n|---|---|---|---|---|"
    for name in sorted({_data(one) for one in found}):
        its = [one for one in found if _data(one) == name]
        machines = sorted({_machine(one["provenance"]["machine"]) for one in its})
        hours = " | ".join(
            f"{sum(_hours(one, gpu=gpu) for one in its):.{digits}f}" for gpu, digits in ((False, 1), (True, 2))
        )
        yield f"| {plain(name)} | {len(its)} | {hours} | {'; '.join(machines)} |"
    audit = recheck.read_audit(folder)
    if audit is None:
        yield "\nNo record was trained again yet: `transfusion verify --records --sample 1 --keep`.\n"
        return
    machine, again = audit["made"]["machine"], audit["runs"]
    yield (
        f"\n**The last audit**, {audit['made']['finished'][:10]}, on {_machine(machine)} with the instructions "
        f"{machine['instructions']}: {len(again)} of {audit['records']} records, drawn at random (seed "
        f"{audit['seed']}), were trained again from scratch; {sum(one['agrees'] for one in again)} agree.\n"
    )
    yield (
        "On a machine equal to the record's no bit may differ. Elsewhere rounding grows from step to step, in some "
        "networks until it moves a run as far as another seed would. Before the first step scores may then differ by "
        f"{recheck.START:g}, the loss of each of the first {FIRST} steps by "
        f"{100 * recheck.LOSS['float32']:g} % of itself (in bfloat16 {100 * recheck.LOSS['bfloat16']:g} %), and "
        f"the scores on the mean over all evaluations by {recheck.SPREADS:g} times as much as two seeds of the run do. "
        "The last score must lie in the 95 % prediction interval of the other seeds, and be as near to the record as "
        f"two seeds are in 95 of 100 pairs; fewer than {recheck.SEEDS} other seeds cannot judge it, and "
        f"{recheck.FINAL:g} is allowed.\n"
    )
    if any("arm" not in one for one in again):
        yield "This audit is older than these limits: it allowed more at the last step and asked for no losses.\n"
    yield "| record | agrees | before training | first losses | mean over the curve | allowed | last score | allowed |"
    yield "|---|---|---|---|---|---|---|---|"
    for one in again:
        agrees = "yes" if one["agrees"] else "**no**"
        names = ("start", "loss", "curve", "tolerance", "final", "final_tolerance")
        numbers = " | ".join("" if one.get(name) is None else f"{one[name]:.2g}" for name in names)
        yield f"| `{one['key'][:12]}` {plain(one['what'])} | {agrees} | {numbers} |"
    yield ""


def _data(record: dict[str, Any]) -> str:
    about, size = record["dataset"], record["spec"]["data"]["size"]
    asked = _asked(about, record["spec"]["data"].get("split", "official"))
    return f"{about['name']} ({asked}), {size} px{', synthetic' if about['synthetic'] else ''}"


def _asked(about: dict[str, Any], split: str) -> str:
    known = data.TABLE.get(about["name"])
    return known.info.asked(about["task"], split=split) if known else str(about["task"])


def _hours(record: dict[str, Any], *, gpu: bool) -> float:
    """Return the hours that a run took of processor cores or of a GPU, which it may have shared with others."""
    machine = record["provenance"]["machine"]
    if ("gpu" in machine) != gpu:
        return 0.0
    return float(record["seconds"] * (1 if gpu else machine["threads"]) / 3600)


def _machine(machine: dict[str, Any]) -> str:
    return str(machine.get("gpu") or machine["processor"])


def _parameters(row: dict[str, Any]) -> str:
    shown = (
        (name, code(f"{name}={json.dumps(value, ensure_ascii=False)}")) for name, value in row["parameters"].items()
    )
    return " ".join(f"**{word}**" if name in row["changed"] else word for name, word in shown)
