"""Finished things under their keys: written in one step, claimed by one worker at a time, verified on read.

An entry is a folder ``<root>/<kind>/<key>`` of small files and a ``MANIFEST.json`` with the sha256 of each. It is
written beside its place and renamed into it, so it is there whole or not at all. Work in progress lives in the folder
``work`` beside the kinds, under its key; its lock is the kernel's, so it is free again the moment its worker dies,
however it dies. A heartbeat stands in for the lock between hosts that share a file system without sharing its locks.
Knows nothing of specs or networks.
"""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import save
from torch import Tensor

from transfusion_lib.errors import ClaimedError, DamagedError, StoreError
from transfusion_lib.paths import store_root
from transfusion_lib.runs import heartbeat
from transfusion_lib.training import interrupts

MANIFEST = "MANIFEST.json"
POLL_S = 0.2  # between two looks at a claim of another process
LEFT_OVER_S = 86_400.0  # after which what a killed writer left counts as rubbish


_REPAIR = "run `transfusion verify`: it sets damaged entries aside, and they are made again when asked for"


@dataclass(frozen=True)
class Problem:
    """One entry that is not what its manifest says; a store moves it to ``damaged/``, so that it will be made again."""

    key: str
    """Of the entry; of the files beside records their path."""
    what: str


class Entry:
    """One finished folder. Every file is checked against the manifest when it is read."""

    def __init__(self, folder: Path, *, repair: str = _REPAIR) -> None:
        """Take the entry in ``folder``; ``repair`` says in an error how a damaged one comes back."""
        self.folder = folder
        self.key = folder.name
        self.repair = repair

    def json(self, name: str) -> Any:
        """Return the parsed JSON file ``name``."""
        return json.loads(self.read(name))

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of the safetensors file ``name``."""
        return load_tensors(self.read(name))

    def read(self, name: str) -> bytes:
        """Return the bytes of file ``name``; a ``DamagedError`` if they are not those that were written.

        A file that cannot be read just now, on a network's disk perhaps, is a plain ``StoreError``: it may be whole.
        """
        try:
            content = (self.folder / name).read_bytes()
            expected = self.manifest()[name]
        except (FileNotFoundError, IsADirectoryError, KeyError) as error:
            raise DamagedError(f"{self.folder / name} is not what was written ({error}); {self.repair}") from None
        except OSError as error:
            raise _unreadable(self.folder / name, error) from None
        if hashlib.sha256(content).hexdigest() != expected:
            raise DamagedError(f"{self.folder / name} is not what was written: its checksum differs; {self.repair}")
        return content

    def manifest(self) -> dict[str, str]:
        """Return the sha256 of each file by its name; a ``DamagedError`` if that list is none."""
        path = self.folder / MANIFEST
        try:
            found = json.loads(path.read_bytes())
        except (FileNotFoundError, IsADirectoryError, ValueError) as error:
            raise DamagedError(f"{path} is not what was written ({error}); {self.repair}") from None
        except OSError as error:
            raise _unreadable(path, error) from None
        if not isinstance(found, dict) or not found:
            raise DamagedError(f"{path} is not what was written: it lists no files; {self.repair}")
        return found

    def verify(self, needed: Iterable[str] = ()) -> str | None:
        """Re-hash every file, those that are ``needed`` too; return what is damaged, or None.

        A ``StoreError`` says that it cannot be told.
        """
        try:
            for name in {**self.manifest(), **dict.fromkeys(needed)}:
                self.read(name)
        except DamagedError as error:
            return str(error)
        return None


def _unreadable(path: Path, error: OSError) -> StoreError:
    return StoreError(f"{path} cannot be read ({error.strerror or error}); nothing was moved: try again")


class Claim:
    """The right to work on one key, held by one process; also where it keeps its checkpoint."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self) -> tuple[dict[str, Tensor], dict[str, str]] | None:
        """Return the last complete checkpoint, or None."""
        try:
            pointer = json.loads((self.folder / "checkpoint.json").read_bytes())
            path = self.folder / str(pointer["file"])
            if hashlib.sha256(path.read_bytes()).hexdigest() != pointer["sha256"]:
                return None
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())  # noqa: SIM118
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            return None

    def write(self, tensors: dict[str, Tensor], notes: dict[str, str]) -> None:
        """Replace the checkpoint: the tensors first, under a new name, then in one step the file that names them."""
        content = save({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, notes)
        path = self.folder / f"checkpoint-{secrets.token_hex(4)}.safetensors"
        with _disk_errors(self.folder), _removed_on_error(path):
            _write(path, content)
            pointer = {"file": path.name, "sha256": hashlib.sha256(content).hexdigest()}
            fresh = path.with_suffix(".new")
            _write(fresh, json.dumps(pointer).encode())
            fresh.replace(self.folder / "checkpoint.json")
        for old in self.folder.glob("checkpoint-*.safetensors"):
            if old != path:
                with contextlib.suppress(OSError):  # a second holder's, see heartbeat: it may remove the same
                    old.unlink()


class Store:
    """A folder of entries by kind ("runs", "analyses") and key."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.watch = heartbeat.Watch()

    def find(self, kind: str, key: str) -> Entry | None:
        """Return the finished entry, or None."""
        folder = self.root / kind / key
        return Entry(folder) if (folder / MANIFEST).is_file() else None

    def keys(self, kind: str) -> list[str]:
        """Return the keys of all finished entries of a kind, sorted."""
        try:
            return sorted(name.name for name in os.scandir(self.root / kind) if name.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def working(self) -> list[str]:
        """Return the keys that a living process works on now."""
        found = []
        for folder in sorted((self.root / "work").glob("*")):
            lock = FileLock(folder / "lock")
            try:
                lock.acquire(blocking=False)
            except Timeout:
                found.append(folder.name)
            except OSError:
                continue
            else:
                lock.release()
                if heartbeat.recent(folder):
                    found.append(folder.name)
        return found

    @contextlib.contextmanager
    def claim(self, key: str, *, wait: bool = True, waiting: Callable[[], None] | None = None) -> Iterator[Claim]:
        """Hold the only claim on ``key``.

        Another process's is waited for, ``waiting`` being called once; without ``wait`` it raises ``ClaimedError``.
        """
        folder = self.root / "work" / key
        with contextlib.ExitStack() as kept:
            interrupts.check("before this run")
            waited = False
            while not self._hold(folder, kept):
                if not wait:
                    raise ClaimedError(f"another process works on {key}")
                if waiting and not waited:
                    waiting()
                waited = True
                time.sleep(POLL_S)
                interrupts.check("while another process trained this run")
            yield Claim(folder)

    def _hold(self, folder: Path, kept: contextlib.ExitStack) -> bool:
        """Take the lock and the heartbeat of a folder, to be released by ``kept``; false where another has them."""
        with _disk_errors(self.root), contextlib.ExitStack() as attempt:
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / "lock")
            try:
                lock.acquire(blocking=False)
            except Timeout:
                return False
            attempt.callback(lock.release)
            if self.watch.alive(folder) or not attempt.enter_context(heartbeat.held(folder)):
                return False
            kept.enter_context(attempt.pop_all())
            return True

    def add(self, kind: str, key: str, files: Mapping[str, bytes]) -> Entry:
        """Write a finished entry in one step and return it; where another worker was first, return that one's."""
        place = self.root / kind / key
        fresh = self.root / "fresh" / f"{key[:16]}-{secrets.token_hex(4)}"
        with _disk_errors(self.root):
            try:
                fresh.mkdir(parents=True)
                for name, content in files.items():
                    (fresh / name).parent.mkdir(parents=True, exist_ok=True)
                    _write(fresh / name, content)
                manifest = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
                _write(fresh / MANIFEST, json.dumps(manifest, indent=1).encode())
                place.parent.mkdir(parents=True, exist_ok=True)
                fresh.rename(place)
            except OSError:
                if not place.exists():
                    raise
                if not (place / MANIFEST).is_file():  # else another worker was first
                    self.set_aside(kind, key)  # of what was there nobody knows whether it is whole
                    fresh.rename(place)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
        return Entry(place)

    def forget_work(self, key: str) -> None:
        """Delete the checkpoint of a finished key; called while its claim is held."""
        for path in (self.root / "work" / key).glob("checkpoint*"):
            path.unlink(missing_ok=True)

    def remove(self, kind: str, key: str) -> None:
        """Delete an entry, gone in one step."""
        gone = self.root / "fresh" / f"{key[:16]}-{secrets.token_hex(4)}"
        with _disk_errors(self.root):
            gone.parent.mkdir(parents=True, exist_ok=True)
            (self.root / kind / key).rename(gone)
            shutil.rmtree(gone)

    def set_aside(self, kind: str, key: str) -> None:
        """Move a damaged entry out of the way, keeping it for inspection; another process may have done so."""
        target = self.root / "damaged" / f"{key}-{time.time_ns()}"
        with _disk_errors(self.root):
            target.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                (self.root / kind / key).rename(target)

    def verify(self, kind: str = "runs") -> list[Problem]:
        """Re-hash every entry of a kind, set the damaged ones aside, and return what was wrong with them."""
        problems = []
        self._sweep()
        for key in self.keys(kind):
            wrong = Entry(self.root / kind / key).verify()
            if wrong:
                self.set_aside(kind, key)
                problems.append(Problem(key, wrong))
        return problems

    def _sweep(self) -> None:
        """Remove what writers that were killed left behind, once it is a day old."""
        for folder in (self.root / "fresh").glob("*"):
            with contextlib.suppress(OSError):
                if time.time() - folder.stat().st_mtime > LEFT_OVER_S:
                    shutil.rmtree(folder)


def open_store(root: Path | None = None) -> Store:
    """Return the store in ``root``, by default ``TRANSFUSION_STORE`` or ``.store`` in the checkout."""
    root = root or store_root()
    if root.exists() and not root.is_dir():
        raise StoreError(f"{root} is a file; point TRANSFUSION_STORE at a folder")
    return Store(root)


def _write(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it: a rename must never outrun its content."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _removed_on_error(path: Path) -> Iterator[None]:
    """Remove a file that could not be written whole: on a full disk its part would be in the way."""
    try:
        yield
    except OSError:
        path.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Turn a full or read-only disk into a ``StoreError`` that says the repair."""
    try:
        yield
    except OSError as error:
        if isinstance(error, Timeout):
            raise
        raise StoreError(
            f"{folder} cannot be written ({error.strerror or error}); free some space, or point TRANSFUSION_STORE "
            "at another folder. Finished runs are untouched"
        ) from error
