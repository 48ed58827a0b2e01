"""The device at hand, what pays on it, and its description; the only file that says "cuda"."""

import contextlib
import ctypes
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transfusion_lib.errors import UserError
from transfusion_lib.training import team as teams
from transfusion_lib.training.team import Team

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT = 2**30  # bytes; larger blocks, a data set for example, go back to the system as they are freed
WARM_UP = 3  # steps before one is recorded: kernels are chosen, workspaces allocated


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a run may use; recorded with it, never part of its key."""

    device: torch.device
    checkpoint_every_s: float = 20.0
    """Seconds between checkpoints: a killed run repeats at most this much."""
    threads: int = 1
    """Threads of one run on a CPU. A sum depends on how it is divided, so a fixed number gives the same bits in every
    engine and on every number of cores; several runs at once use several cores."""
    team: Team = field(default_factory=Team)
    """The processes that train one run together."""
    replayed: bool = True
    """Whether forward and backward of a step are recorded once on a GPU and then replayed: the same kernels."""
    compiled: bool = False
    """Whether a GPU's training steps are compiled; they differ by rounding."""


def resources(*, checkpoint_every_s: float = 20.0, team: Team | None = None) -> Resources:
    """Return the best device of this machine, or the one that ``TRANSFUSION_DEVICE`` names ("cpu", "cuda:1").

    ``TRANSFUSION_THREADS`` is the number of threads of one run, for a single large run on many cores,
    ``TRANSFUSION_COMPILE=1`` compiles its steps on a GPU. Each process that ``torchrun`` started has a GPU of its own.
    """
    wanted = os.environ.get("TRANSFUSION_DEVICE")
    try:
        device = torch.device(wanted or ("cuda" if torch.cuda.is_available() else "cpu"))
        if device.type == "cuda" and device.index is None and teams.local_rank() is not None:
            device = torch.device("cuda", teams.local_rank())
    except RuntimeError:
        raise UserError(f'TRANSFUSION_DEVICE="{wanted}" is no device; use cpu, cuda or cuda:0') from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f'TRANSFUSION_DEVICE="{wanted}": this machine has no CUDA device; unset it or use cpu')
    if device.type == "cuda":
        if device.index is not None:
            torch.cuda.set_device(device)
        # TF32: float32 runs at three times the speed. cudnn.benchmark stays off: which kernels it finds depends on the
        # clock, so that a run trained again is further from the first; and it searches again for each shape.
        torch.set_float32_matmul_precision("high")
    else:
        keep_freed_memory()
    return Resources(
        device=device,
        checkpoint_every_s=checkpoint_every_s,
        threads=_threads(),
        team=team or Team(),
        compiled=_compiled(device),
    )


def _threads() -> int:
    wanted = os.environ.get("TRANSFUSION_THREADS", "1")
    if not wanted.isdecimal() or int(wanted) < 1:
        raise UserError(f'TRANSFUSION_THREADS="{wanted}" is no number of threads; use 1, 2, ...')
    return int(wanted)


def _compiled(device: torch.device) -> bool:
    wanted = os.environ.get("TRANSFUSION_COMPILE", "0")
    if wanted not in ("0", "1"):
        raise UserError(f'TRANSFUSION_COMPILE="{wanted}": use 1, or 0 for no compilation')
    if wanted == "1" and device.type == "cpu":
        raise UserError("TRANSFUSION_COMPILE=1 is for GPUs: on a CPU it would change the bits of runs; unset it")
    return wanted == "1"


