"""Train what the chapters of a book lack, before any of them is executed.

Chapters would train it themselves, each its own. All of it as one list keeps every core busy to the end, starts each
worker once, and leaves chapters so little to do that several can be executed side by side.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from transfusion_lib import chapters, runs
from transfusion_lib.book import parameters
from transfusion_lib.book.execute import Say
from transfusion_lib.book.project import Chapter
from transfusion_lib.chapters.kit.study import Study
from transfusion_lib.errors import InterruptedRunError, StoreError, TransfusionError, UserError
from transfusion_lib.runs import Run, Standing, engines
from transfusion_lib.spec import RunSpec
from transfusion_lib.training import interrupts

SILENCE_S = 30.0  # after which the log says how far all runs are


def train(plan: Sequence[tuple[Chapter, Mapping[str, Any]]], *, say: Say) -> None:
    """Train every run that a chapter of ``plan`` will ask for and the store lacks, searches' later stages included.

    A study that cannot be made, for want of data or with a wrong value, is left to its chapter, which says so with
    its cell; so is a run that fails.
    """
    wanted = studies(plan)
    asked = {name: specs for name, study in wanted.items() if (specs := _known(study))}
    found: dict[str, list[Run]] = {name: [] for name in asked}
    with interrupts.on_signals():
        while asked:
            try:
                _ensure([spec for specs in asked.values() for spec in specs], say=say)
                for name, specs in asked.items():
                    found[name] += [runs.load(spec) for spec in specs]
                asked = {name: more for name in asked if (more := wanted[name].then(found[name]))}
            except (StoreError, InterruptedRunError):
                raise
            except TransfusionError:
                return


def check(plan: Sequence[tuple[Chapter, Mapping[str, Any]]]) -> None:
    """Raise an error for a chapter's wrong parameters, before a page is removed or a run trained."""
    for chapter, values in plan:
        if chapter.name in chapters.TABLE:
            try:
                chapters.TABLE[chapter.name].of(parameters.effective(chapter, values)).specs()
            except UserError as error:
                said = f"chapter {chapter.name}: "
                raise type(error)(said + str(error).removeprefix(said)) from None


def studies(plan: Sequence[tuple[Chapter, Mapping[str, Any]]]) -> dict[str, Study]:
    """Return the studies of chapters by name, without those that cannot be made: their chapters say why."""
    found = {}
    for chapter, values in plan:
        try:
            if chapter.name in chapters.TABLE:
                found[chapter.name] = chapters.TABLE[chapter.name].of(parameters.effective(chapter, values))
        except TransfusionError:
            continue
    return found


def _known(study: Study) -> list[RunSpec]:
    """Return the runs of a study, none where their data or weights are not at hand."""
    try:
        specs = study.specs()
        for spec in specs:
            runs.key(spec)
    except TransfusionError:
        return []
    return specs


def _ensure(specs: Sequence[RunSpec], *, say: Say) -> None:
    plan = runs.todo(specs)
    missing = [one.spec for one in plan if one.state != "done"]
    if not missing:
        return
    say(f"training the {len(missing)} runs that the store lacks; it has {len(plan) - len(missing)}")
    spoke = time.monotonic()

    def told(line: str) -> None:
        nonlocal spoke
        spoke = time.monotonic()
        say(f"    {line}")

    def watch(standing: Standing) -> None:
        if time.monotonic() - spoke > SILENCE_S:
            told(str(standing))

    runs.ensure(missing, say=told, watch=watch, engine=engines.automatic)
