"""The representation chapters' frames and findings, on planted similarities, movements and Gabors."""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest

from transfusion_lib.chapters.filters import figures as filter_figures
from transfusion_lib.chapters.filters import tables as filters
from transfusion_lib.chapters.filters.study import Filters
from transfusion_lib.chapters.kit import style
from transfusion_lib.chapters.representations import figures
from transfusion_lib.chapters.representations import tables as representations
from transfusion_lib.chapters.representations.study import Representations
from transfusion_lib.chapters.reuse import figures as reuse_figures
from transfusion_lib.chapters.reuse import tables as reuse
from transfusion_lib.chapters.reuse.study import Reuse
from transfusion_lib.errors import MeasureError
from transfusion_lib.stats import over_pairs

LARGE, SMALL = "EfficientNet-Lite0", "CBR-Tiny"
STAGES = ("conv1", "block1", "block2", "block3")
STARTS = ("random", "pretrained")


def row(network: str, moment: str, kind: str, names: tuple[str, str], place: int, cca: float) -> dict[str, Any]:
    depth = place / (len(STAGES) - 1)
    return {
        "network": network, "moment": moment, "kind": kind, "first": names[0], "second": names[1], "depth": depth,
        "stage": STAGES[place], "of": 16, "n": 1000, "channels": 16, "cca": cca, "cca_98": cca, "cca_floor": 0.1,
        "cca_98_floor": 0.1, "expected": 0.05, "cka": cca, "cka_floor": 0.1, "cca_above": (cca - 0.1) / 0.9,
        "cka_above": (cca - 0.1) / 0.9,
    }  # fmt: skip


def planted(*, seeds: int = 3, starts: tuple[str, ...] = STARTS, gap: float = -0.1) -> pd.DataFrame:
    """Plant what the paper says: pretrained keep more of the low stages, and higher stages apart by ``gap``."""
    noise = np.random.default_rng(0)
    rows = []
    for network in (LARGE, SMALL):
        keeps = 0.3 if network == LARGE else 0.15
        runs = [(start, seed) for start in starts for seed in range(seeds)]
        for start, seed in runs:
            for place in range(len(STAGES)):
                low = 0.25 if start == "pretrained" and place < 2 else 0.0
                value = 0.6 - keeps * place / 3 + low + noise.normal() * 0.003
                rows.append(row(network, "before_after", start, (f"{start} {seed}",) * 2, place, value))
        for one, two in combinations(runs, 2):
            kind = ", ".join(sorted((one[0], two[0]), reverse=True))
            names = (f"{one[0]} {one[1]}", f"{two[0]} {two[1]}")
            for place in range(len(STAGES)):
                start_value = 0.5 + noise.normal() * 0.02
                apart = gap if kind == "random, pretrained" and network == LARGE and place > 1 else 0.0
                follows = start_value if network == LARGE and place == 0 else 0.5
                rows.append(row(network, "start", kind, names, place, start_value))
                rows.append(row(network, "end", kind, names, place, follows + apart + noise.normal() * 0.002))
    return pd.DataFrame(rows)


# Representations


def test_r_squared_is_high_where_it_was_planted_and_three_pairs_have_no_interval() -> None:
    for seeds in (3, 14):
        shown = representations.predicted(planted(seeds=seeds)).set_index(["network", "kind", "stage"])["interval"]
        assert np.isfinite(shown[LARGE, "random, random", "conv1"].se) == (seeds > 3)
        assert shown[LARGE, "random, pretrained", "conv1"].estimate > 0.9


def test_a_mean_over_pairs_varies_with_its_networks() -> None:
    """Each network adds its own number to all of its pairs: the variance of the mean is that of 2 of n networks."""
    generator = np.random.default_rng(1)
    inside = 0
    for _ in range(200):
        own = generator.normal(size=6)
        pairs = list(combinations(range(6), 2))
        found = over_pairs(
            [[own[a] + own[b] for a, b in pairs]], [1.0], pairs=[pairs], kinds=dict.fromkeys(range(6), "r")
        )
        inside += found.low < 0 < found.high
    assert 180 <= inside <= 199
    with pytest.raises(MeasureError, match="no pair is left"):
        over_pairs([[1.0]], [1.0], pairs=[[("a", "b")]], kinds={"a": "r", "b": "r"})
    with pytest.raises(MeasureError, match="one network of kind"):
        over_pairs([[1.0, 2.0]], [1.0], pairs=[[("a", "b"), ("c", "b")]], kinds={"a": "r", "b": "p", "c": "r"})


def test_findings_say_what_was_planted() -> None:
    found = planted()
    own, higher = representations.before_after(found), representations.higher(found)
    assert "less alike than (random, random)" in representations.higher_titles(higher)[LARGE]
    assert "not told apart" in representations.higher_titles(higher)[SMALL]
    assert representations.per_layer_titles(own)[LARGE].endswith(
        "more of their start than random ones in 2 of 4 stages (CCA above the floors)"
    )
    assert f"{LARGE} +1.000 (" in representations.agreement(own)
    assert "9 (random, pretrained)" in representations.few_pairs(found)
    assert "3 (random, random)" in representations.few_pairs(found)
    assert representations.few_channels(found) == "Every stage is compared on all of its channels."
    few = found.assign(of=40)
    assert "conv1 of EfficientNet-Lite0 (16 of 40)" in representations.few_channels(few)


