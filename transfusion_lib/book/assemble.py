"""Put together what Sphinx reads: the pages of ``book/``, ``_config.yml``, a table of contents, generated pages."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from transfusion_lib.book import address
from transfusion_lib.book.execute import Build
from transfusion_lib.book.profiles import Profile
from transfusion_lib.book.project import Chapter, Project
from transfusion_lib.errors import BuildError


def assemble(project: Project, chapters: Sequence[Chapter], profile: Profile, build: Build) -> None:
    """Copy the pages and write the settings of this build, and its list of chapters, into ``build.source``.

    The table of contents keeps of the chapters only those of this build, a guest's below the book's own;
    ``_config.yml`` gains the build's id in every page's footer and the words ``{{ profile }}`` and
    ``{{ profile_description }}``.
    """
    shutil.copytree(
        project.pages,
        build.source,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("profiles", "_toc.yml", "*.toml", ".*"),
    )
    toc = contents(project, chapters)
    order = list(pages(toc))
    own = [chapter for chapter in chapters if chapter.guest is None]
    shown = enumerate(sorted(own, key=lambda chapter: order.index(chapter.page)), start=1)
    entries = [f"{number}. [{c.title}](/{c.page}.ipynb): {c.question}{_again(c, chapters)}" for number, c in shown]
    (build.source / "chapters.md").write_text("\n".join(entries) + "\n", encoding="utf-8")
    write_contents(build, toc)
    _write_yaml(build, "_config.yml", _settings(project, profile, build))


def write_contents(build: Build, toc: Any) -> None:
    """Write the table of contents of a build."""
    _write_yaml(build, "_toc.yml", toc)


def contents(project: Project, chapters: Sequence[Chapter]) -> dict[str, Any]:
    """Return ``book/_toc.yml`` without the chapters that are not among ``chapters``.

    A chapter that it does not name at all raises a ``BuildError``: it would be executed and never shown.
    """
    import yaml

    toc = yaml.safe_load((project.pages / "_toc.yml").read_text(encoding="utf-8"))
    listed = set(pages(toc))
    for chapter in project.chapters:
        if chapter.page not in listed:
            raise BuildError(f"book/_toc.yml does not name {chapter.page}; add it under the part where it belongs")
    below: dict[str, list[str]] = {chapter.page: [] for chapter in chapters if chapter.guest is None}
    for chapter in chapters:
        if chapter.guest is not None:
            below[chapter.first_page].append(chapter.page)
    return _pruned(toc, below)  # type: ignore[no-any-return]


def pages(toc: Any) -> Iterator[str]:
    """Yield every page that a table of contents names, in reading order."""
    if isinstance(toc, list):
        for entry in toc:
            yield from pages(entry)
    elif isinstance(toc, dict):
        for word in ("root", "file"):
            if word in toc:
                yield toc[word]
        for word in ("parts", "chapters", "sections", "entries", "subtrees"):
            yield from pages(toc.get(word, []))


def _again(chapter: Chapter, chapters: Sequence[Chapter]) -> str:
    """Return links to the pages that have a chapter once more."""
    links = [f"[{c.guest.title}](/{c.page}.ipynb)" for c in chapters if c.guest and c.source == chapter.source]
    return f" Also: {', '.join(links)}." if links else ""


def _pruned(toc: Any, below: Mapping[str, Sequence[str]]) -> Any:
    """Return ``toc`` with those notebooks alone that ``below`` names, with their further pages; no part is empty."""
    if isinstance(toc, list):
        kept = [_pruned(entry, below) for entry in toc if _kept(entry.get("file", ""), below)]
        return [entry for entry in kept if "chapters" not in entry or entry["chapters"]]
    if isinstance(toc, dict):
        further = {"sections": [{"file": page} for page in found]} if (found := below.get(toc.get("file", ""))) else {}
        return {word: _pruned(value, below) for word, value in toc.items()} | further
    return toc


def _kept(page: str, below: Mapping[str, Sequence[str]]) -> bool:
    return not page.startswith("notebooks/") or page in below


def _settings(project: Project, profile: Profile, build: Build) -> dict[str, Any]:
    import yaml

    settings: dict[str, Any] = yaml.safe_load((project.root / "_config.yml").read_text(encoding="utf-8"))
    address.buttons(settings)
    settings.setdefault("parse", {})["myst_substitutions"] = {
        "profile": profile.name,
        "profile_description": profile.description,
    }
    settings.setdefault("html", {})["extra_footer"] = (
        f'<p class="tf-build" data-build="{build.id}">Profile {profile.name} · build {build.id}</p>'
    )
    return settings


def _write_yaml(build: Build, name: str, value: Any) -> None:
    import yaml

    (build.source / name).write_text(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), encoding="utf-8")
