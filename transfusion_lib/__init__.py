"""Transfusion, reproduced: transfer learning for medical imaging, re-run claim by claim.

What an experiment of your own needs is here: specs that say what to run, and ``train``, which runs them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transfusion_lib.book.live import train
    from transfusion_lib.spec import DataSpec, InitSpec, ModelSpec, RunSpec, TrainSpec

__version__ = "0.1.0"
__all__ = ["DataSpec", "InitSpec", "ModelSpec", "RunSpec", "TrainSpec", "train"]


def __getattr__(name: str) -> Any:
    """Import a name at its first use: a command that only reads the store needs no notebook's packages."""
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module("transfusion_lib.book.live" if name == "train" else "transfusion_lib.spec"), name)
