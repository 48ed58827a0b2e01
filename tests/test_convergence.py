"""The chapters on learning curves: which runs they ask for, what tables and titles say, how the figure is drawn."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from IPython.display import HTML

from tests.pictures import class_folders, write_files
from transfusion_lib.book import page as chapter
from transfusion_lib.chapters.convergence import tables as convergence_tables
from transfusion_lib.chapters.convergence import waiting_tables
from transfusion_lib.chapters.convergence.study import Convergence
from transfusion_lib.chapters.hybrids.study import Hybrids
from transfusion_lib.chapters.kit import arrival_figures, arrivals, curve_figures, curve_tables, sources, style
from transfusion_lib.chapters.kit.sources import source_for
from transfusion_lib.chapters.performance.study import Performance
from transfusion_lib.chapters.transfusion.study import Transfusion
from transfusion_lib.errors import ParameterError, SpecError
from transfusion_lib.runs.store import Store
from transfusion_lib.spec import DataSpec, ModelSpec, RunSpec, TrainSpec

PARAMETERS: dict[str, Any] = {
    "dataset": "fundus",
    "size": 64,
    "train_images": 100,
    "val_images": 20,
    "test_images": 30,
    "networks": ["efficientnet_lite0", "cbr_large_t"],
    "inits": ["random", "mean_var", "pretrained"],
    "seeds": [0, 1],
    "steps": 30,
    "eval_every": 10,
    "batch_size": 8,
    "learning_rate": 0.001,
    "pretrained": "imagenet",
    "precision": "float32",
    "control_networks": ["efficientnet_lite0"],
    "controls": ["bootstrap", "batch_norm_kept"],
    "control_seeds": [0],
    "threshold": 0.8,
    "in_a_row": 2,
}


@pytest.fixture
def curves() -> pd.DataFrame:
    """Planted arrivals: pretrained at step 10, Mean Var at 20, random never; each the same in both seeds but one."""
    scores = {
        "pretrained": ([0.5, 0.9, 0.9, 0.9], [0.5, 0.9, 0.9, 0.9]),
        "Mean Var": ([0.5, 0.9, 0.7, 0.9], [0.5, 0.7, 0.9, 0.9]),
        "random": ([0.5, 0.6, 0.7, 0.7], [0.5, 0.6, 0.9, 0.7]),
    }
    rows = [
        {"network": "Net", "init": init, "seed": seed, "step": 10 * k, "auroc": value}
        for init, seeds in scores.items()
        for seed, values in enumerate(seeds)
        for k, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_a_run_for_each_start_that_has_weights() -> None:
    specs = Convergence(**PARAMETERS).specs()
    starts = {(spec.model.name, spec.init.method) for spec in specs if spec.init.batch_norm == "reset"}
    assert starts == {
        ("efficientnet_lite0", "random"),
        ("efficientnet_lite0", "mean_var"),
        ("efficientnet_lite0", "pretrained"),
        ("cbr_large_t", "random"),
        ("efficientnet_lite0", "bootstrap"),
    }
    kept = [spec for spec in specs if spec.init.batch_norm == "keep"]
    assert [spec.init.method for spec in kept] == ["mean_var"]
    assert len(specs) == len(set(specs)) == 2 * 4 + 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"inits": ["pretraind"]}, "inits.0: .*'pretrained'"),
        ({"seeds": []}, "seeds: .*at least 1"),
        ({"steps": "80"}, "steps: .*integer"),
        ({"threshold": 1.5}, "threshold: .*less than 1"),
        ({"step": 3}, 'did you mean "steps"'),
    ],
)
def test_a_wrong_parameter_is_named(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ParameterError, match=says) as caught:
        Convergence(**PARAMETERS | change)
    assert str(caught.value).startswith("chapter convergence: ")


def test_an_unknown_data_set_or_network_is_named() -> None:
    with pytest.raises(SpecError, match='did you mean "fundus"'):
        Convergence(**PARAMETERS | {"dataset": "fundos"}).specs()


def test_steps_to_the_threshold_keep_who_never_arrived(curves: pd.DataFrame) -> None:
    """One evaluation above the threshold is no arrival; a run that never arrives stays in the mean."""
    found = arrivals.steps_to(curves, threshold=0.8, in_a_row=2).set_index("init")
    assert found.loc["pretrained", "step of each seed"] == "10, 10"
    assert found.loc["Mean Var", "step of each seed"] == "> 30, 20"
    assert found.loc["random", "step of each seed"] == "> 30, > 30"
    assert found["mean step"].tolist() == [10, 25, 30]
    assert found["reached"].tolist() == ["2 of 2", "1 of 2", "0 of 2"]


def test_the_title_says_the_order_that_was_measured(curves: pd.DataFrame) -> None:
    def title(frame: pd.DataFrame) -> str:
        return convergence_tables.convergence_titles(arrivals.arms(frame, threshold=0.8, in_a_row=2))["Net"]

    never = "2 of 2 runs of pretrained and 1 of 2 runs of Mean Var reach the threshold, none of random"
    assert title(curves) == f"Net: {never}", "two seeds, one of them censored, give no order"
    many = pd.concat([curves[curves["seed"] == 0].assign(seed=seed) for seed in range(4)])
    assert title(many) == "Net: 4 of 4 runs of pretrained reach the threshold, none of Mean Var and random"
    late = pd.concat([many, many[many["step"] == 30].assign(step=40, auroc=0.9)])
    late.loc[(late["init"] == "random") & (late["step"] >= 30), "auroc"] = 0.9
    late.loc[(late["init"] == "Mean Var") & (late["step"] == 20), "auroc"] = 0.9
    assert title(late) == "Net: at the threshold pretrained and Mean Var first, then random", "a tie has no order"
    late.loc[(late["init"] == "Mean Var") & (late["step"] == 10), "auroc"] = 0.6
    assert title(late) == "Net: at the threshold pretrained first, then Mean Var, then random"
    turned = late.replace({"init": {"pretrained": "random", "random": "pretrained"}})
    assert title(turned) == "Net: at the threshold random first, then Mean Var, then pretrained"
    assert title(late[late["seed"] == 0]) == "Net: no clear order of arrival", "one seed"
    assert title(many.assign(auroc=0.9)) == "Net: no clear order of arrival"
    assert title(many.assign(auroc=0.6)) == "Net: no run reaches the threshold"
    assert title(late[late["init"] == "random"]) == "Net: one start"


def test_the_share_still_waiting_keeps_who_never_arrived(curves: pd.DataFrame) -> None:
    """Pretrained is down at 10; of Mean Var's two seeds one arrives, at 20; random stays whole to the last step."""
    found = waiting_tables.waiting(arrivals.arms(curves, threshold=0.8, in_a_row=2))
    shares = {
        init: list(zip(part["step"], part["share"], strict=True)) for init, part in found.groupby("init", sort=False)
    }
    assert shares == {
        "pretrained": [(0.0, 1.0), (10.0, 0.0), (30.0, 0.0)],
        "Mean Var": [(0.0, 1.0), (20.0, 0.5), (30.0, 0.5)],
        "random": [(0.0, 1.0), (30.0, 1.0)],
    }
    assert waiting_tables.waiting_titles(found) == {
        "Net": "Net, runs that arrive: 2 of 2 pretrained, 1 of 2 Mean Var, 0 of 2 random"
    }
    figure = arrival_figures.waiting(found, threshold=0.8, titles=waiting_tables.waiting_titles(found))
    assert {"pretrained", "Mean Var", "random"} <= {text.get_text() for text in figure.axes[0].texts}
    one_seed = curves[curves["seed"] == 0]
    assert waiting_tables.waiting(arrivals.arms(one_seed, threshold=0.8, in_a_row=2)).empty


