"""A chapter at work: its banner, its runs with progress, its figures, glued numbers, and its provenance foot.

The same code serves the builder and a notebook opened by hand, which shows curves that grow (``live``). Outputs that
reach a page need no script.
"""

import base64
import platform
import time
from collections.abc import Sequence
from typing import Any

import pandas as pd
from IPython.display import HTML, display
from matplotlib.figure import Figure

from transfusion_lib import data, runs
from transfusion_lib.book import pilot, profiles, project, verdicts
from transfusion_lib.book.execute import leave_out_slow_import
from transfusion_lib.book.live import Reporter, Runs, keep_warnings
from transfusion_lib.chapters.kit import style
from transfusion_lib.chapters.kit.curve_tables import called, data_of
from transfusion_lib.chapters.kit.study import Study
from transfusion_lib.data.reading import audit
from transfusion_lib.markup import text
from transfusion_lib.runs import Run, records
from transfusion_lib.spec import DataSpec
from transfusion_lib.training import device as devices
from transfusion_lib.training import provenance
from transfusion_lib.training.metrics import headline

LIMITS = {"images": "train", "train_images": "train", "val_images": "val", "test_images": "test"}
"""Parameters that limit a split, by their names in all studies."""
SCORES = {"test_auroc": "test AUROC", "test_dice": "test Dice"}


class Chapter:
    """One study being read: made by ``open_chapter``."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.profile = profiles.current()
        self.began = time.monotonic()
        self.found = Runs()
        self.shown = 0

    def runs(self) -> Runs:
        """Return the study's runs: the published records, or, where the profile trains, the store's and new ones."""
        if not self.profile.live:
            self.found = Runs(self.study.ensure(records.open_records().load))
            display(HTML(f"<p>{len(self.found)} recorded runs; nothing was trained for this page.</p>"))
        else:
            reporter = Reporter()
            self.found = Runs(self.study.ensure(reporter.ensure))
            display(HTML(reporter.summary()))
        if self.found:
            display(HTML(verdicts.scaled(self.study.name, _scale(self.found))))
        return self.found

    def show(self, figure: Figure, *, alt: str, caption: str, data: pd.DataFrame) -> None:
        """Show a figure as SVG, sharp at any zoom, and below it its caption, its numbers as CSV and its code.

        ``alt`` says in a sentence what the figure shows, ``caption`` how to read it (what varies, how often).
        ``data`` holds what is drawn, a row per mark.
        """
        image = {"image/svg+xml": style.svg(figure)}
        display(image, raw=True, metadata={"image/svg+xml": {"alt": alt}})
        self.shown += 1
        display(HTML(_below(caption, data, f"{self.study.name}-{self.shown}.csv", style.source(figure))))

    def answer(self, *findings: str) -> None:
        """Show the chapter's answer, the findings of its main figures; a book puts it below the question."""
        if any(findings):
            display(HTML(verdicts.answered(findings)))

    def verdicts(self, *claims: str) -> None:
        """Show the study's verdicts on claims; a book puts them in, a notebook opened by hand says where they are."""
        display(HTML(verdicts.placeholder(claims)))

    def say(self, sentence: str) -> None:
        """Show a sentence that the runs decide, or nothing."""
        if sentence:
            display(HTML(f"<p>{text(sentence[:1].upper() + sentence[1:])}</p>"))

    def glue(self, **values: object) -> None:
        """Note numbers and words for comparisons of several executions."""
        leave_out_slow_import()
        try:
            from myst_nb import glue
        except ModuleNotFoundError:  # a reader without the book's extras, on Colab for example
            return
        for name, value in values.items():
            glue(name, value, display=False)

    def foot(self) -> HTML:
        """Return what made this page: code, versions, machine, data, runs, duration."""
        made = provenance.record(devices.resources().device)
        commit = made["commit"] or "no git checkout"
        trained = sorted({run.record["provenance"]["finished"][:10] for run in self.found})
        rows = {
            "Code": f"<code>{text(commit[:12])}</code>{', with uncommitted changes' if made['dirty'] else ''}",
            "Versions": text(f"Python {made['python']}, " + ", ".join(f"{k} {v}" for k, v in made["versions"].items())),
            "Machine": text(_machine(made["machine"])),
            "Profile": text(f"{self.profile.name}: {self.profile.description}"),
            "This page": f"computed in {time.monotonic() - self.began:.0f} s, {made['finished']}",
        }
        if self.found:
            days = " to ".join(dict.fromkeys((trained[0], trained[-1])))
            command = "transfusion verify" if self.profile.live else "transfusion verify --records"
            lines = "<br>".join(_run_line(run, command) for run in self.found)
            fold = "each with its score and the command that trains it again and compares"
            rows["Data"] = "<br>".join(dict.fromkeys(_data_line(run) for run in self.found))
            rows["Runs"] = f"{len(self.found)}, trained {text(days)}<details><summary>{fold}</summary>{lines}</details>"
        body = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows.items())
        return HTML(f'<div class="tf-foot"><table>{body}</table></div>')


