"""Where this program keeps what it makes. Imports nothing of this package."""

import os
from pathlib import Path


def store_root() -> Path:
    """Return the folder of the run store: ``TRANSFUSION_STORE``, or ``.store`` in the checkout, or the user's cache.

    It does not depend on the working directory, so that a notebook finds the same runs from wherever it is opened.
    """
    named = os.environ.get("TRANSFUSION_STORE", "").strip()  # set to nothing is as good as not set
    if named:
        return Path(named).expanduser().resolve()
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / "pyproject.toml").is_file():
        return checkout / ".store"
    return _cache()


def records_root() -> Path:
    """Return the folder of the published records, ``results`` in the checkout; a store that is only read."""
    return Path(__file__).resolve().parent.parent / "results"


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "transfusion"
