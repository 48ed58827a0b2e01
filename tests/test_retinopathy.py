"""EyePACS and APTOS: tables of grades beside folders of photographs."""

from pathlib import Path

import pytest

from tests.pictures import encoded, gradient, png, write_files, write_zip
from transfusion_lib import data
from transfusion_lib.errors import DataError
from transfusion_lib.spec import DataSpec

Files = dict[str, bytes | str]


def eyepacs(*, folder: str = "train", patients: int = 40) -> Files:
    """Return two eyes of each patient, with grades that differ between eyes now and then."""
    files: Files = {}
    rows = ["image,level"]
    for patient in range(patients):
        for eye in ("left", "right"):
            grade = (patient + (eye == "right" and patient % 4 == 0)) % 5
            files[f"{folder}/{patient}_{eye}.jpeg"] = encoded(gradient(2 * patient + (eye == "left")), "JPEG")
            rows.append(f"{patient}_{eye},{grade}")
    return files | {"trainLabels.csv": "\n".join(rows)}


def aptos(*, images: int = 60) -> Files:
    """Return images without patients."""
    files: Files = {f"train_images/{k:012x}.png": png(k) for k in range(images)}
    return files | {"train.csv": "\n".join(["id_code,diagnosis", *(f"{k:012x},{k % 5}" for k in range(images))])}


def spec(name: str, root: Path, **fields: object) -> DataSpec:
    """Return a spec of the set at ``root``."""
    return DataSpec(name=name, root=str(root), size=16, **fields)  # type: ignore[arg-type]


def test_eyes_of_a_patient_stay_together(tmp_path: Path) -> None:
    """Grades 0 to 4 with referable from 2, or the two classes; splits by patient."""
    root = write_files(tmp_path / "set", eyepacs())
    loaded = data.load(spec("eyepacs", root), cache=tmp_path / "cache")
    assert loaded.positive == (2, 3, 4)
    assert len(loaded.classes) == 5
    assert loaded.train.images.shape[1:] == (3, 16, 16)
    assert {name: len(split) for name, split in loaded.splits().items()} == {"train": 58, "val": 6, "test": 16}
    grade = int(loaded.test.labels[0])
    patient, eye = loaded.test.ids[0].split("_")
    assert grade == (int(patient) + (eye == "right" and int(patient) % 4 == 0)) % 5
    assert all(unit == name.split("_")[0] for unit, name in zip(loaded.train.units, loaded.train.ids, strict=True))
    referable = data.load(spec("eyepacs", root, task="referable"), cache=tmp_path / "cache")
    assert referable.classes == ("not referable", "referable")
    assert referable.train.labels.max() == 1


def test_kaggle_re_uploads_hold_two_versions(tmp_path: Path) -> None:
    """The plain version wins over the cropped one, silently nowhere: it is always the same."""
    both = eyepacs(folder="resized_train/resized_train") | {
        name.replace("train/", "resized_train_cropped/resized_train_cropped/"): png(9)
        for name in eyepacs()
        if name.endswith("jpeg")
    }
    one = data.fingerprint(spec("eyepacs", write_files(tmp_path / "two", both)), cache=tmp_path / "cache")
    two = data.fingerprint(spec("eyepacs", write_zip(tmp_path / "e.zip", eyepacs())), cache=tmp_path / "cache")
    assert one == two


def test_official_test_grades(tmp_path: Path) -> None:
    """The solution that Kaggle published after the competition is the test split."""
    files = eyepacs()
    solution = ["image,level,Usage"]
    for patient in range(100, 110):
        files[f"test/{patient}_left.jpeg"] = png(patient)
        solution.append(f"{patient}_left,{patient % 5},Private")
    files["retinopathy_solution.csv"] = "\n".join(solution)
    loaded = data.load(spec("eyepacs", write_files(tmp_path / "set", files)), cache=tmp_path / "cache")
    assert len(loaded.test) == 10
    assert len(loaded.train) + len(loaded.val) == 80


def test_aptos(tmp_path: Path) -> None:
    """Split by image; the hidden test.csv without grades is no split, one with grades is."""
    files = aptos() | {"test.csv": "id_code\nfff\n"}
    loaded = data.load(spec("aptos", write_zip(tmp_path / "a.zip", files)), cache=tmp_path / "cache")
    assert {name: len(split) for name, split in loaded.splits().items()} == {"train": 43, "val": 5, "test": 12}
    assert loaded.train.units == loaded.train.ids
    assert "no patient" in loaded.notes["unit"]
    files |= {f"test_images/t{k}.png": png(500 + k) for k in range(10)}
    files["test.csv"] = "\n".join(["id_code,diagnosis", *(f"t{k},{k % 5}" for k in range(10))])
    loaded = data.load(spec("aptos", write_zip(tmp_path / "b.zip", files)), cache=tmp_path / "cache")
    assert set(loaded.test.ids) == {f"t{k}" for k in range(10)}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("id_code,diagnosis", "id_code,grade", r'no column "diagnosis"'),
        ("000000000003,3", "000000000003,5", r'train.csv row 5: diagnosis is "5"; it must be 0 to 4'),
        ("000000000003,3", "000000000003,", r"train.csv row 5: diagnosis is blank; it must be 0 to 4"),
        ("000000000003,3", "nowhere,3", r"train.csv row 5: image nowhere is not in .*; add the file or remove the row"),
        ("000000000003,3", "000000000002,2", r"000000000002 occurs twice, in .*row 4 and .*row 5; remove one"),
        (
            "000000000003,3",
            "000000000002,4",
            r"000000000002 occurs twice and differently, in .*row 4 and .*row 5; keep",
        ),
    ],
)
def test_bad_tables(tmp_path: Path, old: str, new: str, message: str) -> None:
    """Each names the row and the repair; skipping lists it and keeps the rest."""
    files = aptos()
    files["train.csv"] = str(files["train.csv"]).replace(old, new, 1)
    root = write_files(tmp_path / "set", files)
    with pytest.raises(DataError, match=message) as caught:
        data.load(spec("aptos", root), cache=tmp_path / "cache")
    assert "\n" not in str(caught.value)
    if "column" not in message:
        loaded = data.load(spec("aptos", root, on_bad="skip"), cache=tmp_path / "cache")
        assert len(loaded.left_out) == 1
        differently = "differently" in message
        assert sum(len(split) for split in loaded.splits().values()) == (58 if differently else 59)
