"""The files of a data set, in a folder or in a zip, read in place.

Names are paths with forward slashes relative to the folder or the zip. Nothing outside is ever read: names with
``..``, absolute names and links that lead out are refused, as is a member that claims more than ``LARGEST`` bytes.
"""

import hashlib
import os
import re
import stat
import unicodedata
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cached_property
from pathlib import Path

from transfusion_lib.errors import DataError, printable

HEAD = 132  # bytes that tell a file's format, and a PNG's depth
# What zipfile raises on damaged members.
FAULTS = (zipfile.BadZipFile, OSError, zlib.error, EOFError, NotImplementedError, RuntimeError)
LARGEST = 2**28  # bytes of one file in memory; no image or table here comes near
IMAGES = (
    *(".jpeg", ".jpg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx"),
)

Stamp = tuple[str, int, int, int]
"""Place, size in bytes, and times of change of content and status in ns of a file."""


class Files(ABC):
    """The files below one folder or in one zip."""

    path: Path
    sizes: Mapping[str, int]
    """Bytes of each file by name."""
    refused: tuple[str, ...]
    """One message for each name that is not safe to read."""
    opened: tuple[str, ...] = ()
    """The zips whose members are among the files."""
    _digests: "Digests"

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return the content of a file; a ``DataError`` names the file and the repair."""

    @abstractmethod
    def head(self, name: str) -> bytes:
        """Return the first ``HEAD`` bytes of a file, none where it cannot be read."""

    @abstractmethod
    def _stamp(self, name: str) -> Stamp:
        """Return what changes with a file: place, size, times."""

    def digest(self, name: str) -> str:
        """Return the identity of a file's content (see ``content_digest``), read once while the file is unchanged."""
        stamp = self._stamp(name)
        return self._digests.get(stamp) or self._digests.put(stamp, content_digest(self.read(name)))

    def verified(self, name: str) -> bytes:
        """Return the content of a file; a ``DataError`` if it is not the one of its ``digest``."""
        content = self.read(name)
        if content_digest(content) != self.digest(name):
            self._digests.forget(self._stamp(name))
            raise DataError(f"{self.location(name)}: its content changed, its size and times did not; load it again")
        return content

    def location(self, name: str) -> str:
        """Return how messages call a file: one line of printable text, whatever the name is."""
        return printable(str(self.path / name))

    def images(self) -> list[str]:
        """Return the names that end like an image, sorted."""
        return sorted(name for name in self.sizes if name.lower().endswith(IMAGES))

    def find(self, name: str, *, within: str = "") -> str | None:
        """Return the one file that a table calls ``name``, or None.

        A missing image extension does not matter, nor do folders in front of either: tables name files
        relative to places that users move. Folders that both have must agree. Case, and the zeros before a number,
        matter only between several candidates. ``within`` keeps to files below a folder of that name. Two
        candidates that differ are a ``DataError``.
        """
        written = [part for part in normal(name.replace("\\", "/")).split("/") if part not in ("", ".")]
        asked = [part.casefold() for part in written]
        if not asked:
            return None
        depth = min(len(asked), 3)
        found = [file for file in self._tails(depth).get("/".join(asked[-depth:]), ()) if _agree(asked, file)]
        for shorter in range(1, depth):
            found += self._tails(0).get("/".join(asked[-shorter:]), ())
        number = NUMBER.fullmatch(asked[-1])
        if not found and number:
            named = self._numbered.get(int(number["number"]), ())
            found = [file for file in named if file.casefold().endswith(number["ending"] or "") and _agree(asked, file)]
        if within:
            found = [file for file in found if within in file.lower().split("/")[:-1]]
        found = [file for file in found if _spelt(written[-1], file)] or found
        if len(found) > 1 and len({self.digest(file) for file in found[:50]}) > 1:  # copies of one file do no harm
            raise DataError(f"{self.path}: {name} may be {found[0]} or {found[1]}, which differ; keep one of them")
        return found[0] if found else None

    def _tails(self, depth: int) -> dict[str, list[str]]:
        """Return names by their last ``depth`` parts in lower case, with and without extension; by all parts for 0."""
        if depth not in self._indices:
            index = self._indices.setdefault(depth, {})
            for name in sorted(self.sizes):
                tail = "/".join(normal(name).casefold().split("/")[-depth:])
                index.setdefault(tail, []).append(name)
                if tail.endswith(IMAGES):
                    index.setdefault(tail.rsplit(".", 1)[0], []).append(name)
        return self._indices[depth]

    @cached_property
    def _numbered(self) -> dict[int, list[str]]:
        """Images whose names are numbers, by number."""
        index: dict[int, list[str]] = {}
        for name in self.images():
            stem = name.rpartition("/")[2].rpartition(".")[0]
            if stem.isascii() and stem.isdigit():
                index.setdefault(int(stem), []).append(name)
        return index

    @cached_property
    def _indices(self) -> dict[int, dict[str, list[str]]]:
        return {}

    def table(self, *names: str) -> str | None:
        """Return the shallowest file called one of ``names`` (whatever its case), in that order of preference."""
        for wanted in names:
            found = [file for file in self.sizes if file.rsplit("/", 1)[-1].lower() == wanted.lower()]
            if found:
                return min(found, key=lambda file: (file.count("/"), file))
        return None


INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
"""Characters that take no room: soft hyphens, zero-width spaces, marks of direction."""
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
NUMBER = re.compile(r"0*(?P<number>\d{1,18})(?:\.0+)?(?P<ending>\.[a-z][a-z0-9]*)?")
"""A file's name that is a number, as spreadsheets and pandas write it: 7, 7.0, 7.png."""


def normal(text: str) -> str:
    """Return the one form of a name or a cell: composed (NFC), without invisible characters and spaces around it.

    Line breaks, other control characters and bytes of no encoding are written out.
    """
    text = text.strip()
    if not text.isprintable():
        text = INVISIBLE.sub("", text).replace("\u00a0", " ").strip()
        text = CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _spelt(asked: str, file: str) -> bool:
    """Tell whether a file is called ``asked`` with the same case, with or without its extension."""
    name = normal(file.rpartition("/")[2])
    return asked in (name, name.rpartition(".")[0])


def _agree(asked: list[str], file: str) -> bool:
    """Tell whether two paths name the same folders, as far up as both go."""
    folders = normal(file).casefold().split("/")[-2::-1]
    return all(wanted == found for wanted, found in zip(asked[-2::-1], folders, strict=False))


class Zip(Files):
    """The members of a zip."""

    def __init__(self, path: Path, *, digests: "Digests | None" = None) -> None:
        """Read the table of contents of the zip at ``path``; ``digests`` remembers what was read earlier."""
        self.path = path
        self._digests = digests if digests is not None else Digests()
        try:
            self._times = _times(path.stat())
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise DataError(f"{path}: not a readable zip ({error}); download it again") from None
        self._members: dict[str, zipfile.ZipInfo] = {}
        refused = []
        for member in self._zip.infolist():
            if member.is_dir() or _is_junk(member.filename):
                continue
            name = member.filename.replace("\\", "/")  # as old programs on Windows write it
            fault = _fault_of_member(member, name, known=self._members)
            if fault:
                refused.append(f"{path}: member {member.filename!r} {fault}")
            else:
                self._members[name] = member
        self.sizes = {name: member.file_size for name, member in self._members.items()}
        self.refused = tuple(refused)

    def read(self, name: str) -> bytes:
        """Return the content of a member, checked against its CRC-32."""
        try:
            member = self._members[name]
            with self._zip.open(member) as file:
                content = file.read(member.file_size + 1)  # bounds what is unpacked, whatever the sizes claim
            if len(content) != member.file_size:
                raise zipfile.BadZipFile("more or fewer bytes than it claims")
            return content
        except FAULTS as error:
            raise DataError(f"{self.location(name)}: damaged in the zip ({error}); download the zip again") from None

    def head(self, name: str) -> bytes:
        """Return the first bytes of a member."""
        with suppress(*FAULTS), self._zip.open(self._members[name]) as file:
            return file.read(HEAD)
        return b""

    def _stamp(self, name: str) -> Stamp:
        """Return place and size of a member and the zip's times: some contents that differ have one CRC-32."""
        return str(self.path / name), self.sizes[name], *self._times


