"""Loading: cached, skipped, refused; the datasheet, the list and the check; bad input from end to end."""

import hashlib
import json
import os
import re
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from tests.pictures import class_folders, encoded, gradient, png, twins, write_files, write_zip
from transfusion_lib import data
from transfusion_lib.data.dataset import Dataset
from transfusion_lib.data.reading import archive, copies, decode, filesource, leakage, loading, splits
from transfusion_lib.data.reading.cache import Rooms
from transfusion_lib.data.sources import computed, folder
from transfusion_lib.errors import DataError, SpecError
from transfusion_lib.spec import DataSpec

Files = dict[str, bytes | str]


def spec(root: Path, **fields: object) -> DataSpec:
    """Return a spec of the class folders at ``root``."""
    return DataSpec(name="folder", root=str(root), size=16, **fields)  # type: ignore[arg-type]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of names that the decoder is called with, but for the small pictures that are compared."""
    names: list[str] = []
    plain = decode.image

    def counting(content: bytes, *, name: str, **rest: object) -> object:
        if rest["size"] != copies.SIZE:
            names.append(name)
        return plain(content, name=name, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(decode, "image", counting)
    return names


def pixels(dataset: Dataset) -> dict[str, bytes]:
    """Return the bytes of each image by id."""
    splits = dataset.splits().values()
    return {
        name: image.numpy().tobytes() for split in splits for name, image in zip(split.ids, split.images, strict=True)
    }


def test_images_are_decoded_once(tmp_path: Path, counted: list[str]) -> None:
    """Whatever the split, the subset, the packing; a new size or a changed file is decoded anew."""
    files = class_folders()
    root = write_files(tmp_path / "set", files)
    cache = tmp_path / "cache"
    first = data.load(spec(root), cache=cache)
    assert len(counted) == 40
    for other in (spec(root), spec(root, seed=3), spec(root, train=10), spec(write_zip(tmp_path / "z.zip", files))):
        again = data.load(other, cache=cache)
        assert pixels(again).items() <= pixels(first).items()
    assert len(counted) == 40
    data.load(spec(root).replace(size=20), cache=cache)
    assert len(counted) == 80
    write_files(root, {"cat/003.png": png(99)})
    changed = data.load(spec(root), cache=cache)
    assert len(counted) == 81
    differing = {name for name, content in pixels(changed).items() if content != pixels(first)[name]}
    assert differing == {"cat/003.png"}


def test_only_what_is_wanted_is_decoded(tmp_path: Path, counted: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A small trial on a large set does not wait for all of it: of the rest only the first bytes are read."""
    whole: list[str] = []
    plain = archive.Folder.read

    def reading(self: archive.Folder, name: str) -> bytes:
        whole.append(name)
        return plain(self, name)

    monkeypatch.setattr(archive.Folder, "read", reading)
    data.load(
        spec(write_files(tmp_path / "set", class_folders(per_class=40)), train=6, val=4, test=4), cache=tmp_path / "c"
    )
    assert len(counted) == len(set(whole)) == 14


def test_pixels_are_those_of_the_file(tmp_path: Path) -> None:
    """The image of an id, not its neighbour's, in memory and memory-mapped."""
    root = write_files(tmp_path / "set", {name: png(k, size=16) for k, name in enumerate(class_folders())})
    expected = {name: gradient(k, size=16).transpose(2, 0, 1).tobytes() for k, name in enumerate(class_folders())}
    assert pixels(data.load(spec(root), cache=tmp_path / "cache")) == expected
    for _ in range(2):
        mapped = data.load(spec(root), cache=tmp_path / "cache", memory=1000)
        assert pixels(mapped) == expected
        assert mapped.train.images[torch.tensor([2, 0])].shape == (2, 3, 16, 16)


def test_a_damaged_cache_is_made_again(tmp_path: Path, counted: list[str]) -> None:
    """A flipped bit in the cache never reaches a training run."""
    root = write_files(tmp_path / "set", class_folders())
    first = pixels(data.load(spec(root), cache=tmp_path / "cache"))
    (file,) = (tmp_path / "cache" / "images").glob("folder*/images.bin")
    content = bytearray(file.read_bytes())
    content[1234] ^= 4
    file.write_bytes(content)
    assert pixels(data.load(spec(root), cache=tmp_path / "cache")) == first
    assert len(counted) > 40


def test_progress(tmp_path: Path) -> None:
    """Called with what is done and how much there is; the default draws no bar outside a terminal."""
    seen: list[tuple[int, int]] = []
    root = write_files(tmp_path / "set", class_folders())
    data.load(spec(root), cache=tmp_path / "cache", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(k, 40) for k in range(1, 41)]


def test_fingerprint_is_that_of_the_loaded_set(tmp_path: Path, counted: list[str]) -> None:
    """Cheap: nothing is decoded; and it changes with a pixel, a label, a split, a setting, and not with the place."""
    files = class_folders()
    root, cache = write_files(tmp_path / "set", files), tmp_path / "cache"
    prints = {"plain": data.fingerprint(spec(root), cache=cache)}
    assert not counted
    assert data.load(spec(root), cache=cache).fingerprint == prints["plain"]
    assert data.fingerprint(spec(write_zip(tmp_path / "elsewhere.zip", files)), cache=cache) == prints["plain"]
    prints["size"] = data.fingerprint(spec(root).replace(size=17), cache=cache)
    prints["seed"] = data.fingerprint(spec(root, seed=1), cache=cache)
    prints["subset"] = data.fingerprint(spec(root, train=10), cache=cache)
    write_files(root, {"cat/000.png": png(77)})
    prints["pixel"] = data.fingerprint(spec(root), cache=cache)
    (root / "cat" / "000.png").rename(root / "dog" / "x.png")
    prints["label"] = data.fingerprint(spec(root), cache=cache)
    assert len(set(prints.values())) == len(prints)


def test_content_is_told_by_a_cryptographic_hash(tmp_path: Path) -> None:
    """Files of one size and one CRC-32 are different images: other fingerprint, other pixels, if nearly the same."""
    one, other = twins()
    files: Files = {**class_folders(), "cat/000.bmp": one, "dog/000.bmp": other}
    root, cache = write_files(tmp_path / "set", files), tmp_path / "cache"
    first = data.load(spec(root), cache=cache)
    [note] = data.check(root).notes
    assert "nearly the same" in note
    times = (root / "cat" / "000.bmp").stat()
    write_files(root, {"cat/000.bmp": other, "dog/000.bmp": one})
    for name in ("cat/000.bmp", "dog/000.bmp"):
        os.utime(root / name, ns=(times.st_atime_ns, times.st_mtime_ns))
    second = data.load(spec(root), cache=cache)
    assert second.fingerprint != first.fingerprint
    assert pixels(second)["cat/000.bmp"] == pixels(first)["dog/000.bmp"] != pixels(first)["cat/000.bmp"]


def test_the_fingerprint_is_the_written_one(tmp_path: Path) -> None:
    """Versions and settings, then a line for each image: split, id, label, unit, digests; nothing of the machine."""
    root = write_files(tmp_path / "set", class_folders())
    chosen = folder.SOURCE.choose(spec(root), cache=tmp_path / "cache")
    versions = [filesource.VERSION, decode.VERSION, splits.VERSION, folder.SOURCE.version]
    head = [versions, ["classes", "multiclass", chosen.catalogue.classes, [1], []], ["folder", 16, 3, "stretch"]]
    lines = [json.dumps(head, separators=(",", ":"))]
    for name, part in chosen.parts.items():
        for item in part:
            content = hashlib.blake2b((root / item.file).read_bytes(), digest_size=32).hexdigest()
            lines.append(f"{json.dumps([name, item.id, item.label, item.unit, [content]])}\n")
    assert chosen.fingerprint == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_fingerprints_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked again for the same files, nothing is read; a study with many seeds lists the files once."""
    root = write_zip(tmp_path / "z.zip", class_folders())
    opened = []
    plain = archive.open_files

    def counting(*args: object, **rest: object) -> object:
        opened.append(args)
        return plain(*args, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(archive, "open_files", counting)
    for seed in (0, 1, 2, 0, 1):
        data.fingerprint(spec(root, seed=seed), cache=tmp_path / "cache")
    assert len(opened) == 1


def test_unknown_names_and_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was asked, what exists, what to do."""
    monkeypatch.delenv("TRANSFUSION_DATA", raising=False)
    with pytest.raises(SpecError, match=r'unknown data set "fundos"; did you mean "fundus"\? Known: fundus, '):
        data.load(DataSpec(name="fundos"), cache=tmp_path)
    with pytest.raises(
        DataError, match=r"chest_xray: not found \(looked in nowhere: TRANSFUSION_DATA is not set\); expected"
    ):
        data.load(DataSpec(name="chest_xray"), cache=tmp_path)
    monkeypatch.setenv("TRANSFUSION_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"chest_xray: not found \(looked in /.*\); expected .* set TRANSFUSION_DATA"):
        data.load(DataSpec(name="chest_xray"), cache=tmp_path)
    with pytest.raises(DataError, match=r"nowhere: no such folder or zip"):
        data.load(DataSpec(name="chest_xray", root=str(tmp_path / "nowhere")), cache=tmp_path)
    with pytest.raises(DataError, match=r"folder: give root, the place of the files"):
        data.load(DataSpec(name="folder"), cache=tmp_path)


def test_spec_for_a_name_or_a_place(tmp_path: Path) -> None:
    """What a chapter's parameter ``dataset`` may hold."""
    assert data.spec_for("fundus", size=32) == DataSpec(name="fundus", size=32)
    assert data.spec_for("fundus:grade", size=32) == DataSpec(name="fundus", task="grade", size=32)
    root = write_files(tmp_path / "set", class_folders())
    assert data.spec_for(str(root)) == DataSpec(name="folder", root=str(root))
    table = write_files(tmp_path, {"t.csv": "image,label,sick\n"}) / "t.csv"
    assert data.spec_for(f"{table}:sick") == DataSpec(name="isic", root=str(table), task="sick")
    with pytest.raises(SpecError, match='unknown data set "fundis"'):
        data.spec_for("fundis:grade")
    with pytest.raises(SpecError, match=r'unknown data set "fundis".*did you mean "fundus".* Nor is it a folder'):
        data.spec_for("fundis")


def test_a_place_is_read_as_what_it_is(tmp_path: Path) -> None:
    """A public set by its layout, a table of labels before the folders of its images, a file of MedMNIST by name."""
    rows = "\n".join(f"{k:03d},{k % 5}" for k in range(30))
    eyes: Files = {f"train_images/{k:03d}.png": png(k) for k in range(30)} | {"train.csv": f"id_code,diagnosis\n{rows}"}
    assert data.spec_for(str(write_files(tmp_path / "eyes", eyes))).name == "aptos"
    table: Files = {f"{'ab'[k % 2]}/{k:03d}.png": png(k) for k in range(30)} | {"labels.csv": f"image,label\n{rows}"}
    root = write_files(tmp_path / "table", table)
    assert data.spec_for(str(root)).name == "isic"
    (root / "labels.csv").unlink()
    assert data.spec_for(str(root)).name == "folder"
    write_files(tmp_path, {"retinamnist_64.npz": b"x", "other.npz": b"x"})
    assert data.spec_for(str(tmp_path / "retinamnist_64.npz")).name == "retinamnist"
    with pytest.raises(DataError, match="not named like a file of MedMNIST"):
        data.spec_for(str(tmp_path / "other.npz"))


def test_an_unknown_layout_says_what_is_there(tmp_path: Path) -> None:
    """Where the images lie, which columns the tables have, and what was expected: in one line."""
    files: Files = {"photos/1.png": png(1), "notes.csv": "when,who\n1,2\n"}
    with pytest.raises(DataError) as caught:
        data.spec_for(str(write_files(tmp_path / "x", files)))
    found = r"no known layout: found 1 images in photos; notes.csv with columns when, who. Expected a folder for each"
    assert found in str(caught.value)
    assert "\n" not in str(caught.value)


def test_limits_beyond_the_files_are_lifted(tmp_path: Path) -> None:
    """A chapter's defaults are made for larger sets; what the files reach stays a limit, as does a computed set's."""
    root = write_files(tmp_path / "set", class_folders())
    asked = spec(root, train=2000, val=2, test=8)
    assert data.limited(asked, cache=tmp_path / "cache") == spec(root, train=None, val=2, test=8)
    assert len(pixels(data.load(data.limited(asked, cache=tmp_path / "cache"), cache=tmp_path / "cache"))) == 29 + 2 + 8
    drawn = spec(root, split="drawn", train=2000, val=8, test=20)
    assert data.limited(drawn, cache=tmp_path / "cache") == drawn.replace(train=None)
    computed_set = DataSpec(name="fundus", train=5000)
    assert data.limited(computed_set, cache=tmp_path / "cache") == computed_set
    absent = DataSpec(name="chexpert", root=str(tmp_path / "nowhere"), train=5000)
    assert data.limited(absent, cache=tmp_path / "cache") == absent


HOSTILE: dict[str, tuple[bytes, str]] = {
    "zero bytes": (b"", "empty .0 bytes."),
    "truncated": (png(5, size=64)[:-200], "damaged or truncated"),
    "text": (b"not a picture", "not an image but unknown bytes"),
    "header cut": (encoded(gradient(5, size=64), "JPEG")[:120], "damaged or truncated|not an image"),
    "WebP cut": (encoded(gradient(5, size=64), "WEBP")[:-60], "damaged or truncated|not an image"),
    "Hounsfield": (encoded(np.full((9, 9), -1000, np.int32), "TIFF"), "values from -1000"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_bad_image_stops_the_load_or_is_listed(tmp_path: Path, kind: str, packed: bool) -> None:
    """One line with the file; with on_bad="skip" the rest is loaded and the datasheet counts it, every time."""
    content, message = HOSTILE[kind]
    files = class_folders() | {"dog/bad.png": content}
    root = write_zip(tmp_path / "z.zip", files) if packed else write_files(tmp_path / "set", files)
    with pytest.raises(DataError, match=message) as caught:
        data.load(spec(root), cache=tmp_path / "cache")
    assert "bad.png: " in str(caught.value)
    assert "\n" not in str(caught.value)
    for _ in range(2):
        loaded = data.load(spec(root, on_bad="skip"), cache=tmp_path / "cache")
        assert len(pixels(loaded)) == 40
        assert "dog/bad.png" not in pixels(loaded)
        assert len(loaded.left_out) == 1
        assert "bad.png: " in loaded.left_out[0]
        assert data.datasheet(loaded).lines["left out"] == "1"
        assert data.datasheet(loaded).left_out == loaded.left_out


def test_a_zip_that_leads_outside_is_refused(tmp_path: Path) -> None:
    """Nothing is read from it, unless the member is to be skipped."""
    root = write_zip(tmp_path / "z.zip", class_folders() | {"../../dog/evil.png": png(1)})
    with pytest.raises(DataError, match=r"z.zip: member '../../dog/evil.png' leads out of the zip; pack the zip again"):
        data.load(spec(root), cache=tmp_path / "cache")
    loaded = data.load(spec(root, on_bad="skip"), cache=tmp_path / "cache")
    assert len(pixels(loaded)) == 40
    assert "evil.png" in loaded.left_out[0]


def test_a_link_that_leads_outside_is_refused(tmp_path: Path) -> None:
    """The same for folders."""
    root = write_files(tmp_path / "set", class_folders())
    write_files(tmp_path / "outside", {"secret.png": png(1)})
    (root / "dog" / "link.png").symlink_to(tmp_path / "outside" / "secret.png")
    with pytest.raises(DataError, match=r"link.png: a link that leads out of"):
        data.load(spec(root), cache=tmp_path / "cache")
    assert len(data.load(spec(root, on_bad="skip"), cache=tmp_path / "cache").left_out) == 1


def test_a_split_with_one_class(tmp_path: Path) -> None:
    """No AUROC exists: an error even where bad files are skipped."""
    files = {f"train/{name}": content for name, content in class_folders().items()}
    files |= {f"test/{name}": content for name, content in class_folders(per_class=5).items() if "dog" in name}
    root = write_files(tmp_path / "set", files)
    for on_bad in ("error", "skip"):
        with pytest.raises(
            DataError, match=r"folder: all 5 images of test have the same label; ask for more images, or add"
        ):
            data.load(spec(root, on_bad=on_bad), cache=tmp_path / "cache")


def test_no_space_left_while_caching(tmp_path: Path) -> None:
    """One line that names the place and the repair; afterwards the load works."""
    root = write_files(tmp_path / "set", class_folders())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(DataError, match=r"cache/images/.*: the data cache cannot be written .*; free space there"):
            data.load(spec(root), cache=tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(pixels(data.load(spec(root), cache=tmp_path / "cache"))) == 40


def test_an_unwritable_cache(tmp_path: Path) -> None:
    """The cache's place is a file."""
    root = write_files(tmp_path / "set", class_folders())
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(
        DataError, match=r"the data cache cannot be written .*; free space there, or set TRANSFUSION_CACHE"
    ):
        data.load(spec(root), cache=tmp_path / "cache")


def test_odd_but_good_images_are_read(tmp_path: Path) -> None:
    """16 bits, CMYK, palette, alpha, a wrong extension, rotated by EXIF: loaded, and the check says nothing bad."""
    picture = Image.fromarray(gradient(3, size=32))
    exif = Image.Exif()
    exif[0x0112] = 6
    odd: Files = {
        "cat/deep.png": encoded(np.asarray(picture.convert("L")).astype(np.uint16) * 257),
        "cat/ink.jpg": encoded(picture.convert("CMYK"), "JPEG"),
        "cat/palette.png": encoded(picture.quantize(16)),
        "cat/alpha.png": encoded(picture.convert("RGBA")),
        "cat/misnamed.jpg": encoded(picture),
        "cat/rotated.jpg": encoded(picture, "JPEG", exif=exif),
    }
    root = write_files(tmp_path / "set", class_folders() | odd)
    loaded = data.load(spec(root), cache=tmp_path / "cache")
    assert len(pixels(loaded)) == 46
    upright = np.frombuffer(pixels(loaded)["cat/alpha.png"], np.uint8).reshape(3, 16, 16).astype(int)
    for name in ("cat/ink.jpg", "cat/palette.png", "cat/misnamed.jpg"):
        made = np.frombuffer(pixels(loaded)[name], np.uint8).reshape(3, 16, 16).astype(int)
        assert abs(made - upright).mean() < 12
    deep = np.frombuffer(pixels(loaded)["cat/deep.png"], np.uint8).reshape(3, 16, 16)
    assert abs(deep - np.tensordot([0.299, 0.587, 0.114], upright, 1)).max() < 2
    turned = np.frombuffer(pixels(loaded)["cat/rotated.jpg"], np.uint8).reshape(3, 16, 16).astype(int)
    assert abs(np.rot90(turned, 1, (1, 2)) - upright).mean() < 5
    report = data.check(root)
    assert report.ok
    assert any(
        "1 file(s) hold another image format than their name says" in note and "misnamed" in note
        for note in report.notes
    )


def test_check_lists_every_fault(tmp_path: Path) -> None:
    """All at once, each a line with file, row and repair."""
    rows = [f"{k:03d},{k % 5}" for k in range(30)]
    rows[4], rows[9], rows[14] = "004,9", "missing,1", "013,3"
    files: Files = {f"train_images/{k:03d}.png": png(k) for k in range(30)}
    files["train_images/020.png"] = b""
    files["train_images/021.png"] = files["train_images/011.png"]
    files["train.csv"] = "\n".join(["id_code,diagnosis", *rows])
    report = data.check(write_files(tmp_path / "aptos", files))
    assert report.name == "aptos"
    assert not report.ok
    assert [("row 6" in p, "row 11" in p, "row 16" in p, "020.png" in p) for p in report.problems] == [
        (True, False, False, False),
        (False, True, False, False),
        (False, False, True, False),
        (False, False, False, True),
    ]
    assert all("\n" not in problem and ";" in problem for problem in report.problems)
    assert report.notes[0].startswith("1 group(s) of identical files")
    assert report.notes[0].endswith("0 with other labels")
    clean: Files = {f"train_images/{k:03d}.png": png(k) for k in range(30)}
    clean["train.csv"] = "\n".join(["id_code,diagnosis", *(f"{k:03d},{k % 5}" for k in range(30))])
    sound = data.check(write_zip(tmp_path / "clean.zip", clean))
    assert sound.ok
    assert sound.sheet is not None
    assert sum(sound.sheet.images.values()) == 30
    assert sum(count[0] for count in sound.sheet.counts.values()) == 6


@pytest.mark.parametrize("name", ["folder", "zip", "leak", "one class", "table"])
def test_check_of_what_cannot_be_loaded(tmp_path: Path, name: str) -> None:
    """An unknown layout, a damaged zip, a shared patient, a split with one class, a table without its columns."""
    if name == "folder":
        place, message = (
            write_files(tmp_path / "x", {"notes.txt": "a"}),
            "no known layout: found 1 file(s) of other kinds, not read: notes.txt. Expected a folder for each class",
        )
    elif name == "zip":
        place, message = write_files(tmp_path, {"x.zip": b"PK\x03\x04 cut"}) / "x.zip", "not a readable zip"
    elif name == "leak":
        files: Files = {
            f"{s}/{c}/p{p}/{k}.png": png(hash((s, c, p, k)) % 9999)
            for s in ("train", "test")
            for c in "ab"
            for p in range(6)
            for k in range(2)
        }
        place, message = write_files(tmp_path / "x", files), r"unit(s) in two splits: 'a/p0'"
    elif name == "one class":
        place, message = write_files(tmp_path / "x", {"a/1.png": png(1), "b/2.png": png(2)}), "have the same label"
    else:
        place, message = (
            write_files(tmp_path, {"x.csv": "image,size\na,2\n"}) / "x.csv",
            "row 1: no column of labels (label, target",
        )
    report = data.check(place)
    assert not report.ok
    assert any(message in problem for problem in report.problems)


@pytest.mark.parametrize("kind", HOSTILE)
def test_check_survives_what_it_is_for(tmp_path: Path, kind: str) -> None:
    """A damaged image is a line, and the rest is told all the same."""
    found = data.check(write_files(tmp_path / "set", class_folders() | {"dog/bad.png": HOSTILE[kind][0]}))
    assert len(found.problems) == 1
    assert "bad.png: " in found.problems[0]
    assert found.sheet is not None


def test_check_of_nothing(tmp_path: Path) -> None:
    """A place that does not exist is the user's mistake."""
    with pytest.raises(DataError, match=r"no such file or folder; give the place"):
        data.check(tmp_path / "nothing")
    report = data.check(write_files(tmp_path, {"other.npz": b"x"}) / "other.npz")
    assert "not named like a file of MedMNIST" in report.problems[0]


def test_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every set, with where its files are or how to get them."""
    write_zip(tmp_path / "chest_xray.zip", {"x": b""})
    monkeypatch.setenv("TRANSFUSION_DATA", str(tmp_path))
    lines = {line.name: line for line in data.listing()}
    assert set(lines) == set(data.TABLE)
    assert lines["chest_xray"].where == str(tmp_path / "chest_xray.zip")
    assert lines["chexpert"].where is None
    assert lines["fundus"].where == "computed"
    assert all(line.what and line.tasks and line.get for line in lines.values())


def test_show_and_datasheet_agree(tmp_path: Path) -> None:
    """Before and after decoding: the same counts, units and fingerprint."""
    root = write_files(tmp_path / "set", class_folders())
    shown = data.show(str(root), cache=tmp_path / "cache", size=16)
    sheet = data.datasheet(data.load(spec(root), cache=tmp_path / "cache"))
    assert shown.counts == sheet.counts
    assert shown.images == sheet.images == {"train": 29, "val": 3, "test": 8}
    assert shown.units == sheet.units
    assert shown.lines["fingerprint"] == sheet.lines["fingerprint"]
    assert sheet.lines["size"] == "16 x 16, 3 channel(s)"
    assert {"what", "licence", "source", "unit", "splits", "task", "fingerprint"} <= set(sheet.lines)


def test_show_without_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is known of a set that the user has not got yet."""
    monkeypatch.setenv("TRANSFUSION_DATA", str(tmp_path))
    sheet = data.show("chexpert", cache=tmp_path)
    assert sheet.lines["where"] == "not found"
    assert sheet.counts == {}


@pytest.mark.parametrize("name", ["fundus", "synthetic_chest"])
def test_computed_sets(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn once, then read; the table knows their tasks; the progress counts all splits."""
    asked = DataSpec(name=name, size=32, train=12, val=8, test=8)
    seen: list[tuple[int, int]] = []
    first = data.load(asked, cache=tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (28, 28)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert first.name == name
    assert first.synthetic
    assert first.fingerprint == data.fingerprint(asked, cache=tmp_path)
    source = data.TABLE[name]
    assert isinstance(source, computed.ComputedSource)
    assert source.info.tasks == source.generator().TASKS
    monkeypatch.setattr(computed.ComputedSource, "generator", lambda self: pytest.fail("drawn again"))
    monkeypatch.setattr(computed.ComputedSource, "fingerprint", lambda self, spec, cache: first.fingerprint)
    again = data.load(asked, cache=tmp_path)
    assert pixels(again) == pixels(first)
    assert torch.equal(again.train.labels.nan_to_num(9), first.train.labels.nan_to_num(9))


def test_one_white_for_all_deep_images(tmp_path: Path) -> None:
    """A dark scan of 12 bits stays dark beside a bright one, in the cache too; sets of 8 bits keep their caches."""
    files: Files = {}
    names = [f"{kind}/{n}.png" for kind in ("cat", "dog") for n in range(20)]
    levels = {name: (200 if k % 2 else 4000) + k for k, name in enumerate(names)}
    files |= {name: encoded(np.full((16, 16), level, np.uint16)) for name, level in levels.items()}
    root = write_files(tmp_path / "set", files)
    for _ in range(2):
        loaded = data.load(spec(root), cache=tmp_path / "cache")
        for split in loaded.splits().values():
            for name, image in zip(split.ids, split.images, strict=True):
                assert image.unique().tolist() == [round(levels[name] * 255 / 4095)], name
        assert loaded.notes["grey images of more than 8 bits"] == "white is 4,095 in each, by the brightest of all"
    plain = data.load(spec(write_files(tmp_path / "8", class_folders())), cache=tmp_path / "cache8")
    assert "grey images of more than 8 bits" not in plain.notes
    assert [folder.name for folder in (tmp_path / "cache8" / "images").glob("folder*")] == ["folder-stretch-3x16-v1"]


def twelve_bits(*, bright: tuple[str, ...] = ("cat/5.png",), level: int = 4000) -> Files:
    """Return dark scans of 12 bits in 16-bit files, but for the ``bright``."""
    names = [f"{kind}/{n}.png" for kind in ("cat", "dog") for n in range(20)]
    return {
        name: encoded(np.full((16, 16), level if name in bright else 200 + k, np.uint16))
        for k, name in enumerate(names)
    }


def test_white_is_that_of_the_set_whatever_is_asked_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The subset, the split, the size, the packing and the threads change no level; every sheet says the white."""
    line = ("grey images of more than 8 bits", "white is 4,095 in each, by the brightest of all")
    root = write_files(tmp_path / "set", twelve_bits())
    whole = pixels(data.load(spec(root), cache=tmp_path / "cache"))
    asked = [spec(root, train=6, val=3, test=4, seed=seed) for seed in range(3)]
    asked += [spec(write_zip(tmp_path / "z.zip", twelve_bits()), train=6, val=3, test=4)]
    for number, each in enumerate(asked):
        monkeypatch.setattr(loading, "_workers", lambda number=number: 1 + 3 * number)
        loaded = data.load(each, cache=tmp_path / f"cache{number}")
        assert pixels(loaded).items() <= whole.items(), each
        for sheet in (data.datasheet(loaded), data.show(each.root or "", cache=tmp_path / "cache")):
            assert line in sheet.lines.items()
    assert line[1] == data.load(asked[0].replace(size=20), cache=tmp_path / "cache").notes[line[0]]
    checked = data.check(root).sheet
    assert checked is not None
    assert line in checked.lines.items()


def test_white_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    """An image outside the subset that sets another white changes every pixel of the subset."""
    root = write_files(tmp_path / "set", twelve_bits())
    asked = spec(root, train=6, val=3, test=4)
    assert "cat/5.png" not in pixels(data.load(asked, cache=tmp_path / "cache"))
    first = data.fingerprint(asked, cache=tmp_path / "cache")
    write_files(root, twelve_bits(level=3999))
    assert data.fingerprint(asked, cache=tmp_path / "cache") == first
    write_files(root, twelve_bits(level=4096))
    assert data.fingerprint(asked, cache=tmp_path / "cache") != first


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (np.full((16, 16), -1000, np.int32), "values from -1000 to -1000; save it with values from 0 to 65535"),
        (np.full((16, 16), 0.5, np.float32), "floats up to 0.5 where white is 4,095; save all images on one scale"),
    ],
)
def test_a_deep_image_on_another_scale_is_refused(tmp_path: Path, odd: np.ndarray, message: str) -> None:
    """The white of the others would make it black."""
    root = write_files(tmp_path / "set", {**twelve_bits(), "dog/odd.tif": encoded(odd, "TIFF")})
    expected = f"{root / 'dog' / 'odd.tif'}: {message}"
    with pytest.raises(DataError, match=f"^{re.escape(expected)}$"):
        data.load(spec(root), cache=tmp_path / "cache")
    assert data.check(root).problems == (expected,)
    left = data.load(spec(root, on_bad="skip"), cache=tmp_path / "cache")
    assert left.left_out == (expected,)
    assert pixels(left) == pixels(data.load(spec(write_files(tmp_path / "rest", twelve_bits())), cache=tmp_path / "c"))


def test_a_white_without_an_unread_image_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read that fails for a moment must not darken or brighten the set from then on."""
    path = write_zip(tmp_path / "z.zip", twelve_bits())
    plain = archive.Zip.read

    def failing(self: archive.Zip, name: str) -> bytes:
        if name == "cat/5.png":
            raise DataError(f"{name}: not now")
        return plain(self, name)

    with monkeypatch.context() as patched:
        patched.setattr(archive.Zip, "read", failing)
        assert data.load(spec(path, on_bad="skip"), cache=tmp_path / "cache").left_out == ("cat/5.png: not now",)
    monkeypatch.setattr(filesource, "_lists", {})  # as in another process
    assert " 4,095 " in data.load(spec(path), cache=tmp_path / "cache").notes["grey images of more than 8 bits"]


def lesions() -> Files:
    """Return HAM10000's layout: 60 lesions, some with two images."""
    files: Files = {}
    table = "lesion_id,image_id,dx,dx_type,age,sex,localization\n"
    for lesion in range(60):
        for image in range(1 + lesion % 2):
            name = f"ISIC_{10 * lesion + image:07d}"
            files[f"HAM10000_images/{name}.jpg"] = png(10 * lesion + image)
            table += f"HAM_{lesion:07d},{name},{('nv', 'mel', 'bkl')[lesion % 3]},histo,50,male,back\n"
    return files | {"HAM10000_metadata.csv": table}


def eyes() -> Files:
    """Return EyePACS' layout with its two tables: two eyes of each of 60 patients."""
    files: Files = {}
    for split, patients in (("train", range(40)), ("test", range(40, 60))):
        lines = ["image,level"]
        for patient in patients:
            for side in ("left", "right"):
                files[f"{split}/{patient}_{side}.jpeg"] = png(2 * patient + (side == "left"))
                lines.append(f"{patient}_{side},{patient % 5}")
        files[f"{split}Labels.csv"] = "\n".join(lines)
    return files


def split_table() -> Files:
    """Return a table of labels with patients and a column of splits."""
    lines = ["image,label,patient_id,split"]
    splits = ("train", "train", "train", "val", "test")
    lines += [f"{k}.png,{'ab'[k // 10 % 2]},p{k // 2},{splits[k // 2 % 5]}" for k in range(120)]
    return {"labels.csv": "\n".join(lines)} | {f"{k}.png": png(k) for k in range(120)}


def split_folders() -> Files:
    """Return class folders in train, val and test."""
    parts = (("train", 60), ("val", 20), ("test", 40))
    return {f"{part}/{'ab'[k % 2]}/{part}{k}.png": png(ord(part[1]) * 100 + k) for part, n in parts for k in range(n)}


@pytest.mark.parametrize(
    ("name", "files"), [("ham10000", lesions), ("eyepacs", eyes), ("isic", split_table), ("folder", split_folders)]
)
def test_the_seed_moves_splits_and_subsets_of_files(tmp_path: Path, name: str, files: Callable[[], Files]) -> None:
    """Subsets of official splits, and splits that are drawn, at the sizes asked and without a shared unit."""
    root = write_files(tmp_path / "set", files())
    cache = tmp_path / "cache"
    drawn = DataSpec(name=name, root=str(root), size=16, split="drawn", train=20, val=19, test=40)
    for wanted in (drawn, drawn.replace(split="official", val=4, test=8)):
        first, other = (data.load(wanted.replace(seed=seed), cache=cache) for seed in (0, 1))
        assert first.fingerprint != other.fingerprint
        for split, n in (("train", wanted.train), ("val", wanted.val), ("test", wanted.test)):
            ids = [set(each.splits()[split].ids) for each in (first, other)]
            assert [len(found) for found in ids] == [n, n]
            assert ids[0] != ids[1]
        assert not leakage.report(first).across
        units = [set(split.units) for split in first.splits().values()]
        assert sum(map(len, units)) == len(set.union(*units))


@pytest.mark.parametrize("name", ["fundus", "synthetic_chest", "synthetic_adrenal"])
def test_the_seed_moves_every_split_of_a_computed_set(tmp_path: Path, name: str) -> None:
    """Its splits are drawn whatever the spec says, so that both words are the same images."""
    wanted = DataSpec(name=name, size=16, train=20, val=10, test=10)
    first, drawn, other = (
        data.load(each, cache=tmp_path) for each in (wanted, wanted.replace(split="drawn"), wanted.replace(seed=1))
    )
    assert first.fingerprint == drawn.fingerprint != other.fingerprint
    assert pixels(first) == pixels(drawn)
    for split, part in first.splits().items():
        assert not torch.equal(part.images, other.splits()[split].images)


@pytest.mark.parametrize("name", ["fundus", "synthetic_chest", "synthetic_adrenal"])
def test_computed_sets_that_do_not_fit_in_memory(tmp_path: Path, name: str) -> None:
    """Drawn into a file that leaves nothing behind, then memory-mapped, masks too; the same pixels."""
    wanted = DataSpec(name=name, size=16, train=40, val=20, test=20)
    plain = data.load(wanted, cache=tmp_path / "plain")
    for _ in range(2):
        mapped = data.load(wanted, cache=tmp_path / "mapped", memory=1000)
        assert (pixels(mapped), mapped.fingerprint) == (pixels(plain), plain.fingerprint)
        maps = Path("/proc/self/maps").read_text()
        for split, part in mapped.splits().items():
            assert torch.equal(part.labels, plain.splits()[split].labels)
            for what in ["images", *(["masks"] if part.masks is not None else [])]:
                assert f"{tmp_path}/mapped/computed/{name}-16-{plain.fingerprint[:16]}/{split}_{what}.npy" in maps
    left = [path.name for path in (tmp_path / "mapped").rglob("*") if path.is_file()]
    assert sorted(left) == sorted(path.name for path in (tmp_path / "plain").rglob("*") if path.is_file())
    assert f"{tmp_path}/plain/" not in maps


@pytest.mark.parametrize(
    ("name", "task", "arrays"),
    [
        ("fundus", None, 6),
        ("fundus", "lesions", 9),
        ("synthetic_chest", None, 6),
        ("synthetic_chest", "lungs", 9),
        ("synthetic_adrenal", None, 3),
    ],
)
def test_a_computed_set_is_drawn_within_the_memory_limit(
    tmp_path: Path, name: str, task: str | None, arrays: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is that of images and masks of all splits together, masks of several regions in one included."""
    wanted = DataSpec(name=name, task=task, size=16, train=40, val=20, test=20)
    plain = data.load(wanted, cache=tmp_path / "plain")
    limit = sum(part.images.nbytes for part in plain.splits().values()) // 2
    rooms: list[NDArray[np.uint8]] = []

    def counting(self: Rooms, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        rooms.append(room(self, shape))
        return rooms[-1]

    room = Rooms.__call__
    monkeypatch.setattr(Rooms, "__call__", counting)
    mapped = data.load(wanted, cache=tmp_path / "mapped", memory=limit)
    assert len(rooms) == arrays
    assert sum(array.nbytes for array in rooms if not isinstance(array, np.memmap)) <= limit
    for split, part in mapped.splits().items():
        expected = plain.splits()[split]
        assert torch.equal(part.images, expected.images)
        assert torch.equal(part.labels, expected.labels)
        if expected.masks is not None:
            assert part.masks is not None
            assert torch.equal(part.masks, expected.masks)


def test_room_beyond_memory_is_a_file(tmp_path: Path) -> None:
    """Which has no name any more, so that a killed process leaves none; the limit is that of all arrays together."""
    room = Rooms(tmp_path, memory=1000)
    first, large, small, none = (room(shape) for shape in ((6, 100), (5, 100), (4, 100), (1, 1)))
    assert [isinstance(array, np.memmap) for array in (first, large, small, none)] == [False, True, False, True]
    large[:] = 7
    assert (large.shape, int(large.sum()), list(tmp_path.iterdir())) == ((5, 100), 3500, [])
