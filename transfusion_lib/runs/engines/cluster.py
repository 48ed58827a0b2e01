"""Ray as the distributed engine: local, or a cluster by its address. Every machine sees the store by the same path."""

import contextlib
import os
import threading
from collections import Counter
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import transfusion_lib
from transfusion_lib.errors import MissingExtraError, TrainingError, UserError
from transfusion_lib.runs.engines import messages
from transfusion_lib.runs.grid import RETRY_S, Grid, Job
from transfusion_lib.runs.store import Store
from transfusion_lib.runs.trainer import Trainer
from transfusion_lib.spec import DataSpec, RunSpec
from transfusion_lib.training import device as devices
from transfusion_lib.training import interrupts
from transfusion_lib.training.device import Resources


class RayCluster:
    """An engine of Ray actors, one per worker; Ray restarts one that dies, on another machine if need be."""

    def __init__(
        self,
        *,
        address: str | None = None,
        workers: int | None = None,
        gpus_per_run: float | None = None,
        retries: int = 2,
    ) -> None:
        """Connect to ``address`` (None: start Ray here). ``gpus_per_run`` below 1 lets runs share a GPU."""
        if gpus_per_run is not None and gpus_per_run <= 0:
            raise UserError(f"--gpus-per-run {gpus_per_run}: give 1, or a fraction such as 0.25")
        self.address, self.workers, self.gpus, self.retries = address, workers, gpus_per_run, retries

    def __call__(self, grid: Grid, store: Store, resources: Resources) -> None:
        """Train a grid's runs."""
        ray = _ray()
        began = not ray.is_initialized()
        if began:
            self.connect(ray)
        try:
            self.work(ray, grid, store, resources)
        finally:
            if began:
                ray.shutdown()

    def connect(self, ray: Any) -> None:
        """Start Ray here, or join the cluster at the address."""
        library = str(Path(transfusion_lib.__file__).parents[1])
        path = os.pathsep.join(filter(None, [library, os.environ.get("PYTHONPATH")]))
        names = [name for name in os.environ if name.startswith("TRANSFUSION_")]
        variables = {name: os.environ[name] for name in names} | {"PYTHONPATH": path}
        os.environ.setdefault("RAY_worker_niceness", "0")  # of a Ray started here: training is all that it is for
        local: dict[str, Any] = {} if self.address else {"num_cpus": self.workers or devices.cores()}
        try:
            ray.init(
                address=self.address,
                include_dashboard=False if self.address is None else None,
                log_to_driver=False,
                logging_level="ERROR",
                runtime_env={"env_vars": variables},
                **local,
            )
        except (ConnectionError, ValueError) as error:
            raise UserError(f'no Ray cluster at "{self.address}" ({error}); start one with: ray start --head') from None
        except Exception as error:  # Ray knows no other for a node that was too slow to start
            if type(error) is not Exception:
                raise
            why = str(error).strip().partition("\n")[0]
            raise UserError(f"Ray did not start here ({why}); try again, or --engine processes") from None

    def work(self, ray: Any, grid: Grid, store: Store, resources: Resources) -> None:
        """Keep every actor busy until nothing is left."""
        total = ray.cluster_resources()
        gpus = float(resources.device.type != "cpu") if self.gpus is None else self.gpus
        room = total.get("GPU", 0) / gpus if gpus else total.get("CPU", 1) // resources.threads
        if room < 1:
            raise UserError(f"the Ray cluster has {total.get('GPU', 0):g} GPUs, a run asks for {gpus:g}")
        if self.workers is not None and self.workers > room:
            grid.say(f"    the Ray cluster has room for {int(room)} workers, not {self.workers}")
        count = min(self.workers or int(room), int(room), len(grid.waiting))
        kind = ray.remote(
            num_cpus=resources.threads, num_gpus=gpus, max_restarts=-1, max_task_retries=0, max_concurrency=2
        )(_Actor)
        settings = (str(store.root), None if gpus else "cpu", resources.threads, resources.checkpoint_every_s)
        workers = [_Worker(ray, kind.remote(*settings)) for _ in range(count)]
        deaths: Counter[Job] = Counter()
        try:
            while not grid.over:
                interrupts.check("with checkpoints of what was running")
                for worker in workers:
                    if worker.job is None and (job := grid.next(loaded=worker.loaded, longest_first=True)):
                        worker.start(job)
                busy = {worker.pending: worker for worker in workers if worker.job}
                ready, _ = ray.wait(list(busy), timeout=RETRY_S / 4) if busy else ([], [])
                for reference in ready:
                    self.hear(ray, grid, busy[reference], deaths)
        finally:
            for worker in workers:
                with contextlib.suppress(ray.exceptions.RayError):
                    ray.get(worker.actor.stop.remote(), timeout=10)
                ray.kill(worker.actor)

    def hear(self, ray: Any, grid: Grid, worker: "_Worker", deaths: Counter[Job]) -> None:
        """Take the next message of a worker, or note its death."""
        job = worker.job
        assert job is not None
        try:
            message = ray.get(worker.pending)
        except ray.exceptions.RayError as error:
            worker.job, worker.loaded = None, None
            deaths[job] += 1
            if deaths[job] <= self.retries:
                grid.lost(job)
            else:
                why = str(error).splitlines()[0]
                grid.fail(job, TrainingError(f"its Ray worker died {deaths[job]} times: {why}"))
            return
        if messages.tell(grid, job, message):
            worker.job = None
        else:
            worker.listen()


