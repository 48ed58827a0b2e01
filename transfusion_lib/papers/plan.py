"""The study's plan: ``book/study.toml`` as tasks, recipes, cells, arms and the specs of their runs.

Everything that a verdict depends on is fixed there before the first run: tasks, networks, arms, seeds, recipes, and how
learning rates are chosen. ``book/rates.toml`` holds the rates that the pilot runs chose. ``Plan.hash`` covers both.
"""

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from transfusion_lib.errors import SpecError, unknown
from transfusion_lib.spec import (
    DataSpec,
    FromList,
    Gabor,
    InitSpec,
    ModelSpec,
    Positive,
    RunSpec,
    Seed,
    Slim,
    Spec,
    TrainSpec,
    Truncate,
    canonical_json,
)

Start = Literal["random", "pretrained", "mean_var", "covariance"]
Rate = Annotated[float, Field(gt=0)]
Names = Annotated[tuple[str, ...], FromList]
Trials = Mapping[tuple[str, str], Mapping[float, Sequence[float]]]
"""Validation losses of the pilot's runs by network and method, then by rate: one a task."""


class Task(Spec):
    """A set of images and what is asked of it."""

    title: str
    role: Literal["primary", "enough data", "shift", "replicate", "segmentation"]
    data: DataSpec


class Network(Spec):
    """A network of the study."""

    weights: Literal["imagenet", "tiny_imagenet_100", "source"]
    """Published, shipped with this package, or those of the study's own run on natural images."""
    ms: Positive
    """Milliseconds of a training step of 32 images at 64 px on one thread: for the hours left, nothing else."""


class Arm(Spec):
    """What the runs of one arm have in common beyond their network and task."""

    start: Start = "pretrained"
    up_to: str | None = None
    above: Literal["random", "mean_var"] = "random"
    gabor: bool = False
    slim: str | None = None
    truncate: str | None = None
    pooled: bool = True
    freeze: str | None = None
    body_lr_scale: Rate = 1.0
    optimizer: Literal["adam", "sgd"] = "adam"
    source: str | None = None
    """The study's source to start from, in place of the network's weights."""
    steps: Positive | None = None
    """In place of the recipe's."""
    learning_rate: Rate | None = None
    """In place of the pilot's or the recipe's; its arm is then not tuned."""

    @property
    def method(self) -> str:
        """The method by its name in TruncatedTL, or how the run starts: arms of one method share a learning rate."""
        if self.truncate:
            return "TTL"
        if self.slim:
            return "TF"
        if self.freeze:
            return "LWFT" if self.body_lr_scale != 1 else "FE"
        return "FTL" if self.start == "pretrained" and self.up_to is None else self.start


class Cell(Spec):
    """Runs that settle some claims: every network with every arm on every task, so many times."""

    id: str
    """A letter, and behind a dot a part of the cell."""
    title: str
    claims: Names
    recipe: str
    tasks: Names
    networks: Names
    runs: Positive
    arms: Mapping[str, Arm]
    images: Annotated[tuple[Positive, ...], FromList] = ()
    """Numbers of training images, each an arm of its own; none is all of them."""
    size: Positive | None = None
    """Edge of the images, in place of the task's."""
    splits_from: Annotated[int, Field(ge=0)] = 0
    """Added to the seed of the split: cells with the same number share their splits."""
    seeds_from: Annotated[int, Field(ge=0)] = 0
    """Added to the seed of the training: cells that share splits have other numbers where they are trained anew."""


class Pilot(Spec):
    """How learning rates are chosen: by validation loss, on splits that no other run uses."""

    seeds: Annotated[tuple[Seed, ...], FromList]
    """One for each task."""
    tasks: Names
    rates: Annotated[tuple[Rate, ...], FromList]
    recipes: Names
    """Recipes whose rates are chosen; the others state theirs."""


class Tuned(Spec):
    """A learning rate that the pilot chose."""

    rate: Rate
    losses: Mapping[str, Annotated[tuple[float, ...], FromList]]
    """Validation losses by rate, one a task."""


