"""What the data sets of computed pictures share: drawing many in threads, and splits that do not move."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from transfusion_lib.data.dataset import Dataset, Split
from transfusion_lib.data.synthetic.canvas import Bytes
from transfusion_lib.errors import SpecError, unknown
from transfusion_lib.spec import DataSpec, canonical_json

SplitName = Literal["train", "val", "test"]
Progress = Callable[[int], None]
Room = Callable[[tuple[int, ...]], Bytes]
"""Returns an uint8 array of a shape to draw into: in memory, or in a file where that is too small."""
FIRST: dict[SplitName, int] = {"train": 0, "val": 10_000_000, "test": 20_000_000}
"""Index of each split's first picture: a split keeps its patients whatever the others' sizes."""
PIXELS_AT_ONCE = 32 * 64 * 64
"""Pictures of this many pixels together are drawn in one go: numpy's cost per call is shared, arrays stay in cache."""


def in_memory(shape: tuple[int, ...]) -> Bytes:
    """Return room in memory."""
    return np.empty(shape, np.uint8)


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How pictures are drawn: it changes the time and the place, and not a byte."""

    progress: Progress | None = None
    """Called with the number done."""
    workers: int | None = None
    """Threads; None is one per processor."""
    room: Room = in_memory


PLAIN = Drawing()


def draw_many(
    draw: Callable[..., tuple[Bytes, Bytes]],
    *,
    n: int,
    size: int,
    seed: int,
    first: int,
    how: Drawing,
) -> tuple[Tensor, Tensor]:
    """Return images, uint8 (n, channels, size, size), and masks, uint8 (n, regions, size, size).

    ``draw(seed, indices, size=size)`` draws some.
    """
    if n < 1:
        raise SpecError(f"{n} pictures asked for; ask for 1 or more")
    images, masks = (how.room((n, *part.shape[1:])) for part in draw(seed, [first], size=size))
    together = max(1, PIXELS_AT_ONCE // size**2)

    def fill(start: int) -> int:
        stop = min(start + together, n)
        images[start:stop], masks[start:stop] = draw(seed, range(first + start, first + stop), size=size)
        return stop

    pool = ThreadPoolExecutor(how.workers or os.cpu_count())
    try:
        for done in pool.map(fill, range(0, n, together)):
            if how.progress is not None:
                how.progress(done)
    finally:
        pool.shutdown(cancel_futures=True)
    return torch.from_numpy(images), torch.from_numpy(masks)


def union(masks: Tensor, *, room: Room) -> Tensor:
    """Return what any of the regions covers, uint8 (n, 1, size, size), of ``masks``, uint8 (n, regions, size, size)."""
    return torch.amax(masks, 1, keepdim=True, out=torch.from_numpy(room((len(masks), 1, *masks.shape[2:]))))


def counts(spec: DataSpec, default: dict[SplitName, int]) -> dict[SplitName, int]:
    """Return the number of pictures per split: the spec's, or the data set's ``default``."""
    asked = {"train": spec.train, "val": spec.val, "test": spec.test}
    found: dict[SplitName, int] = {name: asked[name] or number for name, number in default.items()}
    room = FIRST["val"]
    for name, number in found.items():
        if number > room:
            raise SpecError(f"{spec.name}: {name} of {number} pictures; a split holds {room} at most")
    return found


def task_of(spec: DataSpec, tasks: Sequence[str]) -> str:
    """Return the spec's task, by default the first of ``tasks``."""
    if spec.task is None:
        return tasks[0]
    if spec.task not in tasks:
        raise SpecError(unknown(f"task of {spec.name}", spec.task, tasks))
    return spec.task


def segmentation(
    spec: DataSpec, splits: dict[SplitName, Split], *, task: str, fingerprint: str, notes: dict[str, str]
) -> Dataset:
    """Return the data set of a task whose labels are masks of one region, called like the task."""
    return Dataset(
        name=spec.name,
        task=task,
        kind="segmentation",
        classes=(task,),
        regions=(task,),
        fingerprint=fingerprint,
        synthetic=True,
        notes=notes | {"labels": f"masks of the {task}, known exactly"},
        train=splits["train"],
        val=splits["val"],
        test=splits["test"],
    )


def digest(*what: Any) -> str:
    """Return the sha256 of a JSON-able description."""
    return hashlib.sha256(canonical_json(what).encode()).hexdigest()
