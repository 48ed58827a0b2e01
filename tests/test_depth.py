"""Features by depth: identities, planted reuse, the cut rule, and a classifier that finds what was planted."""

import numpy as np
import pytest
import torch

from transfusion_lib import runs
from transfusion_lib.analysis import depth
from transfusion_lib.runs.store import Store
from transfusion_lib.spec import RunSpec


@pytest.fixture
def finished(store: Store, small: RunSpec) -> runs.Run:
    """A run with two frozen stages."""
    spec = small.replace(train=small.train.replace(freeze="pool2", steps=4, eval_every=4))
    return runs.ensure([spec], store=store)[0]


def test_frozen_stages_are_unchanged_and_unlike_unrelated_images(finished: runs.Run) -> None:
    rows = depth.before_after(finished, images=None, per_image=8, keep=0.99, every_layer=True)["rows"]
    by_cut = {row["cut"]: row for row in rows}
    assert list(by_cut) == ["pool1", "pool2", "pool3", "pool4"]
    for cut in ("pool1", "pool2"):
        assert by_cut[cut]["similarity"] == pytest.approx(1.0, abs=1e-6)
        assert by_cut[cut]["floor"] < 0.9
    assert by_cut["pool4"]["similarity"] < 0.9999
    for row in rows:
        assert row["coefficients"] == sorted(row["coefficients"], reverse=True)
        assert row["n"] <= 48 * 8


def test_stages_are_the_last_layers_of_each(finished: runs.Run) -> None:
    every = depth.before_after(finished, images=20, per_image=4, keep=0.99, every_layer=True)["rows"]
    stages = depth.before_after(finished, images=20, per_image=4, keep=0.99, every_layer=False)["rows"]
    assert stages == every, "a stage of CBR-Tiny is one layer"


def test_blocks_against_blocks_and_a_classifier_on_each(finished: runs.Run) -> None:
    found = depth.by_block(finished, images=None, keep=0.99)
    pairs = {(row["moment"], row["first"], row["second"]): row["similarity"] for row in found["pairs"]}
    assert len(pairs) == 2 * 10
    for stage in ("pool1", "pool2", "pool3", "pool4"):
        assert pairs["after", stage, stage] == pytest.approx(1.0, abs=1e-6)
    assert pairs["before", "pool1", "pool2"] == pytest.approx(pairs["after", "pool1", "pool2"], abs=1e-6)
    assert [row["stage"] for row in found["probes"]] == ["pool1", "pool2", "pool3", "pool4"]
    assert found["test_scores"].shape == (4, 24, 2)
    assert all(row["penalty"] in depth.PENALTIES for row in found["probes"])


def row(cut: str, found: list[float], floor: list[float]) -> dict[str, object]:
    return {"cut": cut, "coefficients": found, "floor_coefficients": floor}


def test_overlap_is_0_where_all_is_reused_and_1_where_nothing_is() -> None:
    floor = list(np.linspace(0.5, 0.1, 33))
    found = depth.overlaps([row("low", [0.9] * 33, floor), row("top", floor, floor)])
    assert found["low"] == pytest.approx(0.0)
    assert found["top"] == pytest.approx(1.0)
    half = depth.overlaps([row("half", [0.9] * 17 + floor[17:], floor)])["half"]
    assert 0.4 < half < 0.6


@pytest.mark.parametrize(
    ("overlaps", "cut"),
    [
        ([0.0, 0.1, 0.2, 0.8, 0.9], "c"),
        ([0.0, 0.6, 0.1, 0.8, 0.9], "a"),
        ([0.9, 0.9, 0.9, 0.9, 0.9], "a"),
        ([0.0, 0.1, 0.1, 0.2, 0.3], "e"),
    ],
)
def test_the_rule_cuts_below_the_first_overlap(overlaps: list[float], cut: str) -> None:
    assert depth.rule_cut(dict(zip("abcde", overlaps, strict=True)), threshold=0.5) == cut


def test_probe_images_are_a_draw_and_not_the_first(store: Store, small: RunSpec) -> None:
    """Folders are read class by class: the first images would be of one class."""
    from transfusion_lib import data

    split = data.load(small.data).train
    drawn = split.drawn(10)
    assert len(drawn) == 10
    assert drawn.ids != split.ids[:10]
    assert torch.equal(drawn.images, split.drawn(10).images)
    assert split.drawn(None) is split
