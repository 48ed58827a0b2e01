"""Make the book, or one chapter of it: execute, check, render, check again, and only then give the path to open."""

import hashlib
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from transfusion_lib.book import (
    address,
    check,
    manual,
    networks,
    parameters,
    profiles,
    reading,
    speed,
    status,
    verdicts,
)
from transfusion_lib.book.assemble import assemble, contents, pages
from transfusion_lib.book.execute import Build, Say, execute, need_extras
from transfusion_lib.book.profiles import Profile
from transfusion_lib.book.project import Chapter, Project
from transfusion_lib.book.render import render
from transfusion_lib.spec import canonical_json


def book(
    project: Project, *, profile: str = profiles.DEFAULT, only: str | None = None, live: bool = False, say: Say
) -> Path:
    """Build the book under a profile and return the page to open.

    ``only`` leaves all other chapters out, ``live`` trains also where the profile only reads records. A ``UserError``
    is a name that does not exist; a ``BuildError`` holds the chapter, cell and traceback, or the faults of the pages.
    """
    chosen = profiles.load(project, profile)
    wanted = project.chapter_names if chosen.chapters is None else chosen.chapters
    chapters = [project.chapter(only)] if only else [one for one in project.chapters if one.name in wanted]
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
    values = resolve(one, chosen, assignments)
    text = canonical_json({"profile": profile, "parameters": parameters.effective(one, values)})
    folder = project.build / "chapters" / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return _make(project, [(one, values)], chosen, folder, live=live, say=say) / f"{one.page}.html"


def resolve(chapter: Chapter, profile: Profile, assignments: Sequence[str] = ()) -> dict[str, Any]:
    """Return the values that replace a chapter's defaults: those of the profile, then the assignments'."""
    return profile.parameters(chapter) | parameters.given(chapter, assignments)


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
    build = Build(id=_new_id(), profile=profile.name, folder=folder, live=live)
    chapters = [chapter for chapter, _ in plan]
    toc = contents(project, chapters)
    if folder.exists():
        shutil.rmtree(folder)
    assemble(project, chapters, profile, build)
    rows = []
    for number, (chapter, values) in enumerate(plan, start=1):
        say(f"[{number}/{len(plan)}] {chapter.name}, profile {profile.name}")
        notebook = execute(chapter, values, build, say=say)
        check.executed(chapter, notebook, values, build)
        check.label(notebook)
        reading.prepare(notebook, build)
        verdicts.place(notebook, build)
        rows.append(status.record(chapter, notebook))
        say(f"    executed in {rows[-1]['seconds']:.0f} s")
    status.write(rows, profile, build)
    verdicts.write_scoreboard(chapters, build)
    networks.write(build)
    manual.write(chapters, build)
    measured = speed.page(project.build / "bench", project.root / "results" / "bench")
    (build.source / "speed.md").write_text(measured, encoding="utf-8")
    say("rendering the pages")
    made = render(build)
    check.rendered(made, pages(toc), build)
    address.check(made, project)
    made.rename(build.html)
    say(f"built in {time.monotonic() - began:.0f} s")
    return build.html


def _new_id() -> str:
    """Return an id that no other build has: the time in UTC and four random hex digits."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
