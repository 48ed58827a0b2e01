"""Images in a table: ISIC of several years, and anyone's csv."""

from pathlib import Path

import pytest

from tests.pictures import png, write_files, write_zip
from transfusion_lib import data
from transfusion_lib.errors import DataError, SpecError
from transfusion_lib.spec import DataSpec

Files = dict[str, bytes | str]


def images(n: int = 60, *, folder: str = "images") -> Files:
    """Return pictures i0 to i(n-1)."""
    return {f"{folder}/i{k}.jpg": png(k) for k in range(n)}


def csv(header: str, rows: list[str]) -> str:
    """Return the text of a table."""
    return "\n".join([header, *rows]) + "\n"


def spec(root: Path, **fields: object) -> DataSpec:
    """Return a spec of the set at ``root``."""
    return DataSpec(name="isic", root=str(root), size=16, **fields)  # type: ignore[arg-type]


def labels(root: Path, tmp_path: Path, **fields: object) -> dict[str, object]:
    """Return the label of each image."""
    loaded = data.load(spec(root, **fields), cache=tmp_path / "cache")
    splits = loaded.splits().values()
    return {name: label for split in splits for name, label in zip(split.ids, split.labels.tolist(), strict=True)}


def test_a_column_of_names(tmp_path: Path) -> None:
    """Classes in order of name, units from the patient column; by folder, by zip, by the csv itself."""
    table = csv("image,label,patient_id", [f"i{k},{('mole', 'cancer')[k % 2]},p{k // 3}" for k in range(60)])
    root = write_files(tmp_path / "set", images() | {"labels.csv": table})
    loaded = data.load(spec(root), cache=tmp_path / "cache")
    assert (loaded.task, loaded.classes, loaded.positive) == ("label", ("cancer", "mole"), (0,))
    assert sum(len(set(split.units)) for split in loaded.splits().values()) == 20
    assert labels(root, tmp_path)["i3"] == 0
    prints = {
        data.fingerprint(spec(place), cache=tmp_path / "cache")
        for place in (root, root / "labels.csv", write_zip(tmp_path / "z.zip", images() | {"labels.csv": table}))
    }
    assert len(prints) == 1
    assert data.spec_for(str(root / "labels.csv"), size=16) == spec(root / "labels.csv")


def test_numbers_sort_as_numbers(tmp_path: Path) -> None:
    """Grade 10 comes after grade 2."""
    table = csv("filename,grade", [f"i{k}.jpg,{(2, 10, 1)[k % 3]}" for k in range(60)])
    loaded = data.load(spec(write_files(tmp_path / "set", images() | {"t.csv": table})), cache=tmp_path / "cache")
    assert loaded.classes == ("1", "2", "10")
    assert loaded.task == "grade"


def test_isic_2019(tmp_path: Path) -> None:
    """One column per class, lesions in a second table, zips as they are downloaded."""
    kinds = ("MEL", "NV", "BCC")
    truth = csv(
        "image,MEL,NV,BCC", [f"i{k}," + ",".join("1.0" if k % 3 == j else "0.0" for j in range(3)) for k in range(60)]
    )
    metadata = csv(
        "image,age_approx,lesion_id,sex", [f"i{k},50,{f'L{k // 2}' if k < 40 else ''},male" for k in range(60)]
    )
    root = write_files(
        tmp_path / "isic", {"ISIC_2019_Training_GroundTruth.csv": truth, "ISIC_2019_Training_Metadata.csv": metadata}
    )
    write_zip(root / "ISIC_2019_Training_Input.zip", images(folder="ISIC_2019_Training_Input"))
    loaded = data.load(spec(root), cache=tmp_path / "cache")
    assert loaded.classes == kinds
    assert loaded.kind == "multiclass"
    assert sum(len(set(split.units)) for split in loaded.splits().values()) == 40
    assert labels(root, tmp_path)["i5"] == 2


def test_isic_2020(tmp_path: Path) -> None:
    """Several columns could be the label: the first usual one, or the one that task names; test.csv has none."""
    ill = [k % 5 == 0 for k in range(60)]
    words = [("melanoma,malignant,1" if each else "nevus,benign,0") for each in ill]
    rows = [f"i{k},IP_{k // 2},male,50,torso,{words[k]}" for k in range(60)]
    header = "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target"
    files = images(folder="train") | {
        "train.csv": csv(header, rows),
        "test.csv": csv("image_name,patient_id,sex", ["t1,x,male"]),
    }
    root = write_files(tmp_path / "isic", files)
    assert data.load(spec(root), cache=tmp_path / "cache").classes == ("0", "1")
    named = data.load(spec(root, task="benign_malignant"), cache=tmp_path / "cache")
    assert named.classes == ("benign", "malignant")
    with pytest.raises(SpecError, match=r'unknown column of .* for task "benign"; did you mean'):
        data.load(spec(root, task="benign"), cache=tmp_path / "cache")


