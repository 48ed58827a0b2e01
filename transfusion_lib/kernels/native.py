"""C++ of this package, compiled where it is first used by the compiler that is there.

No compiler is demanded: without one there is no library, and the caller computes by PyTorch's layers.
"""

import contextlib
import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from transfusion_lib import places

LANES = 16
"""Channels that ``vectors.h`` computes at once: maps have a multiple of them."""

NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
"""How functions for numbers of a type are called."""

# Without fused multiplications and additions every processor computes the same bits.
FLAGS = ("-std=c++17", "-O3", "-ffp-contract=off", "-fPIC", "-w")
WISHES = (("-march=native", "-fopenmp"), ("-march=native",), ())
"""What a compiler may not know: Apple's has no OpenMP, some have no native architecture. Tried in turn."""
FOLDER = Path(__file__).parent
PATIENCE = 120  # seconds; it takes one


def available() -> bool:
    """Tell whether this machine could compile all sources."""
    return all(library(source.stem) is not None for source in sorted(FOLDER.glob("*.cpp")))


def call(source: str, function: str, *arguments: Tensor | float | tuple[int, ...] | None) -> None:
    """Call a function of ``source``: tensors are their memory, which the caller has to lay out, tuples are int64.

    None is no memory.
    """
    typed: list[object] = []
    for argument in arguments:
        if argument is None or isinstance(argument, Tensor):
            typed.append(ctypes.c_void_p(None if argument is None else argument.data_ptr()))
        elif isinstance(argument, tuple):
            typed.append((ctypes.c_int64 * len(argument))(*argument))
        else:
            typed.append(ctypes.c_float(argument))
    getattr(library(source), function)(*typed)


@cache
def library(name: str) -> ctypes.CDLL | None:
    """Return ``name``.cpp compiled, from the user's cache where it was compiled before; None where it cannot be."""
    source, compiler = FOLDER / f"{name}.cpp", _compiler()
    if compiler is None:
        return None
    kept = _kept(f"{name}-{_digest(source, compiler)}.so")
    if kept is not None:
        with contextlib.suppress(OSError):
            return ctypes.CDLL(str(kept))
    with tempfile.TemporaryDirectory() as folder:
        for made in _compiled(source, compiler, Path(folder)):
            with contextlib.suppress(OSError):  # it may be compiled and yet lack what it needs
                loaded = ctypes.CDLL(str(made))
                if kept is not None:
                    _keep(made, kept)
                return loaded
    return None


def _compiler() -> list[str] | None:
    """Return the command of the C++ compiler, ``CXX`` or the system's."""
    named = shlex.split(os.environ.get("CXX", ""))
    found = [path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))]
    return named or found[:1] or None


def _kept(name: str) -> Path | None:
    """Return where a library is kept; None for a user without a home."""
    try:
        return places.compiled_root() / name
    except RuntimeError:
        return None


def _digest(source: Path, compiler: list[str]) -> str:
    """Return a name for what ``compiler`` makes of ``source`` on a processor like this one."""
    processor = platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor += next(line for line in lines if line.startswith(("flags", "Features")))
    read = (path.read_text(encoding="utf-8") for path in (source, *sorted(FOLDER.glob("*.h"))))
    described = (*read, *compiler, *FLAGS, str(WISHES), processor)
    return hashlib.sha256("\0".join(described).encode()).hexdigest()[:16]


def _compiled(source: Path, compiler: list[str], folder: Path) -> Iterator[Path]:
    """Yield libraries of ``source``, the fastest that ``compiler`` can make first."""
    for number, wishes in enumerate(WISHES):
        object_file, made = folder / f"{number}.o", folder / f"{number}.so"
        compiling = [*compiler, *FLAGS, *wishes, "-c", str(source), "-o", str(object_file)]
        # Not linked with OpenMP: the process has PyTorch's already, and two would both keep threads on each core.
        linking = [*compiler, "-shared", str(object_file), "-o", str(made)]
        try:
            for command in (compiling, linking):
                subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
        except (OSError, subprocess.SubprocessError):
            continue
        yield made


def _keep(made: Path, kept: Path) -> None:
    """Put a library where the next process finds it, in one step; a cache that is full or read-only stays without."""
    with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            shutil.copy(made, Path(folder) / kept.name)
            (Path(folder) / kept.name).replace(kept)