@cache
def keep_freed_memory() -> None:
    """Let this process keep the memory of freed tensors for the next ones (glibc; elsewhere nothing changes).

    A step allocates and frees the same activations again and again. glibc returns much of that to the system at once
    and gets it back page by page: 8,000 to 23,000 page faults a step at 64 px on one thread, 5 to 30 % of its time.
    """
    with contextlib.suppress(OSError, AttributeError, ValueError, TypeError):  # another C library, or none to ask
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, KEPT)
        mallopt(M_MMAP_THRESHOLD, KEPT)


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Let PyTorch compute with ``count`` threads in this block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cores() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def places(chosen: Resources, *, workers: int | None = None) -> list[str]:
    """Return the device of each worker process: one per GPU, or as many on the CPU as its cores feed.

    With ``workers`` there are as many, dealt over the GPUs in turn.
    """
    if chosen.device.type != "cuda":
        return ["cpu"] * (workers or max(1, cores() // chosen.threads))
    wanted = chosen.device.index is not None
    gpus = [str(chosen.device)] if wanted else [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return [gpus[number % len(gpus)] for number in range(workers or len(gpus))]


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether ``device`` has instructions that multiply bfloat16: any recent GPU, a CPU with AVX512-bf16 or AMX."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def memory_format(dims: int) -> torch.memory_format:
    """Return channels-last for images and volumes: CBR-Tiny trains 3.6 times faster on a CPU, and GPUs like it too."""
    return torch.channels_last if dims == 2 else torch.channels_last_3d


def evaluation_batch(device: torch.device) -> int:
    """Return how many images to evaluate at once: on a CPU those whose activations stay in its cache.

    64 is a third faster there than 256 for small networks, with a quarter of the memory and the same bits.
    """
    return 256 if device.type == "cuda" else 64


def send(values: Tensor, device: torch.device) -> Tensor:
    """Return ``values`` on ``device``, without waiting for it: a plain copy would stop until the GPU has caught up."""
    return staged(values, device).to(device, non_blocking=device.type != "cpu")


def staged(values: Tensor, device: torch.device) -> Tensor:
    """Return ``values`` in memory from which a GPU can fetch them by itself; those of a CPU as they are."""
    return values if device.type == "cpu" or values.device.type != "cpu" else values.pin_memory()


def fits(size: int, device: torch.device) -> bool:
    """Whether ``size`` bytes of data leave at least half of the free memory of ``device`` to the network."""
    return device.type == "cpu" or size <= torch.cuda.mem_get_info(device)[0] / 2


def compiled(module: nn.Module) -> nn.Module:
    """Return a module whose calls are compiled, and replayed as CUDA graphs."""
    fast: Any = torch.compile(module, mode="reduce-overhead")
    return fast  # type: ignore[no-any-return]


class Replay:
    """Forward and backward of a step on a GPU, recorded once as a CUDA graph: a small step is bound by Python.

    The gradients stay where they were recorded, and the next replay overwrites them: they must not be set to None.
    """

    def __init__(self, network: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], *example: Tensor) -> None:
        """Record ``loss(images, labels)`` and its gradients for tensors like those of ``example``.

        Buffers of ``network``, running statistics for example, are as before.
        """
        self.inputs = tuple(tensor.clone() for tensor in example)
        before = [buffer.clone() for buffer in network.buffers()]
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                network.zero_grad(set_to_none=True)
                loss(*self.inputs).backward()
        torch.cuda.current_stream().wait_stream(aside)
        network.zero_grad(set_to_none=True)
        self.graph = torch.cuda.CUDAGraph()
        # A thread that stages the next batch meanwhile may allocate.
        with torch.cuda.graph(self.graph, stream=aside, capture_error_mode="thread_local"):
            value = loss(*self.inputs)
            value.backward()
        self.loss = value.detach()
        for buffer, saved in zip(network.buffers(), before, strict=True):
            buffer.copy_(saved)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Leave the gradients of a batch in the network and return its loss, valid until the next call."""
        for mine, given in zip(self.inputs, inputs, strict=True):
            mine.copy_(given)
        self.graph.replay()
        return self.loss


def synchronise(device: torch.device) -> None:
    """Wait until ``device`` has finished, so that a clock read after this is true."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that a device's or the machine's memory ran out."""
    return isinstance(error, torch.cuda.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def describe(device: torch.device) -> dict[str, Any]:
    """Return the machine in words: processor, instruction sets, cores, threads, and the GPU if ``device`` is one.

    Two machines of which all this is equal compute the same bits: kernels are chosen by the instructions that a
    processor has, and a virtual machine may hide some of those that its name promises.
    """
    found: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "instructions": _instructions(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
        found["gpu_memory_gib"] = round(torch.cuda.get_device_properties(device).total_memory / 2**30)
    return found


@cache
def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return platform.processor() or platform.machine()
    lines = (line.partition(":") for line in info.read_text().splitlines())
    found = {name.strip(): value.strip() for name, _, value in lines}
    name = found.get("model name", platform.machine())
    version = [
        f"{word.removeprefix('cpu ')} {found[word]}" for word in ("cpu family", "model", "stepping") if word in found
    ]
    return f"{name} ({', '.join(version)})" if version else name


@cache
def _instructions() -> str:
    """Return the widest instruction set that PyTorch found, and what it found for bfloat16."""
    cpu = torch.cpu
    extra = {"AVX512-bf16": cpu._is_avx512_bf16_supported, "AMX": cpu._is_amx_tile_supported}
    return " ".join([torch.backends.cpu.get_cpu_capability(), *(name for name, has in extra.items() if has())])
