"""The runs of the study's plan: which are made, which are missing, and the learning rates that the pilot chose."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transfusion_lib import data, paths
from transfusion_lib.chapters.kit.findings import Findings, final
from transfusion_lib.chapters.kit.scores import validation_loss
from transfusion_lib.errors import DataError, SpecError, StoreError, UserError, WeightsError, unknown
from transfusion_lib.papers import CLAIMS, Verdict, judge
from transfusion_lib.papers.plan import Plan, read_plan, write_rates
from transfusion_lib.runs.records import Records, open_records
from transfusion_lib.runs.run import find, load
from transfusion_lib.runs.search import Ensure
from transfusion_lib.runs.store import Store
from transfusion_lib.spec import RunSpec


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How far a cell is."""

    cell: str
    title: str
    claims: str
    runs: int
    made: int
    hours_left: float
    """Core-hours, about."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What became of a claim, and what it still waits for."""

    verdict: Verdict
    waits: Mapping[str, float]
    """Core-hours, about, of the runs that are missing, by cell."""


def plan() -> Plan:
    """Return the plan of this checkout's book."""
    return read_plan(_folder())


def standing(plan: Plan, cells: Collection[str] = (), *, store: Store | None) -> list[Standing]:
    """Return how far the sources, the pilot and each cell are: made is what the records or the store have.

    With ``cells`` only those are returned, with their parts.
    """
    records = _records()
    rows = [
        _row("sources", "networks trained on natural images", (), list(plan.sources.values()), plan, store, records),
        _row("pilot", "choice of learning rates", (), _tried(plan.trials()), plan, store, records),
    ]
    rows += [_row(cell.id, cell.title, cell.claims, plan.specs(cell), plan, store, records) for cell in plan.cells]
    return [row for row in rows if not cells or row.cell.partition(".")[0] in cells]


def missing(specs: Sequence[RunSpec], *, store: Store | None, records: Records | None = None) -> list[RunSpec]:
    """Return the runs that neither the records nor the store, if any, have."""
    records = records or _records()
    left = [spec for spec in dict.fromkeys(specs) if records is None or not records.has(spec)]
    if store is None:
        return left
    with data.one_look():
        return [spec for spec in left if not _is_made(spec, store)]


def made(plan: Plan, *, store: Store) -> dict[str, list[RunSpec]]:
    """Return the runs of the pilot and of each cell that the records or the store have, by ``study/CELL``."""
    found, records = {}, _records()
    asked = {"pilot": _tried(plan.trials())} | {cell.id: plan.specs(cell) for cell in plan.cells}
    for name, specs in asked.items():
        left = set(missing(specs, store=store, records=records))
        found[f"study/{name}"] = [spec for spec in specs if spec not in left]
    return {name: specs for name, specs in found.items() if specs}


def found(plan: Plan, *, store: Store | None = None) -> Findings:
    """Return what the study's whole cells say, in the records or also in ``store``.

    A cell of which runs are missing says nothing: looking early would be a look that the plan does not have.
    """
    records = _records()
    left = {cell.id: set(missing(plan.specs(cell), store=store, records=records)) for cell in plan.cells}
    specs = list(dict.fromkeys(spec for cell in plan.cells if not left[cell.id] for spec in plan.specs(cell)))
    made = {spec for cell in plan.cells if left[cell.id] for spec in plan.specs(cell) if spec not in left[cell.id]}
    recorded = [spec for spec in specs if records and records.has(spec)]  # read without their data
    runs = dict(zip(recorded, records.load(recorded) if records else [], strict=True))
    runs |= {spec: load(spec, store=store) for spec in specs if spec not in runs}
    return Findings(plan, runs, kept_back=made)


def board(findings: Findings) -> dict[str, Judged]:
    """Return the verdict on each claim from what was found."""
    plan, evidence = findings.plan, findings.evidence()
    left = {cell.id: sum(plan.hours(spec) for spec in findings.missing(cell)) for cell in plan.cells}
    return {
        claim: Judged(
            verdict=judge(claim, evidence.get(claim)),
            waits={cell.id: left[cell.id] for cell in plan.cells if claim in cell.claims and left[cell.id]},
        )
        for claim in CLAIMS
    }


