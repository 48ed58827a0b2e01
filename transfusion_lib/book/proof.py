"""What a build trained on this machine, and how it compares with the records of the same runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from transfusion_lib.analysis.audit import Compared, beside
from transfusion_lib.book import prepare
from transfusion_lib.book.execute import Build, Say
from transfusion_lib.book.project import Chapter
from transfusion_lib.errors import StoreError
from transfusion_lib.runs.records import open_records
from transfusion_lib.runs.run import Run, find
from transfusion_lib.runs.store import open_store
from transfusion_lib.spec import RunSpec


def write(plan: Sequence[tuple[Chapter, Mapping[str, Any]]], build: Build, *, say: Say) -> None:
    """Write ``proof.md``, which the landing page includes: how many runs were trained here, and whether records agree.

    ``plan`` holds the chapters that train, with their parameters.
    """
    lines = [_said(name, study.specs()) for name, study in prepare.studies(plan).items()]
    for line in lines:
        say(line)
    (build.source / "proof.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _said(name: str, specs: Sequence[RunSpec]) -> str:
    made = [run for spec in dict.fromkeys(specs) if (run := find(spec, open_store())) is not None]
    if not made:
        return f"The chapter {name} has no runs."
    days = sorted({run.record["provenance"]["finished"][:10] for run in made})
    when = " to ".join(dict.fromkeys((days[0], days[-1])))
    seconds = sum(run.record["seconds"] for run in made)
    text = f"Trained on this machine: {len(made)} runs of the chapter {name} ({when}, {seconds:.0f} s)."
    again = _again(made)
    if again:
        agree = sum(one.agrees for one in again)
        text += (
            f" {len(again)} of them are compared with the published record of the same run, made another time: "
            f"{'all agree' if agree == len(again) else f'{agree} agree, **{len(again) - agree} differ**'} "
            f"(largest difference of a final score {max(one.final for one in again):.4f})."
        )
    return text


def _again(made: Sequence[Run]) -> list[Compared]:
    """Return how each run that is also recorded differs from its record; one that is the record itself says nothing."""
    try:
        records = open_records()
    except StoreError:
        return []
    pairs = [(records.load([run.spec])[0], run) for run in made if records.has(run.spec)]
    return [
        beside(recorded, run, among=records.store)
        for recorded, run in pairs
        if recorded.record["provenance"] != run.record["provenance"]
    ]
