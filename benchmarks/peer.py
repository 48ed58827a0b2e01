"""The loop and the loader of torchvision's reference classification script (references/classification/train.py).

JPEG files in a folder per class, opened with PIL by ``DataLoader`` workers, transforms v2 on PIL images, float32, the
default memory layout, one loss and one accuracy read back after every step. Optimizer, batch and sizes are ours, so
that both train the same network on the same images; the number of workers is that of the cores, as fits the machine
(the script's default is 16). On a CPU it runs in a process of its own: what we set for ours, the memory allocator for
example, is not to change it. On a GPU it computes in bfloat16 as ours does, from pinned memory.
"""

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Generator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

T = TypeVar("T")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ReferenceLoop:
    """Trains for as long as it is asked to."""

    def __init__(
        self,
        network: nn.Module,
        folder: Path,
        *,
        size: int,
        batch_size: int,
        workers: int,
        device: torch.device | None = None,
    ) -> None:
        self.device = device or torch.device("cpu")
        self.gpu = self.device.type != "cpu"
        transform = v2.Compose([
            v2.RandomResizedCrop(size, antialias=True),
            v2.RandomHorizontalFlip(0.5),
            v2.PILToTensor(),
            v2.ToDtype(torch.float, scale=True),
            v2.Normalize(mean=MEAN, std=STD),
            v2.ToPureTensor(),
        ])  # fmt: skip
        self.network = network.train().to(self.device)
        self.optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
        self.loss = nn.CrossEntropyLoss()
        self.loader = DataLoader(
            ImageFolder(str(folder), transform),
            batch_size=batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            persistent_workers=True,
            pin_memory=self.gpu,
        )
        self.batches = self.endless()

    def endless(self) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Yield batches, epoch after epoch."""
        while True:
            yield from self.loader

    def close(self) -> None:
        """End the workers."""
        self.batches.close()
        del self.loader

    def run(self, steps: int) -> float:
        """Take steps and return the seconds that they took."""
        began = time.perf_counter()
        for _ in range(steps):
            images, target = (part.to(self.device, non_blocking=True) for part in next(self.batches))
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.gpu):
                output = self.network(images)
                loss = self.loss(output, target)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            loss.item()
            (output.argmax(1) == target).float().mean().item()
        return time.perf_counter() - began


class Elsewhere(Generic[T]):
    """Calls a function of the number of steps in a process of its own, which ``make`` builds there; to be closed."""

    def __init__(self, make: Callable[[], Callable[[int], T]]) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("spawn").Process(target=_serve, args=(make, theirs))
        self.process.start()
        theirs.close()

    def __call__(self, steps: int) -> T:
        """Return what the function returns; ``EOFError`` where its process has ended."""
        self.pipe.send(steps)
        found: T = self.pipe.recv()
        return found

    def close(self) -> None:
        """End the process."""
        self.pipe.close()
        self.process.join()


def _serve(make: Callable[[], Callable[[int], object]], pipe: Connection) -> None:
    with contextlib.suppress(EOFError, KeyboardInterrupt):  # its user has closed the pipe, or stopped both
        call = make()
        while True:
            pipe.send(call(pipe.recv()))
