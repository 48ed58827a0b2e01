"""Workers are killed with -9 at random moments; nothing is lost, nothing duplicated, nothing different."""

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from tests.runs_alike import same
from transfusion_lib import data, runs
from transfusion_lib.runs import Engine
from transfusion_lib.runs.engines import Processes, RayCluster
from transfusion_lib.runs.store import Store
from transfusion_lib.spec import InitSpec, RunSpec
from transfusion_lib.training.device import Resources

OFTEN = Resources(device=torch.device("cpu"), checkpoint_every_s=0.2)
MANY = 10_000


def local(process: psutil.Process) -> bool:
    """Whether a process is a worker of the engine of processes."""
    return "transfusion_lib.runs.engines.worker" in process.cmdline()


def ray(process: psutil.Process) -> bool:
    """Whether a process is an actor of Ray's."""
    return process.name().startswith("ray::_Actor") or "ray::_Actor" in " ".join(process.cmdline())


class Killer(threading.Thread):
    """Kills one of this process's workers after another, each at a random moment, ``kills`` times in all."""

    def __init__(self, worker: Callable[[psutil.Process], bool], *, kills: int, within_s: float) -> None:
        super().__init__(daemon=True)
        self.worker, self.kills, self.within_s = worker, kills, within_s
        self.done = 0
        self.over = threading.Event()

    def run(self) -> None:
        """Kill until it is enough or the work is over."""
        generator = random.Random(0)
        while self.done < self.kills and not self.over.wait(generator.uniform(0.0, self.within_s)):
            try:
                workers = [one for one in psutil.Process().children(recursive=True) if self.worker(one)]
                if workers:
                    generator.choice(workers).kill()
                    self.done += 1
            except psutil.NoSuchProcess:
                continue


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("engine", "worker", "kills"),
    [
        pytest.param(Processes(workers=2, retries=MANY), local, 2, id="two workers, briefly"),
        pytest.param(Processes(workers=1, retries=MANY), local, 50, id="one worker", marks=pytest.mark.slow),
        pytest.param(Processes(workers=3, retries=MANY), local, 50, id="three workers", marks=pytest.mark.slow),
        pytest.param(RayCluster(workers=2, retries=MANY), ray, 50, id="ray", marks=pytest.mark.slow),
    ],
)
def test_kills_lose_nothing(
    store: Store,
    small: RunSpec,
    tmp_path: Path,
    engine: Engine,
    worker: Callable[[psutil.Process], bool],
    kills: int,
) -> None:
    """Ask until all kills are done: runs that end sooner are followed by others."""
    data.load(small.data)
    killer = Killer(worker, kills=kills, within_s=12.0 if kills > 2 else 6.0)
    asked: list[RunSpec] = []
    lines: list[str] = []
    killer.start()
    began = time.monotonic()
    while not asked or (killer.done < kills and time.monotonic() - began < 3000):
        steps = small.train.replace(steps=60, eval_every=20, select="best", snapshots=(7,))
        first = small.replace(seed=len(asked), train=steps)
        child = first.replace(init=InitSpec(method="pretrained", weights=first))
        asked += [first, child, first.replace(seed=len(asked) + 1)]
        made = runs.ensure(asked, store=store, engine=engine, say=lines.append, resources=OFTEN)
    killer.over.set()
    killer.join()
    assert killer.done >= (kills if kills > 2 else 1)
    print(f"{killer.done} kills, {len(asked)} runs, {time.monotonic() - began:.0f} s")  # noqa: T201
    assert store.keys("runs") == sorted(map(runs.key, asked)), "lost, or too many"
    assert store.verify() == []
    assert not (store.root / "damaged").exists()
    said = [line for line in lines if ": trained in" in line or ": made by another" in line]
    assert len(said) == len(asked), "each was made once"
    alone = runs.ensure(asked, store=Store(tmp_path / "alone"))
    assert all(same(one, two) for one, two in zip(made, alone, strict=True)), "different"
