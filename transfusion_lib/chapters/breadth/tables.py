"""What transfer changes early and at the end, in every cell: data set, task, size and number of images."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from transfusion_lib import data
from transfusion_lib.chapters.kit.arrivals import rise
from transfusion_lib.chapters.kit.curve_tables import NETWORKS, curves, data_of, task_of
from transfusion_lib.chapters.performance.tables import CLEAR, RANDOM, TRANSFER, effect
from transfusion_lib.errors import MeasureError
from transfusion_lib.papers.claims import TASK
from transfusion_lib.runs import Run
from transfusion_lib.stats import Interval, holm, over_seeds
from transfusion_lib.stats.words import told


def leads(cells: Sequence[Sequence[Run]], *, early: int) -> pd.DataFrame:
    """Return the lead of the pretrained over the random start, a row per cell and network.

    Columns: cell (in words), data (the set's name), synthetic, network, task, size (pixels), images (for training),
    steps, seeds; the difference in test AUROC at step ``early`` and at the end, each with its 95 % interval over seeds
    (Welch; missing for one seed) and p value (Holm over all rows); equivalent p (two one-sided tests at the margin of
    claim T1, at the end); the mean final score of each start; rise (the larger of the two starts' mean rise since the
    last evaluation within two thirds of the steps).
    """
    names = data.titles([runs[0].spec.data.replace(task=None) for runs in cells])
    frame = pd.DataFrame([row for runs, name in zip(cells, names, strict=True) for row in _rows(runs, name, early)])
    for name in ("early p", "end p"):
        tested = frame[name].dropna()
        if len(tested):
            frame.loc[tested.index, name] = holm(tested)
    return frame


def _rows(runs: Sequence[Run], name: str, early: int) -> list[dict[str, Any]]:
    """Return the rows of one cell."""
    rows = []
    scores = curves(runs)
    for network, part in scores.groupby("network", sort=False):
        run = next(one for one in runs if NETWORKS[one.spec.model.name] == network)
        steps = run.spec.train.steps
        starts = part.groupby("init")
        ends = part[part["step"] == steps].groupby("init")["auroc"].mean()
        first, last = (_lead(part[part["step"] == step]) for step in (early, steps))
        rows.append(
            {
                "cell": cell_name(run),
                "data": name,
                "synthetic": run.record["dataset"]["synthetic"],
                "network": network,
                "task": task_of(run),
                "size": run.spec.data.size,
                "images": run.record["dataset"]["cases"]["train"],
                "steps": steps,
                "seeds": int(starts["seed"].nunique().min()),
                **dict(zip(("early", "early low", "early high", "early p"), _told(first), strict=True)),
                **dict(zip(("end", "end low", "end high", "end p"), _told(last), strict=True)),
                "equivalent p": last.p_equivalent(TASK) if _known(last) else math.nan,
                "random": float(ends[RANDOM]),
                "pretrained": float(ends[TRANSFER]),
                "rise": max(rise(one, score="auroc") for _, one in starts),
            }
        )
    return rows


def _lead(part: pd.DataFrame) -> Interval:
    found = effect(part)
    if found is None:
        raise MeasureError("a lead needs runs of both starts")
    return found


def _told(one: Interval) -> tuple[float, float, float, float]:
    return one.estimate, one.low, one.high, one.p_differs() if _known(one) else math.nan


def _known(one: Interval) -> bool:
    return math.isfinite(one.se) and one.se > 0


def cell_name(run: Run) -> str:
    """Return what a run was trained on in words: the set, what is asked of it, size, images, steps."""
    about, spec = run.record["dataset"], run.spec.data
    images = f"{about['cases']['train']:,} images"
    return f"{data_of(run)}, {spec.size} px, {images}, {run.spec.train.steps} steps"


def lead_table(found: pd.DataFrame, *, early: int) -> pd.DataFrame:
    """Return ``leads`` for a page, each interval in the cell of its estimate."""
    table = found[["cell", "network", "seeds", "steps"]].copy()
    table["random, final AUROC"] = found["random"]
    table["pretrained, final AUROC"] = found["pretrained"]
    for name, title in (("early", f"lead at step {early}"), ("end", "lead at the end")):
        spans = zip(found[name], found[f"{name} low"], found[f"{name} high"], strict=True)
        table[title] = [_span(value, low, high) for value, low, high in spans]
        table[f"{title} p (Holm)"] = found[f"{name} p"]
    table[f"end within {TASK:g} p (TOST)"] = found["equivalent p"]
    table["still rising by AUROC"] = found["rise"]
    return table


def _span(value: float, low: float, high: float) -> str:
    return f"{told((value, low, high), signed=True)}{', one seed' if math.isnan(low) else ''}"


def mean_leads(found: pd.DataFrame) -> pd.DataFrame:
    """Return each network's mean lead over data sets, early and at the end, with a 95 % interval over data sets.

    The cells of a data set share images, so they are averaged first and count as one. Synthetic sets count only where
    all are synthetic; a network with a single data set has no row. Columns: cell, network, sets, and of the figure
    early, end and their low and high.
    """
    real = found[~found["synthetic"]]
    kind, found = ("synthetic", found) if real.empty else ("real", real)
    rows = []
    for network, part in found.groupby("network", sort=False):
        sets = part.groupby("data")[["early", "end"]].mean()
        if len(sets) > 1:
            early, end = (over_seeds(sets[name], what_varies="data set") for name in ("early", "end"))
            rows.append(
                {
                    "cell": f"mean over {kind} data sets",
                    "network": network,
                    "sets": len(sets),
                    "early": early.estimate,
                    "early low": early.low,
                    "early high": early.high,
                    "end": end.estimate,
                    "end low": end.low,
                    "end high": end.high,
                }
            )
    return pd.DataFrame(
        rows, columns=["cell", "network", "sets", "early", "early low", "early high", "end", "end low", "end high"]
    )


def with_means(found: pd.DataFrame) -> pd.DataFrame:
    """Return what the figure shows: the rows of ``mean_leads``, then ``found``."""
    means = mean_leads(found)
    return found if means.empty else pd.concat([means, found], ignore_index=True)


def lead_title(found: pd.DataFrame, *, early: int) -> str:
    """Return each network's mean lead early and at the end; with one data set, in how many rows it is clear."""
    said = [
        f"{row['network']} {_span(row['early'], row['early low'], row['early high'])} after {early} steps, "
        f"{_span(row['end'], row['end low'], row['end high'])} at the end"
        for _, row in mean_leads(found).iterrows()
    ]
    if said:
        kind = "synthetic" if found["synthetic"].all() else "real"
        return f"Mean lead of transfer over {kind} data sets: {'; '.join(said)}"
    return f"Transfer clearly leads in {counted(found, early=early)}"


def counted(found: pd.DataFrame, *, early: int) -> str:
    """Return in how many rows the pretrained start clearly leads, early and at the end, after Holm's correction."""
    first, last = (int(((found[f"{name} p"] < CLEAR) & (found[name] > 0)).sum()) for name in ("early", "end"))
    behind = int(((found["end p"] < CLEAR) & (found["end"] < 0)).sum())
    lost = f", where it is behind in {behind}" if behind else ""
    return f"{first} of {len(found)} rows after {early} steps and in {last} at the end{lost}"


def mean_table(found: pd.DataFrame, *, early: int) -> pd.DataFrame:
    """Return ``mean_leads`` for a page."""
    means = mean_leads(found)
    table = means[["network", "sets"]].rename(columns={"sets": "data sets"})
    for name, title in (("early", f"mean lead at step {early}"), ("end", "mean lead at the end")):
        spans = zip(means[name], means[f"{name} low"], means[f"{name} high"], strict=True)
        table[f"{title} (95 % over data sets)"] = [_span(value, low, high) for value, low, high in spans]
    return table
