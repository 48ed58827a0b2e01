from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.preprocessing import StandardScaler

from transfusion_lib.data.sources import fundus as data
from transfusion_lib.data.synthetic import fundus
from transfusion_lib.data.synthetic.canvas import Array, Static, stream
from transfusion_lib.data.synthetic.drawn import Drawing
from transfusion_lib.data.synthetic.fundus import LESIONS, REGIONS, Scene
from transfusion_lib.errors import SpecError
from transfusion_lib.spec import DataSpec

NO_SPOTS, NO_STROKES = np.zeros((6, 0), np.float32), np.zeros((8, 0), np.float32)


def healthy(eyes: Scene) -> Scene:
    """Return the same eyes, photographed alike, without the disease."""
    return replace(eyes, lesions=dict.fromkeys(eyes.lesions, NO_SPOTS), new_vessels=NO_STROKES, beads=NO_SPOTS)


def clear(eyes: Scene) -> Scene:
    """Return the same eyes, photographed without blur, texture and noise."""
    nothing = np.zeros_like(eyes.camera.blur)
    return replace(eyes, camera=replace(eyes.camera, blur=nothing, mottle=nothing, tessellation=nothing, noise=nothing))


def of_grade(grade: int, *, n: int) -> list[int]:
    return [i for i in range(60 * n) if fundus.label(0, i).grade == grade][:n]


@pytest.mark.parametrize("size", [16, 64, 101])
def test_a_picture_is_the_same_alone_in_a_crowd_and_in_threads(size: int) -> None:
    many = data.generate(n=11, size=size, seed=3, first=7, how=Drawing(workers=3))
    for k in (0, 4, 10):
        image, mask = fundus.draw(3, [7 + k], size=size)
        assert np.array_equal(image[0], many.images[k].numpy())
        assert np.array_equal(mask[0], many.masks[k].numpy())


def test_pictures_differ_by_seed_and_by_index() -> None:
    pictures = [fundus.draw(seed, [index], size=32)[0] for seed, index in ((0, 0), (1, 0), (0, 1), (0, 2))]
    assert all(np.abs(a.astype(float) - b).mean() > 1 for k, a in enumerate(pictures) for b in pictures[:k])


def test_generate_returns_what_it_says() -> None:
    calls: list[int] = []
    drawn = data.generate(n=21, size=48, seed=0, how=Drawing(progress=calls.append))
    assert drawn.images.shape == (21, 3, 48, 48)
    assert drawn.images.dtype == drawn.masks.dtype == torch.uint8
    assert drawn.masks.shape == (21, len(REGIONS), 48, 48)
    assert set(drawn.masks.unique().tolist()) == {0, 1}
    assert drawn.labels.tolist() == [fundus.label(0, i).grade for i in range(21)]
    assert len(set(drawn.ids)) == 21
    assert drawn.ids[:2] == ("p00000000-right", "p00000000-left")
    assert [drawn.units.count(unit) for unit in drawn.units[:20]] == [2] * 20
    assert calls[-1] == 21
    assert all(a < b for a, b in pairwise(calls))


def test_no_pictures_is_an_error() -> None:
    with pytest.raises(SpecError, match="0 pictures"):
        data.generate(n=0, size=32, seed=0)


def test_grades_have_their_prevalence_and_eyes_of_a_patient_agree() -> None:
    grades = np.array([fundus.label(5, i).grade for i in range(3000)])
    assert np.abs(np.bincount(grades, minlength=5) / 3000 - fundus.PREVALENCE).max() < 0.02
    assert np.corrcoef(grades[::2], grades[1::2])[0, 1] > 0.6
    assert np.abs(np.bincount(grades[:200], minlength=5) / 200 - fundus.PREVALENCE).max() < 0.06


