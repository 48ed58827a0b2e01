from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.preprocessing import StandardScaler

from transfusion_lib.data.sources import chest as data
from transfusion_lib.data.synthetic import chest
from transfusion_lib.data.synthetic.canvas import Static, stream
from transfusion_lib.data.synthetic.chest import PATHOLOGIES, PREVALENCE, REGIONS, UNCERTAIN
from transfusion_lib.data.synthetic.drawn import Drawing
from transfusion_lib.spec import DataSpec


@pytest.fixture(scope="module")
def labels() -> list[chest.Label]:
    return [chest.label(0, i) for i in range(3200)]


@pytest.mark.parametrize("size", [16, 64, 101])
def test_a_picture_is_the_same_alone_in_a_crowd_and_in_threads(size: int) -> None:
    many = data.generate(n=19, size=size, seed=3, first=5, how=Drawing(workers=3))
    for k in (0, 7, 18):
        image, mask = chest.draw(3, [5 + k], size=size)
        assert np.array_equal(image[0], many.images[k].numpy())
        assert np.array_equal(mask[0], many.masks[k].numpy())


def test_generate_returns_what_it_says() -> None:
    drawn = data.generate(n=16, size=48, seed=0)
    assert drawn.images.shape == (16, 1, 48, 48)
    assert drawn.masks.shape == (16, len(REGIONS), 48, 48)
    assert drawn.images.dtype == drawn.masks.dtype == torch.uint8
    assert set(drawn.masks.unique().tolist()) == {0, 1}
    assert drawn.labels.tolist() == [list(chest.label(0, i).reported) for i in range(16)]
    assert drawn.truth.tolist() == [list(chest.label(0, i).truth) for i in range(16)]
    assert len(set(drawn.ids)) == 16
    assert drawn.ids[2:4] == ("p00000002-study1", "p00000002-study2")
    assert [drawn.units.count(unit) for unit in dict.fromkeys(drawn.units)] == [1, 1, 2, 1, 3] * 2


def test_pathologies_have_their_prevalence_and_come_together_as_in_life(labels: list[chest.Label]) -> None:
    truth = np.array([label.truth for label in labels])
    assert np.abs(truth.mean(axis=0) - PREVALENCE).max() < 0.03
    _atelectasis, heart, consolidation, edema, effusion = np.corrcoef(truth.T)
    assert edema[1] > 0.2
    assert effusion[1] > 0.1
    assert effusion[3] > 0.2
    assert effusion[0] > 0.08
    assert abs(consolidation[1]) < 0.06
    assert abs(heart[0]) < 0.1


def test_studies_of_a_patient_resemble_each_other(labels: list[chest.Label]) -> None:
    first = {label.patient: label.excess for label in labels if label.study == 1}
    pairs = [(first[label.patient], label.excess) for label in labels if label.study == 2]
    a, b = (np.array(part) for part in zip(*pairs, strict=True))
    for k in range(len(PATHOLOGIES)):
        assert np.corrcoef(a[:, k], b[:, k])[0, 1] == pytest.approx(chest.BETWEEN_STUDIES, abs=0.1)


def test_only_what_is_near_the_threshold_is_uncertain(labels: list[chest.Label]) -> None:
    excess, truth, reported = (np.array([getattr(x, name) for x in labels]) for name in ("excess", "truth", "reported"))
    unsure = reported == -1
    near = np.abs(excess) < UNCERTAIN
    assert np.array_equal(truth, excess > 0)
    assert np.array_equal(reported[~unsure], truth[~unsure])
    assert not unsure[~near].any()
    assert unsure[near].mean() == pytest.approx(0.7, abs=0.03)


def test_cardiomegaly_is_a_heart_wider_than_half_the_thorax() -> None:
    drawn = data.generate(n=48, size=128, seed=0)
    lungs, heart = drawn.masks[:, 0] | drawn.masks[:, 1], drawn.masks[:, REGIONS.index("heart")]
    ratio = width(heart) / width(lungs)
    excess = np.array([chest.label(0, i).excess[1] for i in range(48)])
    assert np.corrcoef(ratio, excess)[0, 1] > 0.97
    clear = np.abs(excess) > 0.4
    assert np.array_equal((ratio > 0.5)[clear], (excess > 0)[clear])


def width(mask: torch.Tensor) -> np.ndarray:
    """Return the number of columns from the first to the last that each mask touches."""
    columns = mask.amax(1)
    first, last = columns.argmax(1), columns.shape[1] - 1 - columns.flip(1).argmax(1)
    return (last - first + 1).numpy()


