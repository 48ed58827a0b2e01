"""An exported file in use: what it says of itself, its card's numbers from onnxruntime alone, other images."""

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from tests.pictures import encoded, gradient, write_files
from tests.test_cut import TINY
from transfusion_lib import data
from transfusion_lib.analysis.unseen import read
from transfusion_lib.cutting import card, cut
from transfusion_lib.cutting.cut import place_of
from transfusion_lib.cutting.model import Model, predict, write_answers
from transfusion_lib.cutting.report import judged, sections
from transfusion_lib.errors import DataError, SpecError, UserError
from transfusion_lib.stats.decisions import Rate

LEVELS: dict[Rate, int] = {"specificity": 90, "sensitivity": 80}


def scan(seed: int, *, ill: bool) -> bytes:
    """Return a picture whose brightness tells a little of its class."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 60, (40, 40, 3))
    return encoded(
        (gradient(seed, size=40) * (0.5 + 0.12 * ill) + noise).clip(0, 255).astype(np.uint8), "JPEG", quality=95
    )


def site(root: Path, *, first: int, patients: int = 40) -> Path:
    """Return two pictures of each patient with a table of sex and age."""
    names = [(f"P{k}_{eye}.jpg", k, k % 2) for k in range(first, first + patients) for eye in (1, 2)]
    rows = [f"{name},{'ill' if ill else 'well'},P{k},{'f' if k % 3 else 'm'},{20 + k % 60}" for name, k, ill in names]
    table = "\n".join(["image,label,patient_id,sex,age", *rows])
    pictures = {name: scan(7 * k + int(name[-5]), ill=bool(ill)) for name, k, ill in names}
    return write_files(root, {**pictures, "labels.csv": table})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """The place of a site's images and the folder that the command wrote."""
    root = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFUSION_STORE", str(root / "store"))
        patch.setenv("TRANSFUSION_DEVICE", "cpu")
        patch.setattr(cut, "REPEATS", 20)
        place = site(root / "site", first=0)
        search = cut.plan(str(place), **TINY | {"steps": 8})  # type: ignore[arg-type]
        card.write(cut.advise(search, say=lambda _: None), root / "out", levels=LEVELS)
        yield place, root / "out"


