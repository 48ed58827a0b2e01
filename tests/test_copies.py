"""Copies among anyone's images: kept in one split that is drawn here, named where the splits are official."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from tests.pictures import class_folders, encoded, gradient, png, write_files
from tests.test_own_data import noise, pictures, said, unit_count
from transfusion_lib import data
from transfusion_lib.data.reading import copies
from transfusion_lib.data.reading.catalogue import choose_positive
from transfusion_lib.errors import DataError, SpecError

Files = dict[str, bytes | str]
Pixels = NDArray[np.uint8]


def scan(seed: int, *, size: int = 200) -> Image.Image:
    """Return a picture like others of its kind: one large shape that all share, and texture of its own."""
    rng = np.random.default_rng(seed)
    across, down = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size))
    shape = 150 * np.exp(-2 * (across**2 + 0.8 * down**2)) + 30 * across
    texture = Image.fromarray(rng.integers(0, 256, (size // 8, size // 8), np.uint8)).resize((size, size))
    return Image.fromarray((shape + 0.25 * np.asarray(texture)).clip(0, 255).astype(np.uint8)).convert("RGB")


def small(pictures: list[Image.Image]) -> Pixels:
    """Return pictures as they are compared."""
    smaller = [each.convert("L").resize((64, 64), Image.Resampling.BILINEAR) for each in pictures]
    return np.stack([np.asarray(each)[None] for each in smaller])


def packed(picture: Image.Image, *, quality: int) -> Image.Image:
    """Return a picture as JPEG gives it back."""
    return Image.open(io.BytesIO(encoded(picture, "JPEG", quality=quality)))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "mirrored": lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "upside down": lambda picture: picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "turned": lambda picture: picture.transpose(Image.Transpose.ROTATE_90),
    "transposed": lambda picture: picture.transpose(Image.Transpose.TRANSPOSE),
    "transversed": lambda picture: picture.transpose(Image.Transpose.TRANSVERSE),
    "brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.2),
    "with more contrast": lambda picture: ImageEnhance.Contrast(picture).enhance(1.3),
    "smaller": lambda picture: picture.resize((120, 120)),
    "softer": lambda picture: picture.filter(ImageFilter.GaussianBlur(1)),
    "cropped at the top left": lambda picture: picture.crop((0, 0, 190, 190)),
    "cropped, mirrored, packed anew": lambda picture: packed(
        picture.crop((7, 3, 197, 193)).transpose(Image.Transpose.FLIP_LEFT_RIGHT), quality=50
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_near_copies_are_found(change: str) -> None:
    """Whatever was done to the second one; the other scans of the same kind are none."""
    originals = [scan(k) for k in range(30)]
    found = copies.near(small([*originals, CHANGES[change](originals[7])]))
    assert found == [(7, 30)]


@pytest.mark.parametrize("make", [scan, lambda k: Image.fromarray(gradient(k))])
def test_different_pictures_are_no_copies(make: Callable[[int], Image.Image]) -> None:
    """Scans share their large shape, smooth pictures their form."""
    assert copies.near(small([make(k) for k in range(60)])) == []


@pytest.mark.parametrize("quality", [40, 75])
def test_copies_stay_in_one_split(tmp_path: Path, quality: int) -> None:
    """The same file, the same pixels packed anew, a mirrored one: one unit each, said once."""
    files: Files = {}
    for k in range(40):
        name, picture = f"{'ab'[k % 2]}/{k}", scan(k)
        again = CHANGES["mirrored"](picture) if k % 3 == 2 else picture
        files[f"{name}.png"] = encoded(picture)
        files[f"{name} copy.{'png' if k % 3 == 0 else 'jpg'}"] = (
            files[f"{name}.png"] if k % 3 == 0 else encoded(again, "JPEG", quality=quality)
        )
    root = write_files(tmp_path / "set", files)
    assert unit_count(data.check(root)) == 40
    assert "40 group(s) of copies, of the same picture or nearly the same, each kept in one split" in said(
        data.check(root)
    )
    loaded = data.load(data.spec_for(str(root), size=16), cache=tmp_path / "cache")
    home = {
        name.removesuffix(".jpg").removesuffix(".png"): part
        for part, split in loaded.splits().items()
        for name in split.ids
    }
    assert all(home[name] == home[f"{name} copy"] for name in home if not name.endswith(" copy"))
    assert not loaded.leaks
    assert len(loaded.remarks) == 1
    small_one = data.load(data.spec_for(str(root), size=16, train=20, val=4, test=6), cache=tmp_path / "cache")
    assert not small_one.leaks


def test_copies_in_official_splits_are_named(tmp_path: Path) -> None:
    """They are the user's own splits and stay so; the datasheet and the check name the copies."""
    files = {f"train/{name}": content for name, content in class_folders(per_class=20).items()}
    files |= {f"test/{name}": content for name, content in class_folders(per_class=4).items()} | {
        "test/cat/new.png": png(5)
    }
    root = write_files(tmp_path / "set", files)
    line = "8 of 9 images of test are copies of images of train: test/cat/000.png = train/cat/000.png"
    assert line in said(data.check(root))
    loaded = data.load(data.spec_for(str(root), size=16), cache=tmp_path / "cache")
    assert loaded.leaks[0].startswith(line)
    assert data.datasheet(loaded).leaks == loaded.leaks == data.show(str(root), cache=tmp_path / "cache").leaks
    assert len(loaded.test) == 9


