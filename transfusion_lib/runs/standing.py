"""How runs stand, made, running or missing, and how long the missing ones take."""

import json
import shlex
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from transfusion_lib import data
from transfusion_lib.errors import SpecError, StoreError
from transfusion_lib.networks import Download, architecture, weights
from transfusion_lib.runs.run import KIND, key, label, with_sources
from transfusion_lib.runs.store import Entry, Store, open_store
from transfusion_lib.spec import RunSpec


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
    cost = Costs(store)
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


def remarks(plan: Sequence[Todo]) -> Iterator[str]:
    """Yield what the missing runs of a plan cost, and which weights they start from that are not at hand."""
    missing = [one for one in plan if one.state == "missing"]
    known = [one.estimate_s for one in missing if one.estimate_s is not None]
    cost = f"about {duration(sum(known))}" if len(known) == len(missing) else "no estimate before a first such run"
    count = f"{len(plan)} runs, {len(missing)} to train"
    yield f"{count}: {cost} on this machine" if missing else count
    specs = [one.spec for one in missing]
    sources = {spec.init.weights for spec in specs}
    for spec in dict.fromkeys(spec for spec in specs if spec in sources):
        published = architecture(spec.model.name).imagenet
        yield f"first: {label(spec)}, since others start from its weights"
        if isinstance(published, Download):
            yield f"    or from ImageNet's, with {published.file} in the folder TRANSFUSION_WEIGHTS"
    for network in dict.fromkeys(spec.model.name for spec in specs if spec.init.weights == "imagenet"):
        published = architecture(network).imagenet
        if isinstance(published, Download) and not weights.at_hand("imagenet", network=network):
            yield f"{network}: ImageNet weights are not on this machine and would be downloaded from {published.url}"
            yield "    or put that file into the folder TRANSFUSION_WEIGHTS; or add -p pretrained=without_download"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How far the whole request is."""

    total: int
    done: int
    running: int
    starting: int
    """Of these, how many have not been evaluated yet: their process starts, their images are read or made."""
    failed: int
    left_s: float | None
    """Estimated seconds until the last run is made; None before anything was learnt."""

    def __str__(self) -> str:
        words = [f"{self.done} of {self.total} done"]
        words += [f"{self.starting} starting (processes, images)"] if self.starting else []
        words += [f"{self.running - self.starting} running"] if self.running > self.starting else []
        words += [f"{self.failed} failed"] if self.failed else []
        words += [f"about {duration(self.left_s)} left"] if self.left_s is not None and self.done < self.total else []
        return ", ".join(words)


class Costs:
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


def duration(seconds: float) -> str:
    """Return seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
