"""The device at hand, what pays on it, and its description; the only file that says "cuda"."""

import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from transfusion_lib.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a run may use; recorded with it, never part of its key."""

    device: torch.device
    checkpoint_every_s: float = 20.0
    """Seconds between checkpoints: a killed run repeats at most this much."""


def resources(*, checkpoint_every_s: float = 20.0) -> Resources:
    """Return the best device of this machine, or the one that ``TRANSFUSION_DEVICE`` names ("cpu", "cuda:1")."""
    wanted = os.environ.get("TRANSFUSION_DEVICE")
    try:
        device = torch.device(wanted or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        raise UserError(f'TRANSFUSION_DEVICE="{wanted}" is no device; use cpu, cuda or cuda:0') from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f'TRANSFUSION_DEVICE="{wanted}": this machine has no CUDA device; unset it or use cpu')
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32: float32 runs at three times the speed
        torch.backends.cudnn.benchmark = True
    return Resources(device=device, checkpoint_every_s=checkpoint_every_s)


@cache
def bfloat16_pays() -> bool:
    """Whether bfloat16 autocast is faster than float32 here: any recent GPU, or a CPU with AVX512-bf16 or AMX.

    Elsewhere it is emulated: measured 2.5 times slower than float32 for CBR-Tiny on a CPU without it.
    """
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def memory_format(dims: int) -> torch.memory_format:
    """Return channels-last for images and volumes: CBR-Tiny trains 3.6 times faster on a CPU, and GPUs like it too."""
    return torch.channels_last if dims == 2 else torch.channels_last_3d


def synchronise(device: torch.device) -> None:
    """Wait until ``device`` has finished, so that a clock read after this is true."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that a device's or the machine's memory ran out."""
    return isinstance(error, torch.cuda.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def describe(device: torch.device) -> dict[str, Any]:
    """Return the machine in words: processor, cores, threads, memory in GiB, and the GPU if ``device`` is one."""
    found: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
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
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
