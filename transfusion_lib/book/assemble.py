"""Put together what Sphinx reads: the pages of ``book/``, ``_config.yml``, a table of contents, generated pages."""

import shutil
from collections.abc import Iterator, Sequence, Set
from typing import Any

from transfusion_lib.book import address
from transfusion_lib.book.execute import Build
from transfusion_lib.book.profiles import Profile
from transfusion_lib.book.project import Chapter, Project
from transfusion_lib.errors import BuildError


def assemble(project: Project, chapters: Sequence[Chapter], profile: Profile, build: Build) -> None:
    """Copy the pages and write the settings of this build, and its list of chapters, into ``build.source``.

    The table of contents keeps of the chapters only those of this build. ``_config.yml`` gains the build's id in every
    page's footer and the words ``{{ profile }}`` and ``{{ profile_description }}``.
    """
    shutil.copytree(
        project.pages,
        build.source,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("profiles", "_toc.yml", "*.toml", ".*"),
    )
    toc = contents(project, chapters)
    order = list(pages(toc))
    shown = enumerate(sorted(chapters, key=lambda chapter: order.index(chapter.page)), start=1)
    entries = [f"{number}. [{c.title}](/{c.page}.ipynb): {c.question}" for number, c in shown]
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
    return _pruned(toc, {chapter.page for chapter in chapters})  # type: ignore[no-any-return]


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


def _pruned(toc: Any, kept: Set[str]) -> Any:
    """Return ``toc`` with those notebooks alone that are ``kept``; no part is empty."""
    if isinstance(toc, list):
        entries = [_pruned(one, kept) for one in toc if _kept(one.get("file", ""), kept)]
        return [entry for entry in entries if "chapters" not in entry or entry["chapters"]]
    if isinstance(toc, dict):
        return {word: _pruned(value, kept) for word, value in toc.items()}
    return toc


def _kept(page: str, kept: Set[str]) -> bool:
    return not page.startswith("notebooks/") or page in kept


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
