"""Profiles: named sets of chapter parameters, ``book/profiles/NAME.toml``. They choose parameters, never code paths.

The builder names the profile to a chapter's kernel in ``TRANSFUSION_PROFILE``; a notebook opened by hand has none,
and that is ``live``, whose parameters are the notebooks' own defaults.
"""

import os
import tomllib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from transfusion_lib.book import parameters
from transfusion_lib.book.project import Chapter, Project, find
from transfusion_lib.errors import ParameterError, UserError, unknown

VARIABLE = "TRANSFUSION_PROFILE"
LIVE = "TRANSFUSION_LIVE"
"""Set where a profile of records is to be trained, so that its records can be published."""
DEFAULT = "live"
BOOK = "published"
"""The profile of a book, unless another is asked for."""


class Profile(BaseModel):
    """What a profile's file says."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    description: str
    """One sentence: what is computed, on what data, at what cost."""
    live: bool
    """Whether chapters may train what the store lacks; otherwise they read the published records and nothing else."""
    pilot: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Chapters whose records are the pilot's; their pages say so at their head."""
    trained: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Chapters that are trained here also where the others read records: the reader's proof that this is no replay."""
    chapters: Annotated[tuple[str, ...] | None, Field(strict=False)] = None
    """The chapters that the profile has parameters for; None is all."""
    chapter: Annotated[Mapping[str, dict[str, Any]], Field(default_factory=dict)]
    """Parameters by chapter, where they differ from the notebook's own."""

    def parameters(self, chapter: Chapter, assignments: Iterable[str] = ()) -> dict[str, Any]:
        """Return what this profile changes in ``chapter``, typed, and over it what ``key=value`` assignments change.

        A ``ParameterError`` names the profile's file, or the assignment.
        """
        try:
            own = parameters.checked(chapter, _with_nulls(self.chapter.get(chapter.name, {})))
        except ParameterError as error:
            raise ParameterError(f"book/profiles/{self.name}.toml: {error}") from None
        return own | parameters.given(chapter, assignments)

    def pages(self, project: Project) -> list[Chapter]:
        """Return the profile's chapters in reading order."""
        return [one for one in project.chapters if self.chapters is None or one.name in self.chapters]


def _with_nulls(value: Any) -> Any:
    """Return a value of TOML, which has no null, with None for each "None" in it."""
    match value:
        case dict():
            return {name: _with_nulls(one) for name, one in value.items()}
        case list():
            return [_with_nulls(one) for one in value]
        case _:
            return None if value == "None" else value


def names(project: Project) -> list[str]:
    """Return the names of all profiles."""
    return sorted(path.stem for path in (project.pages / "profiles").glob("*.toml"))


def load(project: Project, name: str = DEFAULT) -> Profile:
    """Return the profile called ``name``; a ``UserError`` names the profiles that exist, or the fault in its file."""
    if name not in names(project):
        raise UserError(unknown("profile", name, names(project)))
    file = project.pages / "profiles" / f"{name}.toml"
    try:
        profile = Profile(name=name, **tomllib.loads(file.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, ValidationError, TypeError) as error:
        raise UserError(f"book/profiles/{name}.toml: {error}") from None
    for chapter in (*profile.chapter, *(profile.chapters or ()), *profile.pilot, *profile.trained):
        if chapter not in project.chapter_names:
            raise UserError(f"book/profiles/{name}.toml: {unknown('chapter', chapter, project.chapter_names)}")
    return profile


def current() -> Profile:
    """Return the profile that this process, a chapter's kernel for instance, works under."""
    profile = load(find(), os.environ.get(VARIABLE) or DEFAULT)
    return profile.model_copy(update={"live": True}) if os.environ.get(LIVE) else profile
