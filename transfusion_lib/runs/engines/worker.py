"""A worker process: ``python -m transfusion_lib.runs.engines.worker``. Reads specs, a line each, and trains them.

When its engine is gone, its input ends: it stops at the next step with a checkpoint, as it does on SIGTERM.
"""

import contextlib
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from queue import SimpleQueue
from typing import TextIO

from transfusion_lib.errors import InterruptedRunError
from transfusion_lib.runs.engines import messages
from transfusion_lib.runs.store import Store
from transfusion_lib.runs.trainer import Trainer
from transfusion_lib.spec import RunSpec
from transfusion_lib.training import device as devices
from transfusion_lib.training import interrupts


def main() -> None:
    """Train the specs that come in on standard input, in the store and with the checkpoints that the words name."""
    root, checkpoint_every_s = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the engine decides what it means
    with contextlib.suppress(InterruptedRunError, BrokenPipeError), interrupts.on_sigterm():
        _work(Trainer(Store(Path(root)), devices.resources(checkpoint_every_s=float(checkpoint_every_s))), _answers())
        return
    sys.exit(InterruptedRunError.exit_status)


def _work(trainer: Trainer, out: TextIO) -> None:
    """Answer every spec with its progress and what became of it."""

    def send(message: messages.Message) -> None:
        out.write(messages.encode(message))
        out.flush()

    lines = _lines()
    send({"what": "ready"})
    while (line := lines.get()) is not None:
        try:
            made = trainer.train(RunSpec.from_json(line), lambda progress: send(messages.progress(progress)))
        except (InterruptedRunError, BrokenPipeError):
            raise
        except Exception as error:  # whatever it is, the engine decides: the other runs go on
            traceback.print_exc()
            send(messages.failure(error))
        else:
            send(messages.made(made))


def _lines() -> "SimpleQueue[str | None]":
    """Return the lines of standard input as they come, None at its end, which is also a request to stop."""
    lines: SimpleQueue[str | None] = SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        interrupts.request()
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    return lines


def _answers() -> TextIO:
    """Return standard output for messages alone: what libraries print goes to standard error."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return out


if __name__ == "__main__":
    main()
