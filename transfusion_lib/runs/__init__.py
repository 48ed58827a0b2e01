"""Ask for runs by their specs: what the store has is read, what it lacks is trained, once.

``ensure`` gives runs, ``todo`` says what is missing and what it would cost, ``load`` reads one and never trains.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from transfusion_lib import data
from transfusion_lib.errors import ClaimedError
from transfusion_lib.runs.grid import RETRY_S, Grid, Report, Say
from transfusion_lib.runs.run import KIND, Run, find, key, label, load, with_sources
from transfusion_lib.runs.standing import Costs, Standing, Todo, todo
from transfusion_lib.runs.store import Store, open_store
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
                estimate=Costs(store).estimate,
                say=say,
                report=report or (lambda _spec, _progress: None),
                watch=watch or (lambda _standing: None),
            )
            (engine or in_process)(grid, store, resources or devices.resources())
            grid.raise_failures()
        return [found.get(spec) or load(spec, store=store) for spec in specs]


def in_process(grid: Grid, store: Store, resources: Resources) -> None:
    """Train a grid's runs here, one after another; take from the store those that other processes finish meanwhile."""
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
