"""A request to stop, as SIGTERM makes it: training stops at its next step, with a checkpoint.

A signal is the whole process's, and so is this flag.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from transfusion_lib.errors import InterruptedRunError

_REQUESTED = threading.Event()


def request() -> None:
    """Ask this process's training to stop."""
    _REQUESTED.set()


def requested() -> bool:
    """Whether this process was asked to stop."""
    return _REQUESTED.is_set()


def check(where: str) -> None:
    """Raise ``InterruptedRunError`` if this process was asked to stop; ``where`` says what is kept."""
    if requested():
        raise InterruptedRunError(
            f"stopped on request {where}; finished runs and checkpoints are in the store, and the same command goes on "
            f"from there (exit status {InterruptedRunError.exit_status} asks a queue to start it again)"
        )


@contextlib.contextmanager
def on_sigterm() -> Iterator[None]:
    """Let the first SIGTERM in this block be a request to stop; a second one kills, as it always does."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        request()

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _REQUESTED.clear()
