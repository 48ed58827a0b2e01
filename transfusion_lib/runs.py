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
from typing import Any, Literal

import torch
from safetensors.torch import save
from torch import Tensor

from transfusion_lib import data, provenance, weights
from transfusion_lib import device as devices
from transfusion_lib.data.dataset import Dataset
from transfusion_lib.device import Resources
from transfusion_lib.errors import MissingRunError, StoreError
from transfusion_lib.init import network_for
from transfusion_lib.models import Network, State
from transfusion_lib.spec import RunSpec
from transfusion_lib.store import Claim, Entry, Store, open_store
from transfusion_lib.train import Progress, Result, fit

KIND = "runs"
log = logging.getLogger("transfusion")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """A finished run: its spec, its record, and its weights when asked for."""

    spec: RunSpec
    entry: Entry

    @property
    def key(self) -> str:
        """The key under which the store has it."""
        return self.entry.key

    @cached_property
    def record(self) -> dict[str, Any]:
        """Curve, final scores, timings, provenance, and the data set's classes and fingerprint, as JSON values."""
        found: dict[str, Any] = self.entry.json("record.json")
        return found

    @property
    def curve(self) -> dict[str, list[Any]]:
        """One list per quantity over the evaluation grid: step, test_auroc, val_auprc, train_loss, ..."""
        curve: dict[str, list[Any]] = self.record["curve"]
        return curve

    @cached_property
    def cases(self) -> dict[str, Tensor]:
        """Final probabilities and labels of every case: test_scores, test_labels, val_scores, val_labels."""
        return self.entry.tensors("cases.safetensors")

    def weights(self, step: int | None = None) -> State:
        """Return the selected weights, or those of a step that the spec keeps as a snapshot; step 0 always exists."""
        if "final.safetensors" not in self.entry.manifest():
            raise MissingRunError(
                f"run {self.key[:12]} is a record, without weights; train it again with: "
                f"transfusion run {shlex.quote(self.spec.to_json())}"
            )
        if step is None:
            return self.entry.tensors("final.safetensors")
        if step == 0 and 0 not in self.spec.train.snapshots:
            return self.initial().state_dict()
        try:
            return self.entry.tensors(f"snapshot-{step}.safetensors")
        except StoreError:
            kept = ", ".join(map(str, (0, *self.spec.train.snapshots)))
            raise MissingRunError(f"run {self.key[:12]} kept no weights of step {step}; it kept {kept}") from None

    def initial(self) -> Network:
        """Return the network as it was before the first step, computed again from the spec."""
        outputs = len(self.record["dataset"]["classes"])
        return _network(self.spec, outputs=outputs, source=_source(self.spec, open_store(self.entry.folder.parents[1])))

    def network(self, step: int | None = None) -> Network:
        """Return the network with the weights of ``step``, or the selected ones, in evaluation mode."""
        network = self.initial()
        if step != 0:
            network.load_state_dict(self.weights(step))
        return network.eval()

    def __repr__(self) -> str:
        return f"Run({label(self.spec)}, key={self.key[:12]})"


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


def key(spec: RunSpec) -> str:
    """Return the key of a run: of its spec, the fingerprint of its data and the digest of its weights."""
    return spec.key(data=data.fingerprint(spec.data), weights=_digest(spec))


def label(spec: RunSpec) -> str:
    """Return a run in a few words for a log: data, network, initialisation, seed."""
    init = spec.init.method + (f" up to {spec.init.up_to}" if spec.init.up_to else "")
    if spec.init.up_to and spec.init.above != "random":
        init += f", {spec.init.above} above"
    if spec.init.gabor:
        init += " with Gabor filters"
    surgery = [f"slim above {spec.model.slim.above}"] if spec.model.slim else []
    surgery += [f"cut at {spec.model.truncate.at}"] if spec.model.truncate else []
    words = [f"{spec.data.name} {spec.data.size} px", " ".join([spec.model.name, *surgery]), init, f"seed {spec.seed}"]
    return ", ".join(words)


def load(spec: RunSpec, *, store: Store | None = None) -> Run:
    """Return a finished run, or raise a ``MissingRunError`` with the command that makes it."""
    store = store or open_store()
    found = _find(spec, store)
    if found is None:
        raise MissingRunError(
            f"the store {store.root} has no run {label(spec)}; make it with: transfusion run SPEC.json, "
            f"where SPEC.json holds {spec.to_json()}"
        )
    return found


def todo(specs: Iterable[RunSpec], *, store: Store | None = None) -> list[Todo]:
    """Return how each spec stands, the sources of its weights included and first, without training."""
    store = store or open_store()
    done, working = set(store.keys(KIND)), set(store.working())
    cost = _Costs(store)
    found = []
    for spec in with_sources(specs):
        name = key(spec)
        state: Literal["done", "running", "missing"] = "missing"
        if name in done or name in working:
            state = "done" if name in done else "running"
        estimate = None if state == "done" else cost.estimate(spec)
        found.append(Todo(spec=spec, key=name, state=state, estimate_s=estimate))
    return found


