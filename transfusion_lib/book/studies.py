"""The study of a chapter by its name: with the parameters of a profile and those given, what it may be asked for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from transfusion_lib import chapters, paths
from transfusion_lib.book import compare, parameters, profiles, project
from transfusion_lib.chapters.kit.allowed import allowed as words_for
from transfusion_lib.chapters.kit.study import Study
from transfusion_lib.errors import UserError, unknown
from transfusion_lib.runs import Todo
from transfusion_lib.runs.records import Records
from transfusion_lib.runs.store import Store, open_store
from transfusion_lib.spec import RunSpec


def named(name: str, *, profile: str, assignments: Iterable[str] = ()) -> Study:
    """Return a chapter's study with the parameters of a profile and those given over them."""
    here = project.find()
    return _with(name, profiles.load(here, profile).parameters(here.chapter(name), assignments))


def of_sets(name: str, sets: Sequence[str], *, profile: str, assignments: Iterable[str] = ()) -> list[Todo]:
    """Return how the runs of a chapter under several sets of parameters stand, each run once."""
    here = project.find()
    chapter = here.chapter(name)
    wanted = compare.sets(chapter, profiles.load(here, profile).parameters(chapter, assignments), sets)
    plans = [_with(name, values).todo() for values in wanted]
    return list({one.key: one for plan in plans for one in plan}.values())


def listed(name: str, *, profile: str, assignments: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Return a chapter's parameters, a row each: value, type, default, what it may be, and its meaning."""
    here = project.find()
    chapter = here.chapter(name)
    values = parameters.effective(chapter, profiles.load(here, profile).parameters(chapter, assignments))
    words = allowed(name)
    return [
        {"name": one.name, "value": values[one.name], "type": one.type, "default": one.default,
         "allowed": words.get(one.name, ""), "meaning": one.meaning}
        for one in parameters.declared(chapter)
    ]  # fmt: skip


def allowed(chapter: str) -> dict[str, str]:
    """Return for each parameter of a chapter what it may be, in words; nothing for a chapter that trains nothing."""
    return words_for(chapters.TABLE[chapter]) if chapter in chapters.TABLE else {}


def publish(profile: str | None, *, prune: bool) -> Iterator[str]:
    """Copy the runs of a profile's book, or of the study, into the records, and yield what was done in words.

    With ``prune`` the records lose the runs that neither this book nor the study reads.
    """
    from transfusion_lib.chapters.kit import planned  # reads tables, which a machine that only trains cannot

    source, folder = open_store(), paths.records_root()
    recorded = Records(folder)
    of_study = planned.made(planned.plan(), store=source) if profile is None or prune else {}
    read = of_study if profile is None else _read_by(profile, recorded, source=source)
    runs, analyses = recorded.publish(read, source=source)
    several = len({spec for specs in read.values() for spec in specs})
    what = "cells of the study" if profile is None else f"studies of {profile}"
    yield f"{folder}: {runs} new runs, {analyses} new analyses; {several} runs in {len(read)} {what}"
    if profile is None:
        from transfusion_lib.book import landing  # draws, which a machine that only trains cannot

        landing.draw(planned.found(planned.plan()), project.find().pages / "_static")
    if prune:
        runs, analyses = recorded.prune(read | of_study)
        yield f"removed: {runs} runs that no page reads, {analyses} analyses of them"


def _read_by(profile: str, recorded: Records, *, source: Store) -> dict[str, list[RunSpec]]:
    """Return the runs that each chapter of a profile's book reads, by chapter and profile."""
    here = project.find()
    chosen = profiles.load(here, profile)
    return {
        f"{chapter.name}/{profile}": [
            made.spec
            for made in _with(chapter.name, chosen.parameters(chapter)).ensure(
                lambda asked: recorded.at_hand(asked, source=source)
            )
        ]
        for chapter in chosen.pages(here)
        if chapter.name in chapters.TABLE
    }


def _with(name: str, values: Mapping[str, Any]) -> Study:
    """Return a study with ``values`` in place of its chapter's defaults."""
    whole = parameters.effective(project.find().chapter(name), values)
    if name not in chapters.TABLE:
        raise UserError(f"chapter {name} trains nothing. {unknown('study', name, chapters.TABLE)}")
    return chapters.TABLE[name](**whole)
