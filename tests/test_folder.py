"""Class folders of anyone's images, and the natural images that use the same layout."""

import os
from pathlib import Path

import pytest

from tests.pictures import class_folders, png, write_files, write_zip
from transfusion_lib import data
from transfusion_lib.errors import DataError
from transfusion_lib.spec import DataSpec

Files = dict[str, bytes | str]


def spec(root: Path, **fields: object) -> DataSpec:
    """Return a spec of the images at ``root``."""
    return DataSpec(name="folder", root=str(root), size=16, **fields)  # type: ignore[arg-type]


def counts(root: Path, tmp_path: Path, **fields: object) -> dict[str, int]:
    """Return the number of images in each split."""
    return data.show(str(root), cache=tmp_path / "cache", **fields).images


def test_classes_are_folders(tmp_path: Path) -> None:
    """Sorted by name; 20 % test, 10 % of the rest val."""
    loaded = data.load(spec(write_files(tmp_path / "set", class_folders())), cache=tmp_path / "cache")
    assert loaded.classes == ("cat", "dog")
    assert loaded.positive == (1,)
    assert {name: len(split) for name, split in loaded.splits().items()} == {"train": 29, "val": 3, "test": 8}
    for name, label in zip(loaded.train.ids, loaded.train.labels.tolist(), strict=True):
        assert name.startswith(("cat/", "dog/")[label])


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Training", "valid", "testing"), ("TRAIN", "Validation", "Test")]
)
def test_official_splits_by_any_usual_name(tmp_path: Path, names: tuple[str, str, str]) -> None:
    """In a folder, in a zip, one folder further down."""
    files: Files = {}
    for split, n in zip(names, (10, 4, 6), strict=True):
        files |= {f"{split}/{name}": png(hash((split, name)) % 10**6) for name in class_folders(per_class=n)}
    expected = {"train": 20, "val": 8, "test": 12}
    assert counts(write_files(tmp_path / "set", files), tmp_path) == expected
    assert counts(write_zip(tmp_path / "a.zip", files), tmp_path) == expected
    assert (
        counts(write_zip(tmp_path / "b.zip", {f"my set/{name}": c for name, c in files.items()}), tmp_path) == expected
    )


def test_missing_official_splits_are_drawn(tmp_path: Path) -> None:
    """Only train: both are drawn; train and test: val is drawn; train and val: test is drawn."""
    train = {f"train/{name}": content for name, content in class_folders().items()}
    test = {f"test/{name}": content for name, content in class_folders(per_class=5).items()}
    val = {f"val/{name}": content for name, content in class_folders(per_class=5).items()}
    assert counts(write_files(tmp_path / "1", train), tmp_path) == {"train": 29, "val": 3, "test": 8}
    assert counts(write_files(tmp_path / "2", train | test), tmp_path) == {"train": 36, "val": 4, "test": 10}
    assert counts(write_files(tmp_path / "3", train | val), tmp_path) == {"train": 32, "val": 10, "test": 8}


def test_folders_around_everything_are_passed_through(tmp_path: Path) -> None:
    """A zip of a folder, images/ below a title: the classes are where the images part."""
    wrapped: Files = {f"my data/images/{name}": content for name, content in class_folders().items()}
    for root in (write_files(tmp_path / "set", wrapped), write_zip(tmp_path / "z.zip", wrapped)):
        assert data.load(spec(root), cache=tmp_path / "cache").classes == ("cat", "dog")


def test_split_folders_without_classes_are_no_classes(tmp_path: Path) -> None:
    """Images lie in train/ and test/ beside a table that was left out: nothing is guessed."""
    root = write_files(tmp_path / "set", {f"{s}/{k}.png": png(k) for s in ("train", "test") for k in range(20)})
    with pytest.raises(DataError, match=r"no known layout: found 40 images in test, train\. Expected a folder"):
        data.spec_for(str(root))


def test_a_class_may_be_called_test(tmp_path: Path) -> None:
    """Without a train folder of classes there are no official splits."""
    root = write_files(tmp_path / "set", class_folders(classes=("control", "test")))
    assert data.show(str(root), cache=tmp_path / "cache").classes == ("control", "test")


