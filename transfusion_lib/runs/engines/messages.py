"""What a worker and its engine tell each other, a JSON object a line: nothing is pickled.

To a worker: the spec of a run. From it: ``ready``, ``progress``, ``made``, ``claimed``, ``failed``.
"""

import json
from dataclasses import asdict
from typing import Any

from transfusion_lib import errors
from transfusion_lib.errors import ClaimedError, TrainingError, TransfusionError
from transfusion_lib.runs.grid import Grid, Job
from transfusion_lib.runs.trainer import Made
from transfusion_lib.training.train import Progress

Message = dict[str, Any]


def progress(found: Progress) -> Message:
    """Return the message that a run was evaluated."""
    return {"what": "progress", "progress": vars(found)}


def made(found: Made) -> Message:
    """Return the message that a run is in the store."""
    return {"what": "made", "made": asdict(found)}


def failure(error: Exception) -> Message:
    """Return the message that a run failed, or that another process trains it."""
    if isinstance(error, ClaimedError):
        return {"what": "claimed"}
    known = isinstance(error, TransfusionError)
    return {"what": "failed", "type": type(error).__name__, "text": str(error), "known": known}


def encode(message: Message) -> str:
    """Return one line."""
    return json.dumps(message) + "\n"


def decode(line: str) -> Message:
    """Return the message of one line."""
    message: Message = json.loads(line)
    return message


def tell(grid: Grid, job: Job, message: Message) -> bool:
    """Tell the grid what a worker said of its job; return whether the worker is free again."""
    match message["what"]:
        case "progress":
            grid.report(job, Progress(**message["progress"]))
            return False
        case "made":
            grid.made(job, Made(**message["made"]))
        case "claimed":
            grid.claimed(job)
        case _:
            grid.fail(job, _error(message))
    return True


def _error(message: Message) -> Exception:
    """Return the error that a message tells of, of its own type where it is one of ours."""
    if message["known"]:
        kind: type[TransfusionError] = getattr(errors, message["type"])
        return kind(message["text"])
    return TrainingError(f"{message['type']}: {message['text']}")
