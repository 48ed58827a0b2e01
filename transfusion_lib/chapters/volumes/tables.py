"""The tables of the chapter "Volumes"."""

import math
from collections.abc import Sequence

import pandas as pd
from pandas.io.formats.style import Styler

from transfusion_lib import networks, stats
from transfusion_lib.chapters.kit.page_table import page_table
from transfusion_lib.runs import Run
from transfusion_lib.stats import over_seeds
from transfusion_lib.stats.words import share, told

# What the paper prints for ResNeXt3D-101 at its own size: parameters in millions, multiply-adds in billions.
PAPER = {"FTL": "47.5 M, 66.3 G", "TF": "36.1 M, 64.9 G", "TTL": "60.17 G"}


def method_of(run: Run) -> str:
    """Return the paper's name of what was done to a run's network."""
    if run.spec.init.method == "random":
        return "random"
    if run.spec.model.truncate:
        return "TTL"
    return "TF" if run.spec.model.slim else "FTL"


def scores(runs: Sequence[Run]) -> pd.DataFrame:
    """Return one row per run: method, seed, test AUROC and AUPRC of the selected weights."""
    rows = []
    for run in runs:
        row = {"method": method_of(run), "seed": run.spec.seed}
        rows.append(row | {"auroc": run.final["test_auroc"], "auprc": run.final["test_auprc"]})
    return pd.DataFrame(rows)


def by_method(runs: Sequence[Run], found: pd.DataFrame) -> pd.DataFrame:
    """Return one row per method: costs, the means over seeds with the 95 % interval of AUROC, the paper's costs."""
    rows = []
    for method, part in found.groupby("method", sort=False):
        run = next(run for run in runs if method_of(run) == method)
        outputs = len(run.record["dataset"]["classes"])
        costs = networks.describe(run.spec.model, num_outputs=outputs, size=run.spec.data.size)
        values = part["auroc"].tolist()
        bounds = over_seeds(values) if len(values) > 1 else None
        rows.append(
            {
                "method": method,
                "parameters (M)": costs.parameters / 1e6,
                "MACs (M)": costs.macs / 1e6,
                "test AUROC": part["auroc"].mean(),
                "low": bounds.low if bounds else math.nan,
                "high": bounds.high if bounds else math.nan,
                "test AUPRC": part["auprc"].mean(),
                "paper's network": PAPER.get(str(method), ""),
            }
        )
    return pd.DataFrame(rows)


def finding(table: pd.DataFrame, found: pd.DataFrame) -> str:
    """Return the finding in a sentence: the cut network against the whole one."""
    row, whole = (table[table["method"] == name].iloc[0] for name in ("TTL", "FTL"))
    kept = share(row["parameters (M)"] / whole["parameters (M)"])
    mine, full = (found[found["method"] == name]["auroc"].tolist() for name in ("TTL", "FTL"))
    alone = (row["test AUROC"] - whole["test AUROC"], math.nan, math.nan)
    change = told(stats.difference(mine, full) if min(len(mine), len(full)) > 1 else alone, signed=True)
    return f"TTL: AUROC {change} against FTL, with {kept} of the parameters"


def styled(table: pd.DataFrame) -> Styler:
    """Return the table for a page."""
    interval = [
        "one seed" if math.isnan(low) else f"{max(0.0, low):.3f} to {min(1.0, high):.3f}"
        for low, high in zip(table["low"], table["high"], strict=True)
    ]
    shown = table.assign(interval=interval).drop(columns=["low", "high"])
    shown = shown.rename(columns={"interval": "95 % interval of test AUROC"})
    return page_table(
        shown, {name: "{:.3f}" if "AU" in name else "{:.2f}" for name in shown.select_dtypes("number").columns}
    )
