"""A finished run: its key, its numbers and its weights, read from the store and never trained."""

import math
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from transfusion_lib import data, markup
from transfusion_lib.errors import DamagedError, MissingRunError
from transfusion_lib.networks import Network, State, weights
from transfusion_lib.networks.init import network_for
from transfusion_lib.runs import cases
from transfusion_lib.runs.store import Entry, Store, open_store
from transfusion_lib.spec import RunSpec
from transfusion_lib.training.metrics import headline

KIND = "runs"


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
        """One list per quantity over the evaluation grid: step, train_loss, val_auroc, val_auprc, ..."""
        curve: dict[str, list[Any]] = self.record["curve"]
        return curve

    @property
    def final(self) -> dict[str, Any]:
        """Validation and test scores of the selected weights by name, None where one is not defined."""
        if "final" in self.record:
            known: dict[str, Any] = self.record["final"]
            return known
        at = self.curve["step"].index(self.record["selected_step"])  # the pilot scored the test set at each evaluation
        return {name: values[at] for name, values in self.curve.items() if name.startswith(("val_", "test_"))}

    @property
    def on_the_way(self) -> list[float]:
        """The headline score at each evaluation, NaN where not defined: of validation; in the pilot's runs, of test."""
        names = ("test_auroc", "test_dice", "val_auroc", "val_dice")
        values = next(self.curve[name] for name in names if name in self.curve)
        return [float("nan") if value is None else float(value) for value in values]

    @cached_property
    def cases(self) -> dict[str, Tensor]:
        """Final probabilities and labels of every case, and the training loss of every step.

        By name: test_scores, test_labels, val_scores, val_labels, losses, and test_units: a number
        for the patient or lesion of each test case.
        In segmentation the scores are Dice and Jaccard of each region (n, regions, 2), and there are no labels.
        """
        return cases.unpack(self._kept)

    @cached_property
    def names(self) -> dict[str, list[str]]:
        """Names of the validation and test images ("val", "test"), in the order of ``cases``; records have none."""
        found: dict[str, list[str]] = self.entry.json("names.json") if "names.json" in self.entry.manifest() else {}
        return found

    @cached_property
    def _kept(self) -> dict[str, Tensor]:
        return self.entry.tensors("cases.safetensors")

    def as_kept(self, test_scores: Tensor) -> Tensor:
        """Return scores of the test cases as this run's file would give them back."""
        return cases.as_kept(test_scores, self._kept, name="test_scores")

    def weights(self, step: int | None = None) -> State:
        """Return the selected weights, or those of a step that the spec keeps as a snapshot; step 0 always exists."""
        if "final.safetensors" not in self.entry.manifest() and not (self.entry.folder / "final.safetensors").exists():
            raise MissingRunError(
                f"run {self.key[:12]} is a record, without weights; train it again with: "
                f"transfusion run {shlex.quote(self.spec.to_json())}"
            )
        if step is None:
            return self.entry.tensors("final.safetensors")
        if step == 0 and 0 not in self.spec.train.snapshots:
            return self.initial().state_dict()
        if step not in self.spec.train.snapshots:
            kept = ", ".join(map(str, (0, *self.spec.train.snapshots)))
            raise MissingRunError(f"run {self.key[:12]} kept no weights of step {step}; it kept {kept}")
        return self.entry.tensors(f"snapshot-{step}.safetensors")

    def initial(self) -> Network:
        """Return the network as it was before the first step, computed again from the spec."""
        outputs = len(self.record["dataset"]["classes"])
        return _network(
            self.spec, outputs=outputs, source=source_of(self.spec, open_store(self.entry.folder.parents[1]))
        )

    def network(self, step: int | None = None) -> Network:
        """Return the network with the weights of ``step``, or the selected ones, in evaluation mode."""
        network = self.initial()
        if step != 0:
            network.load_state_dict(self.weights(step))
        return network.eval()

    def _repr_html_(self) -> str:
        """Show in a notebook what it is, how its score rose, and where it is kept."""
        name, score = headline(self.final, split="test")
        about = self.record["dataset"]
        rows = {
            "data": f"{about['name']} ({about['task']}){', synthetic' if about['synthetic'] else ''}",
            name.replace("_", " "): f"{score:.3f} after {self.curve['step'][-1]} steps",
            "trained in": f"{self.record['seconds']:.0f} s, {self.record['provenance']['finished'][:10]}",
            "key": self.key[:12],
        }
        curve = markup.sparkline([value for value in self.on_the_way if not math.isnan(value)])
        return f"<b>{markup.text(label(self.spec))}</b> {curve}{markup.table(rows)}"

    def __repr__(self) -> str:
        return f"Run({label(self.spec)}, key={self.key[:12]})"


def key(spec: RunSpec) -> str:
    """Return the key of a run: of its spec, the fingerprint of its data and the digest of its weights."""
    return spec.key(data=data.fingerprint(spec.data), weights=digest(spec))


def label(spec: RunSpec) -> str:
    """Return a run in a few words for a log: data, network, initialisation, seed."""
    init: str = spec.init.method
    init += f" from {spec.init.weights.data.name}" if isinstance(spec.init.weights, RunSpec) else ""
    init += f" up to {spec.init.up_to}" if spec.init.up_to else ""
    if spec.init.up_to and spec.init.above != "random":
        init += f", {spec.init.above} above"
    if spec.init.gabor:
        init += " with Gabor filters"
    surgery = [f"slim above {spec.model.slim.above}"] if spec.model.slim else []
    surgery += [f"cut at {spec.model.truncate.at}"] if spec.model.truncate else []
    surgery += ["unpooled"] if spec.model.truncate and not spec.model.truncate.pooled else []
    surgery += [f"frozen up to {spec.train.freeze}"] if spec.train.freeze else []
    data = " ".join(filter(None, [spec.data.name, spec.data.task, f"{spec.data.size} px"]))
    words = [data, " ".join([spec.model.name, *surgery]), init, f"seed {spec.seed}"]
    return ", ".join(words)


def load(spec: RunSpec, *, store: Store | None = None) -> Run:
    """Return a finished run, or raise a ``MissingRunError`` with the command that makes it."""
    store = store or open_store()
    found = find(spec, store)
    if found is None:
        raise MissingRunError(
            f"the store {store.root} has no run {label(spec)}; make it with: transfusion run SPEC.json, "
            f"where SPEC.json holds {spec.to_json()}"
        )
    return found


def with_sources(specs: Iterable[RunSpec]) -> list[RunSpec]:
    """Return ``specs`` without repetitions, each after the runs whose weights it starts from."""
    ordered: dict[RunSpec, None] = {}
    for spec in specs:
        if isinstance(spec.init.weights, RunSpec):
            ordered.update(dict.fromkeys(with_sources([spec.init.weights])))
        ordered[spec] = None
    return list(ordered)


def find(spec: RunSpec, store: Store) -> Run | None:
    """Return the finished run of ``spec``; one whose record is damaged is set aside, and counts as missing."""
    entry = store.find(KIND, key(spec))
    if entry is None:
        return None
    try:
        entry.read("record.json")
    except DamagedError:
        store.set_aside(KIND, entry.key)
        return None
    return Run(spec, entry)


def digest(spec: RunSpec) -> str | None:
    """Return what identifies the weights that ``spec`` starts from."""
    match spec.init.weights:
        case None:
            return None
        case RunSpec() as source:
            return key(source)
        case name:
            return weights.digest(name, network=spec.model.name)


def source_of(spec: RunSpec, store: Store) -> State | None:
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
