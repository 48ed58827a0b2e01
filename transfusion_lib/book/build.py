"""Make the book, or one chapter of it: execute, check, render, check again, and only then give the path to open."""

import contextlib
import hashlib
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from string import ascii_uppercase
from types import MappingProxyType
from typing import Any

from filelock import FileLock, Timeout

from transfusion_lib.book import (
    address,
    check,
    compare,
    judging,
    landing,
    made,
    manual,
    networks,
    parameters,
    pilot,
    prepare,
    profiles,
    proof,
    reading,
    speed,
    status,
    verdicts,
)
from transfusion_lib.book.assemble import assemble, contents, write_contents
from transfusion_lib.book.assemble import pages as listed
from transfusion_lib.book.execute import Build, Kernels, Say, execute, need_extras
from transfusion_lib.book.profiles import Profile
from transfusion_lib.book.project import Chapter, Project, shown
from transfusion_lib.book.render import render
from transfusion_lib.chapters.kit import planned
from transfusion_lib.errors import BuildError
from transfusion_lib.spec import canonical_json
from transfusion_lib.training import device as devices


def book(
    project: Project,
    *,
    profile: str = profiles.BOOK,
    only: str | None = None,
    live: bool = False,
    say: Say,
) -> Path:
    """Build the book under a profile and return the page to open.

    ``only`` leaves all other chapters out, ``live`` trains also where the profile only reads records. A ``UserError``
    is a name that does not exist; a ``BuildError`` holds the chapter, cell and traceback, or the faults of the pages.
    """
    chosen = profiles.load(project, profile)
    chapters = [project.chapter(only)] if only else chosen.pages(project)
    plan = [(chapter, chosen.parameters(chapter)) for chapter in chapters]
    return _make(project, plan, chosen, project.build / "book", live=live, say=say) / "index.html"


def chapter(
    project: Project,
    name: str,
    *,
    assignments: Sequence[str] = (),
    profile: str = profiles.DEFAULT,
    live: bool = False,
    say: Say,
) -> Path:
    """Build a book of one chapter, with ``key=value`` assignments over the profile's, and return its page.

    Each set of parameters has a folder of its own under ``build/chapters``, so that two can be compared.
    """
    chosen = profiles.load(project, profile)
    one = project.chapter(name)
    values = chosen.parameters(one, assignments)
    text = canonical_json({"profile": profile, "parameters": parameters.effective(one, values)})
    folder = project.build / "chapters" / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    need_extras()
    prepare.check([(one, values)])
    return _make(project, [(one, values)], chosen, folder, live=live, say=say) / f"{one.page}.html"


def comparison(
    project: Project,
    name: str,
    sets: Sequence[str],
    *,
    assignments: Sequence[str] = (),
    profile: str = profiles.DEFAULT,
    live: bool = False,
    say: Say,
) -> Path:
    """Build a book of one chapter under each of several ``sets`` of parameters and return the page that compares them.

    ``assignments`` hold for all sets; ``compare.sets`` says what a set looks like.
    """
    chosen = profiles.load(project, profile)
    one = project.chapter(name)
    plan = [parameters.effective(one, v) for v in compare.sets(one, chosen.parameters(one, assignments), sets)]
    need_extras()
    prepare.check([(one, values) for values in plan])
    digest = hashlib.sha256(canonical_json({"profile": profile, "sets": plan}).encode()).hexdigest()
    trained = [name] if live else []
    build = Build(_new_id(), profile, project.build / "comparisons" / f"{name}-{digest[:8]}", trained=trained)
    with claimed(build.folder, say=say):
        return _compared(project, one, plan, chosen, build, say=say)


def _compared(
    project: Project, one: Chapter, plan: Sequence[Mapping[str, Any]], chosen: Profile, build: Build, *, say: Say
) -> Path:
    """Execute a chapter under each set of ``plan`` and render the page that compares them."""
    began = time.monotonic()
    _begin(project, [one], chosen, build)
    rows, columns = [], []
    kernels = Kernels(threads=devices.cores())
    for number, (letter, values) in enumerate(zip(ascii_uppercase, plan, strict=False), start=1):
        say(f"[{number}/{len(plan)}] {one.name}, set {letter}, profile {chosen.name}")
        part = replace(build, folder=build.folder / letter)
        part.source.mkdir(parents=True)
        shutil.copy(build.source / "glossary.md", part.source)
        executed = _executed(one, values, part, kernels, say=say)
        page = compare.name(one, letter)
        notebook = build.source / f"{page}.ipynb"
        notebook.parent.mkdir(exist_ok=True)
        shutil.copy(executed, notebook)
        rows.append({**status.record(one, notebook), "page": page, "title": f"{letter}: {one.title}"})
        columns.append(compare.Column(letter, values, notebook))
    pages = {row["page"]: one.page for row in rows}
    toc = compare.contents(contents(project, [one]), one, [column.letter for column in columns])
    write_contents(build, toc)
    (build.source / "index.md").write_text(compare.page(one, columns, build), encoding="utf-8")
    _finish(project, [], rows, toc, chosen, build, pages=pages, say=say)
    say(f"built in {time.monotonic() - began:.0f} s")
    return build.html / "index.html"


