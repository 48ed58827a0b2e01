"""Differential transfer, cut points, ablations: the chapters' runs and findings, on planted runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from transfusion_lib import runs
from transfusion_lib.book import parameters, project
from transfusion_lib.chapters.ablations import figures as ablation_figures
from transfusion_lib.chapters.ablations import tables as ablation_tables
from transfusion_lib.chapters.ablations.study import Ablations
from transfusion_lib.chapters.convergence.study import Convergence
from transfusion_lib.chapters.cutpoint import figures as cut_figures
from transfusion_lib.chapters.cutpoint import tables as cut_tables
from transfusion_lib.chapters.cutpoint.study import Cutpoint
from transfusion_lib.chapters.differential import figures, tables
from transfusion_lib.chapters.differential.study import Differential
from transfusion_lib.chapters.kit import scores
from transfusion_lib.chapters.kit.curve_tables import subject
from transfusion_lib.chapters.kit.cuts import Arm
from transfusion_lib.errors import ParameterError
from transfusion_lib.papers import rethinking
from transfusion_lib.runs import Run
from transfusion_lib.runs.store import Entry
from transfusion_lib.spec import RunSpec
from transfusion_lib.stats import auroc

BASE: dict[str, Any] = {
    "dataset": "fundus", "size": 64, "train_images": 2000, "val_images": 50, "test_images": 300, "seeds": [0, 1, 2],
    "steps": 60, "eval_every": 10, "batch_size": 32, "learning_rate": 1e-3, "schedule": "constant", "select": "last",
    "pretrained": "auto", "precision": "float32",
}  # fmt: skip
CUTS: dict[str, Any] = {
    **BASE, "network": "efficientnet_lite0", "methods": ["LWFT", "TF", "TTL"], "blocks": ["block3", "block5", "block7"],
    "other_blocks": ["block3", "block5"], "reach": 1, "refine": ["TTL"], "body_lr_scale": 0.1,
}  # fmt: skip
STUDY = Differential(**CUTS, latency_batches=[1, 32], rounds=5)
LOOK: dict[str, Any] = {
    "probe_images": 600, "pooled_images": 600, "per_image": 12, "keep": 0.99, "overlap": 0.5, "cam_images": None,
    "examples": 2,
}  # fmt: skip
CASES = 400
ROOT = Path(__file__).parent.parent


class Told(Run):
    """A run whose scores a test plants: ``quality`` separates the classes of its test cases."""

    quality: float
    validation: float

    @property
    def key(self) -> str:
        return f"{hash((self.spec, self.quality)) % 2**60:064x}"

    @property
    def record(self) -> dict[str, Any]:
        labels, chances = (self.cases[name].numpy() for name in ("test_labels", "test_scores"))
        found = auroc(labels, chances[:, 1])
        curve = {"step": [0, 60], "test_auroc": [0.5, found], "test_auprc": [0.5, found]}
        curve |= {"val_auprc": [0.5, self.validation]}
        about = {"kind": "multiclass", "positive": [1], "classes": ["a", "b"], "name": "fundus", "synthetic": True}
        return {"dataset": about, "selected_step": 60, "curve": curve, "seconds": 10.0}

    @property
    def cases(self) -> dict[str, torch.Tensor]:
        labels = np.arange(CASES) % 2
        noise = np.random.default_rng([self.spec.seed, 7]).normal(size=CASES)
        shared = np.random.default_rng(99).normal(size=CASES)  # cases are as hard for every network
        odds = self.quality * labels + 0.2 * noise + shared
        chance = 1 / (1 + np.exp(-odds))
        return {
            "test_labels": torch.from_numpy(labels),
            "test_scores": torch.from_numpy(np.stack([1 - chance, chance], 1)),
        }


def told(spec: RunSpec, *, quality: float = 2.0, validation: float = 0.8) -> Told:
    run = Told(spec, Entry(Path("none")))
    object.__setattr__(run, "quality", quality)
    object.__setattr__(run, "validation", validation + 0.001 * spec.seed)
    return run


def kind(spec: RunSpec) -> tuple[str, str]:
    """Return a run's method and cut point."""
    if spec.model.truncate:
        return "TTL", spec.model.truncate.at
    if spec.model.slim:
        return "TF", spec.model.slim.above
    if spec.train.freeze:
        return ("LWFT" if spec.train.body_lr_scale < 1 else "FE"), spec.train.freeze
    return "FTL", ""


def planted(qualities: dict[str, float], validations: dict[tuple[str, str], float]) -> Any:
    def ensure(specs: Sequence[RunSpec]) -> list[Run]:
        return [
            told(spec, quality=qualities[kind(spec)[0]], validation=validations.get(kind(spec), 0.5)) for spec in specs
        ]

    return ensure