def test_several_labels_at_once(tmp_path: Path) -> None:
    """Seen by the rows, most of which have none or both; read as one class per image it is an error that says so."""
    table = csv("image,nodule,scar", [f"i{k},{k % 2},{int(k % 3 == 0)}" for k in range(60)])
    root = write_files(tmp_path / "set", images() | {"t.csv": table})
    with pytest.raises(
        DataError,
        match=r'row 4: 0 classes are 1; mark one, or use task "multi_label"',
    ):
        data.load(spec(root, task="one_hot"), cache=tmp_path / "cache")
    found = data.load(spec(root), cache=tmp_path / "cache")
    assert found.task == "multi_label"
    assert found.kind == "multilabel"
    assert found.classes == ("nodule", "scar")
    assert labels(root, tmp_path)["i3"] == [1.0, 1.0]


def test_one_faulty_row_does_not_make_the_classes_labels(tmp_path: Path) -> None:
    """Where nearly every row marks one class, the row that marks two is the fault."""
    rows = [f"i{k},{k % 2},{1 - k % 2}" for k in range(59)]
    root = write_files(tmp_path / "set", images() | {"t.csv": csv("image,nodule,scar", [*rows, "i59,1,1"])})
    with pytest.raises(DataError, match=r'row 61: 2 classes are 1; mark one, or use task "multi_label"'):
        data.load(spec(root), cache=tmp_path / "cache")


def test_columns_called_otherwise(tmp_path: Path) -> None:
    """Spaces and capitals in names do not matter; the column of images is also known by its cells, ids by none."""
    rows = [f"{k},./images/i{k}.jpg,{k // 3},{('ill', 'well')[k % 2]}" for k in range(60)]
    for header in ("No,Image Path,Patient ID,Disease", "id,radiograph,patient-id,CLASS NAME"):
        root = write_files(tmp_path / header[:2], images() | {"t.csv": csv(header, rows)})
        loaded = data.load(spec(root), cache=tmp_path / "cache")
        assert loaded.classes == ("ill", "well")
        assert sum(len(set(split.units)) for split in loaded.splits().values()) == 20


def test_forms_for_answers_are_no_labels(tmp_path: Path) -> None:
    """Kaggle's sample_submission.csv lies beside the labels and has their columns."""
    rows = [f"i{k},{k % 2}" for k in range(60)]
    files = images() | {"train.csv": csv("image_name,target", rows[:50])}
    form = csv("image_name,target", [f"i{k},0" for k in range(50, 60)])
    root = write_files(tmp_path / "set", files | {"sample_submission.csv": form})
    assert len(labels(root, tmp_path)) == 50


def test_tables_of_something_else_do_not_hide_the_labels(tmp_path: Path) -> None:
    """A csv higher up without images is passed over."""
    table = csv("image,label", [f"i{k},{k % 2}" for k in range(60)])
    root = write_files(tmp_path / "set", images() | {"sites.csv": "site,country\na,b\n", "truth/labels.csv": table})
    assert len(labels(root, tmp_path)) == 60


def test_splits_from_a_column_or_from_tables(tmp_path: Path) -> None:
    """A split column; or train.csv, val.csv and test.csv."""
    parts = ["train"] * 40 + ["val"] * 8 + ["Test"] * 12
    rows = [f"i{k},{k % 2},{part}" for k, part in enumerate(parts)]
    root = write_files(tmp_path / "a", images() | {"t.csv": csv("image,label,split", rows)})
    expected = {"train": 40, "val": 8, "test": 12}
    assert data.show(str(root / "t.csv"), cache=tmp_path / "cache").images == expected
    tables: Files = {
        f"my-{name}.csv": csv("image,label", [f"i{k},{k % 2}" for k, part in enumerate(parts) if part.lower() == name])
        for name in expected
    }
    several = write_files(tmp_path / "b", images() | tables)
    assert {name: len(s) for name, s in data.load(spec(several), cache=tmp_path / "cache").splits().items()} == expected
    write_files(several, {"more.csv": csv("image,label", ["i1,1"])})
    with pytest.raises(
        DataError, match=r"several tables of images \(more.csv, my-test.csv, .*\); give the one meant as root"
    ):
        data.load(spec(several), cache=tmp_path / "cache")


GOOD = [f"i{k},{('mole', 'cancer')[k % 2]},p{k}" for k in range(60)]


