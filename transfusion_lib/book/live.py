"""Runs in a notebook: curves that grow while they train, a stop that loses nothing, one summary that stays.

Under the builder, which follows ``TRANSFUSION_PROGRESS``, the same progress is lines in its log and no page shows it.
"""

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from IPython.core.getipython import get_ipython
from IPython.display import HTML, display

from transfusion_lib import runs
from transfusion_lib.book.execute import PROGRESS
from transfusion_lib.book.learning import learning
from transfusion_lib.chapters.kit import style
from transfusion_lib.markup import text
from transfusion_lib.runs import Run, Standing, engines
from transfusion_lib.spec import RunSpec
from transfusion_lib.training import interrupts, metrics
from transfusion_lib.training.train import Progress

REDRAW_S = 1.0
LOG_S = 15.0


def train(specs: Sequence[RunSpec]) -> list[Run]:
    """Return the run of every spec, training what the store lacks while this cell shows how far it is.

    Interrupting the cell stops at the next step with checkpoints; running it again goes on from there.
    """
    with Reporter() as reporter:
        found = reporter.ensure(specs)
    display(HTML(reporter.summary()))
    return found


def keep_warnings() -> None:
    """Send warnings to the builder's log instead of the page: what a package says of a user's files is no fault."""
    if file := os.environ.get(PROGRESS):
        logging.basicConfig(filename=file, level=logging.WARNING, format="    warning: %(message)s", force=True)
        logging.captureWarnings(True)


class Reporter:
    """Progress of a list of runs: growing curves in a live session, lines in the builder's log, one summary."""

    def __init__(self) -> None:
        self.began = self.said = time.monotonic()
        self.lines: list[str] = []
        self.file = Path(os.environ[PROGRESS]) if os.environ.get(PROGRESS) else None
        self.curves: dict[str, tuple[list[int], list[float]]] = {}
        self.score = ""
        self.standing = ""
        self.drawn = 0.0
        self.place: Any = None

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(self, *_: object) -> None:
        if self.place is not None:
            self.place.update(HTML(""))

    def ensure(self, specs: Sequence[RunSpec]) -> list[Run]:
        """Return the runs of ``specs``; what is missing is trained, and shown here."""
        with interrupts.on_sigint():
            return runs.ensure(specs, say=self.say, report=self.report, watch=self.watch, engine=engines.automatic)

    def say(self, line: str) -> None:
        """Note a line that tells where one run came from."""
        self.lines.append(line)
        self._log(line)

    def watch(self, standing: Standing) -> None:
        """Note how far the whole is."""
        self.standing = str(standing)

    def report(self, spec: RunSpec, progress: Progress) -> None:
        """Show how far a run is."""
        self.score, score = metrics.headline(progress.curve)
        name = runs.label(spec)
        if self.file is None:
            self.curves[name] = (list(progress.curve["step"]), [_number(one) for one in progress.curve[self.score]])
            self._draw()
        elif time.monotonic() - self.said > LOG_S:
            self._log(f"    {name}: step {progress.step} of {spec.train.steps}, {self.score} {score:.3f}")

    def _draw(self) -> None:
        """Put the curves into the cell, in place of the last ones and at most every second."""
        if get_ipython() is None or time.monotonic() - self.drawn < REDRAW_S:
            return
        figure = style.svg(learning(self.curves, score=self.score))
        shown = HTML(f"<p>{text(self.standing)}</p>{figure[figure.index('<svg') :]}")
        if self.place is None:
            self.place = display(shown, display_id=True)
        else:
            self.place.update(shown)
        self.drawn = time.monotonic()

    def _log(self, line: str) -> None:
        self.said = time.monotonic()
        if self.file is not None:
            with self.file.open("a", encoding="utf-8") as log:
                log.write(line + "\n")

    def summary(self) -> str:
        """Return the page's record of where each run came from."""
        trained = sum(": trained in" in line for line in self.lines)
        lines = "<br>".join(map(text, self.lines))
        return (
            f"<details><summary>{len(self.lines)} runs: {trained} trained now, {len(self.lines) - trained} from the "
            f"store, {time.monotonic() - self.began:.0f} s</summary>{lines}</details>"
        )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
