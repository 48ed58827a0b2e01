"""Files in folders and zips: the same by every way of packing, and nothing outside is ever read."""

import hashlib
import os
import stat
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from tests.pictures import write_files, write_zip
from transfusion_lib.data.reading import archive
from transfusion_lib.data.reading.archive import Digests, Folder, Zip, open_files
from transfusion_lib.errors import DataError

FILES: dict[str, bytes | str] = {"a/one.png": b"first", "a/b/Two.JPG": b"second", "table.csv": "x,y\n"}


@pytest.fixture(params=["folder", "zip", "mounted"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> archive.Files:
    """Return the same three files in a folder, in a zip, and in a zip inside a folder."""
    if request.param == "folder":
        return open_files(write_files(tmp_path / "set", FILES))
    if request.param == "zip":
        return open_files(write_zip(tmp_path / "set.zip", FILES))
    write_zip(write_files(tmp_path / "set", {"other.txt": "o"}) / "part.zip", FILES)
    return open_files(tmp_path / "set")


def test_reading_is_the_same_everywhere(files: archive.Files) -> None:
    """Names, sizes, contents and digests."""
    one = files.find("one")
    assert one is not None
    assert one.endswith("a/one.png")
    assert files.read(one) == files.head(one) == b"first"
    assert files.sizes[one] == 5
    assert files.digest(one) == hashlib.blake2b(b"first", digest_size=32).hexdigest()
    assert not files.refused
    assert [name.rsplit("/", 1)[-1] for name in files.images()] == ["Two.JPG", "one.png"]
    table = files.table("missing.csv", "TABLE.csv")
    assert table is not None
    assert files.read(table) == b"x,y\n"


def test_heads_are_the_first_bytes_or_none(tmp_path: Path) -> None:
    """What cannot be read is told by whoever reads it whole."""
    long = {"a.png": bytes(range(200)), "b.png": b"gone"}
    folder, packed = open_files(write_files(tmp_path / "set", long)), write_zip(tmp_path / "set.zip", long)
    (tmp_path / "set" / "b.png").unlink()
    assert (folder.head("a.png"), folder.head("b.png")) == (bytes(range(archive.HEAD)), b"")
    content = packed.read_bytes()
    packed.write_bytes(content.replace(b"PK\3\4", b"PK..", 1))
    damaged = open_files(packed)
    assert (damaged.head("a.png"), damaged.head("b.png")) == (b"", b"gone")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("one.png", "a/one.png"),
        ("ONE", "a/one.png"),
        ("a\\one.png", "a/one.png"),
        ("moved/away/a/one.png", "a/one.png"),
        ("two", "a/b/Two.JPG"),
        ("b/two.jpg", "a/b/Two.JPG"),
        ("./a/b/two.jpg", "a/b/Two.JPG"),
        ("other/two.jpg", None),
        ("a/c/two.jpg", None),
        ("b/one.png", None),
        ("three", None),
        ("", None),
    ],
)
def test_finding_a_file_by_the_name_in_a_table(tmp_path: Path, asked: str, found: str | None) -> None:
    """Case, extension and outer folders do not matter; inner folders that differ mean another file."""
    assert open_files(write_files(tmp_path / "set", FILES)).find(asked) == found


def test_two_candidates_must_be_copies(tmp_path: Path) -> None:
    """Kaggle packs some sets twice: copies do no harm, different files of one name are an error."""
    write_files(tmp_path / "set", {"part_1/x.png": b"same", "PART_1b/x.png": b"same"})
    assert open_files(tmp_path / "set").find("x") == "PART_1b/x.png"
    write_files(tmp_path / "set", {"part_2/x.png": b"else"})
    with pytest.raises(DataError, match=r"x may be .*x.png or .*x.png, which differ; keep one of them"):
        open_files(tmp_path / "set").find("x")
    assert open_files(tmp_path / "set").find("x", within="part_2") == "part_2/x.png"


