"""Kermany's chest x-rays: layouts, patients, the small official validation split, and the real archive."""

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.pictures import encoded, gradient, png, write_files, write_zip
from transfusion_lib import data
from transfusion_lib.data.reading import leakage
from transfusion_lib.errors import DataError, SpecError
from transfusion_lib.spec import DataSpec

Files = dict[str, bytes | str]


def made(*, patients: int = 30) -> Files:
    """Return a small set with the official splits: 2 images of each patient, half of them sick."""
    files: Files = {}
    for number in range(patients):
        for view in (1, 2):
            seed = 10 * number + view
            kind = "bacteria" if number % 2 else "virus"
            files[f"train/PNEUMONIA/person{number}_{kind}_{seed}.jpeg"] = encoded(gradient(seed), "JPEG")
            files[f"train/NORMAL/IM-{number:04d}-{view:04d}.jpeg"] = encoded(gradient(1000 + seed), "JPEG")
            if number < 10:
                files[f"test/PNEUMONIA/person{number}_{'virus' if number % 2 else 'bacteria'}_{seed}.jpeg"] = png(
                    2000 + seed
                )
                files[f"test/NORMAL/NORMAL2-IM-{number:04d}-{view:04d}.jpeg"] = png(3000 + seed)
    files["val/PNEUMONIA/person900_bacteria_1.jpeg"] = png(4000)
    files["val/NORMAL/NORMAL2-IM-0900-0001.jpeg"] = png(4001)
    return files


def spec(root: Path, **fields: object) -> DataSpec:
    """Return a spec of the set at ``root``."""
    return DataSpec(name="chest_xray", root=str(root), size=16, **fields)  # type: ignore[arg-type]


def test_every_packing_is_the_same_set(tmp_path: Path) -> None:
    """Folder, folder around it, zip with and without its top folder, Kaggle's second copy, other case."""
    inner = {f"chest_xray/{name}": content for name, content in made().items()}
    kaggle = (
        inner | {f"chest_xray/{name}": content for name, content in inner.items()} | {"chest_xray/__MACOSX/x.jpeg": b""}
    )
    lower = {name.replace("NORMAL/", "Normal/").replace("train", "Train"): content for name, content in inner.items()}
    roots = [
        write_files(tmp_path / "a" / "chest_xray", made()),
        write_files(tmp_path / "b", inner),
        write_zip(tmp_path / "c.zip", inner),
        write_zip(tmp_path / "chest_xray.zip", made()),
        write_zip(tmp_path / "e.zip", kaggle),
        write_zip(tmp_path / "f.zip", lower),
        tmp_path / "a",
    ]
    prints = {data.fingerprint(spec(root), cache=tmp_path / "cache") for root in roots}
    assert len(prints) == 1


def test_the_set(tmp_path: Path) -> None:
    """One grey channel, the official test split, val topped up by patient, classes by task."""
    root = write_files(tmp_path / "set", made())
    loaded = data.load(spec(root), cache=tmp_path / "cache")
    assert loaded.train.images.shape[1:] == (1, 16, 16)
    assert loaded.classes == ("normal", "pneumonia")
    assert loaded.positive == (1,)
    assert Counter(loaded.test.labels.tolist()) == {0: 20, 1: 20}
    assert {"val/PNEUMONIA/person900_bacteria_1.jpeg", "val/NORMAL/NORMAL2-IM-0900-0001.jpeg"} <= set(loaded.val.ids)
    assert 10 <= len(loaded.val) <= 14
    assert len(loaded.train) + len(loaded.val) == 122
    assert not leakage.report(loaded).across
    three = data.load(spec(root, task="three_class"), cache=tmp_path / "cache")
    assert three.classes == ("normal", "bacterial", "viral")
    assert three.positive == (1, 2)
    kinds = {"normal": "IM-", "bacterial": "_bacteria_", "viral": "_virus_"}
    for name, label in zip(three.train.ids, three.train.labels.tolist(), strict=True):
        assert kinds[three.classes[label]] in name
    with pytest.raises(SpecError, match='unknown task of chest_xray "tree_class"; did you mean "three_class"'):
        data.load(spec(root, task="tree_class"), cache=tmp_path / "cache")


def test_numbers_are_counted_by_pathogen(tmp_path: Path) -> None:
    """person3_bacteria in train and person3_virus in test are two patients; the same pathogen is one."""
    root = write_files(tmp_path / "set", made())
    loaded = data.load(spec(root), cache=tmp_path / "cache")
    assert "person3_bacteria" in loaded.train.units + loaded.val.units
    assert "person3_virus" in loaded.test.units
    write_files(root, {"test/PNEUMONIA/person3_bacteria_99.jpeg": png(9)})
    with pytest.raises(DataError, match=r"chest_xray: 1 unit\(s\) in two splits: 'person3_bacteria' is in"):
        data.load(spec(root), cache=tmp_path / "cache")


