"""The holder of a folder, for file systems whose locks do not cross hosts: a file that the holder keeps changing.

A process that finds the file of another host watches it for a while by its own clock: a file that changes has a living
holder, even if the two clocks differ. On one host the kernel's lock decides, and only people read this file.
Two holders at once, after a host that slept for long, cost time and never a result: the first to finish counts.
"""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

BEAT_S = 10.0  # between two changes
STALE_S = 60.0  # without a change its holder counts as dead

FILE = "holder.json"


class Watch:
    """What this process has seen of other hosts' files."""

    def __init__(self) -> None:
        self.seen: dict[Path, tuple[bytes, float]] = {}

    def alive(self, folder: Path) -> bool:
        """Whether a holder on another host must be taken for living: it was seen now, or changed not long ago."""
        try:
            content = (folder / FILE).read_bytes()
        except FileNotFoundError:
            return False
        except OSError:  # a network's disk out of breath: it is asked again
            return True
        if _host_of(content) == host():
            return False
        before = self.seen.get(folder)
        if before is None or before[0] != content:
            self.seen[folder] = content, time.monotonic()
            return True
        return time.monotonic() - before[1] < STALE_S


def recent(folder: Path) -> bool:
    """Whether a holder on another host seems to live, judged at once by the file's age: good enough to be shown."""
    content = _read(folder / FILE)
    if content is None or _host_of(content) == host():
        return False
    with contextlib.suppress(OSError):
        return abs(time.time() - (folder / FILE).stat().st_mtime) < STALE_S
    return False


@contextlib.contextmanager
def held(folder: Path) -> Iterator[bool]:
    """Put this process's file into ``folder`` and keep it changing; false where another was quicker."""
    token = secrets.token_hex(8)
    path, stale = folder / FILE, _read(folder / FILE)
    if stale is not None:
        _remove(path, stale, token)
    try:
        with path.open("xb") as file:  # of several that try, one succeeds, on any file system
            file.write(_content(token, 0))
    except FileExistsError:
        yield False
        return
    done = threading.Event()
    beating = threading.Thread(target=_beat, args=(path, token, done), daemon=True)
    beating.start()
    try:
        yield True
    finally:
        done.set()
        beating.join()
        if _token_of(_read(path)) == token:
            path.unlink(missing_ok=True)


@cache
def host() -> str:
    """Return a name for this host that another, or this one after a restart, does not have."""
    boot = _read(Path("/proc/sys/kernel/random/boot_id")) or b""
    return f"{socket.gethostname()} {boot.decode().strip()}".strip()


def _beat(path: Path, token: str, done: threading.Event) -> None:
    """Change the file until ``done``, or until it is another's."""
    number = 0
    while not done.wait(BEAT_S):
        number += 1
        found = _token_of(_read(path))
        if found is not None and found != token:
            return
        with contextlib.suppress(OSError):  # a full disk must not stop the training; at worst another host joins in
            fresh = path.with_name(f"{FILE}.{token}")
            fresh.write_bytes(_content(token, number))
            fresh.replace(path)


def _remove(path: Path, stale: bytes, token: str) -> None:
    """Remove a dead holder's file; one that is not what was looked at, since another came first, is put back."""
    aside = path.with_name(f"{FILE}.{token}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    if _read(aside) != stale:
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink(missing_ok=True)


def _content(token: str, number: int) -> bytes:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return json.dumps({"host": host(), "pid": os.getpid(), "token": token, "beat": number, "time": now}).encode()


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _field(content: bytes | None, name: str) -> str | None:
    try:
        return str(json.loads(content or b"")[name])
    except (ValueError, KeyError, TypeError):
        return None


def _host_of(content: bytes) -> str | None:
    return _field(content, "host")


def _token_of(content: bytes | None) -> str | None:
    return _field(content, "token")
