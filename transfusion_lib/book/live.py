"""Runs in a notebook: curves that grow while they train, a stop that loses nothing, one summary that stays.

Under the builder, which follows ``TRANSFUSION_PROGRESS``, the same progress is lines in its log and no page shows it.
"""

import logging
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.core.getipython import get_ipython
from IPython.display import HTML, display

from transfusion_lib import runs
from transfusion_lib.book.execute import PROGRESS
from transfusion_lib.book.learning import learning
from transfusion_lib.chapters.kit import style
from transfusion_lib.errors import InterruptedRunError
from transfusion_lib.markup import grid, text
from transfusion_lib.runs import Run, Standing, engines
from transfusion_lib.spec import RunSpec
from transfusion_lib.training import interrupts, metrics
from transfusion_lib.training.train import Progress

REDRAW_S = 1.0
LOG_S = 15.0


class Runs(list[Run]):
    """Runs as a notebook shows them, and as a table to plot from."""

    def frame(self) -> pd.DataFrame:
        """Return a row per run and evaluation: the fields in which the runs differ, by their paths, step and scores.

        Network, start and seed are there in any case: ``model.name``, ``init.method``, ``seed``.
        """
        specs = [run.spec.flat() | {"init.method": run.spec.init.method} for run in self]
        names = dict.fromkeys(["model.name", "init.method", "seed", *(name for spec in specs for name in spec)])
        told = list(names)[:3] + [one for one in list(names)[3:] if len({str(spec.get(one)) for spec in specs}) > 1]
        parts = [
            pd.DataFrame({one: _cell(spec.get(one)) for one in told} | run.curve)
            for spec, run in zip(specs, self, strict=True)
        ]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()

    def _repr_html_(self) -> str:
        """Show in a notebook a line for each: what it is, its score, its key."""
        scored = [(run, *metrics.headline(run.final, split="test")) for run in self]
        rows = [
            (runs.label(run.spec), run.spec.train.steps, f"{name.replace('_', ' ')} {score:.3f}", run.key[:12])
            for run, name, score in scored
        ]
        return grid(("run", "steps", "score", "key"), rows)


def train(specs: Sequence[RunSpec]) -> Runs:
    """Return the run of every spec, training what the store lacks while this cell shows how far it is.

    Interrupting the cell stops at the next step with checkpoints; running it again goes on from there.
    """
    reporter = Reporter()
    found = reporter.ensure(specs)
    display(HTML(reporter.summary()))
    return Runs(found)


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
        self.steps = 0
        self.score = ""
        self.standing = "looking for finished runs"
        self.drawn = 0.0
        self.place: Any = None

    def ensure(self, specs: Sequence[RunSpec]) -> list[Run]:
        """Return the runs of ``specs``; missing ones are trained and shown here."""
        self._draw(now=True)
        stopped = False
        try:
            with interrupts.on_sigint():
                return runs.ensure(specs, say=self.say, report=self.report, watch=self.watch, engine=engines.automatic)
        except InterruptedRunError as error:
            stopped, self.standing = True, f"stopped {error.where}"
            self._draw(now=True)
            raise InterruptedRunError(f"{self.standing}; run the cell again to go on", where=error.where) from None
        finally:
            if self.place is not None and not stopped:
                self.place.update(HTML(""))

    def say(self, line: str) -> None:
        """Note a line that tells where one run came from."""
        self.lines.append(line)
        self._log(line)

    def watch(self, standing: Standing) -> None:
        """Note how far the whole is."""
        self.standing = str(standing)
        self._draw(now=not self.curves)

    def report(self, spec: RunSpec, progress: Progress) -> None:
        """Show how far a run is."""
        self.score, score = metrics.headline(progress.curve)
        name = runs.label(spec)
        if self.file is None:
            self.curves[name] = (list(progress.curve["step"]), [_number(one) for one in progress.curve[self.score]])
            self.steps = max(self.steps, spec.train.steps)
        elif time.monotonic() - self.said > LOG_S:
            self._log(f"    {name}: step {progress.step} of {spec.train.steps}, {self.score} {score:.3f}")

    def _draw(self, *, now: bool = False) -> None:
        """Replace progress and curves in the cell, ``now`` or at most every second."""
        if self.file is not None or get_ipython() is None:
            return
        if not now and time.monotonic() - self.drawn < REDRAW_S:
            return
        shown = f"<p>{text(self.standing)}</p>"
        if self.curves:
            figure = style.svg(learning(self.curves, score=self.score, steps=self.steps))
            shown += figure[figure.index("<svg") :]
        if self.place is None:
            self.place = display(HTML(shown), display_id=True)
        else:
            self.place.update(HTML(shown))
        self.drawn = time.monotonic()

    def _log(self, line: str) -> None:
        self.said = time.monotonic()
        if self.file is not None:
            with self.file.open("a", encoding="utf-8") as log:
                log.write(line + "\n")

    def summary(self) -> str:
        """Return the page's record of where each run came from; a run that two lines are about counts once."""
        came: dict[str, str] = {}
        for line in self.lines:
            if found := re.search(
                r": (from the store|trained in|made by another process)\b.*?, ([0-9a-f]{12})\b", line
            ):
                came.setdefault(found[2], found[1])
        trained = list(came.values()).count("trained in")
        lines = "<br>".join(map(text, self.lines))
        return (
            f"<details><summary>{len(came)} {'run' if len(came) == 1 else 'runs'}: {trained} trained now, "
            f"{len(came) - trained} from the store, {time.monotonic() - self.began:.0f} s</summary>{lines}</details>"
        )


def _cell(value: object) -> object:
    """Return a field's value as a table has it: snapshots, which are several numbers, in words."""
    return str(value) if isinstance(value, tuple) else value


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