BLOCK5 = {("TTL", "block5"): 0.9, ("TTL", "block5.2"): 0.95, ("LWFT", "block3"): 0.9, ("TF", "block5"): 0.9}


def arms(**qualities: float) -> list[Arm]:
    given = {"FTL": 2.0, "FE": 1.0, "LWFT": 2.0, "TF": 2.0, "TTL": 2.0} | qualities
    return STUDY.arms(STUDY.ensure(planted(given, BLOCK5)))


def networks(found: Sequence[Arm]) -> dict[str, dict[str, Any]]:
    """Return planted costs: TTL smaller and faster than TF, TF than the whole network."""
    costs = {"TTL": (1, 2.0), "TF": (2, 3.0)}
    rows = {}
    for arm in found:
        size, ms = costs.get(arm.method, (4, 5.0))
        jitter = np.random.default_rng(len(arm.name)).normal(0, 0.1, 20)
        rows[arm.name] = {
            "parameters": 10**6 * size,
            "macs": 10**7 * size,
            "memory": 10**7,
            "latency_ms": {"1": list(ms + jitter), "32": list(20 * ms + jitter)},
            "measured_as": arm.name if arm.method in costs else "FTL",
        }
    return rows


# What the studies ask for


def test_full_fine_tuning_is_the_run_of_the_base_grid() -> None:
    """The notebooks' own parameters: what the chapters share is trained once."""
    here = project.find(ROOT)
    values = {name: parameters.effective(here.chapter(name), {}) for name in ("convergence", "differential")}
    base, ours = Convergence(**values["convergence"]), Differential(**values["differential"])
    assert set(ours.seeded(ours.whole(ours.network))) <= set(base.specs())
    looked = Cutpoint(**parameters.effective(here.chapter("cutpoint"), {}))
    assert set(looked.specs()) == set(ours.specs())
    ablated = Ablations(**parameters.effective(here.chapter("ablations"), {}))
    assert len(set(ablated.specs()) & set(ours.specs())) >= 9, "fine-tuning and most truncations are shared"


def test_each_method_does_at_a_cut_point_what_the_paper_says() -> None:
    specs = {kind(spec): spec for spec in STUDY.specs()}
    assert specs["LWFT", "block3"].train.body_lr_scale == 0.1
    assert specs["FE", "top"].train.body_lr_scale == 1.0
    assert specs["TF", "block5"].init.up_to == "block5"
    assert specs["TF", "block5"].model.slim is not None
    assert specs["TF", "block5"].model.slim.factor == 2
    assert specs["TTL", "block7"].init.up_to is None
    assert len(STUDY.specs()) == 3 * (1 + 1 + 2 + 2 + 3)


def test_the_second_stage_is_asked_for_around_the_best_block_of_the_first() -> None:
    asked: list[list[RunSpec]] = []
    give = planted(dict.fromkeys(("FTL", "FE", "LWFT", "TF", "TTL"), 2.0), BLOCK5)

    def ensure(specs: Sequence[RunSpec]) -> list[Run]:
        asked.append(list(specs))
        found: list[Run] = give(specs)
        return found

    runs = STUDY.ensure(ensure)
    assert [len(part) for part in asked] == [27, 6]
    assert {kind(spec) for spec in asked[1]} == {("TTL", "block5.2"), ("TTL", "block6.1")}
    named = {arm.name: arm.cut for arm in STUDY.arms(runs)}
    assert named == {
        "FTL": None, "FE": "top", "LWFT-1": "block3", "TF-1": "block5", "TTL-1": "block5", "TTL-2": "block5.2"
    }  # fmt: skip
    assert STUDY.then(runs) == []


def test_a_network_without_pretrained_weights_is_named() -> None:
    with pytest.raises(ParameterError, match=r"cbr_large_t has no pretrained weights.*efficientnet_lite0"):
        Differential(
            **CUTS | {"network": "cbr_large_t", "pretrained": "imagenet"}, latency_batches=[1], rounds=5
        ).specs()


def test_the_paper_cuts_the_same_networks() -> None:
    frame = tables.paper_costs().set_index("method")
    assert np.allclose(frame["P, here (M)"], frame["P, paper (M)"], rtol=0.005)
    assert np.allclose(frame["MACs, here (G)"], frame["MACs, paper (G)"], rtol=0.015)
    assert len(frame) == len(rethinking.TABLE_1)


# Scores