def test_means_and_intervals_are_over_seeds(curves: pd.DataFrame) -> None:
    means = curve_tables.mean_curves(curves)
    row = means[(means["init"] == "Mean Var") & (means["step"] == 10)].iloc[0]
    assert row["mean"] == pytest.approx(0.8)
    assert (row["low"] + row["high"]) / 2 == pytest.approx(0.8)
    assert row["high"] - row["mean"] == pytest.approx(12.706 * 0.1, rel=1e-3)  # t(0.975, 1 df) x se
    alone = curve_tables.mean_curves(curves[curves["seed"] == 0])
    assert alone["low"].isna().all()
    assert np.isfinite(alone["mean"]).all()


def test_the_same_data_draw_the_same_figure(curves: pd.DataFrame) -> None:
    def drawn() -> str:
        means = curve_tables.mean_curves(curves)
        return style.svg(curve_figures.convergence(curves, means, threshold=0.8, titles={"Net": "Net: a finding"}))

    assert drawn() == drawn()


def test_the_figure_is_labelled(curves: pd.DataFrame) -> None:
    figure = curve_figures.convergence(
        curves, curve_tables.mean_curves(curves), threshold=0.8, titles={"Net": "Net: a finding"}
    )
    axis = figure.axes[0]
    assert axis.get_title(loc="left") == "Net: a finding"
    assert "AUROC" in axis.get_ylabel()
    assert "higher is better" in axis.get_ylabel()
    assert "step" in axis.get_xlabel()
    texts = {text.get_text(): text for text in axis.texts}
    assert {"pretrained", "Mean Var", "random"} < set(texts)
    heights = sorted(texts[name].xy[1] for name in ("pretrained", "Mean Var", "random"))  # type: ignore[attr-defined]
    low, high = axis.get_ylim()
    assert min(np.diff(heights)) > 0.07 * (high - low), "labels overlap"
    assert len(axis.lines) == 3 * (2 + 1) + 1


