"""What the landing page says of the study: how much sooner, at which score in the end, how much of a network can go."""

import functools
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from transfusion_lib import markup, networks
from transfusion_lib.chapters.kit import scores
from transfusion_lib.chapters.kit.curve_tables import called
from transfusion_lib.chapters.kit.findings import Findings, final
from transfusion_lib.chapters.kit.planned import Judged
from transfusion_lib.papers.claims import TASK
from transfusion_lib.runs import Run
from transfusion_lib.spec import ModelSpec
from transfusion_lib.stats import Interval
from transfusion_lib.stats.words import direction, listed, number, share, told

SPEED, FINAL = ("D.lite0", "D.resnet50"), ("E.resnet50", "E.lite0", "E.cbr", "E.tiny")
CUTS = {"C.arms": "FTL", "B.arms": "whole"}
"""Cells with cut networks, and the arm of the whole one."""


def on_the_way(findings: Findings) -> pd.DataFrame:
    """Return validation AUROC of random and pretrained starts at the first and the last evaluation of the speed runs.

    One row per task, network, start and step: mean, low and high (95 % over draws), runs. Empty without such runs.
    """
    rows = []
    for cell, task, network in _settings(findings, SPEED):
        arms = findings.arms(cell, task, network)
        for start in ("random", "pretrained"):
            runs = arms.get(start, [])
            for place in (1, -1) if runs else ():  # step 0 is before training
                values = scores.over([run.on_the_way[place] for run in runs])
                at = {"step": runs[0].curve["step"][place], "runs": len(runs)}
                rows.append(_row(findings, task, network, values) | {"start": start} | at)
    return pd.DataFrame(rows, columns=["task", "network", "start", "step", "runs", "mean", "low", "high"])


def leads(findings: Findings) -> pd.DataFrame:
    """Return by how much pretrained weights are ahead of random ones in validation AUROC, draw by draw.

    One row per task, network and step (first and last evaluation): mean, low and high (95 % over draws), and the mean
    score of either start. Empty without such runs.
    """
    rows = []
    for cell, task, network in _settings(findings, SPEED):
        arms = findings.arms(cell, task, network)
        if not {"random", "pretrained"} <= set(arms):
            continue
        for place in (1, -1):
            scored = {s: np.array([run.on_the_way[place] for run in arms[s]]) for s in ("pretrained", "random")}
            shared = min(map(len, scored.values()))
            lead = scores.over((scored["pretrained"][:shared] - scored["random"][:shared]).tolist())
            at = {"step": arms["random"][0].curve["step"][place]} | {name: one.mean() for name, one in scored.items()}
            rows.append(_row(findings, task, network, lead) | at)
    return pd.DataFrame(rows, columns=["task", "network", "step", "mean", "low", "high", "pretrained", "random"])


def kept(findings: Findings) -> pd.DataFrame:
    """Return, for each cut network, the share of parameters that it keeps and the change of its test score.

    One row per task, network and cut: share, mean, low and high (95 % over draws) of the change. Empty without such.
    """
    rows = []
    for cell, task, network in _settings(findings, CUTS):
        arms = findings.arms(cell, task, network)
        whole = arms.get(CUTS[cell], [])
        for name, runs in arms.items():
            cut = runs[0].spec.model.truncate
            if cut is None or not cut.pooled or not whole:
                continue
            change = scores.over([final(a) - final(b) for a, b in zip(runs, whole, strict=False)])
            part = _parameters(runs[0]) / _parameters(whole[0])
            rows.append(_row(findings, task, network, change) | {"cut": name, "share": part})
    return pd.DataFrame(rows, columns=["task", "network", "cut", "share", "mean", "low", "high"])


def sooner_title(leads: pd.DataFrame) -> str:
    """Return on how many tasks pretrained weights are clearly ahead at the first and at the last evaluation."""
    steps = (int(leads["step"].min()), int(leads["step"].max()))
    early, late = (leads[leads["step"] == step] for step in steps)
    return (
        f"Pretrained is clearly ahead on {_clear(early)} of {len(early)} tasks at step {steps[0]}, "
        f"on {_clear(late)} at step {steps[1]}"
    )


def kept_title(rows: pd.DataFrame) -> str:
    """Return how small a network was cut and shown to lose less than the margin of a task."""
    fine = no_worse(rows)
    if fine.empty:
        return f"No cut network is shown to lose less than {TASK:g}"
    return f"With {share(fine['share'].min())} of its parameters a network loses less than {TASK:g}"


