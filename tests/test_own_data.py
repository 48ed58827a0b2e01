"""Folders and tables as people really have them: read rightly, or refused with the repair; nothing goes unsaid."""

import io
import struct
import unicodedata
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.pictures import encoded, write_files, write_zip
from transfusion_lib import data
from transfusion_lib.data.reading.describe import Check

Files = dict[str, bytes | str]
CLASSES = ("benign", "malignant")


def noise(seed: int, form: str = "PNG") -> bytes:
    """Return a small picture of noise, which resembles no other."""
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 24) if form in ("PPM", "GIF") else (24, 24, 3), np.uint8)
    return encoded(pixels, form)


def pictures(pattern: str, *, classes: tuple[str, ...] = CLASSES, count: int = 10, form: str = "PNG") -> Files:
    """Return pictures named by a pattern of {c} and {k}."""
    names = [pattern.format(c=c, k=k) for c in classes for k in range(count)]
    return {name: noise(sum(map(ord, name)) * 1000 + index, form) for index, name in enumerate(names)}


def table(header: str, rows: list[str]) -> str:
    """Return the text of a csv."""
    return "\n".join([header, *rows]) + "\n"


def counts(found: Check) -> dict[str, int]:
    """Return the images of each class over all splits."""
    assert found.sheet is not None, found.problems
    return dict(zip(found.sheet.classes, map(sum, zip(*found.sheet.counts.values(), strict=True)), strict=True))


def unit_count(found: Check) -> int:
    """Return the number of units over all splits."""
    assert found.sheet is not None
    return sum(found.sheet.units.values())


def said(found: Check) -> str:
    """Return everything that was said."""
    return "\n".join([*found.problems, *found.notes])


TEN = dict.fromkeys(CLASSES, 10)


@pytest.mark.parametrize(
    ("files", "classes", "units", "told"),
    [
        (pictures("{c}/{k}.png"), TEN, 20, None),
        (pictures("{c}/{c}_{k:03d}.png"), TEN, 20, None),
        (pictures("{c}/{k}_{c}.png", classes=("with_mask", "no_mask")), {"no_mask": 10, "with_mask": 10}, 20, None),
        (pictures("mask/{k}{c}.png") | pictures("no mask/{k}{c}.png"), {"mask": 20, "no mask": 20}, 40, None),
        (pictures("{c}/{k}.jfif", form="JPEG"), TEN, 20, None),
        (
            pictures("{c}/{k}.pgm", form="PPM") | pictures("{c}/x{k}.gif", form="GIF"),
            dict.fromkeys(CLASSES, 20),
            40,
            None,
        ),
        (
            pictures("{c}/P{k:03d}_1.png") | pictures("{c}/P{k:03d}_2.png"),
            dict.fromkeys(CLASSES, 20),
            10,
            "for patients",
        ),
        (pictures("{c}/a{k}.png") | pictures("{c}/a{k}_mask.png"), TEN, 20, "20 mask(s) beside the images, not read"),
        (pictures("{c}/images/{k}.png") | pictures("{c}/masks/{k}.png"), TEN, 20, "20 mask(s) beside the images"),
        (pictures("images/{c}/{k}.png") | pictures("annotations/{c}/{k}.png"), TEN, 20, "20 mask(s) beside the images"),
        (pictures("fold1/{c}/{k}.png") | pictures("fold2/{c}/{k}.png"), dict.fromkeys(CLASSES, 20), 40, "fold1, fold2"),
        (
            pictures("clinic A/{c}/{k}.png") | pictures("clinic B/{c}/{k}.png"),
            dict.fromkeys(CLASSES, 20),
            40,
            "clinic A",
        ),
        (
            {f"{p}/{c}/{k}.png": noise(100 * p + k + 50 * int(c)) for p in range(50, 62) for c in "01" for k in (1, 2)},
            {"0": 24, "1": 24},
            12,
            "recur below 12 folders (50, 51, 52 ...)",
        ),
        (
            {
                f"s/{CLASSES[p % 2]}/open/group{p // 2 % 2}/T_{p:03d}/40X/{k}.png": noise(10 * p + k)
                for p in range(10)
                for k in range(4)
            },
            dict.fromkeys(CLASSES, 20),
            10,
            "T_000, T_001, T_002 ... below the classes are taken for patients",
        ),
        (pictures("{c}/{k}.png") | {"benign/x.dcm": b"x", "benign/y.dcm": b"y"}, TEN, 20, "2 DICOM file(s), not read"),
        (pictures("{c}/{k}.png") | {"benign/IM1": bytes(128) + b"DICM"}, TEN, 20, "1 DICOM file(s), not read: convert"),
        (pictures("{c}/{k}.png") | {"README.md": "x", "LICENSE": "x"}, TEN, 20, None),
        (pictures("{c}/{k}.png") | {"labels.csv": "a,b\n1,2\n"}, TEN, 20, "1 table(s), not used: labels.csv"),
        (
            pictures("{c}/{k}.png") | {"more.tar.gz": b"x"},
            TEN,
            20,
            "1 archive(s), not opened: unpack them: more.tar.gz",
        ),
        (pictures("{c}/{k}.png") | {"benign/a.scan": noise(9)}, TEN, 20, "1 image(s) by their content whose names do"),
    ],
)
def test_folders(tmp_path: Path, files: Files, classes: Mapping[str, int], units: int, told: str | None) -> None:
    """Classes, units, and what is said; nothing is said of sound sets."""
    found = data.check(write_files(tmp_path / "set", files))
    assert found.ok, found.problems
    assert counts(found) == classes
    assert unit_count(found) == units
    assert (told in said(found)) if told else not said(found)