def test_masks_are_where_the_anatomy_says() -> None:
    masks = data.generate(n=12, size=64, seed=1).masks.float()
    column = torch.arange(64.0)
    middle = (masks.sum(2) * column).sum(2) / masks.sum((2, 3))
    right, left, heart = (middle[:, REGIONS.index(name)] for name in ("right_lung", "left_lung", "heart"))
    assert (right < heart).all()
    assert (heart < left).all()
    lungs = masks[:, :2].amax(1)
    assert not (masks[:, 3:].amax(1) > lungs).any()
    assert 0.15 < float(lungs.mean()) < 0.5


def test_a_severer_disease_covers_more() -> None:
    indices = range(160)
    excess = np.array([chest.label(0, i).excess for i in indices])
    masks = np.concatenate([chest.draw(0, range(k, k + 16), size=32)[1] for k in range(0, 160, 16)])
    for name, column in (("consolidation", 2), ("edema", 3), ("pleural_effusion", 4)):
        area = masks[:, REGIONS.index(name)].sum((1, 2))
        assert area[excess[:, column] < -0.4].max() == 0
        assert area[excess[:, column] > 1.0].min() > 0
        assert np.corrcoef(area, excess[:, column].clip(-0.4))[0, 1] > 0.5


def test_edema_clouds_the_lungs_and_nothing_else() -> None:
    chests, _ = chest.scene(0, range(12))
    still = replace(chests.exposure, noise=np.zeros((12, 1)), blur=np.zeros((12, 1)))
    wet = replace(chests, exposure=still, congestion=np.ones((12, 1), np.float32))
    dry = replace(wet, congestion=np.zeros((12, 1), np.float32))
    (ill, masks), (well, _) = (
        chest.paint(x, size=64, static=Static([stream(9, k) for k in range(12)])) for x in (wet, dry)
    )
    change = ill.astype(int) - well
    lungs = torch.from_numpy(masks[:, :2]).amax(1, keepdim=True).float()
    near = torch.nn.functional.max_pool2d(lungs, 5, stride=1, padding=2).numpy() > 0
    assert np.abs(change[~near]).max() == 0
    assert change[masks[:, REGIONS.index("edema")][:, None] > 0].mean() > 8


def test_the_exposure_knows_nothing_of_the_disease() -> None:
    chests, _ = chest.scene(2, range(800))
    taken = chests.exposure
    numbers = [taken.zoom, *taken.shift, taken.contrast, taken.brightness, taken.gamma, *taken.slope, taken.blur]
    numbers += [taken.noise, chests.width, chests.apex, chests.body, chests.breasts, chests.bubble]
    features = StandardScaler().fit_transform(np.hstack(numbers))
    truth = np.array([label.truth for label in chests.labels])
    for column in truth.T:
        model = LogisticRegression(C=0.1)
        scores = cross_val_predict(model, features, column, cv=4, method="predict_proba")[:, 1]
        ill = column.sum()
        error = np.sqrt((len(column) + 1) / (12 * ill * (len(column) - ill)))  # of an AUROC at chance
        # Only above chance is knowledge: cross-validation without any lies a little below 0.5.
        assert roc_auc_score(column, scores) < 0.5 + 3 * error


def test_training_labels_are_reports_and_the_others_the_truth() -> None:
    spec = DataSpec(name="chest", size=16, train=60, val=12, test=12, uncertain="ignore")
    loaded = data.source(spec)
    drawn = data.generate(n=60, size=16, seed=0)
    assert torch.equal(torch.isnan(loaded.train.labels), drawn.labels == -1)
    assert bool((drawn.labels == -1).any())
    for split, first in ((loaded.val, 10_000_000), (loaded.test, 20_000_000)):
        assert split.labels.tolist() == [list(chest.label(0, first + k).truth) for k in range(12)]
    ones = data.source(spec.replace(uncertain="ones"))
    assert bool((ones.train.labels[drawn.labels == -1] == 1).all())
    assert torch.equal(ones.test.images, loaded.test.images)
    assert (loaded.kind, loaded.classes, loaded.synthetic) == ("multilabel", PATHOLOGIES, True)
    units = [set(split.units) for split in loaded.splits().values()]
    assert sum(map(len, units)) == len(set.union(*units))


def test_the_fingerprint_knows_every_field_that_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    base = DataSpec(name="chest")
    changed = [base.replace(size=32), base.replace(seed=1), base.replace(val=10), base.replace(uncertain="ones")]
    prints = {data.fingerprint(spec) for spec in (base, *changed)}
    assert len(prints) == 5
    monkeypatch.setattr(data, "VERSION", chest.VERSION + 1)
    assert data.fingerprint(base) not in prints
