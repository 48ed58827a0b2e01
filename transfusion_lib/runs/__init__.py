"""Ask for runs by their specs: what the store has is read, what it lacks is trained, once.

``ensure`` gives runs, ``todo`` says what is missing and what it would cost, ``load`` reads one and never trains.
"""

import json
import logging
import shlex
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

from transfusion_lib import data
from transfusion_lib.errors import ClaimedError, SpecError, StoreError
from transfusion_lib.runs.grid import RETRY_S, Grid, Report, Say, Standing
from transfusion_lib.runs.run import KIND, Run, find, key, label, load, with_sources
from transfusion_lib.runs.store import Entry, Store, open_store
from transfusion_lib.runs.trainer import Trainer
from transfusion_lib.spec import RunSpec
from transfusion_lib.training import device as devices
from transfusion_lib.training import interrupts
from transfusion_lib.training.device import Resources
from transfusion_lib.training.team import Team

__all__ = ["KIND", "Engine", "Run", "Standing", "Todo", "ensure", "in_process", "key", "label", "load", "todo",
           "with_sources"]  # fmt: skip

log = logging.getLogger("transfusion")


class Engine(Protocol):
    """Where runs are trained: makes what a grid hands out until nothing is left."""

    def __call__(self, grid: Grid, store: Store, resources: Resources) -> None:
        """Work off ``grid``; every run goes into ``store``."""


@dataclass(frozen=True, kw_only=True)
class Todo:
    """One spec and how it stands."""

    spec: RunSpec
    key: str
    state: Literal["done", "running", "missing"]
    estimate_s: float | None
    """Seconds that it would take, from finished runs of the same network, size and batch; None without any."""

    @property
    def command(self) -> str:
        """A command that makes exactly this run, and nothing when it exists."""
        return f"transfusion run {shlex.quote(self.spec.to_json())}"


def todo(specs: Iterable[RunSpec], *, store: Store | None = None) -> list[Todo]:
    """Return how each spec stands, the sources of its weights included and first, without training."""
    store = store or open_store()
    done, working = set(store.keys(KIND)), set(store.working())
    cost = _Costs(store)
    planned = with_sources(specs)
    with data.one_look():
        keys = [key(spec) for spec in planned]
    found = []
    for spec, name in zip(planned, keys, strict=True):
        state: Literal["done", "running", "missing"] = "missing"
        if name in done and store.find(KIND, name) is not None:
            state = "done"
        elif name in working:
            state = "running"
        estimate = None if state == "done" else cost.estimate(spec)
        found.append(Todo(spec=spec, key=name, state=state, estimate_s=estimate))
    return found


def ensure(
    specs: Sequence[RunSpec],
    *,
    store: Store | None = None,
    live: bool = True,
    say: Say | None = None,
    report: Report | None = None,
    watch: Callable[[Standing], None] | None = None,
    resources: Resources | None = None,
    engine: Engine | None = None,
) -> list[Run]:
    """Return the run of every spec, in order, training those that the store lacks, sources of weights first.

    ``engine`` says where: in this process, one after another, or one of ``engines``; the numbers are the same. A run
    that fails does not stop the others; all failures are raised together at the end. ``say`` gets a line per run:
    where it came from and how long it took. ``report`` is called after each evaluation, ``watch`` with the standing
    of the whole. With ``live`` false nothing is trained: a missing run is a ``MissingRunError`` that says how to make
    it. All processes of a team call this alike: the first makes the runs, and the others help it.
    """
    store = store or open_store()
    team = resources.team if resources else Team()
    if resources and not team.leads:
        Trainer(store, resources).follow()
        return [load(spec, store=store) for spec in specs]
    with team.leading():
        say = say or log.info
        planned = with_sources(specs)
        found: dict[RunSpec, Run] = {}
        missing = []
        with data.one_look():
            known = [find(spec, store) if live else load(spec, store=store) for spec in planned]
        for number, (spec, run) in enumerate(zip(planned, known, strict=True), start=1):
            said = f"[{number}/{len(planned)}] {label(spec)}"
            if run is None:
                missing.append((spec, said))
            else:
                say(f"{said}: from the store, {run.key[:12]}")
                found[spec] = run
        if missing:
            grid = Grid(
                missing,
                total=len(planned),
                key=key,
                estimate=_Costs(store).estimate,
                say=say,
                report=report or (lambda _spec, _progress: None),
                watch=watch or (lambda _standing: None),
            )
            (engine or in_process)(grid, store, resources or devices.resources())
            grid.raise_failures()
        return [found.get(spec) or load(spec, store=store) for spec in specs]


def in_process(grid: Grid, store: Store, resources: Resources) -> None:
    """Train a grid's runs here, one after another; what other processes train meanwhile is taken from them."""
    trainer = Trainer(store, resources)
    while not grid.over:
        interrupts.check("between two runs")
        job = grid.next(loaded=trainer.described)
        if job is None:
            time.sleep(RETRY_S / 4)
            continue
        try:
            made = trainer.train(job.spec, lambda progress, job=job: grid.report(job, progress))  # type: ignore[misc]
        except ClaimedError:
            grid.claimed(job)
        except Exception as error:  # the others are still to be made; it is raised at the end
            log.debug("%s", job.said, exc_info=True)
            grid.fail(job, error)
        else:
            grid.made(job, made)


class _Costs:
    """Estimates from the finished runs of a store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @cached_property
    def seconds_per_step(self) -> dict[tuple[Any, ...], float]:
        """Median seconds per step of finished runs, by what a step costs."""
        seen: dict[tuple[Any, ...], list[float]] = {}
        for name in self.store.keys(KIND):
            try:
                record = Entry(self.store.root / KIND / name).json("record.json")
                spec = RunSpec.from_json(json.dumps(record["spec"]))
            except (StoreError, SpecError, ValueError):  # damaged, or of another version of this program
                continue
            seen.setdefault(self.kind(spec), []).append(record["seconds"] / spec.train.steps)
        return {kind: statistics.median(values) for kind, values in seen.items()}

    @staticmethod
    def kind(spec: RunSpec) -> tuple[Any, ...]:
        """Return what a step's cost depends on."""
        train = spec.train
        return (spec.model, spec.data.name, spec.data.size, train.batch_size, train.precision, train.freeze)

    def estimate(self, spec: RunSpec) -> float | None:
        """Return the seconds that ``spec`` would take, or None."""
        per_step = self.seconds_per_step.get(self.kind(spec))
        return None if per_step is None else per_step * spec.train.steps