@pytest.mark.parametrize("form", ["training_set/{c}/{k}.png", "{c}/train/{k}.png", "Train data/{c}/{k}.png"])
def test_splits_wherever_they_are_named(tmp_path: Path, form: str) -> None:
    """Above or below the classes, with a word behind them."""
    tested = form.replace("training_set", "test_set").replace("train", "test").replace("Train", "Test")
    found = data.check(write_files(tmp_path / "set", pictures(form) | pictures(tested.replace("{k}", "t{k}"), count=6)))
    assert found.ok, found.problems
    assert counts(found) == dict.fromkeys(CLASSES, 16)
    assert found.sheet is not None
    assert found.sheet.images["test"] == 12


def test_one_class_of_two_systems(tmp_path: Path) -> None:
    """An accent composed or decomposed is the same name."""
    forms = {"train": unicodedata.normalize("NFC", "Mélanome"), "test": unicodedata.normalize("NFD", "Mélanome")}
    files: Files = {}
    for split, name in forms.items():
        files |= pictures(f"{split}/{{c}}/{split}{{k}}.png", classes=(name, "Nævus"))
    assert counts(data.check(write_files(tmp_path / "set", files))) == {forms["train"]: 20, "Nævus": 20}


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({"other/1.dcm": b"x", "other/2.dcm": b"x"}, "other: class folder with 2 DICOM file(s), not read"),
        ({"other/1.nii.gz": b"x"}, "other: class folder with 1 volume(s), not read"),
        ({"other/1.heic": b"x"}, "other: class folder with 1 picture(s) of a kind that is not read"),
        (pictures("new/{c}/{k}.png"), "new: holds folders called like the classes beside it (benign, malignant)"),
    ],
)
def test_a_class_never_vanishes_nor_appears(tmp_path: Path, extra: Files, told: str) -> None:
    """Folders of files that are not read, and folders that only look like a class."""
    found = data.check(write_files(tmp_path / "set", pictures("{c}/{k}.png") | extra))
    assert not found.ok
    assert told in said(found)


