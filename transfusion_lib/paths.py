"""Where this program keeps what it makes. Imports nothing of this package."""

import os
from pathlib import Path


def store_root() -> Path:
    """Return the folder of the run store: ``TRANSFUSION_STORE``, or ``.store`` in the checkout, or the user's cache.

    It does not depend on the working directory, so that a notebook finds the same runs from wherever it is opened.
    """
    if named := from_environment("TRANSFUSION_STORE"):
        return named
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / "pyproject.toml").is_file():
        return checkout / ".store"
    return _cache()


def from_environment(name: str) -> Path | None:
    """Return the place that an environment variable names, ``~`` resolved; None where it is not set, or to nothing."""
    text = os.environ.get(name, "").strip()
    return Path(text).expanduser().resolve() if text else None


def records_root() -> Path:
    """Return the folder of the published records, ``results`` in the checkout; a store that is only read."""
    return Path(__file__).resolve().parent.parent / "results"


def _cache() -> Path:
    return (from_environment("XDG_CACHE_HOME") or Path.home() / ".cache") / "transfusion"
