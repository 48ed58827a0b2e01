"""The training loss as the measure of speed: planted losses give their gains, shares and curves."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pytest
import torch

from transfusion_lib.chapters.kit import curve_tables, loss_figures, losses
from transfusion_lib.runs import Run
from transfusion_lib.spec import DataSpec, InitSpec, ModelSpec, RunSpec, TrainSpec

RANDOM = InitSpec()
MEAN_VAR, PRETRAINED = (InitSpec(method=way, weights="tiny_imagenet_100") for way in ("mean_var", "pretrained"))
PLANTED = {RANDOM: 1.0, PRETRAINED: 0.5, MEAN_VAR: 0.75}


def runs(
    levels: Mapping[InitSpec, float] = PLANTED, *, data: str = "fundus", seeds: int = 6, steps: int = 20
) -> list[Run]:
    """Return runs whose loss falls by 0.4 at half of the steps, around its arm's level and some noise of its own."""
    found = []
    for place, (init, level) in enumerate(levels.items()):
        for seed in range(seeds):
            spec = RunSpec(
                data=DataSpec(name=data, size=32, train=48, val=16, test=24),
                model=ModelSpec(name="cbr_tiny"),
                init=init,
                train=TrainSpec(steps=steps, eval_every=5, batch_size=8),
                seed=seed,
            )
            mean = level + 0.01 * np.random.default_rng([seed, place]).normal()
            falls = torch.where(torch.arange(steps) < steps / 2, mean + 0.2, mean - 0.2)
            found.append(cast("Run", SimpleNamespace(spec=spec, cases={"losses": falls})))
    return found


def test_planted_losses_give_their_gains_and_the_share_of_full_transfer() -> None:
    found = losses.gains(losses.mean_losses(runs())).set_index("init")
    for init, gain in (("pretrained", 0.5), ("Mean Var", 0.25)):
        row = found.loc[init]
        assert row["gain"] == pytest.approx(gain, abs=0.02)
        assert row["low"] < gain < row["high"]
        assert row["high"] - row["low"] < 0.08
        assert row["runs"] == 6
    share = found.loc["Mean Var"]
    assert share["share"] == pytest.approx(0.5, abs=0.03)
    assert share["share_low"] < 0.5 < share["share_high"]
    assert share["share_high"] - share["share_low"] < 0.12
    assert np.isnan(float(found["share"]["pretrained"])), "full transfer is the whole"
    assert "random" not in found.index


def test_a_gain_is_taken_from_runs_of_the_same_seed() -> None:
    """What a seed adds to all of its runs falls out; seeds that one arm lacks are left out."""
    rows = [("Net", init, seed, level + 10 * seed + jitter)
            for init, level, count in (("random", 1.0, 4), ("pretrained", 0.5, 3))
            for seed, jitter in zip(range(count), (0.0, 0.01, -0.01, 5.0) if init == "random" else (0.0,) * 3,
                                    strict=False)]  # fmt: skip
    found = losses.gains(pd.DataFrame(rows, columns=["network", "init", "seed", "loss"]))
    assert found[["gain", "runs"]].values.tolist() == [[pytest.approx(0.5), 3]]
    assert found["low"].item() > 0.45


def test_words_follow_the_sign_of_the_gain() -> None:
    gains = losses.gains(losses.mean_losses(runs()))
    assert losses.gain_titles(gains) == {"CBR-Tiny": "CBR-Tiny: every start is faster than random"}
    assert losses.gain_finding(gains).startswith("CBR-Tiny: pretrained weights lower the mean training loss by 0.5")
    assert "; of that gain Mean Var gives 5" in losses.gain_finding(gains)

    turned = losses.gains(losses.mean_losses(runs({RANDOM: 0.5, PRETRAINED: 1.0, MEAN_VAR: 0.5})))
    title = losses.gain_titles(turned)["CBR-Tiny"]
    assert title == "CBR-Tiny: pretrained is slower than random, the rest not clearly"
    said, full = losses.gain_finding(turned), float(turned.set_index("init")["gain"]["pretrained"])
    assert full == pytest.approx(-0.5, abs=0.02)
    assert said.startswith(f"CBR-Tiny: pretrained weights raise the mean training loss by {-full:.3f} (")
    assert "of that gain" not in said

    same = losses.gains(losses.mean_losses(runs(dict.fromkeys(PLANTED, 0.7))))
    assert losses.gain_titles(same)["CBR-Tiny"] == "CBR-Tiny: no start differs clearly from random"
    assert "not known" in str(losses.gain_table(same).set_index("start")["share of full transfer's gain"]["Mean Var"])


