"""What the landing page says of the study: how much sooner, at which score in the end, how much of a network can go."""

import functools
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from transfusion_lib import markup, networks
from transfusion_lib.chapters.kit import scores
from transfusion_lib.chapters.kit.curve_tables import NETWORKS
from transfusion_lib.chapters.kit.findings import Findings, final
from transfusion_lib.chapters.kit.planned import Judged
from transfusion_lib.runs import Run
from transfusion_lib.spec import ModelSpec
from transfusion_lib.stats import Interval, combine, over_seeds
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


def sooner_title(way: pd.DataFrame) -> str:
    """Return on how many tasks pretrained weights are ahead at the first and at the last evaluation."""
    first, last = (_ahead(way, place) for place in ("min", "max"))
    tasks = way.groupby(["task", "network"], sort=False).ngroups
    early, late = int(way["step"].min()), int(way["step"].max())
    return f"Pretrained is ahead on {first} of {tasks} tasks at step {early}, on {last} at step {late}"


def kept_title(rows: pd.DataFrame) -> str:
    """Return how small a network may be cut with a score that is not clearly lower."""
    fine = rows[[direction(low, high) >= 0 for low, high in zip(rows["low"], rows["high"], strict=True)]]
    if fine.empty:
        return "Every cut network scores clearly lower"
    return f"With {share(fine['share'].min())} of its parameters a network's score is not clearly lower"


def sentences(findings: Findings, board: dict[str, Judged]) -> list[str]:
    """Return the three sentences of the landing page: sooner, in the end, how much can go."""
    return [_sooner(findings), _in_the_end(findings, board), _how_much(findings, board)]


def _sooner(findings: Findings) -> str:
    gains = []
    for cell, task, network in _settings(findings, SPEED):
        arms = findings.arms(cell, task, network)
        if {"random", "pretrained"} <= set(arms):
            step = arms["random"][0].curve["step"][1]
            gains.append([_at(arms[start], 1) for start in ("pretrained", "random")])
    if not gains:
        return f"**Sooner?** Not run yet: {_hours(findings, SPEED)}."
    clear = sum(direction(one.low, one.high) > 0 for one in (combine(pair, [1, -1]) for pair in gains))
    means = [float(np.mean([pair[place].estimate for pair in gains])) for place in (0, 1)]
    answer = "yes" if clear == len(gains) else f"on {clear} of {len(gains)} tasks" if clear else "not clearly"
    return (
        f"**Sooner: {answer}.** "
        f"After {step} steps networks from ImageNet weights have a validation AUROC of {number(means[0])}, from random "
        f"weights {number(means[1])} (means over {len(gains)} tasks; clearly higher on {clear})."
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
    fine = rows[[direction(low, high) >= 0 for low, high in zip(rows["low"], rows["high"], strict=True)]]
    if fine.empty:
        return "**Smaller: no.** Every cut network scores clearly lower than the whole one."
    best = fine.loc[fine["share"].idxmin()]
    score = "Dice" if best["network"].startswith("U-Net") else "AUROC"
    change = told((best["mean"], best["low"], best["high"]), signed=True)
    return (
        f"**Smaller: yes.** {best['network']} with {share(best['share'])} of its parameters changes the test {score} "
        f"on {best['task']} by {change}."
    )


def _ahead(way: pd.DataFrame, place: str) -> int:
    """Return on how many tasks the pretrained interval lies above the random one's mean difference."""
    count = 0
    for _, part in way.groupby(["task", "network"], sort=False):
        rows = part[part["step"] == getattr(part["step"], place)()].set_index("start")
        if {"random", "pretrained"} <= set(rows.index):
            count += bool(rows.loc["pretrained", "low"] > rows.loc["random", "high"])
    return count


def _settings(findings: Findings, cells: Sequence[str] | dict[str, str]) -> Iterator[tuple[str, str, str]]:
    by_id = {cell.id: cell for cell in findings.plan.cells}
    for name in cells:
        for task in by_id[name].tasks:
            for network in by_id[name].networks:
                if findings.arms(name, task, network):
                    yield name, task, network


def _at(runs: Sequence[Run], place: int) -> Interval:
    return over_seeds([run.on_the_way[place] for run in runs])


def _row(findings: Findings, task: str, network: str, values: Interval) -> dict[str, object]:
    title, base = findings.plan.tasks[task].title, networks.base(network)
    called = f"U-Net over {NETWORKS[base]}" if network.startswith("unet") else NETWORKS[base]
    return {"task": title, "network": called, "mean": values.estimate, "low": values.low, "high": values.high}


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
    left = sum(map(plan.hours, planned - set(findings.runs)))
    titles = [plan.tasks[name].title for cell in plan.cells for name in cell.tasks]
    made = {task.title for task in plan.tasks.values() if any(task.data.name == r.spec.data.name for r in runs)}
    done = [title for title in dict.fromkeys(titles) if title in made]
    used = {NETWORKS[networks.base(run.spec.model.name)] for run in runs}
    machines = {run.record["provenance"]["machine"]["processor"] for run in runs}
    hours = sum(run.record["seconds"] * run.record["provenance"]["machine"]["threads"] for run in runs) / 3600
    train = [run.record["dataset"]["cases"]["train"] for run in runs]
    rows = [
        ("tasks", "diabetic retinopathy (private), CheXpert", "chest x-rays, pulmonary embolism, lungs", listed(done)),
        ("training images", "5,000 to 250,000", "to 224,000", _span(train)),
        ("image size", "587 px, 224 px", "224 px", f"{_span([run.spec.data.size for run in runs])} px"),
        (
            "networks",
            "ResNet-50, Inception-v3, four CBRs",
            "ResNet-50, DenseNet-121, EfficientNet-B0, U-Net, ResNeXt3D-101",
            listed(sorted(used)),
        ),
        ("steps", "to 140,000", "to convergence", _span([run.spec.train.steps for run in runs])),
        ("runs of an arm", "3", "3", _span([cell.runs for cell in plan.cells if not findings.missing(cell)])),
        ("each run draws", "its seed", "its seed", "its seed and its split of the images"),
        ("weights start from", "ImageNet", "ImageNet", "ImageNet (EfficientNet-Lite0); Tiny-ImageNet-100 (the others)"),
        ("hardware", "not said", "not said", "; ".join(sorted(machines))),
        ("runs", "", "", f"{len(runs):,} of {len(planned):,} planned; {hours:.1f} core-hours, about {left:.0f} to go"),
    ]
    head = ("", "Transfusion (2019)", "TruncatedTL (2023)", "this book")
    return markup.markdown(head, rows)


def _span(values: Sequence[int]) -> str:
    low, high = min(values, default=0), max(values, default=0)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
