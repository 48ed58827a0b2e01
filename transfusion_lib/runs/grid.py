"""The runs of one request that are still to be made: which can start, which wait, which failed, how long it takes.

An engine asks ``next`` and tells what became of each; it trains in whatever processes it likes. Knows nothing of
networks or stores, and is used by one thread.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from transfusion_lib.errors import InterruptedRunError, StoreError, TrainingError, TransfusionError, UserError
from transfusion_lib.runs.standing import Standing
from transfusion_lib.runs.trainer import Made
from transfusion_lib.spec import DataSpec, RunSpec
from transfusion_lib.training.train import Progress

RETRY_S = 1.0  # between two looks at a run that another process trains

Say = Callable[[str], None]
Report = Callable[[RunSpec, Progress], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """One run to make."""

    spec: RunSpec
    key: str
    source: str | None
    """Key of the run that its weights come from."""
    said: str
    """How lines about it begin: its number and its label."""
    work: float
    """Its share of the whole: seconds where they are known for all, else steps."""


class Grid:
    """Jobs on their way; made by ``runs.ensure``, worked off by an engine."""

    def __init__(
        self,
        missing: Sequence[tuple[RunSpec, str]],
        *,
        total: int,
        key: Callable[[RunSpec], str],
        estimate: Callable[[RunSpec], float | None],
        say: Say,
        report: Report,
        watch: Callable[[Standing], None],
    ) -> None:
        """Take the missing runs, sources first, each with the beginning of its lines; ``total`` counts all."""
        seconds = [estimate(spec) for spec, _ in missing]
        known = None not in seconds
        self.waiting = [
            Job(
                spec=spec,
                key=key(spec),
                source=key(spec.init.weights) if isinstance(spec.init.weights, RunSpec) else None,
                said=said,
                work=float((known and cost) or spec.train.steps),
            )
            for (spec, said), cost in zip(missing, seconds, strict=True)
        ]
        self.total, self.say, self._report, self._watch = total, say, report, watch
        self.running: dict[Job, float] = {}
        """Each with the share that is done."""
        self.seen: set[Job] = set()
        self.failed: dict[Job, Exception] = {}
        self.held: dict[Job, float] = {}
        """Waiting jobs that another process works on, with the time of the next look."""
        self.missing = {job.key for job in self.waiting}
        self.sources = {job.source for job in self.waiting}
        self.work = sum(job.work for job in self.waiting)
        self.saved = 0.0  # work that we did not have to do: resumed, or made by others
        self.began: float | None = None
        """When the first run had its first evaluation: how long processes take to start says nothing of the rest."""

    @property
    def over(self) -> bool:
        """Whether nothing is left to start or to wait for."""
        return not self.waiting and not self.running

    @property
    def idle(self) -> bool:
        """Whether all that is left is in other processes' hands."""
        return not self.running and all(job in self.held for job in self.waiting)

    def next(self, *, loaded: DataSpec | None = None, longest_first: bool = False) -> Job | None:
        """Return a job that can start now and count it as running, or None.

        Preferred are jobs on data that the worker has loaded, then sources of other runs; with ``longest_first`` then
        the longest, so that workers end together.
        """
        now = time.monotonic()
        ready = [job for job in self.waiting if job.source not in self.missing and self.held.get(job, 0.0) <= now]
        if not ready:
            return None
        job = max(
            ready,
            key=lambda job: (
                job not in self.held,
                job.spec.data == loaded,
                job.key in self.sources,
                job.work if longest_first else 0.0,
            ),
        )
        self.waiting.remove(job)
        self.running[job] = 0.0
        self._watch(self.standing())
        return job

    def report(self, job: Job, progress: Progress) -> None:
        """Note how far a running job is."""
        share = progress.step / job.spec.train.steps
        self.began = self.began or time.monotonic()
        if job not in self.seen:
            self.saved += job.work * share  # resumed: that part cost no time now
        self.running[job] = share
        self.seen.add(job)
        self._report(job.spec, progress)
        self._watch(self.standing())

    def made(self, job: Job, made: Made) -> None:
        """Note that a run is in the store."""
        if made.how == "found":
            self.saved += job.work
        self._ended(job)
        self.missing.discard(job.key)
        how = f"trained in {made.seconds:.1f} s" if made.how == "trained" else "made by another process"
        standing = self.standing()
        self.say(f"{job.said}: {how}, {job.key[:12]}" + (f" ({standing})" if self.waiting or self.running else ""))
        self._watch(standing)

    def claimed(self, job: Job) -> None:
        """Put a job back that another process works on; it is looked at again in a moment."""
        if job not in self.held:
            self.say(f"{job.said}: another process trains it, waiting")
        self._ended(job)
        self.held[job] = time.monotonic() + RETRY_S
        self.waiting.append(job)

    def lost(self, job: Job) -> None:
        """Put a job back whose worker died: the next one goes on from its checkpoint."""
        del self.running[job]
        self.waiting.insert(0, job)

    def fail(self, job: Job, error: Exception) -> None:
        """Note that a run failed, and with it those that would start from its weights; the others go on.

        A store that cannot be written, or a request to stop, concerns all of them and is raised.
        """
        self._ended(job)
        if isinstance(error, StoreError | InterruptedRunError):
            raise error
        self.failed[job] = error
        self.say(f"{job.said}: failed: {error}")
        for other in [other for other in self.waiting if other.source == job.key]:
            self.waiting.remove(other)
            self.running[other] = 0.0
            self.fail(other, TrainingError("not tried, since the run that its weights come from failed"))
        self._watch(self.standing())

    def standing(self) -> Standing:
        """Return how far the whole request is."""
        left = sum(job.work for job in self.waiting) + sum(job.work * (1 - x) for job, x in self.running.items())
        did = self.work - left - self.saved
        return Standing(
            total=self.total,
            done=self.total - len(self.waiting) - len(self.running) - len(self.failed),
            running=len(self.running),
            starting=len(self.running.keys() - self.seen),
            failed=len(self.failed),
            left_s=(time.monotonic() - self.began) * left / did if self.began and did > 0.001 * self.work else None,
        )

    def raise_failures(self) -> None:
        """Raise what failed: a single error of its own type, several as one list."""
        if not self.failed:
            return
        [(_, first), *more] = self.failed.items()
        if self.total == 1 or (not more and not isinstance(first, TransfusionError)):
            raise first
        kept = self.total - len(self.failed)
        lines = [f"{job.said}: {error}\n    {job.spec.to_json()}" for job, error in self.failed.items()]
        kind = UserError if all(isinstance(error, UserError) for error in self.failed.values()) else TrainingError
        text = "\n".join([f"{len(lines)} of {self.total} runs failed; the other {kept} are in the store", *lines])
        raise (kind if more else type(first))(text) from first

    def _ended(self, job: Job) -> None:
        self.running.pop(job)
        self.held.pop(job, None)
