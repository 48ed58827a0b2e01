"""Knee x-rays: layouts, two knees of a patient, official and drawn splits, names, and the real archive."""

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.pictures import png, write_files, write_zip
from transfusion_lib import data
from transfusion_lib.data.reading import leakage
from transfusion_lib.errors import DataError
from transfusion_lib.spec import DataSpec

Files = dict[str, bytes | str]
OFFICIAL = {"train": 42, "val": 6, "test": 12}
"""Patients."""


def made() -> Files:
    """Return a small set: two knees of each of 60 patients, often of different grades."""
    files: Files = {}
    patient = 9000000
    for split, patients in OFFICIAL.items():
        for number in range(patients):
            patient += 7
            for knee, grade in (("L", number % 5), ("R", number * 3 % 5)):
                files[f"{split}/{grade}/{patient}{knee}.jpg"] = png(patient + ord(knee))
    return files


def spec(root: Path, **fields: object) -> DataSpec:
    """Return a spec of the set at ``root``."""
    return DataSpec(name="knee_oa", root=str(root), size=16, **fields)  # type: ignore[arg-type]


def test_the_set(tmp_path: Path) -> None:
    """Five grades either way; the headline is grade 2 and up for one task, the mean over grades for the other."""
    root = write_files(tmp_path / "set", made())
    loaded = data.load(spec(root), cache=tmp_path / "cache")
    assert loaded.task == "referable"
    assert loaded.positive == (2, 3, 4)
    assert loaded.train.images.shape == (84, 1, 16, 16)
    graded = data.load(spec(root, task="grade"), cache=tmp_path / "cache")
    assert graded.positive is None
    assert graded.fingerprint != loaded.fingerprint
    for each in (loaded, graded):
        assert len(each.classes) == 5
        for name, split in each.splits().items():
            assert len(split) == 2 * OFFICIAL[name]
            assert [f"{name}/{grade}" for grade in split.labels.tolist()] == [
                known.rsplit("/", 1)[0] for known in split.ids
            ]
            assert Counter(Counter(split.units).values()) == {2: OFFICIAL[name]}
    assert data.spec_for(str(root)).name == "knee_oa"
    assert data.check(root).ok


def test_every_packing_is_the_same_set(tmp_path: Path) -> None:
    """Folder, zip, and Mendeley's: two sizes of each knee and a folder auto_test, left out and counted."""
    mendeley: Files = {
        f"ClsKLData/{size}/{name}": content for name, content in made().items() for size in ("kneeKL224", "kneeKL299")
    }
    mendeley |= {f"ClsKLData/kneeKL224/auto_test/{k}/900000{k}L.jpg": png(k) for k in range(5)}
    roots = [
        write_files(tmp_path / "a" / "knee_oa", made()),
        write_zip(tmp_path / "knee_oa.zip", {f"knee_oa/{name}": content for name, content in made().items()}),
        write_zip(tmp_path / "KneeXrayData.zip", mendeley),
        tmp_path / "a",
    ]
    assert len({data.fingerprint(spec(root), cache=tmp_path / "cache") for root in roots}) == 1
    sheet = data.show(str(roots[2]), cache=tmp_path / "cache")
    assert sheet.name == "knee_oa"
    assert sheet.lines["not used"] == "5 images in auto_test and 120 in copies"
    assert "not used" not in data.show(str(roots[0]), cache=tmp_path / "cache").lines


def test_a_drawn_split(tmp_path: Path) -> None:
    """Over all patients whatever their folder, both knees together, exactly as many as asked, another by each seed."""
    root = write_files(tmp_path / "set", made())
    prints, tested = set(), set()
    for seed in range(12):
        loaded = data.load(spec(root, split="drawn", test=40, val=21, seed=seed), cache=tmp_path / "cache")
        assert (len(loaded.train), len(loaded.val), len(loaded.test)) == (58, 21, 40)
        assert not leakage.report(loaded).across
        units = [set(split.units) for split in loaded.splits().values()]
        assert sum(map(len, units)) == len(set.union(*units)) == 60
        assert set(Counter(loaded.test.units).values()) == {2}
        assert len({name.split("/")[0] for name in loaded.test.ids}) > 1
        assert loaded.notes["splits"].startswith(f"drawn by unit over all images from seed {seed}")
        prints.add(loaded.fingerprint)
        tested.add(frozenset(loaded.test.ids))
    assert len(prints) == len(tested) == 12
    plain = {data.fingerprint(spec(root, split=how), cache=tmp_path / "cache") for how in ("official", "drawn")}
    assert len(plain) == 2


def test_a_patient_in_two_folders(tmp_path: Path) -> None:
    """The official split would leak; a drawn one does not."""
    root = write_files(tmp_path / "set", made() | {"test/0/9000007R.jpg": png(1)})
    (root / "train/0/9000007R.jpg").unlink()
    with pytest.raises(DataError, match=r"knee_oa: 1 unit\(s\) in two splits: '9000007' is in"):
        data.load(spec(root), cache=tmp_path / "cache")
    drawn = data.load(spec(root, split="drawn"), cache=tmp_path / "cache")
    assert sum("9000007" in split.units for split in drawn.splits().values()) == 1


@pytest.mark.parametrize("name", ["train/2/scan7.jpg", "test/0/9000007.jpg", "val/4/L.jpg"])
def test_names_that_tell_no_patient(tmp_path: Path, name: str) -> None:
    """An error that names the file; or left out, and counted."""
    root = write_files(tmp_path / "set", made() | {name: png(1)})
    with pytest.raises(DataError, match=r"no patient number in the name; name it like 9003175L.jpg") as caught:
        data.load(spec(root), cache=tmp_path / "cache")
    assert name in str(caught.value)
    loaded = data.load(spec(root, on_bad="skip"), cache=tmp_path / "cache")
    assert len(loaded.left_out) == 1
    assert name in loaded.left_out[0]
    assert sum(map(len, loaded.splits().values())) == 120


def test_other_folders_of_numbers_are_no_knees(tmp_path: Path) -> None:
    """Class folders called 0 and 1 stay a picture folder of the user's own."""
    files: Files = {f"{split}/{k % 2}/{k:04d}.png": png(k) for split in OFFICIAL for k in range(8)}
    assert data.spec_for(str(write_files(tmp_path / "own", files))).name == "folder"


@pytest.mark.skipif("TRANSFUSION_DATA" not in os.environ, reason="TRANSFUSION_DATA is not set")
class TestRealArchive:
    """The counts of the published set."""

    def test_official(self, tmp_path: Path) -> None:
        """8,260 knees of 4,130 patients, two each."""
        sheet = data.show("knee_oa", cache=tmp_path)
        assert sheet.images == {"train": 5778, "val": 826, "test": 1656}
        assert sheet.units == {"train": 2889, "val": 413, "test": 828}
        assert sheet.counts["train"] == (2286, 1046, 1516, 757, 173)
        assert "not used" not in sheet.lines

    def test_drawn(self, tmp_path: Path) -> None:
        """2,000 tested and 800 to validate, whole patients in each, other ones by each seed."""
        prints = set()
        for seed in range(1000, 1005):
            sheet = data.show("knee_oa", cache=tmp_path, split="drawn", test=2000, val=800, seed=seed)
            assert sheet.images == {"train": 5460, "val": 800, "test": 2000}
            assert sheet.units == {"train": 2730, "val": 400, "test": 1000}
            prints.add(sheet.lines["fingerprint"])
        assert len(prints) == 5
