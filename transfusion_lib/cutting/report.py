"""What ``evaluate`` found, as Markdown: for the model card, for a file, for a terminal."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transfusion_lib.analysis.evaluation import (
    FEWEST,
    Cases,
    Points,
    Report,
    Task,
    by_group,
    evaluate,
    groups,
    losses,
)
from transfusion_lib.analysis.unseen import read
from transfusion_lib.cutting.cut import finite, place_of
from transfusion_lib.cutting.model import Model, write_cases, writing
from transfusion_lib.errors import UserError, unknown
from transfusion_lib.markup import markdown, plain
from transfusion_lib.runs.cases import hashed
from transfusion_lib.stats import Interval
from transfusion_lib.stats.decisions import Rate

WORST = 10
"""Cases with the highest loss that are named."""
Levels = Mapping[Rate, int]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """An exported file on some cases."""

    task: Task
    cases: Cases
    report: Report
    by_unit: Report | None
    """A case for each unit, its probabilities averaged; None where each has one image."""
    groups: dict[str, dict[str, tuple[int, Interval | None]]]
    """Number of cases and AUROC by column and value."""


def judged(
    cases: Cases,
    task: Task,
    points: Points,
    *,
    levels: Levels,
    columns: Mapping[str, Sequence[str]] | None = None,
    by: Sequence[str] = (),
) -> Judged:
    """Return the report on cases, also by unit, and by each of the columns that ``by`` names."""
    columns = columns or {}
    for column in by:
        if column.lower() not in columns:
            raise UserError(unknown("column", column, columns))
    return Judged(
        task=task,
        cases=cases,
        report=evaluate(cases, task, points, levels=levels),
        by_unit=None if cases.clusters is None else evaluate(cases.by_unit(task), task, points, levels=levels),
        groups={column: by_group(cases, task, groups(columns[column.lower()])) for column in by},
    )


def elsewhere(
    exported: Path,
    place: str,
    *,
    levels: Levels,
    by: Sequence[str],
    unit: str | None,
    on_bad: str,
    folder: Path,
    hide: bool,
) -> tuple[Judged, str]:
    """Return an exported network on images that it has not seen, and that as Markdown; ``folder`` gets both."""
    model = Model.open(exported)
    spec = place_of(place, size=model.judge.decoding["size"], unit=unit, on_bad=on_bad)
    found = read(model.judge, spec)
    on = judged(found.cases, model.judge.task, model.points, levels=levels, columns=found.columns, by=by)
    lines = [f"# {plain(model.judge.name)} on {plain(spec.root or spec.name)}", "", f"Unit: {plain(found.unit)}."]
    if found.seen:
        lines.append(f"{found.seen:,} images left out: it was trained or chosen on them, or on others of their unit.")
    lines += [f"Left out: {plain(line)}." for line in found.left_out]
    text = "\n".join([*lines, "", sections(on, hide=hide), ""])
    save(on, folder, hide=hide)
    with writing(folder / "EVALUATION.md") as file:
        file.write(text)
    return on, text


def values(found: Judged) -> dict[str, Any]:
    """Return the report as values that JSON has."""
    groups = {
        column: {name: {"images": count, "auroc": value and asdict(value)} for name, (count, value) in each.items()}
        for column, each in found.groups.items()
    }
    whole = {"images": asdict(found.report), "by_unit": found.by_unit and asdict(found.by_unit), "groups": groups}
    known: dict[str, Any] = finite(whole)
    return known


def save(found: Judged, folder: Path, *, hide: bool) -> None:
    """Write ``evaluation.json``, and ``cases.csv`` with what each number is made of."""
    with writing(folder / "evaluation.json") as file:
        json.dump(values(found), file, indent=1, allow_nan=False)
    with writing(folder / "cases.csv") as file:
        write_cases(file, found.cases, found.task, hide=hide)


def sections(found: Judged, *, hide: bool = False) -> str:
    """Return the report as Markdown below headings of the third level; ``hide`` names cases by their hash."""
    report, task = found.report, found.task
    asked = f"; {report.positive:,} images are {plain(task.asked)}" if report.positive is not None else ""
    lines = [f"{report.cases:,} images of {report.units:,} units{asked}.", "", _scores(report)]
    if found.by_unit is not None:
        note = "A case for each unit (patient), the probabilities of its images averaged; the same thresholds."
        lines += ["", "### By unit", "", note, "", _scores(found.by_unit), "", _decisions(found.by_unit)]
    if report.decisions:
        note = "Thresholds were chosen on validation images; sensitivity and specificity are of the images here."
        lines += ["", "### Operating points", "", note, "", _decisions(report)]
    if report.confusion is not None:
        head = [r"true \ answer", *map(plain, task.classes)]
        rows = [[plain(name), *map(str, row)] for name, row in zip(task.classes, report.confusion, strict=True)]
        lines += ["", "### Confusion matrix", "", f"Answer: {plain(report.answers)}.", "", markdown(head, rows)]
    bins = [[f"{chance:.3f}", f"{share:.3f}", f"{count:,}"] for chance, share, count in report.reliability]
    lines += [
        "",
        "### Calibration",
        "",
        f"Of the {plain(report.calibrated)}, in bins of equally many cases. A calibrated",
    ]
    lines += ["network has the same number in the first two columns.", ""]
    lines.append(markdown(["mean probability", "came true", "cases"], bins))
    for column, values in found.groups.items():
        rows = [[plain(name), f"{count:,}", shown(auroc)] for name, (count, auroc) in values.items()]
        lines += ["", f"### By {plain(column)}", "", markdown([plain(column), "images", "AUROC"], rows)]
    lines += ["", "### Worst errors", "", "The images with the highest loss. Look at them.", ""]
    lines.append(markdown(["image", "true", "probability of it", "loss"], _worst(found, hide=hide)))
    return "\n".join(lines)


def _scores(report: Report) -> str:
    rows = [[name, exactly(value), value.what_varies] for name, value in report.scores.items()]
    return markdown(["score", "value and 95 % interval", "varying"], rows)


def _decisions(report: Report) -> str:
    rows = [
        [
            plain(one.question),
            f"{one.aim} {one.level} %",
            f"{one.threshold:.5f}",
            shown(one.sensitivity),
            shown(one.specificity),
        ]
        for one in report.decisions
    ]
    return markdown(["positive", "chosen for, on validation", "from probability", "sensitivity", "specificity"], rows)


def _worst(found: Judged, *, hide: bool) -> list[list[str]]:
    each = losses(found.cases, found.task)
    rows = []
    for row in np.argsort(-each, kind="stable")[:WORST]:
        name, truth, chances = found.cases.names[row], found.cases.truth[row], found.cases.chances[row]
        if found.task.kind == "multiclass":
            true, chance = found.task.classes[int(truth)], f"{chances[int(truth)]:.4f}"
        else:
            held = [k for k, value in enumerate(truth) if value == 1]
            true = ", ".join(found.task.classes[k] for k in held) or "none"
            chance = ", ".join(f"{chances[k]:.4f}" for k in held)
        rows.append([hashed(name) if hide else plain(name), plain(true), chance, f"{each[row]:.3f}"])
    return rows


def exactly(value: Interval) -> str:
    """Return an estimate to five places, so that it can be compared, and its interval to three."""
    return f"{value.estimate:.5f} ({value.low:.3f} to {value.high:.3f})"


def shown(value: Interval | None) -> str:
    """Return an estimate and its interval as a person reads them."""
    if value is None:
        return f"not judged: fewer than {FEWEST} of a kind"
    return f"{value.estimate:.3f} ({max(0.0, value.low):.3f} to {min(1.0, value.high):.3f})"
