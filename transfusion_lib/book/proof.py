"""What a build trained on this machine, and how it compares with the records of the same runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from transfusion_lib.analysis.audit import Compared, Outcome, compared
from transfusion_lib.book import prepare
from transfusion_lib.book.execute import Build, Say
from transfusion_lib.book.project import Chapter
from transfusion_lib.errors import StoreError
from transfusion_lib.runs.records import Records, open_records
from transfusion_lib.runs.run import Run, find
from transfusion_lib.runs.store import open_store
from transfusion_lib.spec import RunSpec
from transfusion_lib.training.train import FIRST


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
        largest = max(one.final for one in again)
        text += (
            f" {len(again)} of them are also among the published records, made on another day or machine: "
            f"{'all agree' if agree == len(again) else f'{agree} agree, **{len(again) - agree} differ**'} "
            f"(largest difference of a final score {largest:.4f})."
        )
    return text


def _again(made: Sequence[Run]) -> list[Compared]:
    """Return how each run that is also recorded differs from its record."""
    try:
        records = open_records()
    except StoreError:
        return []
    recorded = {run.spec: records.load([run.spec])[0] for run in made if records.has(run.spec)}
    return [_compared(run, recorded[run.spec], records) for run in made if run.spec in recorded]


def _compared(run: Run, record: Run, records: Records) -> Compared:
    found = Outcome(
        curve=run.curve,
        first_losses=run.record.get("first_losses", [])[:FIRST],
        final=run.final,
        test_scores=record.as_kept(run.cases["test_scores"]),
    )
    spec = record.spec
    others = [records.load([other])[0] for other in records.by_spec if other != spec and _arm(other) == _arm(spec)]
    return compared(record, found, others=others)


def _arm(spec: RunSpec) -> RunSpec:
    return spec.replace(seed=0, data=spec.data.replace(seed=0))