def spreads(findings: Findings) -> dict[str, tuple[float, float]]:
    """Return the deviation of the final score over the runs of an arm: median and largest of a whole cell's arms."""
    found = {}
    for cell in findings.plan.cells:
        if findings.missing(cell):
            continue
        arms = findings.plan.arms(cell).values()
        deviations = [float(np.std([final(findings.runs[spec]) for spec in specs], ddof=1)) for specs in arms]
        found[cell.id] = (float(np.median(deviations)), max(deviations))
    return found


def claims(name: str | None = None, *, store: Store | None = None) -> list[dict[str, Any]]:
    """Return every claim, or one, with its rule, its verdict and its findings, as JSON values.

    A ``UserError`` names the claims that exist.
    """
    if name is not None and name not in CLAIMS:
        raise UserError(unknown("claim", name, CLAIMS))
    rows = []
    for claim, judged in board(found(plan(), store=store)).items():
        if name in (None, claim):
            verdict, said = judged.verdict, CLAIMS[claim]
            rows.append(
                {
                    "claim": claim,
                    "verdict": verdict.outcome,
                    "words": said.words,
                    "source": said.source,
                    "printed": said.printed,
                    "found": verdict.sentence,
                    "scale": verdict.scale,
                    "waits for": ", ".join(judged.waits),
                    "estimand": said.estimand,
                    "rule": said.rule,
                    "chapter": said.chapter,
                    "findings": [asdict(one) | {"region": str(one.region)} for one in verdict.findings],
                }
            )
    return rows


def train(plan: Plan, names: Sequence[str], ensure: Ensure, *, store: Store) -> None:
    """Train what is missing of cells, parts of cells and sources by name, in their order; ``sources`` is all of those.

    Without names it is all sources and cells. A ``SpecError`` says for which networks no learning rate is chosen yet.
    """
    for name in names or ("sources", *(cell.id for cell in plan.cells)):
        if name == "sources" or name in plan.sources:
            ensure([plan.sources[name]] if name in plan.sources else list(plan.sources.values()))
            continue
        for part in plan.cell(name):
            if open_ends := plan.untuned(part):
                raise SpecError(
                    f"cell {part.id}: no rate is chosen yet for {', '.join(open_ends)}; choose with: "
                    "transfusion study --rates"
                )
            ensure(missing(plan.specs(part), store=store))


def choose_rates(plan: Plan, ensure: Ensure, *, networks: Collection[str] = ()) -> Path:
    """Train the pilot's runs, choose each network's and method's rate by validation loss, and write ``rates.toml``.

    ``networks`` are those whose rates are chosen now, by default all; what was chosen before stays.
    """
    trials = {what: by_rate for what, by_rate in plan.trials().items() if not networks or what[0] in networks}
    specs, records = _tried(trials), _records()
    recorded = [spec for spec in specs if records and records.has(spec)]
    made = [*(records.load(recorded) if records else []), *ensure(missing(specs, store=None, records=records))]
    losses = {run.spec: validation_loss(run) for run in made}
    found = {
        what: {rate: tuple(losses[spec] for spec in specs) for rate, specs in by_rate.items()}
        for what, by_rate in trials.items()
    }
    return write_rates(_folder(), read_plan(_folder()).rates, found)  # another process may have chosen some meanwhile


def _tried(trials: Mapping[tuple[str, str], Mapping[float, Sequence[RunSpec]]]) -> list[RunSpec]:
    return [spec for by_rate in trials.values() for specs in by_rate.values() for spec in specs]


def _row(
    name: str,
    title: str,
    claims: Sequence[str],
    specs: Sequence[RunSpec],
    plan: Plan,
    store: Store | None,
    records: Records | None,
) -> Standing:
    left = missing(specs, store=store, records=records)
    return Standing(
        cell=name,
        title=title,
        claims=" ".join(claims),
        runs=len(specs),
        made=len(specs) - len(left),
        hours_left=sum(map(plan.hours, left)),
    )


def _is_made(spec: RunSpec, store: Store) -> bool:
    try:
        return find(spec, store) is not None
    except (DataError, WeightsError):  # without its files a run has no key
        return False


def _records() -> Records | None:
    try:
        return open_records()
    except StoreError:
        return None


def _folder() -> Path:
    return paths.records_root().parent / "book"