def _fault_of_member(member: zipfile.ZipInfo, name: str, *, known: Mapping[str, zipfile.ZipInfo]) -> str | None:
    """Return why a member is not safe to read, with the repair, or None."""
    again = "pack the zip again from inside its folder"
    parts = name.split("/")
    if name.startswith("/") or ":" in parts[0] or ".." in parts:
        return f"leads out of the zip; {again}"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "is a link; pack the file itself"
    if member.file_size > LARGEST:
        return f"claims {member.file_size:,} bytes, more than any image here; remove it"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is packed in an unusual way; pack the zip again with deflate"
    if member.flag_bits & 1:
        return "is encrypted; pack it without a password"
    if name in known:
        return f"occurs twice; {again}"
    return None


class Folder(Files):
    """The files below a folder."""

    def __init__(self, path: Path, *, digests: "Digests | None" = None) -> None:
        """List the files below ``path``; ``digests`` remembers what was read in earlier processes."""
        self.path = path
        self._digests = digests if digests is not None else Digests()
        self._status: dict[str, os.stat_result] = {}
        refused = []
        top = os.path.realpath(path)
        for folder, subfolders, names in os.walk(path, onerror=_cannot_list):
            subfolders.sort()
            links = {name for name in subfolders if (Path(folder) / name).is_symlink()}
            for name in sorted({*names, *links}):
                file = Path(folder) / name
                relative = file.relative_to(path).as_posix()
                if _is_junk(relative) or (name in links and _inside(file, top)):
                    continue  # a link to a folder inside repeats files that are already listed
                if file.is_symlink() and not _inside(file, top):
                    refused.append(
                        f"{self.location(relative)}: a link that leads out of {path}; put the file itself there"
                    )
                elif file.is_file():
                    self._status[relative] = file.stat()
                else:
                    refused.append(f"{self.location(relative)}: not a readable file (a broken link?); remove it")
        self.sizes = {name: status.st_size for name, status in self._status.items()}
        self.refused = tuple(refused)

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        if self.sizes[name] > LARGEST:
            raise DataError(f"{self.location(name)}: {self.sizes[name]:,} bytes, more than any image here; remove it")
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise DataError(
                f"{self.location(name)}: cannot be read ({error.strerror}); check its permissions"
            ) from None

    def head(self, name: str) -> bytes:
        """Return the first bytes of a file."""
        with suppress(OSError), (self.path / name).open("rb") as file:
            return file.read(HEAD)
        return b""

    def _stamp(self, name: str) -> Stamp:
        """Return place, size and times of a file."""
        return str(self.path / name), self.sizes[name], *_times(self._status[name])


class Mounted(Files):
    """A folder in which some files are zips: their members are read as if they lay in a folder of the zip's name."""

    def __init__(self, folder: Folder, *, digests: "Digests | None" = None) -> None:
        """Open the zips at the top of ``folder``; ``digests`` remembers what was read in earlier processes."""
        self.path = folder.path
        self._digests = digests if digests is not None else Digests()
        tops = [name for name in folder.sizes if name.lower().endswith(".zip") and "/" not in name]
        self.opened = tuple(tops)
        self._parts: dict[str, Files] = {"": folder}
        self._parts |= {f"{name}/": Zip(folder.path / name, digests=digests) for name in sorted(tops)}
        self.sizes = {
            prefix + name: size for prefix, files in self._parts.items() for name, size in files.sizes.items()
        }
        self.refused = tuple(message for files in self._parts.values() for message in files.refused)

    def read(self, name: str) -> bytes:
        """Return the content of a file or of a zip's member."""
        files, inner = self._where(name)
        return files.read(inner)

    def head(self, name: str) -> bytes:
        """Return the first bytes of a file or of a zip's member."""
        files, inner = self._where(name)
        return files.head(inner)

    def _stamp(self, name: str) -> Stamp:
        """Return the stamp of a file or of a zip's member."""
        files, inner = self._where(name)
        return files._stamp(inner)  # a part of this

    def _where(self, name: str) -> tuple[Files, str]:
        head, _, rest = name.partition("/")
        files = self._parts.get(f"{head}/")
        return (files, rest) if files else (self._parts[""], name)