def test_lesions_follow_the_international_scale() -> None:
    eyes, _ = fundus.scene(0, range(400))
    grade = np.array([label.grade for label in eyes.labels])

    def have(parts: Array) -> np.ndarray:
        return np.isin(np.arange(400), parts[-1])

    red, bright = eyes.lesions["haemorrhages"], eyes.lesions["hard_exudates"]
    assert np.array_equal(have(eyes.lesions["microaneurysms"]), grade >= 1)
    assert np.array_equal(have(red), grade >= 2)
    assert not have(bright)[grade < 2].any()
    assert not have(eyes.lesions["cotton_wool"])[grade < 2].any()
    assert have(eyes.beads)[grade == 3].all()
    assert np.array_equal(have(eyes.new_vessels), grade == 4)
    quadrants = [len({(x > 0, y > 0) for x, y in red[:2, red[5] == k].T}) for k in np.flatnonzero(grade == 3)]
    assert min(quadrants) == 4


def test_a_size_changes_the_resolution_only() -> None:
    indices = of_grade(3, n=4)
    eyes, static = fundus.scene(0, indices)
    large, large_masks = (torch.from_numpy(x).float() for x in fundus.paint(clear(eyes), size=256, static=static))
    small, small_masks = (torch.from_numpy(x).float() for x in fundus.paint(clear(eyes), size=64, static=static))
    pooled = torch.nn.functional.avg_pool2d(large, 4)
    assert (pooled - small).abs().mean() < 1.5
    assert (pooled - small.roll(1, 0)).abs().mean() > 10.0
    for region in ("haemorrhages", "optic_disc"):
        fine, coarse = (masks[:, REGIONS.index(region)] for masks in (large_masks, small_masks))
        touched = torch.nn.functional.max_pool2d(fine[:, None], 4)[:, 0]
        covered = -torch.nn.functional.max_pool2d(-fine[:, None], 4)[:, 0]
        assert coarse.any()
        assert (coarse <= touched).all(), "marked where nothing is"
        assert (covered <= coarse).all(), "not marked where it is everywhere"


def test_the_disease_changes_nothing_outside_its_masks() -> None:
    indices = [*of_grade(2, n=2), *of_grade(3, n=2), *of_grade(4, n=2)]
    eyes, _ = fundus.scene(0, indices)
    eyes = replace(clear(eyes), beads=NO_SPOTS)
    ill, masks = fundus.paint(eyes, size=128, static=Static([stream(9, k) for k in indices]))
    well, none = fundus.paint(healthy(eyes), size=128, static=Static([stream(9, k) for k in indices]))
    lesions = torch.from_numpy(masks[:, : len(LESIONS)]).amax(1, keepdim=True).float()
    near = torch.nn.functional.max_pool2d(lesions, 13, stride=1, padding=6).numpy() > 0
    changed = np.abs(ill.astype(int) - well).max(axis=1, keepdims=True)
    assert changed[lesions.numpy() > 0].mean() > 10
    assert changed[~near].max() <= 1
    assert not none[:, : len(LESIONS)].any()


@pytest.mark.parametrize("size", [24, 64])
def test_no_lesion_in_the_field_is_lost_from_its_mask(size: int) -> None:
    indices = of_grade(1, n=8)
    eyes, static = fundus.scene(0, indices)
    _, masks = fundus.paint(eyes, size=size, static=static)
    x, y, *_, picture = eyes.lesions["microaneurysms"]
    inside = x * x + y * y < 0.8
    for k in range(len(indices)):
        assert masks[k, 0].any() or not (inside & (picture == k)).any()
    assert masks[:, 1:5].sum() == 0


def test_the_disc_lies_on_the_nose_side() -> None:
    drawn = data.generate(n=8, size=64, seed=0)
    column = torch.arange(64.0)
    for k in range(8):
        disc = drawn.masks[k, REGIONS.index("optic_disc")].float()
        middle = float((disc.sum(0) * column).sum() / disc.sum())
        assert (middle > 34) if drawn.ids[k].endswith("right") else (middle < 29)


