"""One loop that trains what a spec describes, evaluates on its grid, and can be stopped and resumed anywhere.

Every random number is a pure function of (seed, step), so a resumed run needs no generator's state and, on the
same CPU with the same number of threads, gives the same bits as one that was never stopped.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from transfusion_lib import networks
from transfusion_lib.data.dataset import Dataset, Split
from transfusion_lib.errors import SpecError, TrainingError
from transfusion_lib.networks import Network, State, surgery
from transfusion_lib.networks.init import network_for
from transfusion_lib.spec import RunSpec, TrainSpec
from transfusion_lib.training import accelerate, interrupts, metrics, provenance
from transfusion_lib.training import device as devices
from transfusion_lib.training.batches import augment, to_input
from transfusion_lib.training.device import Resources
from transfusion_lib.training.feed import Feed

PATIENCE = 10  # evaluations without a better validation score before "plateau" halves the rate
FIRST = 5  # steps whose losses a record keeps one by one: rounding has not grown there
SMALLEST_RATE = 1e-6  # below it "plateau" stops (TruncatedTL, appendix)


class Checkpoint(Protocol):
    """Where a run in progress keeps its state."""

    def read(self) -> tuple[State, dict[str, str]] | None:
        """Return the last complete state, or None."""

    def write(self, tensors: State, notes: dict[str, str]) -> None:
        """Replace the state, in one step."""


@dataclass
class Result:
    """What a finished run leaves."""

    curve: dict[str, list[Any]]
    """One list per quantity, over the grid: step, validation scores, mean training loss since the last evaluation."""
    losses: Tensor
    """The training loss of every step, float32."""
    final: dict[str, Any]
    """Validation and test scores of the selected weights by name (``metrics.summary``), None where not defined."""
    test_scores: Tensor
    """Of the selected weights: probabilities (n_test, classes), in segmentation overlaps (n_test, regions, 2)."""
    val_scores: Tensor
    weights: State
    """The selected weights."""
    selected_step: int
    snapshots: dict[int, State]
    seconds: float
    """Wall-clock time in this loop, over all sittings."""
    sittings: list[dict[str, Any]]
    """Where and by what each part of the run was trained, see ``provenance.sitting``."""


@dataclass
class Progress:
    """Where a run is; everything that a checkpoint holds besides tensors."""

    step: int = 0
    curve: dict[str, list[Any]] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    """Of every step up to the last evaluation."""
    best_auprc: float = -math.inf
    """Of the validation images; in segmentation Dice."""
    best_step: int = 0
    since_best: int = 0
    rate_factor: float = 1.0
    seconds: float = 0.0
    sittings: list[dict[str, Any]] = field(default_factory=list)


def fit(
    spec: RunSpec,
    dataset: Dataset,
    *,
    source: State | None,
    resources: Resources,
    checkpoint: Checkpoint | None = None,
    report: Callable[[Progress], None] | None = None,
) -> Result:
    """Train the run that ``spec`` describes on ``dataset`` and return what it leaves.

    ``source`` holds the weights that ``spec.init`` names. ``report`` is called after every evaluation. All processes of
    a team call this at once; the first writes the checkpoint. Raises ``TrainingError`` when the loss is not finite or
    memory runs out.
    """
    run = _Run(spec, dataset, source=source, resources=resources)
    try:
        with torch.random.fork_rng(devices=[]):
            return run.until_done(checkpoint, report or (lambda _: None))
    except (RuntimeError, MemoryError) as error:
        if not devices.is_out_of_memory(error):
            raise
        half = max(1, spec.train.batch_size // 2)
        raise TrainingError(
            f"out of memory at step {run.progress.step}: {spec.model.name} at {spec.data.size} px, "
            f"batch {spec.train.batch_size}; try batch_size={half} or a smaller size"
        ) from error


class _Run:
    """A run in memory: network, optimizer, data, and how far it has come."""

    def __init__(self, spec: RunSpec, dataset: Dataset, *, source: State | None, resources: Resources) -> None:
        self.spec, self.train, self.dataset, self.resources = spec, spec.train, dataset, resources
        self.team = resources.team
        resident = devices.fits(dataset.nbytes, resources.device)
        self.splits = {n: split.to(resources.device) if resident else split for n, split in dataset.splits().items()}
        self.feed = Feed(
            self.splits["train"],
            seed=spec.seed,
            batch_size=self.train.batch_size,
            device=resources.device,
            resident=resident,
        )
        generator = torch.Generator().manual_seed(spec.seed)
        self.network = network_for(
            spec.model,
            spec.init,
            num_outputs=dataset.num_outputs,
            size=spec.data.size,
            source=source,
            generator=generator,
        )
        if self.train.freeze is not None:
            surgery.freeze(self.network, self.train.freeze)
        _check(self.network, dataset, team=self.team.size, batch=min(self.train.batch_size, len(dataset.train)))
        self.format = devices.memory_format(dataset.train.images.ndim - 2)
        self.network.to(resources.device, memory_format=self.format)  # type: ignore[call-overload]  # 3D is missing there
        self.mean, self.std = (torch.tensor(v, device=resources.device) for v in (self.network.mean, self.network.std))
        gpu = resources.device.type != "cpu"
        accelerate.depthwise_in_float32(self.network)
        if not gpu:
            accelerate.as_products(self.network)
        if not devices.multiplies_bfloat16(resources.device):
            accelerate.multiply_in_float32(self.network)
        self.module = devices.compiled(self.network) if resources.compiled else self.network
        self.module = self.team.module(self.module)
        self.replays = gpu and resources.replayed and not resources.compiled and self.team.size == 1
        self.replay: devices.Replay | None = None
        self.optimizer = _optimizer(self.network, self.train)
        if not gpu:
            accelerate.step_in_order_of_memory(self.optimizer)
        self.weights: Tensor | None = None
        if self.train.class_weights == "balanced":
            found = metrics.balance(dataset.train.labels, kind=dataset.kind, classes=dataset.num_outputs)
            self.weights = found.to(resources.device)
        self.base_rates = [group["lr"] for group in self.optimizer.param_groups]
        self.losses = torch.zeros(self.train.eval_every, device=resources.device)
        self.progress = Progress()
        self.best: State = {}
        self.scored: tuple[int, Tensor] | None = None  # step and validation scores of the last evaluation
        self.snapshots: dict[int, State] = {}

    def until_done(self, checkpoint: Checkpoint | None, report: Callable[[Progress], None]) -> Result:
        """Take the steps that are left, evaluating on the grid."""
        saved = checkpoint.read() if checkpoint else None
        if saved:
            self.restore(*saved)
        self.team.check_same(self.progress.step)
        self.progress.sittings.append(provenance.sitting(self.resources, step=self.progress.step))
        started = written = time.monotonic()
        before = self.progress.seconds
        done = self.progress
        while True:
            if done.step in self.train.snapshots:
                self.snapshots[done.step] = _copy(self.network)
            stop = False
            if done.step in self.train.grid and done.step not in done.curve.get("step", []):
                self.evaluate()
                stop = self.train.schedule == "plateau" and self.rate(done.step) < SMALLEST_RATE
                done.seconds = before + time.monotonic() - started
                report(done)
            if done.step == self.train.steps or stop:
                break
            asked = self.team.asked_to_stop(done.step)
            due = asked or time.monotonic() - written > self.resources.checkpoint_every_s
            if checkpoint and due and self.team.leads:
                done.seconds = before + time.monotonic() - started
                provenance.seen(done.sittings[-1], step=done.step)
                checkpoint.write(*self.state())
                written = time.monotonic()
            if asked:
                interrupts.check(f"at step {done.step} of {self.train.steps}")
            self.take_step()
        provenance.seen(done.sittings[-1], step=done.step)
        return self.result()

    def take_step(self) -> None:
        """Take one optimizer step on one batch."""
        step, train = self.progress.step, self.train
        for group, rate in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = rate * self.rate(step) / train.learning_rate
        images, labels = self.batch(step)
        self.record(images, labels)
        torch.manual_seed(_mix(self.spec.seed, step))  # dropout
        loss = self.gradients(images, labels)
        self.optimizer.step()
        self.losses[step % train.eval_every] = loss
        self.progress.step += 1

    def record(self, images: Tensor, labels: Tensor) -> None:
        """Switch the network to training; on a GPU capture the CUDA graph of one step, which draws random numbers."""
        self.network.train()
        if self.replays and self.replay is None:
            self.replay = devices.Replay(self.network, self.loss, images, labels)

    def gradients(self, images: Tensor, labels: Tensor) -> Tensor:
        """Leave the gradients of one batch in the network and return its loss."""
        if self.replay is not None:
            return self.replay(images, labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(images, labels)
        self.team.backward(loss)
        return loss.detach()

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of the whole batch of which ``images`` are this process's part."""
        with self.team.over_batch(len(labels)):
            mine = self.forward(images)
        outputs = self.team.outputs(mine, len(labels))
        return metrics.loss(outputs, labels, kind=self.dataset.kind, weights=self.weights)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the augmented input and labels of one step, a pure function of (seed, step).

        The images are this process's part, the labels those of the whole batch.
        """
        size = min(self.train.batch_size, len(self.splits["train"]))
        images, labels = self.feed.batch(step, self.team.part(size))
        images = self.input(images, augment=torch.Generator().manual_seed(_mix(self.spec.seed, step)), of=size)
        return images, self.moved(labels, step) if self.dataset.kind == "segmentation" else labels

    def moved(self, masks: Tensor, step: int) -> Tensor:
        """Return masks flipped, turned and cropped as the images of ``step`` are: the same draws, none of light."""
        generator = torch.Generator().manual_seed(_mix(self.spec.seed, step))
        geometry = self.train.augment.replace(brightness=0.0)
        return augment(masks.float(), geometry, generator) > 0.5

    def input(self, images: Tensor, *, augment: torch.Generator | None = None, of: int = 0) -> Tensor:
        """Return the network's input for uint8 images; to ``augment`` them, they are this process's part of a batch."""
        batch = to_input(
            devices.send(images, self.resources.device),
            channels=self.network.in_channels,
            mean=self.mean,
            std=self.std,
            augmentation=self.train.augment if augment else None,
            generator=augment,
            part=self.team.part(of),
            of=of,
        )
        return batch.contiguous(memory_format=self.format)

    def forward(self, images: Tensor) -> Tensor:
        """Return the network's float32 outputs, computed in the spec's precision."""
        autocast = self.train.precision == "bfloat16"
        with torch.autocast(self.resources.device.type, dtype=torch.bfloat16, enabled=autocast):
            outputs: Tensor = (self.module if self.network.training else self.network)(images)
        return outputs.float()

    def rate(self, step: int) -> float:
        """Return the head's learning rate at ``step``."""
        train, x = self.train, step / self.train.steps
        if train.schedule == "cosine":
            return train.learning_rate * (1 + math.cos(math.pi * x)) / 2
        if train.schedule == "one_cycle":  # Smith and Topin 2018: up from 1/25 over 30 %, then down to almost nothing
            up = x < 0.3
            low, part = (1 / 25, x / 0.3) if up else (1e-5, (1 - x) / 0.7)
            return train.learning_rate * (low + (1 - low) * (1 - math.cos(math.pi * part)) / 2)
        return train.learning_rate * self.progress.rate_factor

    @torch.no_grad()
    def scores(self, split: Split) -> Tensor:
        """Return what the scores of a split are made of, case by case, on the CPU; see ``metrics.by_case``."""
        self.network.eval()
        device, kind = self.resources.device, self.dataset.kind
        size = (len(split), self.dataset.num_outputs)
        cases = torch.zeros(*size, 2, device=device) if kind == "segmentation" else torch.zeros(size, device=device)
        batches = range(0, len(split), devices.evaluation_batch(device))
        for start in batches[self.team.rank :: self.team.size]:
            some = slice(start, start + batches.step)
            labels = devices.send(split.labels[some], device)
            cases[some] = metrics.by_case(self.forward(self.input(split.images[some])), labels, kind=kind)
        return self.team.total(cases).cpu()

    def evaluate(self) -> None:
        """Append a row to the curve, and let the schedule and the selection see it."""
        done = self.progress
        scores = self.finite_scores("val", done.step)
        self.scored = done.step, scores
        row = {"step": done.step, "train_loss": self.mean_loss()} | self.summary("val", scores)
        for name, value in row.items():
            if not isinstance(value, list):
                done.curve.setdefault(name, []).append(_defined(value))
        self.look_for_best(row[f"val_{metrics.JUDGE[self.dataset.kind]}"])

    def finite_scores(self, name: str, step: int) -> Tensor:
        """Return the scores of a split's cases with the weights of ``step``; a ``TrainingError`` if not finite."""
        scores = self.scores(self.splits[name])
        if not scores.isfinite().all():
            raise self.diverged(f"the {name} scores are not finite", step)
        return scores

    def summary(self, name: str, scores: Tensor) -> dict[str, Any]:
        """Return the scores of a split by name, ``val_auroc`` for example."""
        kind, positive = self.dataset.kind, self.dataset.positive
        found = metrics.summary(scores, self.splits[name].labels, kind=kind, positive=positive)
        return {f"{name}_{score}": value for score, value in found.items()}

    def look_for_best(self, score: float) -> None:
        """Remember the best validation score so far; halve the rate when it has not moved for long."""
        done = self.progress
        if score > done.best_auprc:
            done.best_auprc, done.best_step, done.since_best = score, done.step, 0
            if self.train.select == "best":
                self.best = _copy(self.network)
            return
        done.since_best += 1
        if self.train.schedule == "plateau" and done.since_best >= PATIENCE:
            done.rate_factor, done.since_best = done.rate_factor / 2, 0

    def mean_loss(self) -> float | None:
        """Return the mean training loss since the last evaluation, None at step 0; ``TrainingError`` if not finite."""
        step, every = self.progress.step, self.train.eval_every
        if step == 0:
            return None
        taken = step % every or every
        losses = self.losses[:taken].tolist()
        for number, value in enumerate(losses):
            if not math.isfinite(value):
                raise self.diverged(f"the loss is {value}", step - taken + number)
        self.progress.losses += losses
        return float(np.mean(losses))

    def diverged(self, what: str, step: int) -> TrainingError:
        """Return the error of a training that left the numbers."""
        return TrainingError(
            f"{what} at step {step} of {self.spec.model.name}: the learning rate {self.train.learning_rate} "
            "is too high for this start, or a weight is not finite; try a tenth"
        )

    def result(self) -> Result:
        """Return the finished run with the selected weights; only these ever see the test images."""
        selected = self.progress.step
        if self.train.select == "best" and self.best:
            selected = self.progress.best_step
            self.network.load_state_dict(self.best)
        known = self.scored is not None and self.scored[0] == selected
        val = self.scored[1] if known and self.scored else self.finite_scores("val", selected)
        test = self.finite_scores("test", selected)
        final = self.summary("val", val) | self.summary("test", test)
        return Result(
            curve=self.progress.curve,
            losses=torch.tensor(self.progress.losses),
            final={name: _defined(value) for name, value in final.items()},
            test_scores=test,
            val_scores=val,
            weights=_copy(self.network),
            selected_step=selected,
            snapshots=self.snapshots,
            seconds=self.progress.seconds,
            sittings=self.progress.sittings,
        )

    def state(self) -> tuple[State, dict[str, str]]:
        """Return everything that a later sitting needs: tensors by name, and the rest as JSON."""
        optimizer = self.optimizer.state_dict()
        tensors = {"losses": self.losses}
        tensors |= {f"network/{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"best/{name}": value for name, value in self.best.items()}
        for step, weights in self.snapshots.items():
            tensors |= {f"snapshot/{step}/{name}": value for name, value in weights.items()}
        for number, values in optimizer["state"].items():
            tensors |= {f"optimizer/{number}/{name}": value for name, value in values.items() if value is not None}
        return tensors, {"progress": json.dumps(vars(self.progress))}

    def restore(self, tensors: State, notes: dict[str, str]) -> None:
        """Continue from what ``state`` returned."""
        self.progress = Progress(**json.loads(notes["progress"]))
        self.losses.copy_(tensors["losses"])
        self.network.load_state_dict(_under("network/", tensors))
        self.best = _under("best/", tensors)
        for name, value in _under("snapshot/", tensors).items():
            step, weight = name.split("/", 1)
            self.snapshots.setdefault(int(step), {})[weight] = value
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _under("optimizer/", tensors).items():
            number, field_name = name.split("/", 1)
            state.setdefault(int(number), {})[field_name] = value
        for index, parameter in enumerate(p for group in self.optimizer.param_groups for p in group["params"]):
            for name, value in state.get(index, {}).items():
                if value.shape == parameter.shape:  # fused optimizers walk memory: moments must lie as their weights do
                    state[index][name] = torch.empty_like(parameter).copy_(value)
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})


