"""What analyses of a finished run look through: its network at a kept step, and a part of its own images."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from transfusion_lib import data
from transfusion_lib.data.dataset import Dataset, Split
from transfusion_lib.networks import Network
from transfusion_lib.runs import Run
from transfusion_lib.spec import DataSpec
from transfusion_lib.training import device as devices


def dataset(run: Run) -> Dataset:
    """Return the data that a run was trained and tested on; consecutive analyses of the same data read it once."""
    return _dataset(run.spec.data)


def images(run: Run, *, count: int | None = None) -> Tensor:
    """Return ``count`` test images of a run's data, drawn, uint8 (n, c, height, width); all for None."""
    return dataset(run).test.drawn(count).images


def cases(split: Split, count: int | None) -> tuple[Tensor, Tensor]:
    """Return the images and labels of ``count`` cases of a split, drawn; all for None."""
    part = split.drawn(count)
    return part.images, part.labels.cpu()


def network(run: Run, step: int | None = None) -> Network:
    """Return a run's network at a kept step (None is its final weights), in evaluation mode on the best device."""
    found = run.network(step)
    dims = dataset(run).test.images.ndim - 2
    found.to(devices.resources().device, memory_format=devices.memory_format(dims))  # type: ignore[call-overload]
    return found.eval()


@lru_cache(maxsize=1)
def _dataset(spec: DataSpec) -> Dataset:
    return data.load(spec)


def generator(*numbers: int) -> torch.Generator:
    """Return a generator whose stream is a pure function of ``numbers``."""
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) % 2**63)