def test_a_csv_given_by_name_without_its_columns(tmp_path: Path) -> None:
    """The error lists what is there."""
    root = write_files(tmp_path, images() | {"a.csv": "picture,label\nx1,x\n", "b.csv": "image,size\ni1,5\n"})
    with pytest.raises(
        DataError, match=r"a.csv row 1: no column of images \(image, .*\); has: picture, label; rename one"
    ):
        data.load(spec(root / "a.csv"), cache=tmp_path / "cache")
    with pytest.raises(
        DataError, match=r"b.csv row 1: no column of labels \(label, .*\); has: image, size; rename one"
    ):
        data.load(spec(root / "b.csv"), cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (csv("picture,label", ["x1,mole"]), "no csv with images .* and labels .*; rename its columns"),
        (
            csv("image,label,patient_id", [*GOOD[:5], "i5,,p5", *GOOD[6:]]),
            r"row 7: label is blank; it must be one of cancer, mole",
        ),
        (
            csv("image,label,patient_id", [*GOOD[:5], "i99,mole,p5", *GOOD[6:]]),
            r"row 7: image i99 is not in .*; add the file",
        ),
        (
            csv("image,label,patient_id", [*GOOD[:5], ",mole,p5", *GOOD[6:]]),
            r"row 7: names no image; add the file or remove",
        ),
        (
            csv("image,label,patient_id", [*GOOD[:5], "i4,mole,p4", *GOOD[6:]]),
            r"i4 occurs twice, in .*row 6 and .*row 7",
        ),
        (
            csv("image,label,patient_id", [*GOOD[:5], "i5,mole,", *GOOD[6:]]),
            r"row 7: patient_id is blank; fill it, or images of one patient_id may fall into several splits",
        ),
        (
            csv("image,label,patient_id", [*GOOD[:5], "i5,Mole,p5", *GOOD[6:]]),
            r'label has "mole" and "Mole"; write the class one way',
        ),
        (
            csv("image,label", [f"i{k},{k / 7}" for k in range(60)]),
            "label has 60 different values; give a column of classes",
        ),
        (
            csv("image,label", [f"i{k},class {k}" for k in range(100_000)]),  # comparing each with each takes minutes
            "label has 100000 different values; give a column of classes",
        ),
        (
            csv("image,label,split", [f"i{k},{k % 2},fold{k % 3}" for k in range(60)]),
            r'row 2: split is "fold0"; it must be one of train',
        ),
    ],
)
def test_bad_tables(tmp_path: Path, table: str, message: str) -> None:
    """One line with the row and the repair."""
    root = write_files(tmp_path / "set", images() | {"t.csv": table})
    with pytest.raises(DataError, match=message) as caught:
        data.load(spec(root), cache=tmp_path / "cache")
    assert "\n" not in str(caught.value)


def test_classes_that_pandas_wrote_are_the_same_in_every_table(tmp_path: Path) -> None:
    """A column with a blank comes back as 1.0; a class that train lacks is a slip of the pen, or another set."""
    tables = {
        "train.csv": csv("image,label", [f"i{k},{k % 2}" for k in range(40)]),
        "test.csv": csv("image,label", [f"i{k},{k % 2}.0" for k in range(40, 60)]),
    }
    loaded = data.load(spec(write_files(tmp_path / "set", images() | tables)), cache=tmp_path / "cache")
    assert loaded.classes == ("0", "1")
    assert set(loaded.test.labels.tolist()) == {0, 1}
    tables["test.csv"] = tables["test.csv"].replace("i51,1.0", "i51,2")
    with pytest.raises(DataError, match=r"test.csv row 13: class 2 is in test but not in train"):
        data.load(spec(write_files(tmp_path / "other", images() | tables)), cache=tmp_path / "cache")


def test_a_class_called_by_more_digits_than_python_reads_is_a_name(tmp_path: Path) -> None:
    long = "9" * 5000
    table = csv("image,label", [f"i{k},{k % 2 or long}" for k in range(60)])
    root = write_files(tmp_path / "set", images() | {"t.csv": table})
    assert set(data.load(spec(root), cache=tmp_path / "cache").classes) == {"1", long}


def test_units_of_a_second_table_are_found_by_the_image_not_by_its_spelling(tmp_path: Path) -> None:
    tables = {
        "labels.csv": csv("image,label", [f"images/i{k}.jpg,{k % 2}" for k in range(60)]),
        "patients.csv": csv("image,patient_id", [f"i{k},p{k // 3}" for k in range(57)]),
    }
    loaded = data.load(spec(write_files(tmp_path / "set", images() | tables)), cache=tmp_path / "cache")
    assert sum(len(set(split.units)) for split in loaded.splits().values()) == 19 + 3
    assert loaded.notes["units"].startswith("3 image(s) without one")