def test_copies_beside_the_classes(tmp_path: Path) -> None:
    """A folder of copies and a zip of the same folders are left aside, said; a zip with something new is a fault."""
    files = pictures("{c}/{k}.png")
    found = data.check(write_files(tmp_path / "a", files | {f"Augmented/{name}": each for name, each in files.items()}))
    assert counts(found) == TEN
    assert 'folder "Augmented" is no class' in said(found)
    assert "20 of them copies" in said(found)
    root = write_files(tmp_path / "b", files)
    write_zip(root / "all.zip", files)
    assert counts(data.check(root)) == TEN
    assert "all.zip holds 20 images that lie beside it too" in said(data.check(root))
    write_zip(root / "all.zip", files | {"benign/new.png": noise(5)})
    assert "all.zip: 1 of its 21 images are in no folder beside it" in said(data.check(root))


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    """DICOM alone, zips in a zip, spreadsheets, an array of another case: by number, name and repair."""
    only: Files = {f"{c}/{k}.dcm": b"x" for c in CLASSES for k in range(10)}
    inner = io.BytesIO(write_zip(tmp_path / "inner.zip", pictures("{c}/{k}.png")).read_bytes()).getvalue()
    for name, files, told in (
        ("dicom", only, "20 DICOM file(s), not read: convert them to PNG"),
        (
            "excel",
            pictures("all/{c}{k}.png") | {"labels.xlsx": b"x"},
            "1 spreadsheet(s), not read: save them as csv: lab",
        ),
        ("array", {"PNEUMONIAMNIST.NPZ": b"x"}, "PNEUMONIAMNIST.NPZ"),
    ):
        assert told in said(data.check(write_files(tmp_path / name, files)))
    outer = write_zip(tmp_path / "outer.zip", {"train.zip": inner})
    assert "1 archive(s), not opened: unpack them: train.zip" in said(data.check(outer))


def test_a_zip_of_windows(tmp_path: Path) -> None:
    """Backslashes between folders."""
    files = {name.replace("/", "\\"): content for name, content in pictures("set/{c}/{k}.png").items()}
    assert counts(data.check(write_zip(tmp_path / "set.zip", files))) == TEN


ROWS = [f"i{k}.png,{'xy'[k % 2]}" for k in range(100)]
HUNDRED = {f"i{k}.png": noise(k) for k in range(100)}
FIFTY = {"x": 50, "y": 50}


@pytest.mark.parametrize(
    ("text", "classes", "told"),
    [
        (table("image,label", ROWS), FIFTY, None),
        ("sep=;\r\n" + table("image;label", [row.replace(",", ";") for row in ROWS]), FIFTY, None),
        (table("image|label", [row.replace(",", "|") for row in ROWS]), FIFTY, None),
        (table("image,label", ROWS).encode("utf-16"), FIFTY, None),
        (table("image,label,report", [f'{row},"a, ""b""\nsecond, line"' for row in ROWS]), FIFTY, None),
        (
            table("image,label,report", [f"{row},{'z' * 200_000 if k == 3 else ''}" for k, row in enumerate(ROWS)]),
            FIFTY,
            None,
        ),
        (
            table("image,label", ROWS[:40]),
            {"x": 20, "y": 20},
            "60 image(s) that no row names, not read: i40.png, i41.png",
        ),
        (
            table("image,label", [row.replace("y", "naïf") for row in ROWS]).encode("latin-1"),
            {"naïf": 50, "x": 50},
            "labels.csv is not UTF-8 and was read as Latin-1",
        ),
        (table("image,label", [ROWS[0] + "\u200b", *ROWS[1:]]), FIFTY, "1 row(s) with invisible characters"),
        (
            table("image,label", [f"i{k}.png,{(k % 2, f'0{k % 2}')[k == 7]}" for k in range(100)]),
            {"0": 50, "1": 50},
            "1 label(s) written in several ways, taken as one: 01 = 1",
        ),
        (
            table("image,label", [f'i{k}.png,"[{k % 2}, {1 - k % 2}]"' for k in range(100)]),
            {"0": 50, "1": 50},
            "one-hot",
        ),
        (
            table("image,ill,well", [f"i{k}.png,{k % 2 > 0},{k % 2 < 1}" for k in range(100)]),
            {"ill": 50, "well": 50},
            None,
        ),
        (
            table("image,a,b,c,odd", [f"i{k}.png,{('1,0,0', '0,1,0', '0,0,1')[k % 3]},{k % 2}" for k in range(99)]),
            {"a": 33, "b": 33, "c": 33},
            "no class beside the others, not read: odd",
        ),
        (
            table("image,a,b,male", [f"i{k}.png,{k % 2},{1 - k % 2},{k % 3 // 2}" for k in range(100)]),
            {"a": 50, "b": 50},
            "not read: male",
        ),
        (table("image,label", [f"i{k}.png,{2 * (k % 2) - 1}" for k in range(100)]), {"-1": 50, "1": 50}, None),
    ],
)
def test_tables(tmp_path: Path, text: str | bytes, classes: Mapping[str, int], told: str | None) -> None:
    """Every row counts, whatever the dialect; what was read otherwise than written is said."""
    found = data.check(write_files(tmp_path / "set", HUNDRED | {"labels.csv": text}))
    assert found.ok or told, found.problems
    assert counts(found) == classes
    assert (told in said(found)) if told else not said(found)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            table("image,label,note", [f"{row},{chr(34) if k == 40 else ''}" for k, row in enumerate(ROWS)]),
            "row 42: a quote",
        ),
        (
            table("image,label,note", [row + {40: ',"5 mm', 60: ',6 mm"'}.get(k, ",") for k, row in enumerate(ROWS)]),
            "row 42: a quote opens here and takes in the next 20 line(s), which are rows",
        ),
        ("\n".join(ROWS), "labels.csv row 1: no header: it names the image i0.png"),
        (table("image,label", [*ROWS, *(f"j{k}.png,x" for k in range(4000))]), "4,000 faults of one kind: "),
        (table("image,label", [row if k < 20 else row[:-1] for k, row in enumerate(ROWS)]), "80 faults of one kind: "),
    ],
)
def test_tables_that_would_lose_rows(tmp_path: Path, text: str, told: str) -> None:
    """An open quote is never a shorter table; thousands of faults of one kind are one line."""
    found = data.check(write_files(tmp_path / "set", HUNDRED | {"labels.csv": text}))
    assert not found.ok
    assert len(found.problems) <= 2
    assert told in found.problems[0]


