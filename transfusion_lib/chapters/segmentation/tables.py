"""The tables of the chapter "Segmentation"."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler
from torch import Tensor

from transfusion_lib import data, networks, stats
from transfusion_lib.chapters.kit.page_table import page_table
from transfusion_lib.chapters.tasks.figures import Picture
from transfusion_lib.errors import DataError
from transfusion_lib.runs import Run
from transfusion_lib.runs.analyses import stored
from transfusion_lib.runs.search import validation_score
from transfusion_lib.stats import Interval, over_seeds
from transfusion_lib.stats.words import share, told
from transfusion_lib.training.batches import to_input

WHOLE = "whole"


def cut_of(run: Run) -> str:
    """Return where a run's network was cut, or that it was not."""
    return run.spec.model.truncate.at if run.spec.model.truncate else WHOLE


def scores(runs: Sequence[Run]) -> pd.DataFrame:
    """Return one row per run: cut, seed, test Dice and Jaccard of the selected weights, validation Dice."""
    rows = []
    for run in runs:
        dice, jaccard = run.cases["test_scores"].double().mean((0, 1)).tolist()
        row = {"cut": cut_of(run), "seed": run.spec.seed, "dice": dice, "jaccard": jaccard}
        rows.append(row | {"validation": validation_score(run)})
    return pd.DataFrame(rows)


def by_cut(runs: Sequence[Run], found: pd.DataFrame) -> pd.DataFrame:
    """Return one row per cut, from the input on: costs, and the means over seeds with the 95 % interval of Dice."""
    rows = []
    for cut, part in found.groupby("cut", sort=False):
        run = next(run for run in runs if cut_of(run) == cut)
        regions, size = len(run.record["dataset"]["classes"]), run.spec.data.size
        costs = networks.describe(run.spec.model, num_outputs=regions, size=size)
        low, high = _bounds(part["dice"].tolist())
        rows.append(
            {
                "cut": cut,
                "parameters (M)": costs.parameters / 1e6,
                "MACs (M)": costs.macs / 1e6,
                "validation Dice": part["validation"].mean(),
                "test Dice": part["dice"].mean(),
                "low": low,
                "high": high,
                "test Jaccard": part["jaccard"].mean(),
            }
        )
    return pd.DataFrame(rows)


def best_cut(table: pd.DataFrame) -> str:
    """Return the cut whose mean validation Dice is best, the whole network left out."""
    cuts = table[table["cut"] != WHOLE]
    return str(cuts["cut"].iloc[int(cuts["validation Dice"].argmax())])


def difference(found: pd.DataFrame, cut: str) -> Interval | None:
    """Return test Dice at ``cut`` minus that of the whole network; None with fewer than two seeds."""
    mine, whole = (found[found["cut"] == name]["dice"].tolist() for name in (cut, WHOLE))
    return stats.difference(mine, whole) if len(mine) > 1 else None


def finding(table: pd.DataFrame, found: pd.DataFrame, cut: str) -> str:
    """Return the finding in a sentence: what the best cut changes and saves, and what the worst loses for certain."""
    row, whole = (table[table["cut"] == name].iloc[0] for name in (cut, WHOLE))
    kept = share(row["parameters (M)"] / whole["parameters (M)"])
    gap = row["test Dice"] - whole["test Dice"]
    change = told(difference(found, cut) or (gap, math.nan, math.nan), signed=True)
    said = f"Cut after {cut}: Dice {change} against the whole U-Net, with {kept} of the parameters"
    worst = str(table["cut"].iloc[int(table["test Dice"].argmin())])
    lost = difference(found, worst) if worst not in (cut, WHOLE) else None
    return f"{said}; after {worst} {told(lost, signed=True)}" if lost and lost.high < 0 else said


def pictures(runs: Sequence[Run], cut: str, *, count: int) -> dict[str, list[Picture]]:
    """Return test images with the outline of the true mask, and of the masks of the whole and the cut network.

    A record holds no images: where the data are not at hand the predicted masks are shown alone.
    """
    first = min(run.spec.seed for run in runs)
    chosen = {cut_of(run): run for run in runs if run.spec.seed == first}
    drawn = predictions(chosen[WHOLE], chosen[cut], count=count)
    masks = {"whole U-Net": drawn["whole"], f"cut after {cut}": drawn["cut"]}
    try:
        split = data.load(chosen[WHOLE].spec.data).test
    except DataError:
        return {label: [_picture(mask[None] * 255, mask) for mask in some] for label, some in masks.items()}
    rows = {"truth": split.labels[:count, 0]} | masks
    return {
        label: [_picture(image, mask) for image, mask in zip(split.images[:count], some, strict=True)]
        for label, some in rows.items()
    }


@stored("tables.segmentation.predictions", version=2)
def predictions(whole: Run, cut: Run, *, count: int) -> dict[str, Any]:
    """Return the masks that two networks predict of the first region of the first test images, uint8 of 0 and 1."""
    images = data.load(whole.spec.data).test.images[:count]
    found = {}
    for name, run in (("whole", whole), ("cut", cut)):
        network = run.network()
        x = to_input(images, channels=network.in_channels, mean=network.mean, std=network.std)
        found[name] = (network(x)[:, 0] > 0).byte().contiguous()
    return found


def listed(rows: dict[str, list[Picture]]) -> pd.DataFrame:
    """Return the pictures as a table: whose mask, which image, how many of its pixels."""
    return pd.DataFrame(
        [
            {"mask": name, "image": number, "pixels": int(picture.outline.sum())}
            for name, row in rows.items()
            for number, picture in enumerate(row)
            if picture.outline is not None
        ]
    )


def styled(table: pd.DataFrame) -> Styler:
    """Return the table for a page."""
    dice = [told((row["test Dice"], row["low"], row["high"]), marks=()) for row in table.to_dict("records")]
    shown = table.drop(columns=["test Dice", "low", "high"])
    shown.insert(1, "test Dice, 95 % interval", dice)
    formats = {
        name: "{:.3f}" if "Dice" in name or "Jaccard" in name else "{:.2f}"
        for name in shown.select_dtypes("number").columns
    }
    return page_table(shown, formats)


def _bounds(values: list[float]) -> tuple[float, float]:
    if len(values) < 2:
        return math.nan, math.nan
    found = over_seeds(values)
    return max(0.0, found.low), min(1.0, found.high)


def _picture(image: Tensor, mask: Tensor) -> Picture:
    """Return an image (channels, height, width) with the outline of a mask (height, width)."""
    pixels = image.permute(1, 2, 0).numpy()
    pixels = np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    return Picture(pixels=pixels, title="", outline=mask.numpy() > 0)