def auc_of(features: np.ndarray, ill: np.ndarray) -> float:
    """Return the cross-validated AUC of a linear classifier."""
    scaled = StandardScaler().fit_transform(features)
    scores = cross_val_predict(LogisticRegression(C=0.1, max_iter=500), scaled, ill, cv=4, method="predict_proba")[:, 1]
    return float(roc_auc_score(ill, scores))


def test_nothing_but_the_lesions_knows_the_grade() -> None:
    """Neither the camera's settings nor the photographs of the same eyes without the disease tell who is ill."""
    n, chunk = 960, 64
    features, pixels, ill = [], [], []
    for start in range(0, n, chunk):
        eyes, static = fundus.scene(1, range(start, start + chunk))
        camera = eyes.camera
        numbers = [camera.scale, *camera.shift, camera.cut, *camera.tint, camera.mottle, camera.tessellation]
        numbers += [camera.haze, camera.gamma, camera.exposure, camera.blur, camera.noise, camera.crescent[1]]
        numbers += [*eyes.disc, *eyes.fovea, eyes.disc_radius, eyes.cup, eyes.atrophy, eyes.reflex]
        side = np.array([[label.eye == "left"] for label in eyes.labels])
        features.append(np.hstack([*numbers, side]))
        image, _ = fundus.paint(healthy(eyes), size=16, static=static)
        pixels.append(image[:, :, ::2, ::2].reshape(chunk, -1))
        ill.append([label.grade >= 2 for label in eyes.labels])
    truth = np.concatenate(ill)
    assert abs(auc_of(np.concatenate(features), truth) - 0.5) < 0.06
    assert abs(auc_of(np.concatenate(pixels), truth) - 0.5) < 0.06


def test_a_smaller_training_set_is_the_beginning_of_a_larger_one() -> None:
    small = data.source(DataSpec(name="fundus", size=16, train=6, val=4, test=5))
    large = data.source(DataSpec(name="fundus", size=16, train=10, val=4, test=5))
    assert torch.equal(small.train.images, large.train.images[:6])
    assert small.train.ids == large.train.ids[:6]
    assert torch.equal(small.val.images, large.val.images)
    assert torch.equal(small.test.images, large.test.images)
    units = [set(split.units) for split in large.splits().values()]
    assert sum(map(len, units)) == len(set.union(*units))


def test_tasks_share_the_pictures() -> None:
    referable = data.source(DataSpec(name="fundus", size=16, train=30, val=2, test=2))
    grade = data.source(DataSpec(name="fundus", size=16, train=30, val=2, test=2, task="grade"))
    assert (referable.task, referable.positive, referable.num_outputs) == ("referable", (1,), 2)
    assert (grade.task, grade.positive, grade.num_outputs) == ("grade", (2, 3, 4), 5)
    assert torch.equal(referable.train.images, grade.train.images)
    assert torch.equal(referable.train.labels, (grade.train.labels >= 2).long())
    assert referable.synthetic
    assert referable.train.masks is not None
    assert referable.regions == REGIONS
    with pytest.raises(SpecError, match='did you mean "referable"'):
        data.source(DataSpec(name="fundus", task="referrable"))


def test_the_fingerprint_knows_every_field_that_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    base = DataSpec(name="fundus")
    changed = [base.replace(size=32), base.replace(seed=1), base.replace(train=10), base.replace(task="grade")]
    prints = {data.fingerprint(spec) for spec in (base, *changed)}
    assert len(prints) == 5
    assert data.fingerprint(base.replace(train=2000, task="referable", root="/x")) == data.fingerprint(base)
    monkeypatch.setattr(data, "VERSION", fundus.VERSION + 1)
    assert data.fingerprint(base) not in prints


def test_a_split_has_room_for_ten_million() -> None:
    with pytest.raises(SpecError, match="10000000 at most"):
        data.fingerprint(DataSpec(name="fundus", train=10_000_001))