def test_all_copies_of_two_pictures(tmp_path: Path) -> None:
    """Nothing can be split: said as it is."""
    files = {f"{'ab'[k % 2]}/{k}.png": noise(k % 2) for k in range(40)}
    with pytest.raises(DataError, match=r"too few different pictures to draw splits from: 2 group\(s\) of copies"):
        data.load(data.spec_for(str(write_files(tmp_path / "set", files))), cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("classes", "counts", "positive", "why"),
    [
        (("benign", "malignant"), (10, 90), 1, "by its name"),
        (("Abnormal", "Normal"), (50, 50), 0, "by its name"),
        (("no_tumor", "tumor"), (5, 50), 1, "by its name"),
        (("with_mask", "without_mask"), (50, 5), 0, "by its name"),
        (("COVID", "Non-COVID"), (50, 5), 0, "by its name"),
        (("-1", "1"), (50, 50), 1, "by its name"),
        (("cat", "dog"), (5, 50), 0, "the rarer"),
        (("cat", "dog"), (50, 5), 1, "the rarer"),
        (("cat", "dog"), (5, 5), 1, "as frequent as the first"),
    ],
)
def test_the_positive_class(classes: tuple[str, ...], counts: tuple[int, int], positive: int, why: str) -> None:
    """Known by its name, otherwise the rarer, with the reason."""
    found = choose_positive(classes, counts, asked=None)
    assert found is not None
    assert found.classes == (positive,)
    assert found.told.startswith(classes[positive])
    assert why in found.told


def test_the_positive_class_is_a_parameter(tmp_path: Path) -> None:
    """Named behind the task, of folders and of tables; the datasheet states it."""
    root = write_files(tmp_path / "set", pictures("{c}/{k}.png"))
    sheet = data.show(f"{root}:classes=benign", cache=tmp_path / "cache")
    assert sheet.lines["positive class"] == "benign, as asked for"
    loaded = data.load(data.spec_for(f"{root}:classes=benign", size=16), cache=tmp_path / "cache")
    assert loaded.positive == (0,)
    assert data.load(data.spec_for(str(root), size=16), cache=tmp_path / "cache").positive == (1,)
    with pytest.raises(SpecError, match='unknown class "begnin"; did you mean "benign"'):
        data.show(f"{root}:classes=begnin", cache=tmp_path / "cache")
    rows = "\n".join(f"{name},{name.split('/')[0]}" for name in pictures("{c}/{k}.png"))
    write_files(root, {"labels.csv": f"image,label\n{rows}\n"})
    csv = data.load(data.spec_for(f"{root}/labels.csv:label=benign", size=16), cache=tmp_path / "cache")
    assert (csv.positive, csv.task, csv.notes["unit"]) == ((0,), "label=benign", "image")


def test_a_check_of_a_task_and_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PATH:COLUMN is checked as chapters read it; relative places become absolute; nothing is no place."""
    names = list(pictures("{c}{k}.png"))
    rows = "\n".join(f"{name},{name[0]},{'low' if k % 5 else 'high'}" for k, name in enumerate(names))
    write_files(tmp_path / "set", pictures("{c}{k}.png") | {"labels.csv": f"image,label,risk\n{rows}\n"})
    monkeypatch.chdir(tmp_path)
    sheet = data.check("set/labels.csv:risk").sheet
    assert sheet is not None
    assert sheet.classes == ("high", "low")
    assert data.spec_for("set").root == str(tmp_path / "set")
    assert data.absolute("set/labels.csv:risk") == f"{tmp_path}/set/labels.csv:risk"
    assert data.absolute("fundus") == "fundus"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data.spec_for("~/set").root == str(tmp_path / "set")
    with pytest.raises(SpecError, match="dataset is empty"):
        data.spec_for(" ")
