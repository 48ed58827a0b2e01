"""Train one run under its claim and put it into the store: what every engine does in the end."""

import json
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

from safetensors.torch import save

from transfusion_lib import data
from transfusion_lib.data.dataset import Dataset
from transfusion_lib.errors import DamagedError, DataError, InterruptedRunError, SpecError, ToldError, TrainingError
from transfusion_lib.networks import State
from transfusion_lib.runs import cases
from transfusion_lib.runs.run import KIND, digest, find, key, source_of
from transfusion_lib.runs.store import Claim, Entry, Store
from transfusion_lib.spec import DataSpec, RunSpec
from transfusion_lib.training import device as devices
from transfusion_lib.training import provenance
from transfusion_lib.training.device import Resources
from transfusion_lib.training.train import FIRST, Progress, Result, fit

log = logging.getLogger("transfusion")


@dataclass(frozen=True)
class Made:
    """How a run came into the store."""

    how: Literal["trained", "found"]
    """Trained here, or made by another process meanwhile."""
    seconds: float


class Trainer:
    """Trains runs one after another, keeping the last data set in memory."""

    def __init__(self, store: Store, resources: Resources) -> None:
        self.store, self.resources = store, resources
        self.dataset: Dataset | None = None
        self.described: DataSpec | None = None

    def train(self, spec: RunSpec, report: Callable[[Progress], None], *, wait: bool = False) -> Made:
        """Train ``spec`` under its claim, or take what another process finished meanwhile.

        ``ClaimedError`` is raised where another process trains it now, unless ``wait`` is true.
        """
        name, began = key(spec), time.monotonic()
        with self.store.claim(name, wait=wait) as claim, self.threads():
            if find(spec, self.store) is not None:
                return Made("found", time.monotonic() - began)
            dataset, source = self.load(spec), self.source(spec)
            if spec.key(data=dataset.fingerprint, weights=digest(spec)) != name:
                raise DataError(f"{spec.data.name}: its files changed as they were read; ask for the run again")
            self.resources.team.tell({"what": "train", "spec": spec.model_dump(mode="json"), "key": name})
            result = fit(
                spec,
                dataset,
                source=source,
                resources=self.resources,
                checkpoint=claim,
                report=report,
            )
            self.publish(name, spec, dataset, result, claim)
            return Made("trained", time.monotonic() - began)

    def source(self, spec: RunSpec) -> State | None:
        """Return the weights that ``spec`` starts from; those of a run that is damaged are made again first."""
        try:
            return source_of(spec, self.store)
        except DamagedError as error:
            if not isinstance(spec.init.weights, RunSpec):
                raise
            log.warning("%s. It is set aside and made again now", error)
            self.store.set_aside(KIND, key(spec.init.weights))
            self.train(spec.init.weights, lambda _progress: None, wait=True)
            return source_of(spec, self.store)

    def follow(self) -> None:
        """Train with the first process of the team what it trains, until it says that it is over."""
        while (message := self.resources.team.hear())["what"] == "train":
            spec = RunSpec.from_json(json.dumps(message["spec"]))
            try:
                with self.threads():
                    fit(
                        spec,
                        self.load(spec),
                        source=source_of(spec, self.store),
                        resources=self.resources,
                        checkpoint=Claim(self.store.root / "work" / message["key"]),
                    )
            except (SpecError, TrainingError, InterruptedRunError) as error:
                if error.__cause__ is not None:  # this process's own trouble, memory perhaps: torchrun ends them all
                    raise
        if message["what"] == "failed":
            raise ToldError(message["text"], exit_status=message["exit_status"])

    def threads(self) -> AbstractContextManager[None]:
        """Return the block in which PyTorch has the threads of one run."""
        return devices.threads(self.resources.threads)

    def load(self, spec: RunSpec) -> Dataset:
        """Return the data of ``spec``; consecutive runs on the same data, its files unchanged, read it once."""
        if (
            self.dataset is None
            or self.described != spec.data
            or self.dataset.fingerprint != data.fingerprint(spec.data)
        ):
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
                "fingerprint": dataset.fingerprint,
                "cases": {part: len(split) for part, split in dataset.splits().items()},
                "left_out": dataset.left_out,
                "remarks": dataset.remarks,
                "leaks": dataset.leaks,
            },
            "weights": digest(spec),
            "curve": result.curve,
            "final": result.final,
            "first_losses": result.losses[:FIRST].tolist(),
            "selected_step": result.selected_step,
            "seconds": round(result.seconds, 3),
            "provenance": provenance.of(result.sittings),
        }
        kind, positive = dataset.kind, dataset.positive
        kept = cases.pack(result.test_scores, dataset.test.labels, split="test", kind=kind, positive=positive)
        kept |= cases.pack(result.val_scores, dataset.val.labels, split="val", kind=kind, positive=positive)
        kept |= {"losses": result.losses, "test_units": cases.codes_of(dataset.test.units)}
        files = {
            "spec.json": spec.to_json(indent=1).encode(),
            "record.json": json.dumps(record, indent=1, allow_nan=False).encode(),
            "cases.safetensors": save(kept),
            "names.json": cases.names(val=dataset.val.ids, test=dataset.test.ids),
            "final.safetensors": save(result.weights),
        }
        for step, state in result.snapshots.items():
            files[f"snapshot-{step}.safetensors"] = save(state)
        entry = self.store.add(KIND, name, files)
        self.store.forget_work(claim.folder.name)
        return entry
