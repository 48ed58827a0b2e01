"""The chapter "Other tasks": which runs its cells ask for, and what it says of planted ones."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from transfusion_lib.book import parameters, project
from transfusion_lib.chapters.breadth import figures, tables
from transfusion_lib.chapters.breadth.study import Breadth
from transfusion_lib.chapters.kit.curve_tables import styled
from transfusion_lib.chapters.performance.study import Performance
from transfusion_lib.errors import ParameterError
from transfusion_lib.runs.run import Run
from transfusion_lib.runs.store import Entry
from transfusion_lib.spec import RunSpec
from transfusion_lib.stats import difference

BASE: dict[str, Any] = {
    "dataset": "fundus", "size": 64, "train_images": 200, "val_images": 20, "test_images": 40, "seeds": [0, 1, 2],
    "steps": 60, "eval_every": 10, "batch_size": 32, "learning_rate": 1e-3, "pretrained": "auto",
    "precision": "float32", "networks": ["efficientnet_lite0", "cbr_tiny"], "early": 20,
}  # fmt: skip
CELLS = [{}, {"size": 128, "networks": ["cbr_tiny"], "steps": 120}, {"dataset": "synthetic_chest", "seeds": [5, 6]}]
ROOT = Path(__file__).parent.parent


def study(**changed: Any) -> Breadth:
    return Breadth(**{**BASE, "cells": CELLS, **changed})


class Told(Run):
    """A run whose learning curve a test plants: 0.5 at first, then what it ends with after ``early``."""

    early: float
    end: float

    @property
    def key(self) -> str:
        return f"{hash((self.spec, self.early, self.end)) % 2**60:064x}"

    @property
    def record(self) -> dict[str, Any]:
        grid = list(self.spec.train.grid)
        scores = [0.5 if step == 0 else self.early if step <= 20 else self.end for step in grid]
        about = {
            "task": "referable",
            "synthetic": "fundus" in self.spec.data.name,
            "cases": {"train": self.spec.data.train},
        }
        return {"dataset": about, "curve": {"step": grid, "test_auroc": scores}}


def told(spec: RunSpec, ends: Mapping[tuple[str, str], tuple[float, float]], *, sd: float) -> Told:
    """Return a run that reads ``ends[network, start]`` early and at the end, with its seed's noise."""
    noise = np.random.default_rng([spec.seed, spec.init.method == "random"]).normal(0, sd, 2)
    run = Told(spec, Entry(Path("none")))
    for name, value, off in zip(("early", "end"), ends[spec.model.name, spec.init.method], noise, strict=True):
        object.__setattr__(run, name, value + off)
    return run


HEAD_START = {
    ("efficientnet_lite0", "random"): (0.6, 0.9),
    ("efficientnet_lite0", "pretrained"): (0.85, 0.9),
    ("cbr_tiny", "random"): (0.7, 0.8),
    ("cbr_tiny", "pretrained"): (0.7, 0.9),
}


def cells(ends: Mapping[tuple[str, str], tuple[float, float]], *, sd: float = 0.004, **changed: Any) -> list[Any]:
    one = study(**changed)
    return one.by_cell([told(spec, ends, sd=sd) for spec in one.specs()])


def test_a_cell_is_the_parameters_with_some_replaced() -> None:
    plain, large, chest = study().each()
    assert {spec.data.size for spec in plain.specs()} == {64}
    assert [(spec.data.size, spec.model.name, spec.train.steps) for spec in large.specs()] == [
        (128, "cbr_tiny", 120)
    ] * 6
    assert {(spec.data.name, spec.seed) for spec in chest.specs()} == {("synthetic_chest", 5), ("synthetic_chest", 6)}
    assert study().specs() == [*plain.specs(), *large.specs(), *chest.specs()]
    assert len(study(cells=[{}, {}, {"seeds": [0]}]).specs()) == len(plain.specs()), "what cells share is trained once"


