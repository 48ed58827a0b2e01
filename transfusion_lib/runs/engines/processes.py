"""Several workers on this machine: one per GPU, or the CPU's cores divided among them."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO

import transfusion_lib
from transfusion_lib.errors import InterruptedRunError, TrainingError
from transfusion_lib.runs.engines import messages
from transfusion_lib.runs.grid import RETRY_S, Grid, Job
from transfusion_lib.runs.store import Store
from transfusion_lib.spec import DataSpec
from transfusion_lib.training import device as devices
from transfusion_lib.training import interrupts
from transfusion_lib.training.device import Resources

GRACE_S = 30.0  # for a worker to write its checkpoint

Events = SimpleQueue[tuple["_Worker", str | None]]


class Processes:
    """An engine of worker processes; one that dies is replaced, and its run goes on from its checkpoint."""

    def __init__(self, *, workers: int | None = None, retries: int = 2) -> None:
        """Use ``workers`` processes (None: what the machine feeds); a run whose worker died is tried ``retries`` more
        times.
        """
        self.workers, self.retries = workers, retries

    def __call__(self, grid: Grid, store: Store, resources: Resources) -> None:
        """Train a grid's runs; on an error or a request to stop the workers write their checkpoints first."""
        places = devices.places(resources, workers=self.workers)[: len(grid.waiting)]
        deaths: Counter[Job | None] = Counter()
        events: Events = SimpleQueue()
        workers = [_Worker(place, store, resources, events) for place in places]
        try:
            while not grid.over:
                interrupts.check("with checkpoints of what was running")
                for one in workers:
                    if one.idle and (job := grid.next(loaded=one.loaded, longest_first=True)):
                        one.start(job)
                with contextlib.suppress(Empty):
                    one, line = events.get(timeout=RETRY_S / 4)
                    if line is not None:
                        one.hear(grid, messages.decode(line))
                    elif one in workers:
                        self.bury(one, grid, deaths)
                        workers[workers.index(one)] = _Worker(one.place, store, resources, events)
        finally:
            _stop(workers)

    def bury(self, one: "_Worker", grid: Grid, deaths: Counter[Job | None]) -> None:
        """Put the job of a dead worker back, or give it up after too many deaths."""
        why, job = one.epitaph(), one.job
        deaths[job] += 1
        died = f"a worker process died {deaths[job]} times: {why}"
        if job is None and deaths[job] > self.retries:
            raise TrainingError(died)
        if job is not None and deaths[job] > self.retries:
            grid.fail(job, TrainingError(died))
        elif job is not None:
            grid.lost(job)


class _Worker:
    """One worker process, as its engine sees it."""

    def __init__(self, place: str, store: Store, resources: Resources, events: Events) -> None:
        self.place = place
        self.job: Job | None = None
        self.ready = False
        self.loaded: DataSpec | None = None
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed by epitaph or stop
        library = str(Path(transfusion_lib.__file__).parents[1])
        path = os.pathsep.join(filter(None, [library, os.environ.get("PYTHONPATH")]))
        threads = str(resources.threads)
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "transfusion_lib.runs.engines.worker",
                str(store.root),
                str(resources.checkpoint_every_s),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            encoding="utf-8",
            env=os.environ
            | {
                "PYTHONPATH": path,
                "TRANSFUSION_STORE": str(store.root),
                "TRANSFUSION_DEVICE": place,
                "TRANSFUSION_THREADS": threads,
                "OMP_NUM_THREADS": threads,
                "OMP_WAIT_POLICY": "PASSIVE",  # a thread that spins takes a core from the other workers
            },
        )
        threading.Thread(target=self.listen, args=(events,), daemon=True).start()

    @property
    def idle(self) -> bool:
        """Whether it has no job; one that is still starting may be given its first."""
        return self.job is None and self.process.poll() is None

    def listen(self, events: Events) -> None:
        """Pass every line that the worker writes on to the engine, then None."""
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                events.put((self, line))
        self.process.wait()
        events.put((self, None))

    def start(self, job: Job) -> None:
        """Give the worker a job. Where it has just died, the engine hears of that next."""
        self.job, self.loaded = job, job.spec.data
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(job.spec.to_json() + "\n")
            self.process.stdin.flush()

    def hear(self, grid: Grid, message: messages.Message) -> None:
        """Take one message of the worker's."""
        if message["what"] == "ready":
            self.ready = True
        elif self.job is not None and messages.tell(grid, self.job, message):
            self.job = None

    def epitaph(self) -> str:
        """Return how the process ended, and its last words."""
        code = self.process.wait()
        self.errors.seek(0)
        words = self.errors.read().decode(errors="replace").strip().splitlines()
        self.close()
        if code < 0:
            name = signal.Signals(-code).name
            return f"killed by {name}" + (", for lack of memory perhaps" if name == "SIGKILL" else "")
        if code == InterruptedRunError.exit_status:
            return "it was asked to stop"
        return f"exit status {code}" + (f", {words[-1]}" if words else "")

    def close(self) -> None:
        """Close the pipes to the process."""
        for stream in (self.process.stdin, self.errors):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()


def _stop(workers: list[_Worker]) -> None:
    """End the workers: their input ends, which lets one that trains write its checkpoint; then by force."""
    for one in workers:
        one.close()
    for one in workers:
        try:
            one.process.wait(timeout=GRACE_S)
        except subprocess.TimeoutExpired:
            one.process.kill()
            one.process.wait()