def open_chapter(study: Study) -> Chapter:
    """Show the banner (profile, data, whether synthetic) and the effective parameters, and return the chapter."""
    keep_warnings()
    chapter = Chapter(study)
    sets = study.data()
    names = data.titles([spec.replace(task=None) for spec in sets])
    told = (f"{name}: {data.TABLE[spec.name].info.what}" for name, spec in zip(names, sets, strict=True))
    kinds = list(dict.fromkeys(told))
    shift = any(data.TABLE[spec.name].info.shifts(spec.task, split=spec.split) for spec in sets)
    if shift:
        kinds.append("scores marked (shift) are of test images of another distribution; they measure robustness to it")
    kinds += [
        f"{name}={asked:,} is more than there are, so all are used"
        for name, split in LIMITS.items()
        if (asked := study.model_dump().get(name)) and any(_all_of(spec, split, asked) for spec in sets)
    ]
    live = "runs are trained live where the store lacks them" if chapter.profile.live else "recorded runs only"
    if study.name in chapter.profile.pilot:
        display(HTML(verdicts.noted(pilot.line(project.find(), shift=shift))))
    display(
        HTML(
            f'<div class="tf-banner"><p><b>Profile {text(chapter.profile.name)}</b>: {live}.</p>'
            f"<p><b>Data</b>: {text('; '.join(kinds))}.</p></div>"
        )
    )
    for spec in sets:
        own = data.audit(spec)
        if own is not None:
            display(HTML(f"<details><summary>audit of your images</summary>{audit.block(*own)}</details>"))
    rows = "".join(
        f"<tr><th>{text(name)}</th><td><code>{text(repr(value))}</code></td></tr>"
        for name, value in study.model_dump().items()
    )
    summary = "effective parameters, checked"
    display(HTML(f"<details><summary>{summary}</summary><table>{rows}</table></details>"))
    return chapter


def _scale(found: Sequence[Run]) -> str:
    """Return at which scale runs were made: networks, image size, training images, steps, seeds."""
    networks = list(dict.fromkeys(called(run.spec.model.name) for run in found))
    named = ", ".join(networks) if len(networks) <= 4 else f"{len(networks)} networks"
    sizes, steps = _span([run.spec.data.size for run in found]), _span([run.spec.train.steps for run in found])
    images = _span([run.record["dataset"]["cases"]["train"] for run in found])
    seeds = len({run.spec.seed for run in found})
    return f"{named}, {sizes} px, {images} images, {steps} steps, {seeds} {'seed' if seeds == 1 else 'seeds'}"


def _span(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _below(caption: str, data: pd.DataFrame, file: str, source: tuple[str, str] | None) -> str:
    """Return what stands below a figure. The CSV is in the link itself, so it works offline and in a live notebook."""
    csv = base64.b64encode(data.to_csv(index=False).encode()).decode()
    links = f'<a download="{file}" href="data:text/csv;base64,{csv}">Data (CSV)</a>'
    if source is not None:
        where, code = source
        links += f"<details><summary>Code: {text(where)}</summary><pre>{text(code)}</pre></details>"
    return f'<div class="tf-below"><p>{text(caption)}</p>{links}</div>'


def _machine(machine: dict[str, Any]) -> str:
    gpu = f", {machine['gpu']}" if "gpu" in machine else ", no GPU"
    return f"{machine['processor']}, {machine['cores']} cores{gpu}, {platform.system()}"


def _data_line(run: Run) -> str:
    about = run.record["dataset"]
    cases = ", ".join(f"{count} {part}" for part, count in about["cases"].items())
    synthetic = " <b>synthetic</b>" if about["synthetic"] else ""
    name = f"{about['name']}: {data_of(run)}, {run.spec.data.size} px"
    cases += f"; {len(about['left_out']):,} files left out" if about["left_out"] else ""
    leaks = "".join(f' <strong class="tf-leak">{text(leak)}.</strong>' for leak in about.get("leaks", ()))
    return f"{text(name)}:{synthetic} {cases}; fingerprint <code>{text(about['fingerprint'][:12])}</code>{leaks}"


def _all_of(spec: DataSpec, split: str, asked: int) -> bool:
    """Tell whether a data set takes all of a split because it has fewer images than were ``asked`` for."""
    if getattr(spec, split) is not None:
        return False
    return getattr(data.limited(spec.replace(**{split: asked})), split) is None


def _run_line(run: Run, command: str) -> str:
    name, value = headline(run.final, split="test")
    what = f"{runs.label(run.spec)}, {run.record['dataset']['cases']['train']:,} images, {run.spec.train.steps:,} steps"
    return f"<code>{command} {run.key[:12]}</code> {text(what)}: {SCORES[name]} {value:.4f}"