def test_the_figures_are_labelled_and_draw_floors() -> None:
    found = planted()
    own, higher = representations.before_after(found), representations.higher(found)
    figure = figures.higher(higher, titles=representations.higher_titles(higher))
    assert "higher is more alike" in figure.axes[-1].get_xlabel()
    floors = [line for line in figure.axes[0].lines if line.get_linewidth() > 2]
    assert [float(np.asarray(line.get_xdata())[0]) for line in floors] == pytest.approx([0.1] * 3)
    layers = figures.per_layer(representations.per_layer(own), titles=representations.per_layer_titles(own))
    assert any(line.get_marker() == "_" for line in layers.axes[0].lines)
    predicted = representations.predicted(found)
    pairs = figures.start_end(representations.start_end(found), predicted, title="a finding")
    assert len(pairs.axes) == 2 * 4
    texts = [text.get_text() for axis in pairs.axes for text in axis.texts]
    assert "3 pairs: no interval" in texts
    assert any(text.startswith("R² = ") for text in texts)
    assert style.svg(pairs)


# Filters


def scores(*, after: float) -> pd.DataFrame:
    """Plant 20 filters: 1 Gabor at random starts, 10 in the pretrained start, ``after`` of the 20 after training."""
    rows = []
    for init, seed, when, gabors in [
        *(
            ("random", seed, when, 1 + (seed == 2 and when == "after"))
            for seed in range(3)
            for when in ("before", "after")
        ),
        *(("pretrained", seed, "before", 10) for seed in range(3)),
        *(("pretrained", seed, "after", int(after * 20) + (seed == 1)) for seed in range(3)),
        ("random", -1, "null", 1),
    ]:
        for place in range(20):
            score = 0.9 if place < gabors else 0.1
            rows.append({"network": SMALL, "kernel": 5, "threshold": 0.5, "init": init, "seed": seed, "when": when,
                         "score": score, "is_gabor": score > 0.5})  # fmt: skip
    return pd.DataFrame(rows)


def test_planted_gabors_that_are_erased_are_told() -> None:
    title = filters.gabor_titles(scores(after=0.05))[SMALL]
    assert "random 5 % before, 7 % after and pretrained 50 % before, 7 % after" in title
    assert "too small to tell" in filters.gabor_titles(scores(after=0.05).assign(threshold=0.95))[SMALL]
    assert filter_figures.gabor_scores(scores(after=0.05), titles={SMALL: title}).axes[0].get_xlim() == (0, 1)


# Reuse


def test_a_planted_barrier_is_told_and_pairs_are_counted() -> None:
    rows = [
        {"network": SMALL, "init": init, "pair": pair, "at": at, "loss": 0.3 + hill * (at == 0.5), "auroc": 0.9,
         "apart": 0.1}
        for init, hill in (("random", 0.4), ("pretrained", 0.0))
        for pair in ("0, 1", "0, 2", "1, 2")
        for at in (0.0, 0.5, 1.0)
    ]  # fmt: skip
    paths = pd.DataFrame(rows)
    titles = reuse.barrier_titles(paths)
    assert (
        titles[SMALL] == f"{SMALL}: mean barrier in loss 0.40 between random starts and 0.00 between pretrained starts"
    )
    table: Any = reuse.barrier_table(paths).data  # type: ignore[attr-defined]
    assert table["pairs"].tolist() == [3, 3]
    assert table["barrier in loss"].tolist() == ["0.400", "0.000"]
    assert len(reuse_figures.paths(paths, titles=titles).axes) == 2


def test_a_stage_that_costs_nothing_is_told_from_one_that_does() -> None:
    rows = [
        {"network": SMALL, "init": "random", "seed": seed, "stage": stage, "reset": reset, "lost": lost + 0.01 * seed}
        for seed in range(3)
        for reset in reuse.RESETS.values()
        for stage, lost in (("pool1", 0.3), ("pool2", -0.01))
    ]
    frame = pd.DataFrame(rows)
    assert reuse.set_back_titles(frame)[SMALL] == f"{SMALL}: a clear loss for 1 of 2 stages (random)"
    means = reuse.set_back_means(frame)
    assert means[means["stage"] == "pool1"]["mean"].tolist() == pytest.approx([0.31, 0.31])
    assert len(reuse_figures.set_back(means, titles={SMALL: "a finding"}).axes) == 2


# Studies


COMMON: dict[str, Any] = {
    "dataset": "fundus", "size": 64, "train_images": 100, "val_images": 20, "test_images": 30,
    "networks": ["efficientnet_lite0", "cbr_large_t"], "inits": ["random", "pretrained"], "seeds": [0, 1], "steps": 30,
    "eval_every": 10, "batch_size": 8, "learning_rate": 0.001,
}  # fmt: skip


def test_the_three_chapters_share_their_runs() -> None:
    compared: dict[str, Any] = {"snapshots": [], "probe_images": None, "per_image": 16, "per_channel": 8}
    specs = Representations(**COMMON, **compared).specs()
    assert len(specs) == 6, "CBR-LargeT has no pretrained weights"
    assert specs == Filters(**COMMON, shown_filters=8, null_filters=9, shown_channels=1, optimise_steps=1).specs()
    reused: dict[str, Any] = {
        "probe_train": 9,
        "probe_test": 9,
        "neighbours": 3,
        "test_cases": 9,
        "points": 3,
        "blocks": [8],
    }
    assert specs == Reuse(**COMMON, **reused).specs()
    kept = Representations(**COMMON, **compared | {"snapshots": [10, 20]}).specs()
    assert {spec.train.snapshots for spec in kept} == {(10, 20)}
