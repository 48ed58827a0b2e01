"""The way of the training images to the network: which, by a pure function of the step; where from, by what fits."""

from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

import torch
from torch import Tensor

from transfusion_lib.data.dataset import Split
from transfusion_lib.training import device as devices
from transfusion_lib.training.batches import order

Pair = tuple[Tensor, Tensor]


class Feed:
    """Batches of a split. What fits stays on the device; else a thread gathers the next batch while this one trains."""

    def __init__(self, split: Split, *, seed: int, batch_size: int, device: torch.device, resident: bool) -> None:
        """Feed ``device`` with batches of ``batch_size``; ``resident`` says whether the split is there already."""
        self.split, self.size, self.device, self.resident = split, batch_size, device, resident
        self.order = lru_cache(1)(lambda epoch: devices.send(order(len(split), seed=seed, epoch=epoch), self.place))
        self.ahead: tuple[int, slice, Future[Pair]] | None = None
        self.thread = None if resident else ThreadPoolExecutor(1, "feed")

    @property
    def place(self) -> torch.device:
        """Where the images are."""
        return self.split.images.device

    def indices(self, step: int) -> Tensor:
        """Return which images a step sees: int64 (n,), a pure function of seed and step."""
        epoch, number = divmod(step, max(1, len(self.split) // self.size))
        return self.order(epoch)[number * self.size : (number + 1) * self.size]

    def batch(self, step: int, part: slice) -> Pair:
        """Return the uint8 images of ``part`` of a step's batch, and the labels of all of it, on the device."""
        if self.thread is None:
            return self.gathered(step, part)
        if self.ahead is not None and self.ahead[:2] == (step, part):
            images, labels = self.ahead[2].result()
        else:
            images, labels = self.gathered(step, part)
        self.ahead = step + 1, part, self.thread.submit(self.gathered, step + 1, part)
        return devices.send(images, self.device), devices.send(labels, self.device)

    def gathered(self, step: int, part: slice) -> Pair:
        """Return the same where the split is."""
        chosen = self.indices(step)
        images, labels = self.split.images[chosen[part]], self.split.labels[chosen]
        return devices.staged(images, self.device), devices.staged(labels, self.device)