def _check(network: Network, dataset: Dataset, *, team: int, batch: int) -> None:
    """Raise a ``SpecError`` where network and data do not fit: U-Nets are for masks, volumes for 3D networks.

    Or where a batch has not an image for each process of a team.
    """
    if batch < team:
        raise SpecError(f"{team} processes cannot share a batch of {batch}: start fewer, or use a larger batch_size")
    if isinstance(network, networks.UNet) != (dataset.kind == "segmentation"):
        need = "a U-Net (unet_NAME)" if dataset.kind == "segmentation" else "a classifier, not a U-Net"
        raise SpecError(f"{dataset.name}, task {dataset.task}, needs {need}; got {network.name}")
    axes, have = dataset.train.images.ndim - 2, networks.first_convolution(network).weight.ndim - 2
    if axes != have:
        need = "a network for volumes (NAME_3d)" if axes == 3 else "a network for images, without _3d"
        raise SpecError(f"{dataset.name} needs {need}; got {network.name}")


def _optimizer(network: Network, train: TrainSpec) -> torch.optim.Optimizer:
    """Return the spec's optimizer over the parameters that are not frozen, the head at the full rate."""
    groups = surgery.parameter_groups(network, learning_rate=train.learning_rate, body_lr_scale=train.body_lr_scale)
    if train.optimizer == "sgd":
        return torch.optim.SGD(
            groups, lr=train.learning_rate, momentum=train.momentum, weight_decay=train.weight_decay, fused=True
        )
    kind = torch.optim.Adam if train.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=train.learning_rate, weight_decay=train.weight_decay, fused=True)


def _defined(value: Any) -> Any:
    """Return a value of the curve, None for NaN: JSON has no NaN."""
    if isinstance(value, list):
        return [_defined(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _copy(network: Network) -> State:
    """Return a copy of the weights on the CPU, in the plain memory layout."""
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in network.state_dict().items()
    }


def _under(prefix: str, tensors: State) -> State:
    """Return the tensors whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _mix(seed: int, step: int) -> int:
    """Return a seed for one step of one run; unlike ``seed + step`` it does not repeat another run's."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0])
