"""Errors that say what was asked, what exists, and the repair.

Imports nothing of this package. The command line turns each into one line and an exit status:
2 for a mistake of the user's, 1 for a failure.
"""

import difflib
from collections.abc import Iterable
from unicodedata import category


def printable(text: str) -> str:
    """Return ``text`` with control characters written out, so that a name can neither break a line nor a terminal."""
    return "".join(c if c.isprintable() or category(c) == "Zs" else ascii(c)[1:-1] for c in text)


def brief(value: object, *, width: int = 120) -> str:
    """Return the ``repr`` of a value that a user gave, its end left out where it is long."""
    text = repr(value[: width + 1] if isinstance(value, str | bytes) else value)
    return text if len(text) <= width else f"{text[:width]} ..."


class TransfusionError(Exception):
    """A failure that is not the user's: exit status 1."""

    exit_status = 1

    def _render_traceback_(self) -> list[str]:
        """Show in a notebook what the message says, and no traceback: IPython asks for these lines."""
        return [printable(line) for line in f"{type(self).__name__}: {self}".split("\n")]


class UserError(TransfusionError):
    """A mistake that the user can repair: exit status 2."""

    exit_status = 2


class SpecError(UserError):
    """A spec that does not validate, or names what does not exist."""


class ParameterError(UserError):
    """A chapter's parameter that is unknown or of the wrong type."""


class DataError(UserError):
    """A data set that is missing or malformed; names the file, the row and the repair."""


class WeightsError(UserError):
    """Pretrained weights that are missing, damaged or of another shape."""


class MeasureError(UserError):
    """A measure or a statistic asked of numbers for which it is not defined."""


class MissingExtraError(UserError):
    """An optional package that is not installed; the message holds the install line."""


class MissingRunError(UserError):
    """A run that the store lacks where training is forbidden; the message holds the command that makes it."""


class StoreError(TransfusionError):
    """The run store cannot be read or written."""


class DamagedError(StoreError):
    """A finished thing is not what was written; ``transfusion verify`` sets it aside."""


class TrainingError(TransfusionError):
    """Training stopped: a loss that is not finite, or memory that ran out."""


class InterruptedRunError(TransfusionError):
    """Training stopped on request, with a checkpoint; 75 is EX_TEMPFAIL: start the same command again."""

    exit_status = 75

    def __init__(self, text: str, *, where: str) -> None:
        super().__init__(text)
        self.where = where
        """How far training was, for messages that say in other words how to go on."""


class ToldError(TransfusionError):
    """The first process of a team failed, and says so itself."""

    def __init__(self, text: str, *, exit_status: int) -> None:
        super().__init__(text)
        self.exit_status = exit_status


class ClaimedError(TransfusionError):
    """Another process works on this run now."""


class BuildError(TransfusionError):
    """A chapter failed, did not run, or is stale; the book is not built."""


def did_you_mean(asked: str, known: Iterable[str]) -> str:
    """Return ``; did you mean "x"?`` for the nearest known name, or an empty string when none is near."""
    near = difflib.get_close_matches(asked, list(known), n=1, cutoff=0.5)
    return f'; did you mean "{near[0]}"?' if near else ""


def unknown(kind: str, asked: str, known: Iterable[str]) -> str:
    """Return the message for an unknown name: what was asked, the nearest one, and all that exist."""
    names = list(known)
    return f'unknown {kind} "{asked}"{did_you_mean(asked, names)} Known: {", ".join(names)}.'.replace(
        '" Known', '". Known'
    )
