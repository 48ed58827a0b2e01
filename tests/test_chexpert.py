"""CheXpert in both sizes and every packing; uncertain labels; frontal views."""

import math
from pathlib import Path

import pytest

from tests.pictures import encoded, gradient, write_files, write_zip
from transfusion_lib import data
from transfusion_lib.data.sources.chexpert import PATHOLOGIES
from transfusion_lib.errors import DataError
from transfusion_lib.spec import DataSpec

Files = dict[str, bytes | str]
HEADER = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,"
    "Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)
COLUMNS = HEADER.split(",")


def row(path: str, **labels: str) -> str:
    """Return a row of the table; labels by their first word, blank otherwise."""
    view = "Frontal" if "frontal" in path else "Lateral"
    cells = {"Path": path, "Sex": "Male", "Age": "60", "Frontal/Lateral": view, "AP/PA": "AP"}
    cells |= {column: labels.get(column.split()[0].lower(), "") for column in COLUMNS[5:]}
    cells["Pleural Effusion"], cells["Pleural Other"] = labels.get("pleural", ""), ""
    return ",".join(cells[column] for column in COLUMNS)


def made(*, top: str = "CheXpert-v1.0-small", patients: int = 40) -> Files:
    """Return a small CheXpert: per patient a frontal and a lateral view, every third one uncertain."""
    files: Files = {}
    for split, first, count in (("train", 1, patients), ("valid", 64541, 12)):
        rows = [HEADER]
        for number in range(first, first + count):
            sign = ["1.0", "0.0", "-1.0" if split == "train" else "1.0"][number % 3]
            for view in ("view1_frontal", "view2_lateral"):
                path = f"{split}/patient{number:05d}/study1/{view}.jpg"
                files[f"{top}/{path}"] = encoded(gradient(number), "JPEG")
                every = dict.fromkeys(("cardiomegaly", "edema", "consolidation", "atelectasis", "pleural"), sign)
                rows.append(row(f"CheXpert-v1.0-small/{path}", **every))
        files[f"{top}/{split}.csv"] = "\n".join(rows) + "\n"
    return files


def spec(root: Path, **fields: object) -> DataSpec:
    """Return a spec of the set at ``root``."""
    return DataSpec(name="chexpert", root=str(root), size=16, **fields)  # type: ignore[arg-type]


def test_the_set(tmp_path: Path) -> None:
    """Grey, multi-label, frontal only, valid.csv as the test split, val by patient."""
    loaded = data.load(spec(write_zip(tmp_path / "c.zip", made())), cache=tmp_path / "cache")
    assert loaded.kind == "multilabel"
    assert loaded.classes == PATHOLOGIES
    assert loaded.train.images.shape[1:] == (1, 16, 16)
    assert len(loaded.test) == 12
    assert len(loaded.train) + len(loaded.val) == 40
    assert len(loaded.val) == 4
    assert all("frontal" in name for split in loaded.splits().values() for name in split.ids)
    assert all(unit.startswith("patient") for unit in loaded.train.units)
    both = data.load(spec(tmp_path / "c.zip", task="pathologies_all_views"), cache=tmp_path / "cache")
    assert len(both.test) == 24
    assert not set(both.train.units) & set(both.val.units)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("ones", (1.0, 1.0, 1.0, 1.0, 1.0)),
        ("zeros", (0.0, 0.0, 0.0, 0.0, 0.0)),
        ("ignore", (math.nan,) * 5),
        ("published", (1.0, 0.0, 0.0, 1.0, 1.0)),
    ],
)
def test_uncertain_labels(tmp_path: Path, policy: str, expected: tuple[float, ...]) -> None:
    """Each policy; patient 2 is uncertain of everything, patient 1 has nothing, patient 3 everything."""
    root = write_files(tmp_path, made())
    loaded = data.load(spec(root / "CheXpert-v1.0-small", uncertain=policy), cache=tmp_path / "cache")
    labels = {
        unit: label.tolist()
        for split in (loaded.train, loaded.val)
        for unit, label in zip(split.units, split.labels, strict=True)
    }
    assert labels["patient00002"] == pytest.approx(expected, nan_ok=True)
    assert labels["patient00001"] == [0.0] * 5
    assert labels["patient00003"] == [1.0] * 5