def test_a_gain_is_zero_of_a_group_with_itself_and_signed_otherwise() -> None:
    better, worse = (
        [told(STUDY.whole("efficientnet_lite0").replace(seed=k), quality=q) for k in range(3)] for q in (3, 1)
    )
    assert scores.gain(better, better).se == 0
    found = scores.gain(better, worse)
    assert found.low > 0.1
    assert scores.gain(worse, better).estimate == pytest.approx(-found.estimate)
    assert found.what_varies == "seed and test case"


FUNDUS = "synthetic fundus photographs, referable retinopathy"


def test_a_case_names_the_task_that_was_asked_for() -> None:
    """Two tasks of one data set are two cases."""
    whole = STUDY.whole("efficientnet_lite0")
    asked = told(whole.replace(data=whole.data.replace(task="grade")))
    assert [subject(run) for run in (told(whole), asked)] == [
        f"{FUNDUS}, EfficientNet-Lite0",
        "synthetic fundus photographs, retinopathy grade, EfficientNet-Lite0",
    ]


def test_one_seed_gives_a_table_without_intervals() -> None:
    study = Differential(**CUTS | {"seeds": [0]}, latency_batches=[1], rounds=5)
    found = study.arms(study.ensure(planted(dict.fromkeys(("FTL", "FE", "LWFT", "TF", "TTL"), 2.0), BLOCK5)))
    frame = tables.methods(found, networks(found))
    assert frame["auroc_low"].isna().all()
    assert "to" not in tables.methods_styled(frame, found).to_html().split("<tbody>")[1].split("</td>")[2]


def test_the_table_holds_each_rows_commands_as_text() -> None:
    found = arms()
    shown = tables.methods_styled(tables.methods(found, networks(found)), found).to_html()
    assert shown.count("transfusion run ") == 3 * len(found)
    assert "&quot;freeze&quot;" in shown
    assert "TTL-2 (TruncatedTL)" in shown


def test_the_frontier_holds_what_nothing_cheaper_matches() -> None:
    frame = pd.DataFrame(
        {"arm": ["a", "b", "c", "d"], "macs": [1, 2, 3, 3], "auroc": [0.8, 0.7, 0.9, 0.85], "method": "TTL"}
    )
    assert tables.frontier(frame) == ["a", "c"]


def reuse_frame(slope: float, top: float) -> pd.DataFrame:
    rows = []
    for seed in range(3):
        for place, stage in enumerate(("conv1", "block1", "block2", "block3", "top")):
            above = top + slope * (place - 3) + 0.005 * seed
            rows.append(
                {"arm": "FTL", "method": "FTL", "seed": seed, "stage": stage, "place": place, "above": above,
                 "similarity": 0.2 + 0.8 * above, "floor": 0.2, "n": 100, "coefficients": [0.9, 0.5],
                 "floor_coefficients": [0.3, 0.1]}
            )  # fmt: skip
    return pd.DataFrame(rows)


FULL = arms()[0]