def test_labels_and_patients_that_are_not_known(tmp_path: Path) -> None:
    """What programs write for nothing is no class and no patient: a fault of its rows, counted."""
    rows = [f"{row.rpartition(',')[0]},NaN" if k < 8 else row for k, row in enumerate(ROWS)]
    found = data.check(write_files(tmp_path / "a", HUNDRED | {"t.csv": table("image,label", rows)}))
    assert counts(found) == {"x": 46, "y": 46}
    assert found.problems[0].startswith("8 faults of one kind: ")
    assert 'label is "NaN"; it must be one of x, y' in found.problems[0]
    rows = [f"{row},{'nan' if k < 8 else k}" for k, row in enumerate(ROWS)]
    found = data.check(write_files(tmp_path / "b", HUNDRED | {"t.csv": table("image,label,patient_id", rows)}))
    assert "patient_id is blank; fill it" in found.problems[0]


def test_class_folders_that_differ_in_case(tmp_path: Path) -> None:
    """A slip of the pen would be a class of its own."""
    found = data.check(write_files(tmp_path / "set", pictures("{c}/{k}.png", classes=("Benign", "benign", "x"))))
    assert 'class folders "Benign" and "benign" differ in case alone' in said(found)


def test_names_in_tables(tmp_path: Path) -> None:
    """Zeros that a spreadsheet dropped, accents of a Mac, case where only it tells two files apart."""
    zeros = {f"{k + 1:05d}.png": noise(k) for k in range(20)}
    rows = [f"{k + 1}{'.0' if k % 3 else ''},{'xy'[k % 2]}" for k in range(20)]
    found = data.check(write_files(tmp_path / "a", zeros | {"t.csv": table("image,label", rows)}))
    assert counts(found) == {"x": 10, "y": 10}
    assert "20 row(s) name a number without the zeros before it: 1 is 00001.png" in said(found)
    accents = {unicodedata.normalize("NFD", f"Säule{k}.png"): noise(k) for k in range(20)}
    rows = [unicodedata.normalize("NFC", f"Säule{k}.png,{'xy'[k % 2]}") for k in range(20)]
    assert counts(data.check(write_files(tmp_path / "b", accents | {"t.csv": table("image,label", rows)})))["x"] == 10
    cased = {f"{('aB', 'Ab')[k % 2]}{k // 2}.png": noise(k) for k in range(20)}
    rows = [f"{name},{'xy'[k % 2]}" for k, name in enumerate(cased)]
    assert counts(data.check(write_files(tmp_path / "c", cased | {"t.csv": table("image,label", rows)})))["y"] == 10