def test_blank_is_absent(tmp_path: Path) -> None:
    """A pathology that the report does not mention is negative, as in the paper."""
    files = made()
    path = "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg"
    files["CheXpert-v1.0-small/train.csv"] = str(files["CheXpert-v1.0-small/train.csv"]).replace(
        row(path, **dict.fromkeys(("cardiomegaly", "edema", "consolidation", "atelectasis", "pleural"), "0.0")),
        row(path, edema="1.0"),
    )
    loaded = data.load(spec(write_zip(tmp_path / "c.zip", files)), cache=tmp_path / "cache")
    labels = {
        unit: label.tolist()
        for split in (loaded.train, loaded.val)
        for unit, label in zip(split.units, split.labels, strict=True)
    }
    assert labels["patient00001"] == [0, 0, 0, 1, 0]


def test_every_packing_is_the_same_set(tmp_path: Path) -> None:
    """-small, full, renamed, and the batches in which the full set is handed out."""
    small = made()
    batches: Files = {}
    for name, content in small.items():
        place = name.removeprefix("CheXpert-v1.0-small/")
        folder, _, rest = place.partition("/")
        if place.endswith(".csv"):
            batches[f"CheXpert-v1.0 batch 1 (validate & csv)/{place}"] = content
        elif folder == "valid":
            batches[f"CheXpert-v1.0 batch 1 (validate & csv)/valid/{rest}"] = content
        else:
            batch = 2 + int(rest[7:12]) % 3
            batches[f"CheXpert-v1.0 batch {batch} (train {batch - 1})/{rest}"] = content
    roots = [
        write_zip(tmp_path / "small.zip", small),
        write_files(tmp_path / "full", made(top="CheXpert-v1.0")),
        write_files(tmp_path / "bare", {name.partition("/")[2]: content for name, content in small.items()}),
        write_files(tmp_path / "batches", batches),
    ]
    assert len({data.fingerprint(spec(root), cache=tmp_path / "cache") for root in roots}) == 1


def test_released_test_labels_take_their_place(tmp_path: Path) -> None:
    """With test labels the radiologists' valid.csv is the validation split."""
    files = made()
    rows = [",".join(["Path", *PATHOLOGIES])]
    for number in range(80000, 80008):
        files[f"CheXpert-v1.0-small/test/patient{number}/study1/view1_frontal.jpg"] = encoded(gradient(number), "JPEG")
        rows.append(f"test/patient{number}/study1/view1_frontal.jpg" + f",{number % 2}.0" * 5)
    files["CheXpert-v1.0-small/test_labels.csv"] = "\n".join(rows)
    loaded = data.load(spec(write_zip(tmp_path / "c.zip", files)), cache=tmp_path / "cache")
    assert {name: len(split) for name, split in loaded.splits().items()} == {"train": 40, "val": 12, "test": 8}


def test_a_missing_image_is_not_replaced_by_a_namesake(tmp_path: Path) -> None:
    """Every study has a view1_frontal.jpg: only the asked patient's will do."""
    files = made()
    del files["CheXpert-v1.0-small/train/patient00005/study1/view1_frontal.jpg"]
    root = write_files(tmp_path / "set", files)
    with pytest.raises(DataError, match=r"train.csv row 10: image .*patient00005/study1/view1_frontal.jpg is not in"):
        data.load(spec(root), cache=tmp_path / "cache")
    loaded = data.load(spec(root, on_bad="skip"), cache=tmp_path / "cache")
    assert len(loaded.train) + len(loaded.val) == 39
    assert len(loaded.left_out) == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Edema", "Oedema", r'train.csv row 1: no column "edema"; did you mean "oedema"\?'),
        (
            ",Male,60,Frontal,AP,,,1.0",
            ",Male,60,Frontal,AP,,,2.0",
            r'row \d+: Cardiomegaly is "2.0"; it must be 1, 0, -1',
        ),
        (
            ",Male,60,Frontal,AP,,,1.0",
            ",Male,60,Frontal,AP,,,yes",
            r'row \d+: Cardiomegaly is "yes"; it must be 1, 0, -1',
        ),
        ("patient00001/study1", "nobody/study1", r'row 2: Path ".*nobody/study1.*" is not .../patientN/studyN'),
    ],
)
def test_bad_tables(tmp_path: Path, old: str, new: str, message: str) -> None:
    """The row and the repair."""
    files = made()
    files["CheXpert-v1.0-small/train.csv"] = str(files["CheXpert-v1.0-small/train.csv"]).replace(old, new, 1)
    with pytest.raises(DataError, match=message):
        data.load(spec(write_zip(tmp_path / "c.zip", files)), cache=tmp_path / "cache")
