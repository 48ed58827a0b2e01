"""The frame of a page: its foot names every run with its score and a command that finds that run."""

import csv
import re
from pathlib import Path

import pytest

from transfusion_lib import chapters, paths
from transfusion_lib.analysis import audit
from transfusion_lib.book import page as chapter
from transfusion_lib.book import parameters, profiles, project
from transfusion_lib.runs.store import Store


def test_the_foot_has_a_command_and_the_recorded_score_for_each_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent)
    monkeypatch.setenv(profiles.VARIABLE, "published")
    monkeypatch.setattr(chapter, "display", lambda shown: None)
    here = project.find()
    values = profiles.load(here, "published").parameters(here.chapter("performance"))
    page = chapter.open_chapter(chapters.Performance.of(parameters.effective(here.chapter("performance"), values)))
    found = page.runs()
    said = re.findall(
        r"<code>transfusion verify --records (\w{12})</code> ([^<]*?): test AUROC ([\d.]+)", page.foot().data
    )
    assert len(said) == len(found) > 30
    with (paths.records_root() / "contents.csv").open() as file:
        rows = {row["key"][:12]: row for row in csv.DictReader(file)}
    assert [(key, value) for key, _, value in said] == [(run.key[:12], rows[run.key[:12]]["value"]) for run in found]
    assert len({what for _, what, _ in said}) == len(found), "no two runs are called the same"
    named = audit.named(Store(paths.records_root()), [key for key, _, _ in said])
    assert [run.spec for run in named] == [run.spec for run in found]
