"""NIH ChestX-ray14: findings with bars between them, patients, the official test list."""

from pathlib import Path

import pytest

from tests.pictures import png, write_files, write_zip
from transfusion_lib import data
from transfusion_lib.errors import DataError
from transfusion_lib.spec import DataSpec

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
FOUND = ("No Finding", "Edema|Effusion", "Mass", "Effusion|Hernia", "Atelectasis", "Cardiomegaly|Consolidation")


def name(k: int) -> str:
    """Return the name of image ``k``: two of each patient."""
    return f"{k // 2 + 1:08d}_{k % 2:03d}.png"


def tree(*, n: int = 60, listed: bool = True) -> dict[str, bytes | str]:
    """Return the files as they are downloaded, the last patients in the test list."""
    rows = [f"{name(k)},{FOUND[k % 6]},{k % 2},{k // 2 + 1},58,M,PA,2682,2749,0.143,0.143," for k in range(n)]
    files: dict[str, bytes | str] = {f"images_{k % 2:03d}/images/{name(k)}": png(k) for k in range(n)}
    files["Data_Entry_2017.csv"] = "\n".join([HEADER, *rows])
    lists: dict[str, bytes | str] = {
        "train_val_list.txt": "\n".join(map(name, range(n - 12))),
        "test_list.txt": "\n".join(map(name, range(n - 12, n))),
    }
    return files | (lists if listed else {})


def spec(root: Path, **fields: object) -> DataSpec:
    """Return a spec of the set at ``root``."""
    return DataSpec(name="chestxray14", root=str(root), size=16, **fields)  # type: ignore[arg-type]


def test_the_set(tmp_path: Path) -> None:
    """CheXpert's five findings first, all fourteen by task; patients in one split; the list is the test split."""
    root = write_files(tmp_path / "nih", tree())
    loaded = data.load(spec(root), cache=tmp_path / "cache")
    assert loaded.classes == ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion")
    assert loaded.train.images.shape[1] == 1
    assert set(loaded.test.ids) == set(map(name, range(48, 60)))
    places = {image: (split, k) for split in loaded.splits().values() for k, image in enumerate(split.ids)}
    for k in range(60):
        split, row = places[name(k)]
        assert split.labels[row].tolist() == [float(each in FOUND[k % 6].split("|")) for each in loaded.classes]
    whole = data.load(spec(root, task="pathologies"), cache=tmp_path / "cache")
    assert len(whole.classes) == 14
    assert whole.train.labels.sum() > loaded.train.labels.sum()


def test_recognised_in_every_packing_and_without_a_list(tmp_path: Path) -> None:
    """By folder and by zip the same; without the list test is drawn by patient."""
    places = [write_files(tmp_path / "x", tree()), write_zip(tmp_path / "x.zip", tree())]
    assert [data.spec_for(str(place)).name for place in places] == ["chestxray14"] * 2
    assert len({data.fingerprint(spec(place), cache=tmp_path / "cache") for place in places}) == 1
    drawn = data.load(spec(write_files(tmp_path / "y", tree(listed=False))), cache=tmp_path / "cache")
    assert len(drawn.test) == 12
    assert len(set(drawn.test.units)) == 6


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (f"{name(3)},", "00000099_000.png,", r"row 5: image 00000099_000\.png is not in .*; add the file or remove"),
        (f"{name(4)},Atelectasis", f"{name(4)},Atelectesis", r'row 6: finding "Atelectesis" .* did you mean "Atelec'),
        (f"{name(4)},Atelectasis", f"{name(4)},", r"row 6: finding blank is none of the set's; correct it"),
        ("Patient ID", "Patient", r'row 1: no column "patient id".* Found: Image Index, .*; add it or rename one'),
    ],
)
def test_bad_tables(tmp_path: Path, old: str, new: str, message: str) -> None:
    """One line with the row and the repair."""
    files = tree()
    files["Data_Entry_2017.csv"] = str(files["Data_Entry_2017.csv"]).replace(old, new)
    with pytest.raises(DataError, match=message) as caught:
        data.load(spec(write_files(tmp_path / "nih", files)), cache=tmp_path / "cache")
    assert "\n" not in str(caught.value)
