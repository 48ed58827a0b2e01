"""Checksums of the files beside the records: tables, the last audit, benchmarks; a run or analysis has its manifest.

``SHA256SUMS`` has a line for each, as ``sha256sum --check`` reads them. ``transfusion publish`` writes it.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transfusion_lib.errors import DamagedError, StoreError

SUMS = "SHA256SUMS"
TABLES, JSON = ".csv", ".json"
BESIDE = ("*", "studies/*/*", "bench/*")


def write(root: Path, path: str | None = None) -> None:
    """Write the checksum of every file beside the records in ``root``, or replace that of ``path`` alone.

    A file of JSON that is none is a ``StoreError``: no checksum may call it sound.
    """
    known = {} if path is None else _known(root)
    for name in _names(root) if path is None else [path]:
        content = (root / name).read_bytes()
        if name.endswith(JSON):
            _parsed(root / name, content, repair(root / name))
        known[name] = _sha256(content)
    (root / SUMS).write_text("".join(f"{known[name]}  {name}\n" for name in sorted(known)), encoding="utf-8")


def json_of(root: Path, path: str) -> Any:
    """Return the parsed JSON file ``path`` of ``root``; a ``DamagedError`` if it is not the one that was published.

    Where ``root`` has no checksums, nothing there was published.
    """
    published = (root / SUMS).is_file()
    if published and (said := _wrong(root, path, _known(root))):
        raise DamagedError(said)
    back = repair(root / path) if published else "remove it, and make it again"
    return _parsed(root / path, (root / path).read_bytes(), back)


def wrong(root: Path) -> Iterator[tuple[str, str]]:
    """Yield each file beside the records of ``root`` that is not what was published, with its fault and the repair.

    Also one that is gone, and one without a checksum.
    """
    try:
        known = _known(root)
    except StoreError as error:
        yield SUMS, str(error)
        return
    for name in sorted({*known, *_names(root)}):
        if said := _wrong(root, name, known):
            yield name, said


def repair(*paths: Path) -> str:
    """Return the words that say how files of the records come back."""
    return f"bring it back with: git checkout -- {' '.join(map(str, paths))}"


def _wrong(root: Path, name: str, known: dict[str, str]) -> str | None:
    path = root / name
    if name not in known:
        return f"{path} has no checksum in {root / SUMS}; transfusion publish writes it, or {repair(root / SUMS)}"
    try:
        content = path.read_bytes()
    except OSError as error:
        return f"{path} cannot be read ({error.strerror or error}); {repair(path)}"
    if _sha256(content) != known[name]:
        return f"{path} is not what was published: its checksum differs; {repair(path, root / SUMS)}"
    return None


def _names(root: Path) -> Iterator[str]:
    for pattern in BESIDE:
        for path in root.glob(pattern):
            if path.suffix in (TABLES, JSON) and path.is_file() and not path.name.startswith("."):
                yield path.relative_to(root).as_posix()


def _known(root: Path) -> dict[str, str]:
    path = root / SUMS
    try:
        lines = [line.split("  ", 1) for line in path.read_text(encoding="utf-8").splitlines()]
        known = {name: digest for digest, name in lines}
    except FileNotFoundError:
        raise DamagedError(f"{path} is missing; {repair(path)}") from None
    except (OSError, ValueError) as error:
        raise DamagedError(f"{path} is no list of checksums ({error}); {repair(path)}") from None
    if not known or any(len(digest) != 64 for digest in known.values()):
        raise DamagedError(f"{path} is no list of checksums; {repair(path)}")
    return known


def _parsed(path: Path, content: bytes, back: str) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise DamagedError(f"{path} is no JSON ({error}); {back}") from None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