def test_the_plain_cell_has_the_runs_of_the_chapter_on_performance() -> None:
    """The notebooks' own parameters: the first cell costs nothing."""
    here = project.find(ROOT)
    values = {name: parameters.effective(here.chapter(name), {}) for name in ("performance", "breadth")}
    first = Breadth(**values["breadth"]).each()[0]
    assert set(first.specs()) <= set(Performance(**values["performance"]).specs())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"cells": []}, "cells: List should have at least 1 item"),
        ({"cells": [{"stpes": 5}]}, 'stpes: no such parameter; did you mean "steps"?'),
        ({"cells": [{"size": "64"}]}, "size: Input should be a valid integer, got '64'"),
        ({"cells": [{}, {"eval_every": 30}]}, "early: 20 is no step of the grid of fundus, a multiple of 30 up to 60"),
        (
            {"cells": [{}, {"networks": ["cbr_large_w"], "pretrained": "imagenet"}]},
            'no pretrained weights of cbr_large_w are at hand with pretrained="imagenet"',
        ),
        ({"cells": [{"early": 10}]}, "early: no such parameter"),
    ],
)
def test_a_wrong_cell_is_said(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterError, match=re.escape(said)):
        study(**changed)


def test_leads_are_differences_of_seeds_early_and_late() -> None:
    found = tables.leads(cells(HEAD_START), early=20)
    assert found["network"].tolist() == ["EfficientNet-Lite0", "CBR-Tiny", "CBR-Tiny", "EfficientNet-Lite0", "CBR-Tiny"]
    first = cells(HEAD_START)[0]
    arms: dict[str, list[float]] = {"random": [], "pretrained": []}
    for run in first[:6]:
        arms[run.spec.init.method].append(run.early)
    one = difference(arms["pretrained"], arms["random"])
    row = found.iloc[0]
    assert (row["early"], row["early low"], row["early high"]) == pytest.approx((one.estimate, one.low, one.high))
    assert row["early p"] > one.p_differs(), "corrected for the number of rows"
    assert row["early"] == pytest.approx(0.25, abs=0.02)
    assert row["end"] == pytest.approx(0, abs=0.02)
    assert found["end"].iloc[1] == pytest.approx(0.1, abs=0.02)
    assert found["seeds"].tolist() == [3, 3, 3, 2, 2]
    assert found["cell"].unique().tolist() == [
        "synthetic fundus photographs, referable retinopathy, 64 px, 200 images, 60 steps",
        "synthetic fundus photographs, referable retinopathy, 128 px, 200 images, 120 steps",
        "synthetic chest x-rays, five pathologies, 64 px, 200 images, 60 steps",
    ]


def test_a_swap_of_the_starts_changes_the_sign_only() -> None:
    other = {"random": "pretrained", "pretrained": "random"}
    swapped = {(network, start): HEAD_START[network, other[start]] for network, start in HEAD_START}
    one, two = (tables.leads(cells(ends, sd=0.0), early=20) for ends in (HEAD_START, swapped))
    for name in ("early", "end"):
        assert one[name].tolist() == pytest.approx([-value for value in two[name]])


def test_what_is_clear_is_counted_after_correction() -> None:
    found = tables.leads(cells(HEAD_START, cells=[{}]), early=20)
    assert tables.counted(found, early=20) == "1 of 2 rows after 20 steps and in 1 at the end"
    behind = dict(HEAD_START) | {("cbr_tiny", "pretrained"): (0.7, 0.7)}
    assert tables.counted(tables.leads(cells(behind, cells=[{}]), early=20), early=20).endswith(
        "in 0 at the end, where it is behind in 1"
    )
    found["early p"], found["end p"] = 0.06, [0.06, 0.04]
    assert tables.counted(found, early=20) == "0 of 2 rows after 20 steps and in 1 at the end"
    assert tables.lead_title(found, early=20).endswith("leads in 0 of 2 rows after 20 steps and in 1 at the end")