@pytest.mark.parametrize("batch", [1, 5, 64])
def test_onnxruntime_alone_gives_the_numbers_of_the_card(made: tuple[Path, Path], batch: int) -> None:
    """Written by what the file says of itself: no code of ours reads the images or computes a score."""
    place, out = made
    session = onnxruntime.InferenceSession(out / "model.onnx")
    about = session.get_modelmeta().custom_metadata_map
    size = json.loads(about["decoding"])["size"]
    assert (
        about["resampling"]
        == f"the whole picture stretched to {size} x {size} pixels by Pillow's bilinear filter, which averages"
    )
    assert session.get_inputs()[0].shape == ["batch", 3, size, size]
    with (out / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    images = [
        np.asarray(
            Image.open(place / row["name"]).convert("RGB").resize((size, size), Image.Resampling.BILINEAR), np.float32
        ).transpose(2, 0, 1)
        / 255
        for row in rows
    ]
    parts = [np.stack(images[k : k + batch]) for k in range(0, len(images), batch)]
    chances = np.concatenate([session.run(None, {"images": part})[0] for part in parts])
    classes, [positive] = json.loads(about["classes"]), json.loads(about["positive_class"])
    ill = chances[:, classes.index(positive)]
    truth = np.array([row["true"] == positive for row in rows])
    assert ill == pytest.approx([float(row[f"p {positive}"]) for row in rows], abs=1e-5)
    text = (out / "MODEL_CARD.md").read_text().partition("## Scores of the exported file")[2]
    for name, value in (
        ("AUROC", roc_auc_score(truth, ill)),
        ("AUPRC", average_precision_score(truth, ill)),
        ("Brier score", brier_score_loss(truth, ill)),
    ):
        shown = re.search(rf"\| {name} \| ([\d.]+) \(", text)
        assert shown is not None
        assert float(shown[1]) == pytest.approx(value, abs=1e-5)
    at = json.loads(about["operating_points"])[positive]["specificity"]["90"]
    [decision, _] = json.loads((out / "evaluation.json").read_text())["images"]["decisions"]
    assert decision["threshold"] == at
    assert decision["sensitivity"]["estimate"] == pytest.approx((ill[truth] >= at).mean(), abs=1e-5)
    assert decision["specificity"]["estimate"] == pytest.approx((ill[~truth] < at).mean(), abs=1e-5)


def test_the_file_says_what_a_stranger_needs(made: tuple[Path, Path]) -> None:
    _, out = made
    about = onnxruntime.InferenceSession(out / "model.onnx").get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == ["ill", "well"]
    assert json.loads(about["positive_class"]) == ["ill"]
    assert "inside the network: minus [" in about["normalisation"]
    assert about["unit"] == "column patient_id"
    assert about["batch_dimension"].startswith("0, of images and of probabilities")
    text = (out / "MODEL_CARD.md").read_text()
    for needed in (
        "trainings were best at their last evaluation",
        "In onnxruntime: ",
        "### By unit",
        "### Worst errors",
    ):
        assert needed in text


def test_images_that_it_was_trained_or_chosen_on_are_left_out(made: tuple[Path, Path]) -> None:
    """On its own folder the test images are left; with another site all of that site."""
    place, out = made
    model = Model.open(out)
    own = read(model.judge, place_of(str(place), size=32, unit=None, on_bad="error"))
    dataset = data.load(data.spec_for(str(place), size=32))
    assert set(own.cases.names) == set(dataset.test.ids)
    assert own.seen == len(dataset.train) + len(dataset.val)
    before = json.loads((out / "evaluation.json").read_text())["images"]["scores"]["AUROC"]["estimate"]
    again = judged(own.cases, model.judge.task, model.points, levels=LEVELS)
    assert again.report.scores["AUROC"].estimate == pytest.approx(before, abs=1e-9)
    only = write_files(
        place.parent / "trained", {f"a/{dataset.train.ids[0]}": (place / dataset.train.ids[0]).read_bytes()}
    )
    with pytest.raises(DataError):
        read(model.judge, place_of(str(only), size=32, unit=None, on_bad="error"))


def test_another_site_is_judged_by_patient_and_by_column(made: tuple[Path, Path], tmp_path: Path) -> None:
    model = Model.open(made[1] / "model.onnx")
    other = read(model.judge, place_of(str(site(tmp_path, first=500)), size=32, unit=None, on_bad="error"))
    assert (len(other.cases), other.seen, other.unit) == (80, 0, "column patient_id")
    found = judged(other.cases, model.judge.task, model.points, levels=LEVELS, columns=other.columns, by=["sex", "Age"])
    assert found.by_unit is not None
    assert (found.report.units, found.by_unit.cases) == (40, 40)
    sex = found.groups["sex"]
    assert sex["m"][0] == 2 * sum(k % 3 == 0 for k in range(500, 540))
    rows = [k for k, value in enumerate(other.columns["sex"]) if value == "m"]
    ill = other.cases.truth[rows] == 0
    assert sex["m"][1] is not None
    assert sex["m"][1].estimate == pytest.approx(roc_auc_score(ill, other.cases.chances[rows, 0]))
    assert len(found.groups["Age"]) == 4
    with pytest.raises(UserError, match='unknown column "sexx"; did you mean "sex"'):
        judged(other.cases, model.judge.task, model.points, levels=LEVELS, columns=other.columns, by=["sexx"])
    hidden = sections(found, hide=True)
    assert not re.search(r"P5\d\d", hidden), "no name of a patient"
    worst = {hashlib.sha256(name.encode()).hexdigest()[:16] for name in other.cases.names}
    assert set(re.findall(r"\| ([0-9a-f]{16}) \|", hidden)) < worst, "joined by who hashes their own names alike"


def test_answers_are_a_csv_and_faults_are_named(made: tuple[Path, Path], tmp_path: Path) -> None:
    judge = Model.open(made[1]).judge
    place = write_files(tmp_path / "new", {"a.jpg": scan(1, ill=True), "sub/b.jpg": scan(2, ill=False)})
    answers, _ = predict(judge, place)
    written = io.StringIO()
    write_answers(written, answers, judge.task, hide=False)
    rows = list(csv.DictReader(io.StringIO(written.getvalue())))
    assert [row["name"] for row in rows] == ["a.jpg", "sub/b.jpg"]
    assert all(float(row["ill"]) + float(row["well"]) == pytest.approx(1) for row in rows)
    [(_, alone)], _ = predict(judge, place / "a.jpg")
    assert alone == pytest.approx(answers[0][1], abs=1e-6)
    write_files(place, {"broken.jpg": b"\xff\xd8\xff no more"})
    with pytest.raises(DataError, match=r"broken\.jpg: not an image"):
        predict(judge, place)
    answers, left_out = predict(judge, place, on_bad="skip")
    assert (len(answers), len(left_out)) == (2, 1)
    with pytest.raises(DataError, match="no image in it"):
        predict(judge, write_files(tmp_path / "none", {"x.txt": "no"}))


def test_mistakes_are_named(made: tuple[Path, Path], tmp_path: Path) -> None:
    judge = Model.open(made[1]).judge
    with pytest.raises(UserError, match="no such file; give the ONNX file"):
        Model.open(tmp_path / "nothing.onnx")
    write_files(tmp_path, {"not.onnx": "text"})
    with pytest.raises(UserError, match="not an ONNX file"):
        Model.open(tmp_path / "not.onnx")
    cats = {f"{name}/{k}.jpg": scan(10 * k + len(name), ill=False) for name in ("cat", "horse") for k in range(3)}
    with pytest.raises(DataError, match="multiclass cat, horse; the network answers multiclass ill, well"):
        read(judge, place_of(str(write_files(tmp_path / "cats", cats)), size=32, unit=None, on_bad="error"))
    with pytest.raises(SpecError, match="positive class of this set is given by its task"):
        place_of("chest_xray", size=32, positive="NORMAL", unit=None, on_bad="error")
