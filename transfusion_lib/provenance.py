"""What made a result: commit, versions, machine. Recorded with each run and shown at the foot of each chapter."""

import importlib.metadata
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch

from transfusion_lib import device as devices

PACKAGES = ("torch", "torchvision", "timm", "numpy", "scikit-learn")


def record(device: torch.device) -> dict[str, Any]:
    """Return commit and dirty flag, versions, machine and the time in UTC, as JSON values."""
    return {
        **source(),
        "python": platform.python_version(),
        "versions": versions(),
        "machine": devices.describe(device),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@cache
def source() -> dict[str, Any]:
    """Return the commit of this checkout and whether files differ from it; None where there is no git."""
    commit = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no") if commit else None
    return {"commit": commit, "dirty": None if changed is None else bool(changed)}


@cache
def versions() -> dict[str, str]:
    """Return the versions of the packages that can change a number."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def _git(*words: str) -> str | None:
    """Return what git prints in the folder of this file, or None."""
    try:
        done = subprocess.run(
            ["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