def test_a_data_set_counts_once_in_the_mean() -> None:
    """Two cells of one set share images: three rows of fundus weigh as much as two of the chest."""
    found = tables.leads(cells(HEAD_START, sd=0.0), early=20).assign(synthetic=True)
    found.loc[found["data"] == "synthetic_chest", ["early", "end"]] = [0.05, 0.02]
    assert found["data"].tolist() == ["fundus", "fundus", "fundus", "synthetic_chest", "synthetic_chest"]
    means = tables.mean_leads(found)
    assert means["sets"].tolist() == [2, 2]
    assert means[["early", "end"]].to_numpy()[0].tolist() == pytest.approx([0.15, 0.01])
    assert means[["early", "end"]].to_numpy()[1].tolist() == pytest.approx([0.025, 0.06])
    half = (0.06 - 0.02) * 12.706  # Student's quantile with one degree of freedom, times the standard error
    assert means[["end low", "end high"]].to_numpy()[1].tolist() == pytest.approx([0.06 - half, 0.06 + half], rel=1e-4)
    assert tables.lead_title(found, early=20).replace("\N{MINUS SIGN}", "-") == (
        "Mean lead of transfer over synthetic data sets: "
        "EfficientNet-Lite0 +0.1 (-1.1 to +1.4) after 20 steps, +0.01 (-0.12 to +0.14) at the end; "
        "CBR-Tiny +0.03 (-0.29 to +0.34) after 20 steps, +0.06 (-0.45 to +0.57) at the end"
    )
    page = tables.mean_table(found, early=20)
    assert page["data sets"].tolist() == [2, 2]
    assert tables.mean_leads(found[found["data"] == "fundus"]).empty
    assert means["cell"].eq("mean over synthetic data sets").all()


def test_synthetic_sets_do_not_count_beside_real_ones() -> None:
    found = tables.leads(cells(HEAD_START, sd=0.0), early=20)
    assert found["synthetic"].tolist() == [True, True, True, False, False]
    assert tables.mean_leads(found).empty, "a single real set has no interval"
    real = pd.concat([found, found[~found["synthetic"]].assign(data="another", early=0.05, end=0.02)])
    means = tables.mean_leads(real)
    assert means["cell"].eq("mean over real data sets").all()
    assert means["early"].tolist() == pytest.approx([0.15, 0.025])
    assert tables.with_means(real)["early"].tolist() == [*means["early"], *real["early"]]
    assert tables.with_means(found).equals(found)
    assert tables.lead_title(real, early=20).startswith(
        "Mean lead of transfer over real data sets: EfficientNet-Lite0 +0.1"
    )


def test_one_seed_has_no_interval_and_no_p_value() -> None:
    found = tables.leads(cells(HEAD_START, cells=[{"seeds": [0]}]), early=20)
    assert found[["early low", "end high", "early p", "end p", "equivalent p"]].isna().all(axis=None)
    page = tables.lead_table(found, early=20)
    assert page["lead at the end"].str.endswith(", one seed").all()
    styled(page).to_html()


def test_a_score_that_still_rises_is_told() -> None:
    """The last third is read against the last evaluation before it."""
    flat = tables.leads(cells(HEAD_START, sd=0.0, cells=[{}]), early=20)
    assert flat["rise"].tolist() == pytest.approx([0, 0])
    rising = tables.leads(cells(HEAD_START, sd=0.0, cells=[{"steps": 30}]), early=20)
    assert rising["rise"].tolist() == pytest.approx([0.3, 0.2])


def marks(found: pd.DataFrame) -> Sequence[Any]:
    figure = figures.leads(found, early=20, margin=0.01, title="A title")
    axis = figure.axes[0]
    return [line for line in axis.lines if line.get_label() in ("after 20 steps", "at the end")]


def test_the_figure_has_a_mark_for_every_row_twice() -> None:
    found = tables.leads(cells(HEAD_START), early=20)
    early, end = marks(found)
    assert list(early.get_xdata()) == found["early"].tolist()
    assert list(end.get_xdata()) == found["end"].tolist()
    assert (np.diff(early.get_ydata()) > 0).all(), "rows stand below each other in their order"
    assert (np.array(end.get_ydata()) > np.array(early.get_ydata())).all()