@pytest.mark.parametrize(
    ("header", "cells", "units", "told"),
    [
        ("mrn", [str(4410 + k // 4) for k in range(100)], 25, "the 25 values of column mrn repeat"),
        ("ID", [str(k // 5) for k in range(100)], 20, "the 20 values of column id repeat"),
        ("who", [f"P{k // 5:03d}" for k in range(100)], 20, "the 20 values of column who repeat"),
        ("patient_id", [("5", "5.0", "05")[k % 3] if k < 3 else f"q{k}" for k in range(100)], 98, "05 = 5 = 5.0"),
        ("age", [str(50 + k % 20) for k in range(100)], 100, None),
        ("scanner_id", [f"S{k % 8}" for k in range(100)], 100, None),
        ("index", [str(k) for k in range(100)], 100, None),
    ],
)
def test_columns_of_patients(tmp_path: Path, header: str, cells: list[str], units: int, told: str | None) -> None:
    """Known by name or because their values repeat as a patient's do; ages and scanners do not."""
    text = table(f"image,label,{header}", [f"{row},{cell}" for row, cell in zip(ROWS, cells, strict=True)])
    found = data.check(write_files(tmp_path / "set", HUNDRED | {"labels.csv": text}))
    assert found.ok
    assert unit_count(found) == units
    assert (told in said(found)) if told else not said(found)


def test_two_eyes_in_one_row(tmp_path: Path) -> None:
    """Both columns of images are read, and a patient's two stay together."""
    rows = [f"p{k},i{k}.png,i{k + 50}.png,{'xy'[k % 2]}" for k in range(50)]
    text = table("patient_id,left,right,label", rows)
    found = data.check(write_files(tmp_path / "set", HUNDRED | {"labels.csv": text}))
    assert counts(found) == FIFTY
    assert unit_count(found) == 50
    assert "columns left and right all name images" in said(found)


def test_a_broken_picture_is_still_found_by_its_content(tmp_path: Path) -> None:
    """A newline and terminal codes in its name are written out, on one line."""
    name = "benign/z\x1b[2J\nerror: all is well.png"
    found = data.check(write_files(tmp_path / "set", pictures("{c}/{k}.png") | {name: b"broken"}))
    (problem,) = found.problems
    assert "z\\x1b[2J\\nerror: all is well.png: not an image" in problem
    assert Counter(problem)["\x1b"] == 0


def test_pictures_keep_their_content(tmp_path: Path) -> None:
    """A picture of a newly read kind is the one in its file."""
    files = pictures("{c}/{k}.pgm", form="PPM")
    loaded = data.load(data.spec_for(str(write_files(tmp_path / "set", files)), size=24), cache=tmp_path / "cache")
    expected = np.asarray(Image.open(tmp_path / "set" / "benign" / "3.pgm"))
    images = {n: i for s in loaded.splits().values() for n, i in zip(s.ids, s.images, strict=True)}
    assert (images["benign/3.pgm"][0].numpy() == expected).all()


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize(("bits", "white"), [(12, 4095), (16, 65535)])
def test_colours_of_more_than_8_bits(tmp_path: Path, bits: int, white: int, channels: int) -> None:
    """Read on the scale that the set uses: 12 bits in 16 would come out nearly black."""
    files = {file: deep_png(k, bits, opaque=channels == 4) for k, file in enumerate(pictures("{c}/{k}.png"))}
    loaded = data.load(data.spec_for(str(write_files(tmp_path / "set", files)), size=24), cache=tmp_path / "cache")
    images = {n: i for s in loaded.splits().values() for n, i in zip(s.ids, s.images, strict=True)}
    for k, name in enumerate(files):
        values = np.random.default_rng(k).integers(0, 2**bits, (24, 24, 3)).transpose(2, 0, 1)
        assert (images[name].numpy() == np.rint(values * (255 / white))).all()
    assert f"white is {white:,}" in loaded.notes["grey images of more than 8 bits"]


def deep_png(seed: int, bits: int, *, opaque: bool) -> bytes:
    """Return a colour PNG of 16 bits a channel whose values have ``bits``, with alpha if ``opaque``."""
    values = np.random.default_rng(seed).integers(0, 2**bits, (24, 24, 3)).astype(">u2")
    if opaque:
        values = np.concatenate([values, np.full((24, 24, 1), 65535)], 2).astype(">u2")
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 24, 24, 16, 6 if opaque else 2, 0, 0, 0))]
    parts += [(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in values))), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(c)) + kind + c + struct.pack(">I", zlib.crc32(kind + c)) for kind, c in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
