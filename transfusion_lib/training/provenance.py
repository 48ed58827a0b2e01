"""What made a result: commit, versions, machine. Recorded with each run and shown at the foot of each chapter."""

import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch

from transfusion_lib.paths import store_root
from transfusion_lib.training import device as devices
from transfusion_lib.training.device import Resources

PACKAGES = ("torch", "torchvision", "timm", "numpy", "scikit-learn")


def record(device: torch.device) -> dict[str, Any]:
    """Return commit and dirty flag, versions, machine and the time in UTC, as JSON values."""
    return {
        **source(),
        "python": platform.python_version(),
        "versions": versions(),
        "machine": devices.describe(device),
        "finished": _now(),
    }


def here() -> dict[str, Any]:
    """Return what a report of a mistake should say of this installation, by name."""
    made = record(devices.resources().device)
    commit = f"{made['commit']}{' with changes' if made['dirty'] else ''}"
    return {"commit": commit, "python": made["python"], **made["versions"], **made["machine"],
            "store": str(store_root())}  # fmt: skip


def sitting(resources: Resources, *, step: int) -> dict[str, Any]:
    """Return the record of a sitting that begins at ``step``: process, machine, versions; ``seen`` keeps it current.

    A run that is never stopped has one sitting. Its machine says how many threads, and how many processes of a team.
    """
    made = record(resources.device)
    if resources.team.size > 1:
        made["machine"]["processes"] = resources.team.size
    return {"first_step": step, "last_step": step, "started": made["finished"], **made}


def seen(sitting: dict[str, Any], *, step: int) -> None:
    """Note in a sitting that the run has come to ``step`` now."""
    sitting |= {"last_step": step, "finished": _now()}


def of(sittings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the provenance of a run: what its last sitting recorded, and all of them under ``sittings``."""
    last = {name: value for name, value in sittings[-1].items() if name not in ("first_step", "last_step", "started")}
    return {**last, "sittings": list(sittings)}


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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _git(*words: str) -> str | None:
    """Return what git prints in the folder of this file, or None."""
    try:
        done = subprocess.run(
            ["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
