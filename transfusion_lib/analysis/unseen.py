"""Images that a classifier has not seen: read as its training images were, judged, and held against their labels."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfusion_lib import data
from transfusion_lib.analysis.evaluation import Array, Cases, Task
from transfusion_lib.data.dataset import Dataset
from transfusion_lib.data.reading import archive
from transfusion_lib.data.reading.archive import Files
from transfusion_lib.data.reading.catalogue import Item, Problems
from transfusion_lib.data.reading.filesource import FileSource
from transfusion_lib.data.reading.loading import FilePictures, Made
from transfusion_lib.data.sources import csvset
from transfusion_lib.errors import DataError
from transfusion_lib.runs import Run
from transfusion_lib.spec import DataSpec
from transfusion_lib.training.batches import to_input
from transfusion_lib.training.metrics import probabilities

BATCH = 64  # images at once
KEY = 8  # bytes that stand for an image


def key(image: NDArray[np.uint8]) -> bytes:
    """Return what stands for a decoded image among those that a network has seen."""
    return hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=KEY).digest()


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A classifier and how it is shown images."""

    name: str
    task: Task
    decoding: dict[str, Any]
    """Size, channels, fit and white of ``decode.image``."""
    seen: frozenset[bytes]
    """``key`` of each image that it was trained or chosen on."""
    probabilities: Callable[[Tensor], Array]
    """From uint8 images (n, channels, height, width) to (n, classes)."""

    def answers(self, made: Iterable[Made], problems: Problems) -> Iterator[tuple[Item, bytes, Array]]:
        """Yield each item with its image's ``key`` and its probabilities; what cannot be read goes to ``problems``."""
        images = iter(made)
        while some := list(islice(images, BATCH)):
            good = []
            for item, image in some:
                if isinstance(image, DataError):
                    problems.add(str(image))
                else:
                    good.append((item, image))
            if good:
                chances = self.probabilities(torch.from_numpy(np.stack([image for _, image in good])))
                for (item, image), chance in zip(good, chances, strict=True):
                    yield item, key(image), chance

    def pictures(self, files: Files, *, white: float | None = None) -> FilePictures:
        """Return how files are decoded: as the training images were; ``white`` where those had 8 bits."""
        how = self.decoding
        return FilePictures(
            name="predict",
            files=files,
            size=how["size"],
            channels=how["channels"],
            fit=how.get("fit", "stretch"),
            white=how.get("white") or white,
        )


def decoding(dataset: Dataset) -> dict[str, Any]:
    """Return how a data set's images were decoded."""
    channels, *_, size = dataset.train.images.shape[1:]
    return {"size": size, "channels": channels, **dataset.decoding}


def seen(dataset: Dataset) -> list[bytes]:
    """Return the ``key`` of each image that networks are trained and chosen on."""
    return [key(image) for split in (dataset.train, dataset.val) for image in split.images.numpy()]


def judge_of(run: Run, dataset: Dataset) -> Judge:
    """Return the network of a finished run, trained on ``dataset``, as it judges other images."""
    network = run.network()

    @torch.no_grad()
    def chances(images: Tensor) -> Array:
        inputs = to_input(images, channels=network.in_channels, mean=network.mean, std=network.std)
        return np.asarray(probabilities(network(inputs), kind=dataset.kind), np.float64)

    return Judge(
        name=str(run),
        task=Task.of(dataset),
        decoding=decoding(dataset),
        seen=frozenset(seen(dataset)),
        probabilities=chances,
    )


@dataclass(frozen=True, kw_only=True)
class Read:
    """What ``evaluate`` is of."""

    cases: Cases
    unit: str
    """What a unit is and how it was found."""
    seen: int
    """Images left out, since the network was trained or chosen on them or on others of the same patient."""
    left_out: list[str]
    columns: dict[str, list[str]]
    """The cells of each case, by column of the tables beside the images."""


def read(judge: Judge, spec: DataSpec) -> Read:
    """Return every labelled image of ``spec`` that the network has not seen, whatever its split, with its answers.

    A ``DataError`` where the classes are not the network's, or none is left.
    """
    problems = Problems(raising=spec.on_bad == "error")
    source, cells = data.TABLE[spec.name], dict[str, dict[str, str]]()
    if isinstance(source, FileSource):
        files = archive.open_files(source.find(spec))
        catalogue = source.catalogue(files, spec, problems)
        kind, classes, unit = catalogue.kind, catalogue.classes, catalogue.notes.get("unit", "image")
        made: Iterable[Made] = judge.pictures(files, white=catalogue.white).make(catalogue.items)
        cells = csvset.cells(files)
    else:
        dataset = data.load(spec)
        kind, classes, unit = dataset.kind, dataset.classes, dataset.notes.get("unit", "image")
        made = _loaded(dataset)
    order = _order(judge.task, kind, classes, where=spec.root or spec.name)
    answers = list(judge.answers(made, problems))
    known = {item.unit for item, image, _ in answers if image in judge.seen}
    kept = [(item, chance) for item, image, chance in answers if image not in judge.seen and item.unit not in known]
    if not kept:
        raise DataError(
            f"{spec.root or spec.name}: {judge.name} was trained or chosen on all of its images; give others"
        )
    columns = dict.fromkeys(column for row in cells.values() for column in row)
    return Read(
        cases=Cases(
            names=tuple(item.id for item, _ in kept),
            units=tuple(item.unit for item, _ in kept),
            truth=np.array([_label(item.label, order, judge.task) for item, _ in kept]),
            chances=np.array([chance for _, chance in kept]),
        ),
        unit=unit,
        seen=len(answers) - len(kept),
        left_out=problems.found,
        columns={name: [cells.get(item.file, {}).get(name, "") for item, _ in kept] for name in columns},
    )


def _loaded(dataset: Dataset) -> Iterator[Made]:
    for split in dataset.splits().values():
        for row, name in enumerate(split.ids):
            label = split.labels[row].tolist()
            own = tuple(label) if isinstance(label, list) else int(label)
            yield Item(id=name, file=name, label=own, unit=split.units[row]), split.images[row].numpy()


def _order(task: Task, kind: str, classes: Sequence[str], *, where: str) -> list[int]:
    """Return the place of each class among the network's; names match whatever their case."""
    own = {name.casefold(): place for place, name in enumerate(task.classes)}
    missing = [name for name in classes if name.casefold() not in own]
    if kind != task.kind or missing:
        raise DataError(
            f"{where}: {kind} {', '.join(classes)}; the network answers {task.kind} {', '.join(task.classes)}. "
            "Name the classes as the network does"
        )
    return [own[name.casefold()] for name in classes]


def _label(label: int | tuple[float, ...], order: Sequence[int], task: Task) -> Any:
    if not isinstance(label, tuple):
        return order[label]
    row = [float("nan")] * len(task.classes)
    for place, value in zip(order, label, strict=True):
        row[place] = value
    return row