@pytest.mark.parametrize(
    "name", ["../outside.png", "a/../../outside.png", "/etc/outside.png", "C:/outside.png", "a\\..\\x.png"]
)
def test_a_zip_cannot_lead_outside(tmp_path: Path, name: str) -> None:
    """Names with .., absolute names and backslashes are refused, with the repair; the rest stays readable."""
    made = Zip(write_zip(tmp_path / "set.zip", {"fine.png": b"x", name: b"evil"}))
    assert list(made.sizes) == ["fine.png"]
    assert len(made.refused) == 1
    assert repr(name) in made.refused[0]
    assert "leads out of the zip; pack the zip again" in made.refused[0]


def test_other_members_that_are_refused(tmp_path: Path) -> None:
    """Links, members twice, encrypted ones, and those that claim more than any image has."""
    path = tmp_path / "set.zip"
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as made:
        made.writestr(link, "/etc/passwd")
        made.writestr("twice.png", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            made.writestr("twice.png", b"2")
        made.writestr("secret.png", b"s")
        made.writestr("huge.png", b"h")
    raw = bytearray(path.read_bytes())
    for name, offset, value in ((b"secret.png", 8, struct.pack("<H", 1)), (b"huge.png", 24, struct.pack("<I", 2**31))):
        entry = raw.rindex(name) - 46  # the central directory's record begins 46 bytes before the name
        raw[entry + offset : entry + offset + len(value)] = value
    path.write_bytes(raw)
    reasons = " ".join(Zip(path).refused)
    for reason in (
        "'link.png' is a link",
        "'twice.png' occurs twice",
        "'secret.png' is encrypted",
        "'huge.png' claims",
    ):
        assert reason in reasons
    assert list(Zip(path).sizes) == ["twice.png"]


def test_damaged_zips(tmp_path: Path) -> None:
    """A truncated zip is refused at once, a damaged member when it is read."""
    path = write_zip(tmp_path / "set.zip", {"a.png": b"0123456789" * 50})
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    with pytest.raises(DataError, match=r"set.zip: not a readable zip .*; download it again"):
        open_files(path)
    path.write_bytes(whole.replace(b"0123456789", b"0123456780", 1))
    with pytest.raises(DataError, match=r"set.zip/a.png: damaged in the zip .*; download the zip again"):
        open_files(path).read("a.png")


def test_links_may_not_leave_the_folder(tmp_path: Path) -> None:
    """A link to a file or folder outside is refused, one inside is followed, a broken one is named."""
    root = write_files(tmp_path / "set", {"a/one.png": b"1"})
    write_files(tmp_path / "outside", {"secret.png": b"s"})
    (root / "inner.png").symlink_to(root / "a" / "one.png")
    (root / "leaving.png").symlink_to(tmp_path / "outside" / "secret.png")
    (root / "folder").symlink_to(tmp_path / "outside", target_is_directory=True)
    (root / "loop").symlink_to(root, target_is_directory=True)
    (root / "broken.png").symlink_to(root / "nothing.png")
    made = Folder(root)
    assert sorted(made.sizes) == ["a/one.png", "inner.png"]
    assert len(made.refused) == 3
    assert f"{root / 'leaving.png'}: a link that leads out of {root}; put the file itself there" in made.refused
    assert f"{root / 'broken.png'}: not a readable file (a broken link?); remove it" in made.refused


def test_a_link_to_the_whole_set_is_fine(tmp_path: Path) -> None:
    """People keep data on another disk."""
    write_files(tmp_path / "disk", FILES)
    (tmp_path / "set").symlink_to(tmp_path / "disk", target_is_directory=True)
    made = Folder(tmp_path / "set")
    assert len(made.sizes) == 3
    assert not made.refused


def test_litter_is_ignored(tmp_path: Path) -> None:
    """What operating systems leave in folders and zips is no image."""
    litter: dict[str, bytes | str] = {
        "__MACOSX/a/._one.png": b"",
        ".DS_Store": b"",
        "a/Thumbs.db": b"",
        "a/._one.png": b"",
        "a/.ipynb_checkpoints/one-checkpoint.png": b"",
        "a/@eaDir/one.png/SYNOPHOTO_THUMB_M.jpg": b"",
    }
    assert open_files(write_files(tmp_path / "set", FILES | litter)).sizes.keys() == FILES.keys()
    assert open_files(write_zip(tmp_path / "set.zip", FILES | litter)).sizes.keys() == FILES.keys()


def test_what_is_not_there(tmp_path: Path) -> None:
    """The place is named."""
    with pytest.raises(DataError, match=r"nowhere: no such folder or zip; give the place"):
        open_files(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("no zip")
    with pytest.raises(DataError, match=r"notes.txt: not a readable zip"):
        open_files(tmp_path / "notes.txt")


@pytest.mark.parametrize("packed", [False, True])
def test_digests_are_remembered_until_a_file_changes(tmp_path: Path, packed: bool) -> None:
    """A file is read again when its place, size or times differ, even where a copy has kept the time of the first."""
    write = write_zip if packed else write_files
    root = tmp_path / ("set.zip" if packed else "set")
    write(root, {"a.png": b"plumless"})
    file = root if packed else root / "a.png"
    times = file.stat()
    remembered = Digests()

    def digest() -> str:
        return open_files(root, digests=remembered).digest("a.png")

    assert digest() == archive.content_digest(b"plumless")
    stamp = next(iter(remembered.known))
    remembered.known[stamp] = "7"
    assert digest() == "7"
    write(root, {"a.png": b"buckeroo"})  # of the same size and CRC-32
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert digest() == archive.content_digest(b"buckeroo")


def test_content_is_checked_on_use(tmp_path: Path) -> None:
    """A remembered digest that is not that of the content is noticed when the file is read, and read anew after."""
    root = write_files(tmp_path / "set", {"a.png": b"one"})
    remembered = Digests()
    assert Folder(root, digests=remembered).verified("a.png") == b"one"
    remembered.known = dict.fromkeys(remembered.known, "7")
    files = Folder(root, digests=remembered)
    with pytest.raises(DataError, match=r"a.png: its content changed, its size and times did not; load it again"):
        files.verified("a.png")
    assert files.verified("a.png") == b"one"


def test_stamps_change_with_the_files(tmp_path: Path) -> None:
    """A new file, a new size, a new time: another stamp."""
    root = write_files(tmp_path / "set", FILES)
    stamps = [archive.stamp(root)]
    write_files(root, {"new.png": b"n"})
    stamps.append(archive.stamp(root))
    os.utime(root / "new.png", ns=(0, 99))
    stamps.append(archive.stamp(root))
    assert len(set(stamps)) == 3
    assert archive.stamp(root) == stamps[-1]


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_member_that_lies_about_its_size_is_not_unpacked(tmp_path: Path, packing: int) -> None:
    """Whatever it claims, no more is unpacked than that; packings that cannot be stopped half-way are refused."""
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", packing) as made:
        made.writestr("a.png", bytes(50_000_000))
    raw = bytearray(path.read_bytes())
    for start in (raw.index(b"PK\x03\x04") + 22, raw.index(b"PK\x01\x02") + 24):
        raw[start : start + 4] = struct.pack("<I", 100)
    path.write_bytes(raw)
    found = Zip(path)
    if packing == zipfile.ZIP_BZIP2:
        assert "packed in an unusual way" in found.refused[0]
        return
    tracemalloc.start()
    with pytest.raises(DataError, match="damaged in the zip"):
        found.read("a.png")
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_one_look_sees_a_place_once_and_no_longer(tmp_path: Path) -> None:
    root = write_files(tmp_path / "set", FILES)
    before = archive.stamp(root)
    with archive.one_look():
        assert archive.stamp(root) == before
        write_files(root, {"new.png": b"n"})
        assert archive.stamp(root) == before
    assert archive.stamp(root) != before
