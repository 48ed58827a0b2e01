"""The chapter "Your images": what it recommends, what it never does, what it warns of."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.test_cut import folder
from transfusion_lib import data, runs
from transfusion_lib.chapters.own import figures, tables
from transfusion_lib.chapters.own.study import Arm, Own
from transfusion_lib.chapters.own.tables import Judged
from transfusion_lib.data.dataset import Dataset
from transfusion_lib.runs.store import Store
from transfusion_lib.spec import DataSpec
from transfusion_lib.stats import Interval

SMALL: dict[str, Any] = {
    "external_dataset": None, "unit": None, "size": 32, "train_images": None, "val_images": None, "test_images": None,
    "pretrained": "auto", "networks": ["cbr_tiny"], "starts": ["random", "pretrained"], "seeds": [0], "steps": 4,
    "eval_every": 2, "batch_size": 8, "learning_rate": 0.001, "precision": "float32", "worst_images": 3,
}  # fmt: skip


def value(estimate: float, *, half: float = 0.02) -> Interval:
    return Interval(
        estimate=estimate, low=estimate - half, high=estimate + half, what_varies="seed and test case", n=3, se=half / 2
    )


def arm(score: float, *, behind: float | None, macs: int, gain: float = 0.0, network: str = "resnet50") -> Judged:
    return Judged(
        arm=Arm(network=network, start="random", runs=(), half=()),
        score=value(score),
        gain=value(gain),
        behind=None if behind is None else value(behind),
        parameters=macs,
        macs=macs,
        seconds=1.0,
    )


def test_the_cheapest_that_validation_does_not_tell_from_the_best() -> None:
    best, close, worse = arm(0.9, behind=None, macs=9), arm(0.89, behind=-0.01, macs=3), arm(0.8, behind=-0.1, macs=1)
    assert tables.recommended([best, close, worse]) is close
    assert tables.recommended([best, worse]) is best


def test_what_has_not_converged_is_never_recommended() -> None:
    rising = arm(0.95, behind=0.05, macs=1, gain=0.04)
    assert not rising.converged
    settled = arm(0.9, behind=None, macs=9)
    assert tables.recommended([rising, settled]) is settled
    assert tables.recommended([rising]) is None
    [line] = tables.recommendation([rising], dataset())
    assert line.startswith("No recommendation: no arm has converged")


def dataset(*, positive: int = 40) -> Dataset:
    """Return a data set of the synthetic fundus with so many positive validation images."""
    loaded = data.load(DataSpec(name="fundus", size=16, train=8, val=60, test=4))
    labels = (torch.arange(60) < positive).to(loaded.val.labels)
    return replace(loaded, val=replace(loaded.val, labels=labels), classes=("well", "ill"), positive=(1,))


@pytest.mark.parametrize(
    ("arms", "positive", "said"),
    [
        ([arm(0.8, behind=None, macs=1)], 5, "too small to choose by: 5 of its 60 images"),
        ([arm(0.4, behind=None, macs=1)], 40, "Below chance on validation: ResNet-50, random. Look at the labels"),
        ([arm(0.51, behind=None, macs=1)], 40, "Not told from chance"),
        ([arm(0.995, behind=None, macs=1), arm(0.999, behind=0.0, macs=2)], 40, "Saturated: several arms reach 0.99"),
        ([arm(0.8, behind=None, macs=1, gain=0.1)], 40, "Not converged, and hence not recommended"),
    ],
)
def test_warnings(arms: list[Judged], positive: int, said: str) -> None:
    assert any(said in line for line in tables.warnings(arms, dataset(positive=positive)))
    calm = [arm(0.8, behind=None, macs=1), arm(0.7, behind=-0.1, macs=2)]
    assert tables.warnings(calm, dataset()) == []


def test_the_choice_reads_no_test_image_and_ends_in_words(store: Store, tmp_path: Path) -> None:
    place = folder(tmp_path / "site")
    places = {"dataset": str(place), "external_dataset": str(folder(tmp_path / "other", per_class=12))}
    study = Own(**SMALL | places)
    assert len(study.specs()) == 4
    assert {spec.train.steps for spec in study.specs()} == {4, 2}
    assert {(spec.train.schedule, spec.train.select, spec.train.augment.crop) for spec in study.specs()} == {
        ("cosine", "last", 0.8)
    }
    arms = study.arms(study.ensure(runs.ensure))
    loaded = data.load(study.images())
    blind = replace(loaded, test=None)  # type: ignore[arg-type]  # whoever touches it fails
    found = tables.judged(arms, blind)
    chosen = tables.recommended(found)
    assert len(tables.table(found)) == 2
    tables.warnings(found, blind)
    shown = chosen or tables.leading(found)
    assert tables.leading(found).score.estimate == max(one.score.estimate for one in found)
    assert "AUROC is" in tables.external(shown, loaded, study.external())
    errors = tables.worst(shown, loaded, count=3)
    assert errors["loss"].is_monotonic_decreasing
    assert set(errors["image"]) <= set(loaded.test.ids)
    assert shown.arm.runs[0].names["test"] == list(loaded.test.ids)
    assert figures.worst(loaded.test, errors).axes[0].get_title(loc="left").startswith(errors["image"][0][-22:])
    report = tables.report(shown, loaded)
    assert math.isfinite(report.scores["ECE"].estimate)
    assert len(tables.bins(report)) == len(report.reliability)


def test_names_are_hashed_where_the_user_asks(store: Store, small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFUSION_HASH_NAMES", "1")
    [run] = runs.ensure([small])
    dataset = data.load(small.data)
    assert len(run.names["test"]) == len(dataset.test)
    assert all(len(name) == 16 for name in run.names["test"])
    assert not set(run.names["test"]) & set(dataset.test.ids)