class Plan(Spec):
    """The study; see ``read_plan``."""

    edition: Positive
    first_seed: Seed
    pilot: Pilot
    tasks: Mapping[str, Task]
    networks: Mapping[str, Network]
    recipes: Mapping[str, TrainSpec]
    sources: Mapping[str, RunSpec]
    """The runs on natural images that others start from, by network; shorter ones as ``network at steps``."""
    cells: Annotated[tuple[Cell, ...], FromList]
    rates: Mapping[str, Mapping[str, Tuned]]
    """The rates that the pilot chose, by network and method."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        for cell in self.cells:
            for what, names, known in (
                ("task", cell.tasks, self.tasks),
                ("network", cell.networks, self.networks),
                ("recipe", (cell.recipe,), self.recipes),
            ):
                for name in names:
                    if name not in known:
                        raise SpecError(f"cell {cell.id}: {unknown(what, name, known)}")
            needed = {arm.source for arm in cell.arms.values() if arm.source} | {
                name for name in cell.networks if self.networks[name].weights == "source"
            }
            for name in sorted(needed - set(self.sources)):
                raise SpecError(f"cell {cell.id}: {unknown('source', name, self.sources)}")
        if len({cell.id for cell in self.cells}) < len(self.cells):
            raise SpecError("two cells have the same id")
        return self

    @cached_property
    def hash(self) -> str:
        """The sha256 of the plan and its rates, comments and order aside."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json")).encode()).hexdigest()

    def cell(self, name: str) -> tuple[Cell, ...]:
        """Return the cell of that id, or all parts of a letter; else a ``SpecError`` that names those that exist."""
        found = tuple(cell for cell in self.cells if name in (cell.id, cell.id.partition(".")[0]))
        if not found:
            raise SpecError(unknown("cell", name, [cell.id for cell in self.cells]))
        return found

    def specs(self, cell: Cell) -> list[RunSpec]:
        """Return every run of a cell, one seed of each arm after the other, so that early stops are balanced."""
        arms = list(self.arms(cell).values())
        return [runs[number] for number in range(cell.runs) for runs in arms]

    def arms(self, cell: Cell) -> dict[tuple[str, str, str, int | None], list[RunSpec]]:
        """Return the runs of each arm of a cell, by task, network, arm and number of training images (None: all)."""
        if cell.id not in self._arms:
            self._arms[cell.id] = {
                (task, network, name, images): [
                    self.run(
                        cell,
                        arm,
                        task=task,
                        network=network,
                        images=images,
                        split=self.first_seed + cell.splits_from + number,
                        seed=self.first_seed + cell.seeds_from + number,
                    )
                    for number in range(cell.runs)
                ]
                for task in cell.tasks
                for network in cell.networks
                for name, arm in cell.arms.items()
                for images in cell.images or (None,)
            }
        return self._arms[cell.id]

    @cached_property
    def _arms(self) -> dict[str, dict[tuple[str, str, str, int | None], list[RunSpec]]]:
        """What ``arms`` has made: thousands of specs take seconds."""
        return {}

    def run(
        self,
        cell: Cell,
        arm: Arm,
        *,
        task: str,
        network: str,
        split: int,
        seed: int,
        images: int | None = None,
        rate: float | None = None,
    ) -> RunSpec:
        """Return one run of an arm: ``split`` draws its split and subset, ``seed`` its weights and batches."""
        recipe = self.recipes[cell.recipe]
        if arm.learning_rate is not None:
            recipe = recipe.replace(learning_rate=arm.learning_rate)
        elif cell.recipe in self.pilot.recipes:
            tuned = self.rates.get(network, {}).get(arm.method)
            recipe = recipe.replace(learning_rate=rate or (tuned.rate if tuned else recipe.learning_rate))
        data = self.tasks[task].data
        return RunSpec(
            data=data.replace(seed=split, train=images or data.train, size=cell.size or data.size),
            model=ModelSpec(
                name=network,
                slim=Slim(above=arm.slim) if arm.slim else None,
                truncate=Truncate(at=arm.truncate, pooled=arm.pooled) if arm.truncate else None,
            ),
            init=self._init(network, arm),
            train=recipe.replace(
                steps=arm.steps or recipe.steps,
                freeze=arm.freeze,
                body_lr_scale=arm.body_lr_scale,
                optimizer=arm.optimizer,
            ),
            seed=seed,
        )

    def untuned(self, cell: Cell) -> list[str]:
        """Return the networks and methods of a cell whose rates the pilot has not chosen yet."""
        if cell.recipe not in self.pilot.recipes:
            return []
        return list(
            dict.fromkeys(
                f"{network} {arm.method}"
                for network in cell.networks
                for arm in cell.arms.values()
                if arm.learning_rate is None and arm.method not in self.rates.get(network, {})
            )
        )

    def _init(self, network: str, arm: Arm) -> InitSpec:
        gabor = Gabor() if arm.gabor else None
        if arm.start == "random":
            return InitSpec(gabor=gabor)
        named = self.networks[network].weights
        return InitSpec(
            method=arm.start,
            up_to=arm.up_to or arm.slim,
            above=arm.above,
            weights=self.sources[arm.source or network] if arm.source or named == "source" else named,
            gabor=gabor,
        )

    def trials(self) -> dict[tuple[str, str], dict[float, list[RunSpec]]]:
        """Return the pilot's runs of each network and method by their rate: one on each of the pilot's tasks.

        A method is represented by the first arm that has it. Networks whose cells have none of the pilot's tasks are
        tried on their own.
        """
        found: dict[tuple[str, str], dict[float, list[RunSpec]]] = {}
        for cell in self.cells:
            if cell.recipe not in self.pilot.recipes:
                continue
            shared = set(cell.tasks) & set(self.pilot.tasks)
            tasks = self.pilot.tasks if shared else (cell.tasks[0],) * len(self.pilot.seeds)
            for network in cell.networks:
                for arm in cell.arms.values():
                    if arm.learning_rate is not None:
                        continue
                    found.setdefault(
                        (network, arm.method),
                        {
                            rate: [
                                self.run(cell, arm, task=task, network=network, split=seed, seed=seed, rate=rate)
                                for task, seed in zip(tasks, self.pilot.seeds, strict=True)
                            ]
                            for rate in self.pilot.rates
                        },
                    )
        return found

    def hours(self, spec: RunSpec) -> float:
        """Return about how many core-hours a run takes."""
        known = self.networks.get(spec.model.name)
        work = spec.train.steps * spec.train.batch_size / 32 * (spec.data.size / 64) ** 2
        return work * (known.ms if known else 300) / 3.6e6