def ensure(
    specs: Sequence[RunSpec],
    *,
    store: Store | None = None,
    live: bool = True,
    say: Say | None = None,
    report: Callable[[RunSpec, Progress], None] | None = None,
    resources: Resources | None = None,
) -> list[Run]:
    """Return the run of every spec, in order, training those that the store lacks, sources of weights first.

    ``say`` gets a line per run: where it came from and how long it took. ``report`` is called after each evaluation.
    With ``live`` false nothing is trained: a missing run is a ``MissingRunError`` that says how to make it.
    """
    store = store or open_store()
    say = say or log.info
    trainer = _Trainer(store, say, report or (lambda _spec, _progress: None), resources)
    planned = with_sources(specs)
    found: dict[RunSpec, Run] = {}
    for number, spec in enumerate(planned, start=1):
        say_one = f"[{number}/{len(planned)}] {label(spec)}"
        run = _find(spec, store)
        if run is not None:
            say(f"{say_one}: from the store, {run.key[:12]}")
        elif live:
            run = trainer.train(spec, say_one)
        else:
            run = load(spec, store=store)
        found[spec] = run
    return [found[spec] for spec in specs]


def with_sources(specs: Iterable[RunSpec]) -> list[RunSpec]:
    """Return ``specs`` without repetitions, each after the runs whose weights it starts from."""
    ordered: dict[RunSpec, None] = {}
    for spec in specs:
        if isinstance(spec.init.weights, RunSpec):
            ordered.update(dict.fromkeys(with_sources([spec.init.weights])))
        ordered[spec] = None
    return list(ordered)


class _Trainer:
    """Trains runs one after another, keeping the last data set."""

    def __init__(
        self, store: Store, say: Say, report: Callable[[RunSpec, Progress], None], resources: Resources | None
    ) -> None:
        self.store, self.say, self.report = store, say, report
        self.resources = resources or devices.resources()
        self.dataset: Dataset | None = None
        self.described: Any = None

    def train(self, spec: RunSpec, said: str) -> Run:
        """Train ``spec`` under its claim, or take what another worker finished meanwhile."""
        name = key(spec)
        with self.store.claim(name, waiting=lambda: self.say(f"{said}: another process trains it, waiting")) as claim:
            done = _find(spec, self.store)  # another worker may have finished while we waited
            if done is not None:
                self.say(f"{said}: made by another process, {name[:12]}")
                return done
            began = time.monotonic()
            dataset = self.load(spec)
            result = fit(
                spec,
                dataset,
                source=_source(spec, self.store),
                resources=self.resources,
                checkpoint=claim,
                report=lambda progress: self.report(spec, progress),
            )
            entry = self.publish(name, spec, dataset, result, claim)
            self.say(f"{said}: trained in {time.monotonic() - began:.1f} s, {name[:12]}")
            return Run(spec, entry)

    def load(self, spec: RunSpec) -> Dataset:
        """Return the data of ``spec``; consecutive runs on the same data read it once."""
        if self.dataset is None or self.described != spec.data:
            self.dataset = data.load(spec.data)
            self.described = spec.data
        return self.dataset

    def publish(self, name: str, spec: RunSpec, dataset: Dataset, result: Result, claim: Claim) -> Entry:
        """Write the finished run into the store and drop its checkpoint."""
        record = {
            "key": name,
            "spec": spec.model_dump(mode="json"),
            "dataset": {
                "name": dataset.name,
                "task": dataset.task,
                "kind": dataset.kind,
                "classes": dataset.classes,
                "positive": dataset.positive,
                "synthetic": dataset.synthetic,
                "fingerprint": data.fingerprint(spec.data),
                "cases": {part: len(split) for part, split in dataset.splits().items()},
                "left_out": dataset.left_out,
            },
            "weights": _digest(spec),
            "curve": result.curve,
            "selected_step": result.selected_step,
            "seconds": round(result.seconds, 3),
            "provenance": provenance.record(self.resources.device),
        }
        cases = {
            "test_scores": result.test_scores,
            "test_labels": dataset.test.labels.cpu(),
            "val_scores": result.val_scores,
            "val_labels": dataset.val.labels.cpu(),
        }
        files = {
            "spec.json": spec.to_json(indent=1).encode(),
            "record.json": json.dumps(record, indent=1, allow_nan=False).encode(),
            "cases.safetensors": save({part: values.contiguous() for part, values in cases.items()}),
            "final.safetensors": save(result.final),
        }
        for step, state in result.snapshots.items():
            files[f"snapshot-{step}.safetensors"] = save(state)
        entry = self.store.add(KIND, name, files)
        self.store.forget_work(claim.folder.name)
        return entry


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
            except (StoreError, ValueError):
                continue
            spec = RunSpec.from_json(json.dumps(record["spec"]))
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


def _find(spec: RunSpec, store: Store) -> Run | None:
    """Return the finished run of ``spec``; one whose record is damaged is set aside, and counts as missing."""
    entry = store.find(KIND, key(spec))
    if entry is None:
        return None
    try:
        entry.read("record.json")
    except StoreError:
        store.set_aside(KIND, entry.key)
        return None
    return Run(spec, entry)


def _digest(spec: RunSpec) -> str | None:
    """Return what identifies the weights that ``spec`` starts from."""
    match spec.init.weights:
        case None:
            return None
        case RunSpec() as source:
            return key(source)
        case name:
            return weights.digest(name, network=spec.model.name)


def _source(spec: RunSpec, store: Store) -> State | None:
    """Return the weights that ``spec`` starts from; a run of our own must be finished."""
    match spec.init.weights:
        case None:
            return None
        case RunSpec() as source:
            return load(source, store=store).weights()
        case name:
            return weights.load(name, network=spec.model.name)


def _network(spec: RunSpec, *, outputs: int, source: State | None) -> Network:
    """Return the network of ``spec`` as training begins with it."""
    return network_for(
        spec.model,
        spec.init,
        num_outputs=outputs,
        size=spec.data.size,
        source=source,
        generator=torch.Generator().manual_seed(spec.seed),
    )
