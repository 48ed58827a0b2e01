"""Where runs are trained: in this process, in several here, or on a cluster with Ray; the numbers are the same.

An engine is what ``runs.ensure(..., engine=...)`` takes. All of them claim runs through the store, so that any number
of commands, engines and machines that share a store share its work.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from transfusion_lib.errors import UserError, unknown
from transfusion_lib.runs import Engine, Run, ensure, in_process
from transfusion_lib.runs.engines.cluster import RayCluster
from transfusion_lib.runs.engines.processes import Processes
from transfusion_lib.runs.grid import Grid, Report, Say
from transfusion_lib.runs.standing import Standing
from transfusion_lib.runs.store import Store
from transfusion_lib.spec import RunSpec
from transfusion_lib.training import device as devices
from transfusion_lib.training import interrupts, team
from transfusion_lib.training.device import Resources

__all__ = ["NAMES", "Processes", "RayCluster", "at_work", "automatic", "in_process", "named"]

NAMES = ("auto", "here", "processes", "ray")


def named(
    name: str,
    *,
    workers: int | None = None,
    address: str | None = None,
    gpus_per_run: float | None = None,
    retries: int = 2,
) -> Engine:
    """Return the engine of that name; a ``UserError`` says which exist, or which option does not fit."""
    if name not in NAMES:
        raise UserError(unknown("engine", name, NAMES))
    if name != "ray" and (address is not None or gpus_per_run is not None):
        raise UserError(f'--address and --gpus-per-run belong to --engine ray, not to "{name}"')
    if name == "ray":
        return RayCluster(address=address, workers=workers, gpus_per_run=gpus_per_run, retries=retries)
    if name == "here":
        return in_process
    if name == "auto" and workers is None:
        return automatic
    return Processes(workers=workers, retries=retries)


def automatic(grid: Grid, store: Store, resources: Resources) -> None:
    """Use several processes if several runs wait and the machine has room for them, else this process."""
    if resources.team.size > 1:
        in_process(grid, store, resources)
        return
    pays = len(grid.waiting) > 1 and len(devices.places(resources)) > 1
    (Processes() if pays else in_process)(grid, store, resources)


@contextlib.contextmanager
def at_work(
    engine: Engine, *, say: Say, report: Report | None = None, watch: Callable[[Standing], None] | None = None
) -> Iterator[tuple[Callable[[Sequence[RunSpec]], list[Run]], bool]]:
    """Yield ``ensure`` for a command, and whether this process leads those that ``torchrun`` started.

    In this block the first SIGTERM or Ctrl-C is a request to stop.
    """
    with interrupts.on_signals(), team.joined() as here:
        resources = devices.resources(team=here)
        yield partial(ensure, engine=engine, say=say, report=report, watch=watch, resources=resources), here.leads
