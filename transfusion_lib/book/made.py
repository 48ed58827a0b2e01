"""The checksums of a finished build, as ``sha256sum --check`` reads them: what changed since is never believed."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transfusion_lib.book.execute import Build
from transfusion_lib.book.project import shown
from transfusion_lib.errors import BuildError

SUMS = "SHA256SUMS"
AGAIN = "make the book again: transfusion book"
RECORDS = ("build.json", "source/_toc.yml")


def write(build: Build) -> None:
    """Write the checksum of every page of a build, and of what commands read of it."""
    pages = (path for path in build.html.rglob("*") if path.is_file())
    files = [*sorted(pages), *(path for name in RECORDS if (path := build.folder / name).is_file())]
    lines = [f"{_sha256(path)}  {path.relative_to(build.folder).as_posix()}\n" for path in files]
    (build.folder / SUMS).write_text("".join(lines), encoding="utf-8")


def load(folder: Path, name: str) -> Any:
    """Return a JSON file of the build in ``folder``, or None; a ``BuildError`` if it has changed."""
    if not (folder / name).is_file():
        return None
    check(folder, name)
    try:
        return json.loads((folder / name).read_bytes())
    except ValueError as error:
        raise BuildError(f"{shown(folder / name)} is damaged ({error}); {AGAIN}") from None


def check(folder: Path, name: str) -> None:
    """Raise a ``BuildError`` if a file of the finished build in ``folder`` is not what was made."""
    if (folder / SUMS).is_file() and changed(folder, name):
        raise BuildError(f"{shown(folder / name)} is not what was made; {AGAIN}")


def changed(folder: Path, *names: str) -> list[str]:
    """Return the files of the finished build in ``folder``, or those of ``names``, that are not what was made."""
    known = dict(_known(folder))
    there = (name for name in names or known if name in known or (folder / name).is_file())
    return [name for name in there if not _same(folder / name, known.get(name))]


def _known(folder: Path) -> Iterator[tuple[str, str]]:
    for line in (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        yield name, digest


def _same(path: Path, digest: str | None) -> bool:
    return path.is_file() and _sha256(path) == digest


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