def read_plan(folder: Path) -> Plan:
    """Return the plan in ``folder``: ``study.toml``, and ``rates.toml`` where rates have been chosen."""
    found = _toml(folder / "study.toml")
    chosen = _toml(folder / "rates.toml") if (folder / "rates.toml").is_file() else {}
    recipe, sources = found.pop("source_recipe", {}), {}
    for name, given in found.pop("sources", {}).items():
        train = {**recipe["train"], "steps": given["steps"], "eval_every": max(1, given["steps"] // 4)}
        data = {**given.get("data", recipe["data"])}
        sources[name] = {"data": data, "model": {"name": given["network"]}, "train": train}
    return Plan.model_validate({**found, "sources": sources, "rates": chosen})


def best_rate(losses: Mapping[float, Sequence[float]]) -> float:
    """Return the rate of the lowest mean over tasks of the validation loss, relative to the task's lowest.

    ``losses`` are by rate, one a task.
    """
    lowest = [min(values) for values in zip(*losses.values(), strict=True)]
    relative = {
        rate: sum(loss / low for loss, low in zip(values, lowest, strict=True)) for rate, values in losses.items()
    }
    return min(relative, key=lambda rate: relative[rate])


def write_rates(folder: Path, before: Mapping[str, Mapping[str, Tuned]], tried: Trials) -> Path:
    """Write ``rates.toml``: rates chosen ``before``, and the best of those ``tried`` now, with their losses."""
    tables = {network: dict(methods) for network, methods in before.items()}
    for (network, method), losses in tried.items():
        tables.setdefault(network, {})[method] = Tuned(
            rate=best_rate(losses),
            losses={f"{rate:g}": tuple(round(one, 4) for one in values) for rate, values in losses.items()},
        )
    lines = [
        "# Written by: transfusion study --rates. Validation losses of pilot runs, one a task, which no verdict reads."
    ]
    for network, methods in sorted(tables.items()):
        lines += ["", f"[{network}]"]
        for method, one in sorted(methods.items()):
            shown = ", ".join(f'"{rate}" = [{", ".join(map(str, values))}]' for rate, values in one.losses.items())
            lines.append(f"{method} = {{ rate = {one.rate:g}, losses = {{ {shown} }} }}")
    path = folder / "rates.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"{path}: cannot read the study's plan ({error.strerror})") from None
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path}: {error}") from None
