"""The chapter "Tasks and data": what is shown is what is there, and says what it is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.pictures import class_folders, write_files
from transfusion_lib import data
from transfusion_lib.chapters.tasks import tables as tasks
from transfusion_lib.chapters.tasks.figures import balance, contact_sheet
from transfusion_lib.chapters.tasks.study import Tasks
from transfusion_lib.errors import DataError
from transfusion_lib.runs.store import Store
from transfusion_lib.spec import DataSpec

GRADES = DataSpec(name="fundus", size=32, train=40, val=10, test=10, task="grade")
CHEST = DataSpec(name="synthetic_chest", size=32, train=20, val=10, test=10)


def test_a_sheet_shows_the_first_pictures_of_each_class_with_their_findings() -> None:
    found = tasks.sheet(GRADES, examples=2)
    split = data.load(GRADES).train
    assert found.synthetic
    for grade, row in enumerate(found.rows.values()):
        first = (split.labels == grade).nonzero()[:2, 0].tolist()
        assert [picture.title for picture in row] == [split.ids[place] for place in first]
        assert all(picture.pixels.shape == (32, 32, 3) for picture in row)
    healthy, worst = (list(found.rows.values())[k][0].outline for k in (0, -1))
    assert healthy is not None
    assert not healthy.any(), "anatomy is no finding"
    assert worst is not None
    assert worst.any()


def test_a_class_without_a_picture_keeps_its_row() -> None:
    """Rare classes must not vanish from the page: they are named, and counted in the title."""
    found = tasks.sheet(GRADES.replace(train=6), examples=2)
    assert len(found.rows) == 5
    empty = [name for name, row in found.rows.items() if not row]
    assert empty
    figure = contact_sheet(found.rows, title=tasks.sheet_title(found))
    texts = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert texts.count("none among these pictures") == len(empty)
    assert set(found.rows) <= set(texts)
    assert tasks.listed(tasks.side_by_side([found], size=32)).shape[0] == 2


def test_a_title_says_that_synthetic_is_synthetic() -> None:
    assert (
        tasks.sheet_title(tasks.sheet(CHEST.replace(train=60), examples=1))
        == "chest (synthetic): 5 classes, findings outlined"
    )


def test_counts_add_up_and_shares_are_of_the_split() -> None:
    counts = tasks.counts([GRADES, CHEST])
    fundus = counts[(counts["data"] == "fundus") & (counts["split"] == "train")]
    assert fundus["images"].sum() == 40
    assert fundus["share"].sum() == pytest.approx(1)
    chest = counts[(counts["data"] == "synthetic_chest") & (counts["split"] == "test")]
    labels = data.load(CHEST).test.labels
    assert chest["images"].tolist() == labels.sum(0).int().tolist()


def test_the_title_names_the_largest_difference_between_splits() -> None:
    rows = [
        ("a", "train", "x", 1, 0.1),
        ("a", "test", "x", 3, 0.3),
        ("a", "train", "y", 9, 0.9),
        ("a", "test", "y", 7, 0.7),
    ]
    counts = pd.DataFrame(rows, columns=["data", "split", "class", "images", "share"])
    assert tasks.balance_titles(counts) == {"a": "a: class shares differ by at most 20% between splits"}
    figure = balance(counts, titles={"a": "a title"})
    assert sorted(round(bar.get_width(), 1) for bar in figure.axes[0].patches) == [0.1, 0.3, 0.7, 0.9]  # type: ignore[attr-defined]


def test_datasheets_and_sharing_cover_every_data_set() -> None:
    sheets = tasks.datasheets([GRADES, CHEST])
    assert list(sheets.columns)[1:] == ["fundus", "synthetic_chest"]
    assert "40 images, 20 units" in sheets["fundus"].tolist()
    shared = tasks.shared([GRADES, CHEST])
    assert shared["units in two splits"].tolist() == [0, 0]
    assert shared["units"].tolist()[0] == 30


def test_what_was_left_out_is_on_the_page_with_its_reason(store: Store, tmp_path: Path) -> None:
    """Asked for by on_bad; the datasheet counts and names the files, the first few of many."""
    broken = {f"cat/broken{k}.png": b"not a picture" for k in range(7)}
    root = write_files(tmp_path / "images", class_folders() | broken)
    study = Tasks(
        datasets=[str(root)],
        size=16,
        train_images=None,
        val_images=None,
        test_images=None,
        picture_size=32,
        pictures=20,
        examples=2,
        on_bad="skip",
    )
    line = str(tasks.datasheets(study.data()).set_index("").loc["left out", "images"])
    assert line.startswith("7: ")
    assert line.count("not an image but unknown bytes") == tasks.NAMED
    assert line.endswith("and 2 more")
    with pytest.raises(DataError, match=r"broken0\.png: not an image"):
        tasks.datasheets(study.model_copy(update={"on_bad": "error"}).data())


def test_the_natural_picture_is_square_and_real() -> None:
    picture = tasks.natural(40)
    assert picture.pixels.shape == (40, 40, 3)
    assert np.ptp(picture.pixels) > 100


def test_volumes_are_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = data.load(GRADES)
    volumes = replace(loaded.train, images=loaded.train.images[:, :, None])
    monkeypatch.setattr(data, "load", lambda spec: replace(loaded, train=volumes))
    with pytest.raises(DataError, match="volumes"):
        tasks.sheet(GRADES, examples=1)


def test_missing_examples_leave_their_place_empty() -> None:
    found = tasks.sheet(GRADES, examples=3)
    rows = {"one": found.rows["none"][:1], "three": found.rows["none"]}
    figure = contact_sheet(rows, title="t")
    assert sum(bool(axis.images) for axis in figure.axes) == 4