def test_bare_numbers_stay_together_between_train_and_val(tmp_path: Path) -> None:
    """Even where they may be two patients."""
    files = {name.replace("_virus_", "_bacteria_"): content for name, content in made(patients=60).items()}
    files = {name: content for name, content in files.items() if not name.startswith("test/PNEUMONIA")}
    files |= {f"train/PNEUMONIA/person{n}_virus_{n}.jpeg": png(5000 + n) for n in range(20, 60)}
    files["test/PNEUMONIA/person99_virus_1.jpeg"] = png(1)
    loaded = data.load(spec(write_files(tmp_path / "set", files)), cache=tmp_path / "cache")
    numbers = [
        {unit.split("_")[0] for unit in split.units if unit.startswith("person")}
        for split in (loaded.train, loaded.val)
    ]
    assert numbers[1]
    assert not numbers[0] & numbers[1]


def test_bacterial_or_viral(tmp_path: Path) -> None:
    """Of pneumonia alone; viral, the rarer, is positive. Drawn by bare number over all, or in the official splits."""
    root = write_files(tmp_path / "set", made(patients=40))
    asked = spec(root, task="bacterial_viral")
    loaded = data.load(asked, cache=tmp_path / "cache")
    assert loaded.classes == ("bacterial", "viral")
    assert loaded.positive == (1,)
    assert len(loaded.test) == 20
    assert {name.split("/")[0] for name in loaded.test.ids} == {"test"}
    for seed in range(5):
        drawn = data.load(asked.replace(split="drawn", test=40, val=15, seed=seed), cache=tmp_path / "cache")
        assert (len(drawn.test), len(drawn.val)) == (40, 15)
        assert len({name.split("/")[0] for name in drawn.test.ids}) > 1
        numbers = [{unit.split("_")[0] for unit in split.units} for split in drawn.splits().values()]
        assert sum(map(len, numbers)) == len(set.union(*numbers))
        for split in drawn.splits().values():
            for name, label in zip(split.ids, split.labels.tolist(), strict=True):
                assert ("_virus_" in name) == (label == 1)
                assert "PNEUMONIA" in name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("train/PNEUMONIA/scan7.jpeg", "not the name of a pneumonia image; name it like personNNN_bacteria_N"),
        ("train/NORMAL/person7_virus_3.jpeg", "not the name of a normal image; name it like IM-NNNN-NNNN"),
        ("train/PNEUMONIA/IM-0001-0001.jpeg", "not the name of a pneumonia image"),
    ],
)
def test_names_that_tell_no_patient(tmp_path: Path, name: str, message: str) -> None:
    """An error that names the file; or left out, and listed."""
    root = write_files(tmp_path / "set", made() | {name: png(1)})
    with pytest.raises(DataError, match=message) as caught:
        data.load(spec(root), cache=tmp_path / "cache")
    assert name in str(caught.value)
    loaded = data.load(spec(root, on_bad="skip"), cache=tmp_path / "cache")
    assert len(loaded.left_out) == 1
    assert name in loaded.left_out[0]


def test_mendeley_names(tmp_path: Path) -> None:
    """Version 3 of the set writes the kind first and a patient number after it."""
    files: Files = {}
    for number in range(20):
        for split in ("train", "test"):
            patient = number + (500 if split == "test" else 0)
            kind = "VIRUS" if number % 2 else "BACTERIA"
            files[f"{split}/PNEUMONIA/{kind}-{patient:07d}-0001.jpeg"] = png(patient)
            files[f"{split}/NORMAL/NORMAL-{patient:07d}-0001.jpeg"] = png(3000 + patient)
    loaded = data.load(spec(write_zip(tmp_path / "z.zip", files), task="three_class"), cache=tmp_path / "cache")
    assert Counter(loaded.test.labels.tolist()) == {0: 20, 1: 10, 2: 10}
    assert "virus-0000501" in loaded.test.units


@pytest.mark.skipif("TRANSFUSION_DATA" not in os.environ, reason="TRANSFUSION_DATA is not set")
class TestRealArchive:
    """The counts of the published set."""

    def test_counts(self, tmp_path: Path) -> None:
        """Official test; official train and val together make ours, without a shared patient."""
        sheet = data.show("chest_xray", cache=tmp_path)
        assert sheet.counts["test"] == (234, 390)
        assert tuple(a + b for a, b in zip(sheet.counts["train"], sheet.counts["val"], strict=True)) == (1349, 3883)
        assert sheet.images == {"train": 4709, "val": 523, "test": 624}
        kinds = data.show("chest_xray", cache=tmp_path, task="three_class").counts
        assert [sum(column) for column in zip(*kinds.values(), strict=True)] == [1583, 2780, 1493]

    def test_bacterial_viral(self, tmp_path: Path) -> None:
        """4,273 images of pneumonia, drawn by patient: 1,000 are tested, where the official folder has 390."""
        fields = {"task": "bacterial_viral", "split": "drawn", "test": 1000, "val": 700}
        sheet = data.show("chest_xray", cache=tmp_path, **fields)
        assert sheet.images == {"train": 2573, "val": 700, "test": 1000}
        assert [sum(column) for column in zip(*sheet.counts.values(), strict=True)] == [2780, 1493]
        assert data.show("chest_xray", cache=tmp_path, task="bacterial_viral").counts["test"] == (242, 148)

    @pytest.mark.slow
    def test_copies(self, tmp_path: Path) -> None:
        """30 groups of identical images, none across splits, none with conflicting labels."""
        found = leakage.report(data.load(DataSpec(name="chest_xray"), cache=tmp_path))
        assert (len(found.within), len(found.across), found.conflicting) == (30, 0, 0)