def pair_frame(change: float) -> pd.DataFrame:
    blocks = ("block1", "block2", "block3", "block4")
    rows = [
        {"seed": seed, "moment": moment, "first": a, "second": b, "floor": 0.2, "above": 0.5,
         "similarity": 0.5 + (change + 0.01 * seed if moment == "after" and b == "block4" else 0.0)}
        for seed in range(3)
        for moment in ("before", "after")
        for k, a in enumerate(blocks)
        for b in blocks[k:]
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_likeness_of_the_top_block_is_that_planted() -> None:
    assert "the likeness of block4 changes by +0.000 with block2" in cut_tables.pairs_finding(pair_frame(0.0))


def test_seeds_are_counted_whose_two_cut_points_are_neighbours() -> None:
    runs = STUDY.ensure(planted(dict.fromkeys(("FTL", "FE", "LWFT", "TF", "TTL"), 2.0), BLOCK5))
    searched = STUDY.found(runs)["TTL"]
    cuts = ["conv1", "block5.1", "block5.2", "block5.3", "block6.1", "block7"]
    near = dict(zip(cuts, [0, 0, 0, 0.1, 0.9, 0.9], strict=True))  # the rule cuts at block5.3, the search at block5.2
    far = dict(zip(cuts, [0, 0.9, 0.9, 0.9, 0.9, 0.9], strict=True))
    agreed = cut_tables.agreement([near, near, far], searched, threshold=0.5)
    assert agreed["agrees"].tolist() == [True, True, False]
    assert agreed["apart"].tolist() == [1, 1, 2]
    assert cut_tables.chance_of_agreement(3) == pytest.approx(7 / 9)


def test_a_map_is_measured_against_chance_and_against_the_centre() -> None:
    """Where lesions are photographed in the middle, the centre of the image is the one to beat."""
    rows = [{"hit": k < 3, "chance": 0.25, "centre": True, "inside": 0.5, "area": 0.2} for k in range(4)]
    frame = cut_tables.pointing({"FTL": [{"rows": rows}], "TTL-2": [{"rows": [{"place": 3}]}]})
    assert frame["arm"].tolist() == ["FTL"], "images without masks are not scored"
    found = cut_tables.pointing_finding(frame)
    assert found == "strongest point on a finding: FTL 75 %; a random point 25 %, the image's centre 100 %"
    assert cut_tables.pointing_styled(frame) is not None
    unscored = cut_tables.pointing({"FTL": [{"rows": [{"place": 3}]}]})
    assert cut_tables.pointing_styled(unscored) is None, "no empty table"


ABLATIONS = Ablations(
    **BASE,
    networks=["efficientnet_lite0", "cbr_tiny"],
    blocks={"efficientnet_lite0": ["block3", "block5"], "cbr_tiny": ["pool3"]},
    pooling_network="efficientnet_lite0",
    pooling_blocks=["block3", "block5"],
    source_network="efficientnet_lite0",
    source_dataset="synthetic_chest",
    source_images=2000,
    source_steps=120,
    source_start="random",
)


def ablated(*, cut: float = 2.0, unpooled: float = 2.0, medical: float = 2.0, none: float = 0.5) -> list[Run]:
    def quality(spec: RunSpec) -> float:
        if spec.model.truncate:
            return cut if spec.model.truncate.pooled else unpooled
        if spec.init.method == "random":
            return none
        return medical if isinstance(spec.init.weights, RunSpec) else 2.0

    def ensure(specs: Sequence[RunSpec]) -> list[Run]:
        return [told(spec, quality=quality(spec), validation=0.9 if "5" in kind(spec)[1] else 0.5) for spec in specs]

    return ABLATIONS.ensure(ensure)


def test_the_medical_source_differs_from_the_natural_in_its_weights_alone() -> None:
    sources = ABLATIONS.sources()
    assert sources["medical"].init.weights == ABLATIONS.source()
    assert sources["natural"].replace(init=sources["medical"].init) == sources["medical"]
    assert ABLATIONS.source().init.method == "random"
    assert ABLATIONS.source().data.name == "synthetic_chest"
    assert "2,000 images of synthetic chest" in ablation_tables.source_words(ABLATIONS.source())
    assert "pretrained from synthetic_chest" in runs.label(sources["medical"]), "a log tells the two apart"


def test_pooling_is_compared_at_the_block_that_validation_chose() -> None:
    found = ABLATIONS.pooled(ablated(unpooled=1.0))
    assert {one.chosen.cut for one in found.values()} == {"block5"}
    assert "pooled at block5" in ablation_tables.pooling_finding(found)


# Figures


def test_figures_draw_one_seed_two_methods_and_a_blank_map() -> None:
    found = arms()
    frame = tables.methods(found, networks(found))
    drawn = figures.frontier(frame, kept=tables.frontier(frame), title="t")
    assert {name for text in drawn.axes[0].texts for name in text.get_text().split(", ")} == set(frame["arm"])
    searched = tables.searched(STUDY.found(STUDY.ensure(planted(dict.fromkeys(
        ("FTL", "FE", "LWFT", "TF", "TTL"), 2.0), BLOCK5))))  # fmt: skip
    assert len(figures.search(searched, titles=tables.searched_titles(searched)).axes) == 3
    cut_figures.reuse(reuse_frame(-0.3, 0.02), title="t")
    cut_figures.coefficients(reuse_frame(-0.3, 0.02), title="t")
    assert len(cut_figures.pairs(pair_frame(0.1), title="t").axes) == 6
    blank = {"FTL": np.zeros((8, 8), np.float32), "TTL-2": np.eye(8, dtype=np.float32)}
    without = cut_figures.Looked(name="case 1", pixels=None, outline=None, maps=blank)
    pixels = np.zeros((8, 8, 3), np.uint8)
    with_image = cut_figures.Looked(name="x", pixels=pixels, outline=pixels[..., 0] > 0, maps=blank)
    assert len(cut_figures.looked([without, with_image], title="t").axes) == 6
    runs = ablated()
    by_source = ABLATIONS.by_source(runs)
    ablation_figures.sources(ablation_tables.by_source(by_source), title=ablation_tables.by_source_finding(by_source))
    ablation_figures.pooling(ablation_tables.pooling(ABLATIONS.pooled(runs)), title="t")
    both = ABLATIONS.architectures(runs)
    ablation_figures.architectures(
        ablation_tables.architectures(both), title=ablation_tables.architectures_finding(both)
    )