def test_folders_below_a_class_are_units(tmp_path: Path) -> None:
    """Patients, unless each class has a single folder, as Tiny ImageNet has."""
    files: Files = {
        f"{name}/p{patient}/{k}.png": png(100 * patient + 10 * k + number)
        for number, name in enumerate(("ill", "well"))
        for patient in range(20)
        for k in range(3)
    }
    loaded = data.load(spec(write_files(tmp_path / "a", files)), cache=tmp_path / "cache")
    patients = [{unit.split("/")[1] for unit in split.units} for split in loaded.splits().values()]
    assert len(set(loaded.train.units)) < len(loaded.train)
    assert not patients[0] & patients[1]
    assert not patients[0] & patients[2]
    flat: Files = {name.replace("/", "/images/", 1): content for name, content in class_folders().items()}
    assert len(set(data.load(spec(write_files(tmp_path / "b", flat)), cache=tmp_path / "cache").train.units)) == 29
    leaking = {f"train/{name}": c for name, c in files.items()} | {
        f"test/{name}": c for name, c in files.items() if "/p3/" in name or "/p4/" in name
    }
    with pytest.raises(DataError, match=r"2 unit\(s\) in two splits|4 unit\(s\) in two splits: 'ill/p3'"):
        data.load(spec(write_files(tmp_path / "c", leaking)), cache=tmp_path / "cache")


def test_an_image_outside_the_classes(tmp_path: Path) -> None:
    """Named with its place; skipping lists it."""
    root = write_files(tmp_path / "set", class_folders() | {"stray.png": png()})
    with pytest.raises(DataError, match=r"set/stray.png: lies in no class folder; move it into one, or away"):
        data.load(spec(root), cache=tmp_path / "cache")
    assert len(data.load(spec(root, on_bad="skip"), cache=tmp_path / "cache").left_out) == 1


def test_a_class_that_train_lacks(tmp_path: Path) -> None:
    """A misspelt folder would be a class of its own."""
    files = {f"train/{name}": content for name, content in class_folders().items()}
    files |= {f"test/{name}".replace("dog", "Dog"): content for name, content in class_folders(per_class=4).items()}
    with pytest.raises(DataError, match=r'class Dog is in test but not in train; did you mean "dog"\?'):
        data.load(spec(write_files(tmp_path / "set", files)), cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"readme.txt": "nothing"}, "no image of folder in it; expected root/<class>"),
        ({"only/a.png": png(1), "only/b.png": png(2)}, "no image of folder in it|have the same label"),
        ({"a/1.png": png(1), "b/1.png": png(2)}, "have the same label; ask for more images"),
    ],
)
def test_too_little(tmp_path: Path, files: Files, message: str) -> None:
    """No images, one class, fewer images than splits need."""
    with pytest.raises(DataError, match=message):
        data.load(spec(write_files(tmp_path / "set", files), on_bad="skip"), cache=tmp_path / "cache")


def test_tiny_imagenet(tmp_path: Path) -> None:
    """Classes by name, the official val as the test split."""
    classes = ("n01443537", "n01641577")
    files = {f"train/{name}": content for name, content in class_folders(classes=classes).items()}
    files |= {f"val/{name}": content for name, content in class_folders(per_class=5, classes=classes).items()}
    files["classes.csv"] = 'label,wnid,name\n0,n01443537,"goldfish, Carassius auratus"\n1,n01641577,bullfrog\n'
    write_zip(tmp_path / "tiny-imagenet-100.zip", files)
    loaded = data.load(DataSpec(name="tiny_imagenet_100", root=str(tmp_path), size=16), cache=tmp_path / "cache")
    assert loaded.classes == ("goldfish", "bullfrog")
    assert {name: len(split) for name, split in loaded.splits().items()} == {"train": 36, "val": 4, "test": 10}
    assert all(name.startswith("val/") for name in loaded.test.ids)


@pytest.mark.skipif("TRANSFUSION_DATA" not in os.environ, reason="TRANSFUSION_DATA is not set")
@pytest.mark.slow
def test_real_archive(tmp_path: Path) -> None:
    """35,000 and 5,000 images of 100 classes, evenly."""
    sheet = data.show("tiny_imagenet_100", cache=tmp_path)
    assert sheet.images == {"train": 31500, "val": 3500, "test": 5000}
    assert {name: set(counts) for name, counts in sheet.counts.items()} == {"train": {315}, "val": {35}, "test": {50}}