def test_one_seed_has_a_gain_and_no_interval_and_without_a_random_start_there_is_none() -> None:
    one = losses.gains(losses.mean_losses(runs(seeds=1)))
    assert one[["low", "high", "share"]].isna().all(axis=None)
    assert losses.gain_titles(one)["CBR-Tiny"] == "CBR-Tiny: no start differs clearly from random"
    alone = losses.gains(losses.mean_losses(runs({PRETRAINED: 0.5, MEAN_VAR: 0.7})))
    assert alone.empty
    assert losses.gain_titles(alone) == {}
    assert "no gain to measure" in losses.gain_finding(alone)
    assert losses.gain_table(alone).empty
    assert "Nothing to draw" in loss_figures.gains(alone, titles={}).axes[0].texts[0].get_text()


def test_a_gain_that_is_not_clear_is_neither_lower_nor_higher_and_has_no_share() -> None:
    rows = [("random", (1.0, 1.0, 1.0)), ("Mean Var", (1.1, 1.0, 1.1)), ("pretrained", (0.7, 1.0, 0.9))]
    frame = pd.DataFrame(
        [{"network": "N", "init": i, "seed": k, "loss": v} for i, values in rows for k, v in enumerate(values)]
    )
    found = losses.gains(frame)
    said = losses.gain_finding(found)
    assert said.startswith("N: what pretrained weights take off the mean training loss is not clear, +0.13 (")
    assert "lower" not in said
    assert "raise" not in said
    assert "of that gain" not in said
    shares = losses.gain_table(found).set_index("start")["share of full transfer's gain"]
    assert str(shares["Mean Var"]).startswith("not known")


@pytest.mark.parametrize(("steps", "windows"), [(20, [10, 20]), (25, [10, 20]), (7, [7])])
def test_curves_are_means_over_windows_of_steps(steps: int, windows: list[int]) -> None:
    found = losses.loss_curves(runs({RANDOM: 1.0, PRETRAINED: 0.5}, steps=steps))
    for init, level in (("random", 1.0), ("pretrained", 0.5)):
        part = found[found["init"] == init]
        assert part["step"].tolist() == windows
        if steps == 20:
            assert part["loss"].tolist() == pytest.approx([level + 0.2, level - 0.2], abs=0.02)


def test_each_data_set_is_a_panel_of_its_own() -> None:
    """Both figures draw them; a network's panels are found by its name."""
    both = [*runs(), *runs({RANDOM: 1.0, PRETRAINED: 1.0, MEAN_VAR: 1.0}, data="synthetic_chest")]
    gains = losses.gains(losses.mean_losses(both))
    titles = losses.gain_titles(gains)
    first, second = titles
    assert curve_tables.of_network(gains, "cbr_tiny") == [first, second]
    assert curve_tables.of_network(gains, "cbr_small") == []
    assert titles[first].endswith("every start is faster than random")
    assert titles[second].endswith("no start differs clearly from random")
    figure = loss_figures.gains(gains, titles=titles)
    assert [axis.get_title(loc="left") for axis in figure.axes] == list(titles.values())
    assert "right is faster" in figure.axes[-1].get_xlabel()
    curves = loss_figures.curves(losses.loss_curves(both))
    assert [axis.get_title(loc="left") for axis in curves.axes] == [first, second]
    assert {"random", "Mean Var", "pretrained"} <= {text.get_text() for text in curves.axes[0].texts}