def no_worse(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the cuts whose whole interval lies above minus the margin of a task."""
    return rows[rows["low"] > -TASK]


def sentences(findings: Findings, board: dict[str, Judged]) -> list[str]:
    """Return the three sentences of the landing page: sooner, in the end, how much can go."""
    return [_sooner(findings), _in_the_end(findings, board), _how_much(findings, board)]


def _sooner(findings: Findings) -> str:
    rows = leads(findings)
    if rows.empty:
        return f"**Sooner?** Not run yet: {_hours(findings, SPEED)}."
    early = rows[rows["step"] == rows["step"].min()]
    clear, lower, of = _clear(early), _clear(early, way=-1), len(early)
    none = "no" if lower == of else "not clearly"
    answer = "yes" if clear == of else f"on {clear} of {of} tasks" if clear else none
    means = [number(float(early[start].mean())) for start in ("pretrained", "random")]
    return (
        f"**Sooner: {answer}.** After {int(early['step'].iloc[0])} steps networks from ImageNet weights have a "
        f"validation AUROC of {means[0]}, from random weights {means[1]} (means over {of} tasks; clearly "
        f"higher on {clear}{f', lower on {lower}' if lower else ''})."
    )


def _in_the_end(findings: Findings, board: dict[str, Judged]) -> str:
    verdict = board["T1"].verdict
    if verdict.outcome == "not tested here":
        return f"**Better in the end?** Not run yet: {_hours(findings, FINAL)}."
    return f"**Better in the end?** {verdict.sentence}"


def _how_much(findings: Findings, board: dict[str, Judged]) -> str:
    rows = kept(findings)
    if rows.empty:
        return f"**Smaller?** Not run yet: {_hours(findings, CUTS)}."
    fine = no_worse(rows)
    if fine.empty:
        return f"**Smaller: not shown.** Of {len(rows)} cut networks none is shown to lose less than {TASK:g}."
    best = fine.iloc[int(fine["share"].argmin())]
    score = "Dice" if best["network"].startswith("U-Net") else "AUROC"
    change = told((best["mean"], best["low"], best["high"]), signed=True)
    return (
        f"**Smaller: yes.** {best['network']} with {share(best['share'])} of its parameters changes the test {score} "
        f"on {best['task']} by {change}; of {len(rows)} cuts it is the smallest whose whole interval lies above "
        f"{number(-TASK, places=2)}."
    )


def _clear(rows: pd.DataFrame, *, way: int = 1) -> int:
    return sum(direction(low, high) == way for low, high in zip(rows["low"], rows["high"], strict=True))


def _settings(findings: Findings, cells: Sequence[str] | dict[str, str]) -> Iterator[tuple[str, str, str]]:
    by_id = {cell.id: cell for cell in findings.plan.cells}
    for name in cells:
        for task in by_id[name].tasks:
            for network in by_id[name].networks:
                if findings.arms(name, task, network):
                    yield name, task, network


def _row(findings: Findings, task: str, network: str, values: Interval) -> dict[str, object]:
    title = findings.plan.tasks[task].title
    return {"task": title, "network": called(network), "mean": values.estimate, "low": values.low, "high": values.high}


def _parameters(run: Run) -> int:
    return _counted(run.spec.model, len(run.record["dataset"]["classes"]), run.spec.data.size)


@functools.cache
def _counted(model: ModelSpec, outputs: int, size: int) -> int:
    return networks.describe(model, num_outputs=outputs, size=size).parameters


def _hours(findings: Findings, cells: Sequence[str] | dict[str, str]) -> str:
    left = [spec for cell in findings.plan.cells if cell.id in cells for spec in findings.missing(cell)]
    hours = sum(map(findings.plan.hours, left))
    return f"{listed([f'`{name}`' for name in cells])} of the plan, about {hours:.0f} core-hours"


def glance(findings: Findings) -> str:
    """Return the papers and this study side by side, as a table in Markdown; the study's column counts its runs."""
    plan, runs = findings.plan, list(findings.runs.values())
    planned = {spec for cell in plan.cells for spec in plan.specs(cell)}
    left = sum(map(plan.hours, {spec for cell in plan.cells for spec in findings.missing(cell)}))
    whole = [cell for cell in plan.cells if not findings.missing(cell)]
    done = list(dict.fromkeys(plan.tasks[name].title for cell in whole for name in cell.tasks))
    used = {called(run.spec.model.name) for run in runs}
    machines = {run.record["provenance"]["machine"]["processor"] for run in runs}
    hours = sum(run.record["seconds"] * run.record["provenance"]["machine"]["threads"] for run in runs) / 3600
    train = [run.record["dataset"]["cases"]["train"] for run in runs]
    rows = [
        (
            "tasks",
            "diabetic retinopathy (private), CheXpert",
            "chest x-rays, pulmonary embolism, lungs",
            listed(done or ["none yet"]),
        ),
        ("training images", "5,000 to 250,000", "to 224,000", _span(train)),
        ("image size", "587 px, 224 px", "224 px", f"{_span([run.spec.data.size for run in runs])} px"),
        (
            "networks",
            "ResNet-50, Inception-v3, four CBRs",
            "ResNet-50, DenseNet-121, EfficientNet-B0, U-Net, ResNeXt3D-101",
            listed(sorted(used) or ["none yet"]),
        ),
        ("steps", "to 140,000", "to convergence", _span([run.spec.train.steps for run in runs])),
        ("runs of an arm", "3", "3", _span([cell.runs for cell in whole])),
        ("each run draws", "its seed", "its seed", "its seed and its split of the images"),
        ("weights start from", "ImageNet", "ImageNet", "ImageNet (EfficientNet-Lite0); Tiny-ImageNet-100 (the others)"),
        ("hardware", "not said", "Core i9-9920X, Quadro RTX 6000 (for its run times)", "; ".join(sorted(machines))),
        ("runs", "", "", f"{len(runs):,} of {len(planned):,} planned; {hours:.1f} core-hours, about {left:.0f} to go"),
    ]
    head = ("", "this book", "Transfusion (2019)", "TruncatedTL (2023)")  # on a phone the first columns are seen
    return markup.markdown(head, [(what, ours, *papers) for what, *papers, ours in rows])


def _span(values: Sequence[int]) -> str:
    low, high = min(values, default=0), max(values, default=0)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
