"""MedMNIST: the package's table, files found offline, checksums, sizes, volumes, damaged files."""

import hashlib
import importlib.util
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from transfusion_lib import data
from transfusion_lib.data.sources import medmnist
from transfusion_lib.errors import DataError, MissingExtraError
from transfusion_lib.spec import DataSpec

pytestmark = pytest.mark.skipif(importlib.util.find_spec("medmnist") is None, reason="medmnist is not installed")
real = pytest.mark.skipif("TRANSFUSION_DATA" not in os.environ, reason="TRANSFUSION_DATA is not set")
COUNTS = {"train": 40, "val": 10, "test": 16}


def arrays(shape: tuple[int, ...], *, classes: int, multilabel: int = 0) -> dict[str, NDArray[np.uint8]]:
    """Return what a file of MedMNIST holds: random images and labels."""
    rng = np.random.default_rng(0)
    made: dict[str, NDArray[np.uint8]] = {}
    for split, n in COUNTS.items():
        made[f"{split}_images"] = rng.integers(0, 256, (n, *shape), np.uint8)
        labels = rng.integers(0, 2, (n, multilabel)) if multilabel else (np.arange(n) % classes)[:, None]
        made[f"{split}_labels"] = labels.astype(np.uint8)
    return made


@pytest.fixture
def official(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return a folder; files saved there by ``save`` pass for official ones, and nothing can be downloaded."""
    monkeypatch.setenv("TRANSFUSION_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    table = {name: dict(about) for name, about in medmnist.table().items()}
    for about in table.values():
        for key in [key for key in about if key.startswith("url")]:
            about[key] = (tmp_path / "nowhere.npz").as_uri()
    monkeypatch.setattr(medmnist, "table", lambda: table)
    (tmp_path / "data" / "medmnist").mkdir(parents=True)
    return tmp_path / "data" / "medmnist"


def save(folder: Path, stem: str, made: dict[str, NDArray[np.uint8]]) -> Path:
    """Write a file and enter its checksum into the table."""
    path = folder / f"{stem}.npz"
    np.savez_compressed(path, **made)  # type: ignore[arg-type]  # numpy's stub takes the keywords for options
    name, _, size = stem.partition("_")
    medmnist.table()[name]["MD5" + (f"_{size}" if size else "")] = hashlib.md5(path.read_bytes()).hexdigest()
    return path


def test_the_names_are_the_packages(tmp_path: Path) -> None:
    """All sets, in the table of data sets; reading the table does not import the package."""
    assert set(medmnist.NAMES) == set(medmnist.table())
    assert set(medmnist.NAMES) <= set(data.TABLE)
    assert {name for name, about in medmnist.table().items() if about["license"] != "CC BY 4.0"} == {"dermamnist"}


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message holds the line that installs it; the list still works."""
    medmnist.table.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install"):
        data.fingerprint(DataSpec(name="retinamnist"))
    assert {line.where for line in data.listing() if line.name in medmnist.NAMES} == {None}
    medmnist.table.cache_clear()


def test_colour(official: Path, tmp_path: Path) -> None:
    """Images and labels come back as they are, in the official splits."""
    made = arrays((28, 28, 3), classes=5)
    save(official, "retinamnist", made)
    loaded = data.load(DataSpec(name="retinamnist", size=28), cache=tmp_path / "cache")
    for name, split in loaded.splits().items():
        np.testing.assert_array_equal(split.images.permute(0, 2, 3, 1), made[f"{name}_images"])
        np.testing.assert_array_equal(split.labels[:, None], made[f"{name}_labels"])
    assert loaded.positive == (2, 3, 4)
    assert loaded.test.ids[3] == "test-3"
    assert "1,736" in loaded.notes["description"]


def test_the_best_size_is_taken(official: Path, tmp_path: Path) -> None:
    """The asked one, or the next larger, or the largest: and the datasheet says which."""
    prints = []
    for stem, edge, note in (
        ("breastmnist", 28, "enlarged, so without more detail, from 28 to 64 px"),
        ("breastmnist_224", 224, "reduced from 224 to 64 px"),
        ("breastmnist_128", 128, "reduced from 128 to 64 px"),
        ("breastmnist_64", 64, "64 px as published"),
    ):
        save(official, stem, arrays((edge, edge), classes=2))
        loaded = data.load(DataSpec(name="breastmnist", size=64), cache=tmp_path / "cache")
        assert loaded.notes["resolution"] == note
        assert loaded.train.images.shape == (40, 1, 64, 64)
        prints.append(loaded.fingerprint)
    assert len(set(prints)) == 4
    assert loaded.positive == (0,)  # malignant


def test_volumes(official: Path, tmp_path: Path) -> None:
    """(n, 1, depth, height, width); reduced by averaging, enlarged without shift."""
    made = arrays((28, 28, 28), classes=2)
    made["train_images"][0] = 100
    made["train_images"][1] = np.arange(28, dtype=np.uint8)[:, None, None] * 9
    save(official, "adrenalmnist3d", made)
    loaded = data.load(DataSpec(name="adrenalmnist3d", size=28), cache=tmp_path / "cache")
    np.testing.assert_array_equal(loaded.train.images[:, 0], made["train_images"])
    for size in (16, 56):
        changed = data.load(DataSpec(name="adrenalmnist3d", size=size), cache=tmp_path / "cache").train.images
        assert changed.shape == (40, 1, size, size, size)
        assert (changed[0] == 100).all()
        ramp = changed[1, 0].float()
        assert (ramp.diff(dim=0) >= 0).all()
        assert ramp.mean() == pytest.approx(121.5, abs=0.6)
        assert ramp.std((1, 2)).max() == 0


def test_several_labels(official: Path, tmp_path: Path) -> None:
    """ChestMNIST has 14 labels at once."""
    made = arrays((28, 28), classes=2, multilabel=14)
    save(official, "chestmnist", made)
    loaded = data.load(DataSpec(name="chestmnist", size=28), cache=tmp_path / "cache")
    assert loaded.kind == "multilabel"
    assert len(loaded.classes) == 14
    np.testing.assert_array_equal(loaded.test.labels, made["test_labels"])


def test_subsets(official: Path, tmp_path: Path) -> None:
    """Only wanted rows are kept, in order."""
    made = arrays((28, 28), classes=2)
    save(official, "breastmnist", made)
    loaded = data.load(DataSpec(name="breastmnist", size=28, train=10, test=6), cache=tmp_path / "cache")
    rows = [int(name.split("-")[1]) for name in loaded.train.ids]
    assert len(rows) == 10
    np.testing.assert_array_equal(loaded.train.images[:, 0], made["train_images"][rows])
    assert loaded.train.labels.sum() == 5


def test_the_seed_moves_splits_and_subsets(official: Path, tmp_path: Path) -> None:
    """Official splits lend other images to a subset; a drawn split takes other rows, whatever array they lie in."""
    made = arrays((28, 28), classes=2)
    save(official, "breastmnist", made)
    rows = {f"{split}-{k}": image for split in COUNTS for k, image in enumerate(made[f"{split}_images"])}
    for fields in ({"train": 10, "val": 4, "test": 6}, {"split": "drawn"}, {"split": "drawn", "test": 30, "val": 15}):
        sets = [
            data.load(DataSpec(name="breastmnist", size=28, seed=seed, **fields), cache=tmp_path / "cache")
            for seed in (0, 1)
        ]
        assert sets[0].fingerprint != sets[1].fingerprint
        for split in COUNTS:
            assert set(sets[0].splits()[split].ids) != set(sets[1].splits()[split].ids)
        for loaded in sets:
            ids = [name for split in loaded.splits().values() for name in split.ids]
            assert len(ids) == len(set(ids))
            for part in loaded.splits().values():
                np.testing.assert_array_equal(part.images[:, 0], np.stack([rows[name] for name in part.ids]))
            if fields.get("split"):
                assert {name.split("-")[0] for name in loaded.test.ids} > {"train"}
                assert "drawn by unit" in loaded.notes["splits"]
            else:
                assert {name.split("-")[0] for name in loaded.test.ids} == {"test"}
    assert (len(sets[0].test), len(sets[0].val), len(sets[0].train)) == (30, 15, 21)
    plain = DataSpec(name="breastmnist", size=28)
    prints = {data.fingerprint(plain.replace(split=how), cache=tmp_path / "cache") for how in ("official", "drawn")}
    assert len(prints) == 2


def test_where_files_are_looked_for(official: Path, tmp_path: Path) -> None:
    """TRANSFUSION_DATA, medmnist/ below it, the package's own folder, root as a folder or as the file."""
    path = save(official, "breastmnist", arrays((28, 28), classes=2))
    asked = DataSpec(name="breastmnist", size=28)
    expected = data.fingerprint(asked, cache=tmp_path / "cache")
    for place in (tmp_path / "data", tmp_path / ".medmnist", tmp_path / "elsewhere"):
        place.mkdir(exist_ok=True)
        path = Path(shutil.move(path, place / "breastmnist.npz"))
        spec = asked if place.name != "elsewhere" else asked.replace(root=str(place))
        assert data.fingerprint(spec, cache=tmp_path / "cache") == expected
    assert data.fingerprint(asked.replace(root=str(path)), cache=tmp_path / "cache") == expected


def test_download(official: Path, tmp_path: Path) -> None:
    """A missing file is fetched from the table's address; a wrong one leaves nothing behind."""
    source = save(tmp_path, "breastmnist", arrays((28, 28), classes=2))
    medmnist.table()["breastmnist"]["url"] = source.as_uri()
    loaded = data.load(DataSpec(name="breastmnist", size=28), cache=tmp_path / "cache")
    assert len(loaded.train) == 40
    assert (tmp_path / "cache" / "medmnist" / "breastmnist.npz").read_bytes() == source.read_bytes()
    medmnist.table()["octmnist"]["url"] = source.as_uri()
    with pytest.raises(DataError, match=r"octmnist.npz: not found, and not downloaded .*; download file.* \(MD5 "):
        data.load(DataSpec(name="octmnist", size=28), cache=tmp_path / "cache")
    with pytest.raises(DataError, match=r"retinamnist_64.npz: not found, and not downloaded"):
        data.load(DataSpec(name="retinamnist", size=64), cache=tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache" / "medmnist").iterdir()] == ["breastmnist.npz"]


def test_half_downloaded_and_changed_files(official: Path, tmp_path: Path) -> None:
    """The checksum is wrong, and the line says what to do."""
    path = save(official, "breastmnist", arrays((28, 28), classes=2))
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:-1] + b"x", b""):
        path.write_bytes(content)
        os.utime(path, ns=(0, len(content)))
        with pytest.raises(
            DataError, match=r"breastmnist.npz: wrong checksum \(MD5 .*\): half-downloaded or changed; delete"
        ):
            data.load(DataSpec(name="breastmnist", size=28), cache=tmp_path / "cache")
        assert not data.check(path).ok


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("no labels", r"cannot read val_labels .*; delete the file and download it again"),
        ("cut", r"cannot read train_(images|labels)|wrong checksum"),
        ("floats", r"train_images is float32, not uint8"),
        ("label", r"train_labels row 3: \[7\] is no label of breastmnist"),
    ],
)
def test_files_that_are_wrong_inside(official: Path, tmp_path: Path, change: str, message: str) -> None:
    """Whatever the checksum says."""
    made = arrays((28, 28), classes=2)
    if change == "no labels":
        del made["val_labels"]
    elif change == "floats":
        made["train_images"] = made["train_images"].astype(np.float32)
    elif change == "label":
        made["train_labels"][3] = 7
    path = save(official, "breastmnist", made)
    if change == "cut":
        path.write_bytes(path.read_bytes()[:3000])
        medmnist.table()["breastmnist"]["MD5"] = hashlib.md5(path.read_bytes()).hexdigest()
    with pytest.raises(DataError, match=message) as caught:
        data.load(DataSpec(name="breastmnist", size=28), cache=tmp_path / "cache")
    assert "breastmnist.npz" in str(caught.value)
    assert any("breastmnist.npz" in problem for problem in data.check(path).problems)
    if change == "label":
        loaded = data.load(DataSpec(name="breastmnist", size=28, on_bad="skip"), cache=tmp_path / "cache")
        assert (len(loaded.train), len(loaded.left_out)) == (39, 1)


@real
@pytest.mark.parametrize(
    ("name", "size", "counts"),
    [
        ("retinamnist", 28, {"train": 1080, "val": 120, "test": 400}),
        ("breastmnist", 28, {"train": 546, "val": 78, "test": 156}),
        ("adrenalmnist3d", 28, {"train": 1188, "val": 98, "test": 298}),
        ("adrenalmnist3d", 64, {"train": 1188, "val": 98, "test": 298}),
    ],
)
def test_real_files(tmp_path: Path, name: str, size: int, counts: dict[str, int]) -> None:
    """The official checksum and the official counts."""
    spec = DataSpec(name=name, size=size)
    chosen = medmnist.SOURCES[name].choose(spec, cache=tmp_path)
    assert {split: len(part) for split, part in chosen.parts.items()} == counts
    assert chosen.catalogue.notes["resolution"] == f"{size} px as published"
