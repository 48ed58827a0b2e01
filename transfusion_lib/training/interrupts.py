"""A request to stop, as SIGTERM and a notebook's stop button make it.

Training stops at its next step, with a checkpoint.

A signal is the whole process's, and so is this flag.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

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
            f"from there (exit status {InterruptedRunError.exit_status} asks a queue to start it again)",
            where=where,
        )


@contextlib.contextmanager
def on_sigterm() -> Iterator[None]:
    """Let the first SIGTERM in this block be a request to stop; a second one kills, as it always does."""
    with _on(signal.SIGTERM, then=signal.SIG_DFL):
        yield


@contextlib.contextmanager
def on_signals() -> Iterator[None]:
    """Let the first SIGTERM or Ctrl-C in this block be a request to stop; a second one ends the process."""
    with on_sigterm(), on_sigint():
        yield


@contextlib.contextmanager
def on_sigint() -> Iterator[None]:
    """Let the first interrupt in this block, a notebook's stop button, be a request; a second one is Python's own."""
    if threading.current_thread() is not threading.main_thread():  # no signal arrives there
        yield
        return
    with _on(signal.SIGINT, then=signal.default_int_handler):
        yield


@contextlib.contextmanager
def _on(number: signal.Signals, *, then: Any) -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        signal.signal(number, then)
        request()

    before = signal.signal(number, stop)
    try:
        yield
    finally:
        signal.signal(number, before)
        _REQUESTED.clear()