def content_digest(content: bytes) -> str:
    """Return the identity of a file's content: 64 hex digits of its BLAKE2b."""
    return hashlib.blake2b(content, digest_size=32).hexdigest()


def _times(status: os.stat_result) -> tuple[int, int]:
    """Return when content and status of a file changed, in ns: a copy may keep the first time, never the second."""
    return status.st_mtime_ns, status.st_ctime_ns


class Digests:
    """Digests of files by path, size and times of change."""

    def __init__(self, known: Mapping[Stamp, str] | None = None) -> None:
        """Start from the ``known`` digests."""
        self.known = dict(known or {})
        self.changed = False

    def get(self, stamp: Stamp) -> str | None:
        """Return the digest of an unchanged file, or None."""
        return self.known.get(stamp)

    def put(self, stamp: Stamp, digest: str) -> str:
        """Remember and return a digest."""
        self.known[stamp] = digest
        self.changed = True
        return digest

    def forget(self, stamp: Stamp) -> None:
        """Forget a digest that was found wrong."""
        self.changed = self.known.pop(stamp, None) is not None or self.changed


def open_files(path: Path, *, digests: Digests | None = None) -> Files:
    """Return the files in the folder or zip at ``path``, zips at the top of a folder included.

    A csv stands for the folder that it lies in. A ``DataError`` names what was found instead.
    """
    place = _container(path)
    if place.is_file():
        return Zip(place, digests=digests)
    folder = Folder(place, digests=digests)
    return Mounted(folder, digests=digests) if any(name.lower().endswith(".zip") for name in folder.sizes) else folder


_seen: ContextVar[dict[Path, str] | None] = ContextVar("_seen", default=None)


@contextmanager
def one_look() -> Iterator[None]:
    """Look at each place once within this block: a plan of thousands of runs asks for the same files each time."""
    token = _seen.set({})
    try:
        yield
    finally:
        _seen.reset(token)


def stamp(path: Path) -> str:
    """Return a text that changes when the files of ``open_files(path)`` change: names, sizes, times of change."""
    seen = _seen.get()
    if seen is None:
        return _stamp(path)
    if path not in seen:
        seen[path] = _stamp(path)
    return seen[path]


def _stamp(path: Path) -> str:
    place = _container(path)
    if place.is_file():
        status = place.stat()
        return f"{status.st_size} {_times(status)}"
    digest = hashlib.blake2b(digest_size=16)
    for folder, subfolders, names in os.walk(place, onerror=_cannot_list):
        subfolders.sort()
        for name in sorted(names):
            file = f"{folder}/{name}"  # a Path for each of 200,000 files would double the time
            status = os.lstat(file)
            line = f"{file}\0{status.st_size} {_times(status)}\0"
            digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def _container(path: Path) -> Path:
    """Return the folder or zip that ``path`` stands for; a ``DataError`` if there is none."""
    if not path.exists():
        raise DataError(f"{path}: no such folder or zip; give the place of the data set as root")
    return path.parent if path.is_file() and path.suffix.lower() in (".csv", ".tsv", ".tab") else path


def locate(names: Iterable[str], *, folders: Iterable[Path]) -> Path | None:
    """Return the first of ``names`` (a folder, or the same with .zip) that lies in one of ``folders``, or None."""
    for folder in folders:
        for name in names:
            for candidate in (folder / name, folder / f"{name}.zip"):
                if candidate.exists():
                    return candidate
    return None


def _is_junk(name: str) -> bool:
    """Tell whether a file is what operating systems, editors and storage servers leave behind: copies, thumbnails."""
    parts = name.split("/")
    hidden = any(part in ("__MACOSX", "@eaDir") or (part.startswith(".") and part.strip(".")) for part in parts)
    return hidden or parts[-1] in ("Thumbs.db", "desktop.ini")


def _inside(file: Path, top: str) -> bool:
    return os.path.commonpath([os.path.realpath(file), top]) == top


def _cannot_list(error: OSError) -> None:
    raise DataError(f"{error.filename}: cannot be listed ({error.strerror}); check its permissions")