def test_a_small_folder_of_ones_own_is_used_whole(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The defaults are made for larger sets; what was asked for beyond them is said in the banner, not an error."""
    root = write_files(tmp_path / "images", class_folders())
    study = Convergence(**PARAMETERS | {"dataset": str(root), "val_images": 2})
    (spec,) = study.data()
    assert (spec.name, spec.train, spec.val, spec.test) == ("folder", None, 2, None)
    shown: list[HTML] = []
    monkeypatch.setattr(chapter, "display", shown.append)
    chapter.open_chapter(study)
    page = "".join(str(each.data) for each in shown)
    assert "train_images=100 is more than there are, so all are used" in page
    assert "val_images=2 " not in page


def shared(**changes: Any) -> dict[str, Any]:
    """Return the parameters that all chapters on learning curves have, changed."""
    own = {"networks", "inits", "control_networks", "controls", "control_seeds", "threshold", "in_a_row"}
    return {name: value for name, value in PARAMETERS.items() if name not in own} | changes


RULE = {"threshold": 0.8, "in_a_row": 2}


def test_chapters_share_the_runs_of_the_plain_starts() -> None:
    """Random and full transfer are the same runs in all four chapters, and trained once."""
    base = set(Convergence(**PARAMETERS | {"networks": ["efficientnet_lite0"]}).specs())
    others = (
        Performance(
            **shared(networks=["efficientnet_lite0"], small_networks=[], small_train=[], small_steps=20),
        ),
        Transfusion(**shared(**RULE, model="efficientnet_lite0", small_model=None, stages={}, mean_var_above={})),
        Hybrids(
            **shared(**RULE, model="efficientnet_lite0", small_model=None, slim_stages=3, slim_factor=2, orientations=8)
        ),
    )
    for study in others:
        plain = {spec for spec in study.specs() if spec.init.up_to is None and spec.init.gabor is None}
        assert len(plain) == 4
        assert plain <= base


def test_transfusion_goes_up_every_stage_of_a_network_that_names_none() -> None:
    study = Transfusion(**shared(**RULE, model="resnet50", small_model=None, stages={}, mean_var_above={}))
    specs = [spec for spec in study.specs() if spec.seed == 0]
    assert [spec.init.up_to for spec in specs] == [None, "conv1", "block1", "block2", "block3", None]
    assert [spec.init.method for spec in specs] == ["random", *["pretrained"] * 5]
    with pytest.raises(ParameterError, match='unknown stage "block9"'):
        Transfusion(
            **shared(**RULE, model="resnet50", small_model=None, stages={"resnet50": ["block9"]}, mean_var_above={})
        ).specs()


def test_slim_keeps_the_lowest_stages() -> None:
    study = Hybrids(
        **shared(**RULE, model="resnet50", small_model="cbr_tiny", slim_stages=3, slim_factor=2, orientations=4)
    )
    slim = [spec for spec in study.specs() if spec.model.slim is not None]
    assert {(spec.model.name, spec.init.up_to, spec.model.slim.above) for spec in slim if spec.model.slim} == {
        ("resnet50", "block2", "block2")
    }
    with pytest.raises(ParameterError, match="resnet50 has 5 stages"):
        study.model_copy(update={"slim_stages": 5}).specs()


def test_small_runs_end_on_the_grid() -> None:
    parameters = shared(networks=["cbr_tiny"], small_networks=["cbr_tiny"], small_train=[40], small_steps=20)
    small = [spec for spec in Performance(**parameters).specs() if spec.data.train == 40]
    assert {(spec.train.steps, spec.train.eval_every) for spec in small} == {(20, 10)}
    with pytest.raises(ParameterError, match="small_steps: 15 is no step of the grid"):
        Performance(**parameters | {"small_steps": 15})


def test_pretrained_weights_are_found_where_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Published if on this machine, else ours, else a run of our own where its images are, else the download."""
    monkeypatch.setenv("TRANSFUSION_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(sources, "_have_images", lambda: False)
    assert source_for("resnet50", pretrained="auto") == "imagenet"
    assert source_for("efficientnet_lite0", pretrained="auto") == "imagenet"
    assert source_for("cbr_tiny", pretrained="auto") == "tiny_imagenet_100"
    assert source_for("cbr_large_t", pretrained="auto") is None
    assert source_for("cbr_tiny", pretrained="imagenet") is None
    monkeypatch.setattr(sources, "_have_images", lambda: True)
    own = source_for("resnet50", pretrained="auto")
    assert own == sources.pretraining("resnet50") == source_for("resnet50", pretrained="without_download")
    assert source_for("efficientnet_lite0", pretrained="without_download") == "imagenet"
    (tmp_path / "resnet50-0676ba61.pth").touch()
    assert source_for("resnet50", pretrained="auto") == "imagenet"
    assert isinstance(source_for("efficientnet_lite0", pretrained="tiny_imagenet_100"), RunSpec)


def test_on_drawn_splits_each_seed_draws_its_own_and_each_data_set_has_every_run() -> None:
    sets = ["fundus", "synthetic_chest", "retinamnist"]
    drawn = Convergence(**PARAMETERS | {"split": "drawn", "others": sets[1:]}).specs()
    assert {spec.data.split for spec in drawn} == {"drawn"}
    assert all(spec.data.seed == spec.seed for spec in drawn)
    plain = Convergence(**PARAMETERS | {"split": "drawn"}).specs()
    assert len(drawn) == len(set(drawn)) == 3 * len(plain)
    by_set = [[spec.replace(data=plain[0].data) for spec in drawn if spec.data.name == name] for name in sets]
    assert by_set[0] == by_set[1] == by_set[2]
    assert set(plain) <= set(drawn)


def test_an_official_split_leaves_runs_as_they_are_described_without_one() -> None:
    """The records were made before studies could draw a split: their runs must be found again."""
    found = Convergence(**PARAMETERS | {"inits": ["random"], "controls": [], "networks": ["cbr_tiny"]}).specs()
    data = DataSpec(name="fundus", size=64, train=100, val=20, test=30)
    train = TrainSpec(steps=30, eval_every=10, batch_size=8, learning_rate=0.001)
    assert found == [RunSpec(data=data, model=ModelSpec(name="cbr_tiny"), train=train, seed=seed) for seed in (0, 1)]
