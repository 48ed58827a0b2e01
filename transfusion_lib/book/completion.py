"""What a shell completes: names of chapters, profiles and engines, and a chapter's parameters."""

from typing import Any

import typer

from transfusion_lib.book import project


def chapters(incomplete: str) -> list[str]:
    """Return the names of chapters that begin so."""
    return [name for name in project.find().chapter_names if name.startswith(incomplete)]


def profiles(incomplete: str) -> list[str]:
    """Return the names of profiles that begin so."""
    from transfusion_lib.book.profiles import names  # brings Pydantic, which --help can do without

    return [name for name in names(project.find()) if name.startswith(incomplete)]


def engines(incomplete: str) -> list[str]:
    """Return the names of engines that begin so."""
    return [name for name in ("auto", "here", "processes", "ray") if name.startswith(incomplete)]


def parameters(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete ``-p ste`` to ``steps=``, and ``-p steps=`` to its default, from the chapter's own cell."""
    from transfusion_lib.book.parameters import declared

    name, equals, _ = incomplete.partition("=")
    given = (ctx.params.get("name"), *ctx.args)  # an unfinished -p leaves the name unparsed
    chapter = next(filter(None, given), None)
    here = project.find()
    if chapter not in here.chapter_names:
        return []
    found = declared(here.chapter(chapter))
    if equals:
        return [f"{one.name}={one.example}" for one in found if one.name == name]
    return [f"{one.name}=" for one in found if one.name.startswith(incomplete)]


CHAPTERS: dict[str, Any] = {"autocompletion": chapters}
PROFILES: dict[str, Any] = {"autocompletion": profiles, "metavar": "PROFILE"}
ENGINES: dict[str, Any] = {"autocompletion": engines, "metavar": "ENGINE"}
PARAMETERS: dict[str, Any] = {"autocompletion": parameters, "metavar": "KEY=VALUE"}
"""Of an argument or option of the command line."""