class _Worker:
    """One actor, as the engine sees it."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self.ray, self.actor = ray, actor
        self.job: Job | None = None
        self.loaded: DataSpec | None = None
        self.pending: Any = None

    def start(self, job: Job) -> None:
        """Give the actor a job."""
        self.job, self.loaded = job, job.spec.data
        self.pending = self.actor.message.remote(job.spec.to_json())

    def listen(self) -> None:
        """Ask for the next message."""
        self.pending = self.actor.message.remote(None)


class _Actor:
    """A worker on some machine of the cluster: trains in a thread, so that its messages can be asked for."""

    def __init__(self, root: str, device: str | None, threads: int, checkpoint_every_s: float) -> None:
        os.environ |= {"TRANSFUSION_STORE": root, "TRANSFUSION_THREADS": str(threads)}
        if device is not None:  # else the GPU that Ray gave it, alone or shared
            os.environ["TRANSFUSION_DEVICE"] = device
        self.trainer = Trainer(Store(Path(root)), devices.resources(checkpoint_every_s=checkpoint_every_s))
        self.messages: SimpleQueue[messages.Message] = SimpleQueue()
        self.thread: threading.Thread | None = None

    def train(self, spec: RunSpec) -> None:
        """Train a run and leave the messages of it."""
        try:
            made = self.trainer.train(spec, lambda progress: self.messages.put(messages.progress(progress)))
        except Exception as error:  # whatever it is, the engine decides: the other runs go on
            self.messages.put(messages.failure(error))
        else:
            self.messages.put(messages.made(made))

    def message(self, spec: str | None) -> messages.Message:
        """Begin to train ``spec`` if one is given; return the next message, waiting for it."""
        if spec is not None:
            self.thread = threading.Thread(target=self.train, args=(RunSpec.from_json(spec),))
            self.thread.start()
        if self.thread is None:
            raise RuntimeError("restarted in the middle of a run")
        return self.messages.get()

    def stop(self) -> None:
        """Stop at the next step, with a checkpoint."""
        interrupts.request()
        if self.thread is not None:
            self.thread.join()


def _ray() -> Any:
    """Return the package, or say how to install it."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's own choice of the future, said once less
    try:
        import ray
    except ModuleNotFoundError:
        raise MissingExtraError(
            'the engine "ray" needs the extra "ray": pip install "transfusion-reproduced[ray]"'
        ) from None
    return ray