def _make(
    project: Project,
    plan: Sequence[tuple[Chapter, Mapping[str, Any]]],
    profile: Profile,
    folder: Path,
    *,
    live: bool,
    say: Say,
) -> Path:
    """Execute ``plan`` and render it in ``folder``; return the folder of the pages."""
    began = time.monotonic()
    need_extras()  # before the last book is removed
    chapters = [chapter for chapter, _ in plan]
    trained = [chapter.name for chapter in chapters if live or chapter.name in profile.trained]
    build = Build(id=_new_id(), profile=profile.name, folder=folder, trained=trained)
    live_part = [part for part in plan if profile.live or part[0].name in trained]
    with claimed(folder, say=say):
        toc = _begin(project, chapters, profile, build)
        prepare.train(live_part, say=say)
        rows = _execute(plan, build, say=say)
        proof.write(live_part, build, say=say)
        _finish(project, chapters, rows, toc, profile, build, say=say)
    say(f"built in {time.monotonic() - began:.0f} s")
    return build.html


@contextlib.contextmanager
def claimed(folder: Path, *, say: Say) -> Iterator[None]:
    """Hold the only claim on ``folder``, once another command that builds there is done.

    A folder that cannot be written, or goes meanwhile, is a ``BuildError``.
    """
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            say(f"another command makes {shown(folder)}; waiting until it is done")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()
    except OSError as error:
        why = error.strerror or str(error)
        gone = " (was it removed meanwhile?)" if isinstance(error, FileNotFoundError) else ""
        raise BuildError(
            f"{shown(folder)} cannot be written: {why}{gone}; make room and permission there, and start again. "
            "Finished runs are in the store"
        ) from error


def _begin(project: Project, chapters: Sequence[Chapter], profile: Profile, build: Build) -> dict[str, Any]:
    """Empty the folder of ``build``, put the pages there, and return the table of contents."""
    toc = contents(project, chapters)
    if build.folder.exists():
        shutil.rmtree(build.folder)
    assemble(project, chapters, profile, build)
    return toc


def _executed(chapter: Chapter, values: Mapping[str, Any], build: Build, kernels: Kernels, *, say: Say) -> Path:
    """Execute a chapter, hold it to the gate, and return its notebook as readers get it."""
    notebook = execute(chapter, values, build, kernels, say=say)
    check.executed(chapter, notebook, values, build)
    check.label(notebook)
    reading.prepare(notebook, build)
    return notebook


def _finish(
    project: Project,
    chapters: Sequence[Chapter],
    rows: Sequence[dict[str, Any]],
    toc: Any,
    profile: Profile,
    build: Build,
    *,
    pages: Mapping[str, str] = MappingProxyType({}),
    say: Say,
) -> None:
    """Write the generated pages, render all, and hold them to the gate; only then ``build.html`` is there.

    ``pages`` names for a page that is not called as its notebook the page that is.
    """
    study = planned.found(planned.plan())
    status.write(rows, profile, build, study=study)
    board = planned.board(study)
    for row in rows:
        verdicts.place(build.source / f"{row['page']}.ipynb", board)
    verdicts.write_scoreboard(chapters, board, build, plan=study.plan.hash)
    landing.write(study, board, build)
    pilot.write(project, build)
    networks.write(build)
    judging.write(build)
    manual.write(chapters, build)
    measured = speed.page(project.build / "bench", project.root / "results" / "bench")
    (build.source / "speed.md").write_text(measured, encoding="utf-8")
    say("rendering the pages")
    rendered = render(build)
    check.rendered(rendered, listed(toc), build)
    address.settle(rendered, project, pages)
    rendered.rename(build.html)
    made.write(build)


def _execute(plan: Sequence[tuple[Chapter, Mapping[str, Any]]], build: Build, *, say: Say) -> list[dict[str, Any]]:
    """Execute and check every chapter, several at once, and return the rows of the status page in their order.

    The first fault ends them all: kernels at work are stopped, and chapters that were not begun stay so.
    """
    at_once = min(len(plan), _at_once())
    failed: list[BaseException] = []

    def one(number: int, chapter: Chapter, values: Mapping[str, Any]) -> dict[str, Any]:
        said = f"[{number}/{len(plan)}] {chapter.name}"
        say(f"{said}, profile {build.profile}")
        inside = (lambda line: say(f"    {chapter.name}: {line}")) if at_once > 1 else (lambda line: say(f"    {line}"))
        try:
            row = status.record(chapter, _executed(chapter, values, build, kernels, say=inside))
        except BaseException as error:
            failed.append(error)
            kernels.stop()
            raise
        say(f"{said}: executed in {row['seconds']:.0f} s")
        return row

    threads = max(1, devices.cores() // at_once)
    kernels = Kernels(threads=threads)
    with ThreadPoolExecutor(at_once) as pool:
        begun = [pool.submit(one, number, *part) for number, part in enumerate(plan, start=1)]
        try:
            wait(begun, return_when=FIRST_EXCEPTION)
        finally:  # nothing is left of this unless a chapter failed, or the user interrupts
            pool.shutdown(wait=False, cancel_futures=True)
            if not all(done.done() for done in begun):
                kernels.stop()
    if failed:
        raise failed[0]
    return [done.result() for done in begun]


def _at_once() -> int:
    """Return how many chapters to execute at once: one where they share a GPU's memory, else one per core, up to 4."""
    return 1 if devices.resources().device.type != "cpu" else min(4, devices.cores())


def _new_id() -> str:
    """Return an id that no other build has: the time in UTC and four random hex digits."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
