"""Records: complete, without weights, found by what they describe, and never mistaken for another run."""

import csv
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from transfusion_lib import analyses, places, run, runs, studies
from transfusion_lib.book import parameters, profiles, project
from transfusion_lib.errors import MissingRunError, StoreError
from transfusion_lib.records import Records, open_records
from transfusion_lib.runs import Run
from transfusion_lib.spec import InitSpec, RunSpec
from transfusion_lib.store import Store


@analyses.stored(version=1)
def biggest(run: Run) -> dict[str, Any]:
    """Return the largest weight of a run."""
    return {"biggest": max(float(value.abs().max()) for value in run.weights().values())}


@pytest.fixture
def specs(store: Store, small: RunSpec) -> list[RunSpec]:
    """A finished run and one that starts from it, with an analysis."""
    source = small.replace(train=small.train.replace(steps=2, eval_every=1))
    child = source.replace(init=InitSpec(method="pretrained", weights=source), seed=4)
    made = runs.ensure([child], store=store)
    biggest(made[0])
    return [child]


@pytest.fixture
def recorded(specs: list[RunSpec], store: Store, tmp_path: Path) -> Records:
    """Their records."""
    found = Records(tmp_path / "results")
    assert found.publish(specs, source=store) == (2, 1), "the source of the weights is recorded too"
    return found


def test_a_record_says_what_the_run_says_but_has_no_weights(
    recorded: Records, specs: list[RunSpec], store: Store
) -> None:
    (one,) = recorded.load(specs)
    (made,) = runs.ensure(specs, store=store)
    assert one.curve == made.curve
    assert one.key == made.key
    assert one.cases["test_scores"].equal(made.cases["test_scores"])
    assert not list(recorded.store.root.rglob("final*"))
    with pytest.raises(MissingRunError, match="without weights; train it again with: transfusion run"):
        one.weights()


def test_records_are_read_without_data_or_store(
    recorded: Records, specs: list[RunSpec], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(store.root)
    monkeypatch.setattr(run, "key", lambda spec: pytest.fail("the key needs the data"))
    monkeypatch.setattr(places, "records_root", lambda: recorded.store.root)
    (one,) = open_records().load(specs)
    assert biggest(one)["biggest"] > 0


def test_the_place_of_the_data_is_nobody_elses_business(recorded: Records, specs: list[RunSpec]) -> None:
    elsewhere = specs[0].replace(data=specs[0].data.replace(root="/my/own/folder"))
    assert recorded.load([elsewhere])[0].key == recorded.load(specs)[0].key


def test_what_was_not_recorded_is_named(recorded: Records, specs: list[RunSpec]) -> None:
    other = specs[0].replace(seed=77)
    with pytest.raises(MissingRunError, match=r"records 2 runs, but not 1 of these 2; .*seed 77.*transfusion run"):
        recorded.load([specs[0], other])


def test_publishing_again_adds_nothing_and_an_unfinished_run_writes_nothing(
    recorded: Records, specs: list[RunSpec], store: Store, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in recorded.store.root.rglob("*") if path.is_file()}
    assert recorded.publish(specs, source=store) == (0, 0)
    assert {path: path.read_bytes() for path in recorded.store.root.rglob("*") if path.is_file()} == before
    with pytest.raises(MissingRunError):
        Records(tmp_path / "other").publish([specs[0].replace(seed=9)], source=store)
    assert not (tmp_path / "other").exists()


def test_what_is_recorded_already_need_not_be_in_the_store(
    recorded: Records, specs: list[RunSpec], store: Store
) -> None:
    shutil.rmtree(store.root / "runs")
    more = specs[0].replace(init=InitSpec(), seed=5)
    runs.ensure([more], store=store)
    assert recorded.publish([*specs, more], source=store) == (1, 0)
    assert len(recorded.load([*specs, more])) == 2


def test_what_no_page_reads_can_be_removed(recorded: Records, specs: list[RunSpec], store: Store) -> None:
    other = specs[0].replace(init=InitSpec(), seed=5)
    (made,) = runs.ensure([other], store=store)
    assert biggest(made)["biggest"] > 0
    before = sorted(path for path in recorded.store.root.rglob("*"))
    contents = (recorded.store.root / "contents.csv").read_text()
    assert recorded.publish([*specs, other], source=store) == (1, 1)
    assert recorded.prune([*specs, other]) == (0, 0)
    assert recorded.prune(specs) == (1, 1)
    assert sorted(path for path in recorded.store.root.rglob("*")) == before
    assert (recorded.store.root / "contents.csv").read_text() == contents


def test_a_changed_record_is_found(recorded: Records) -> None:
    assert recorded.verify() == []
    assert recorded.stale() == []
    victim = next(recorded.store.root.glob("runs/*/record.json"))
    victim.write_text(victim.read_text().replace("0.", "1.", 1))
    (problem,) = recorded.verify()
    assert str(victim) in problem.what


def test_a_record_changed_with_its_manifest_is_found(recorded: Records) -> None:
    assert recorded.verify() == []
    folder = recorded.store.root / "runs" / recorded.store.keys("runs")[0]
    changed = (folder / "record.json").read_bytes().replace(b'"seconds": ', b'"seconds": 1', 1)
    (folder / "record.json").write_bytes(changed)
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    manifest["record.json"] = hashlib.sha256(changed).hexdigest()
    (folder / "MANIFEST.json").write_text(json.dumps(manifest))
    assert [one.key for one in Records(recorded.store.root).verify()] == ["contents.csv"]


def test_the_contents_name_every_run(recorded: Records) -> None:
    with (recorded.store.root / "contents.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["key"] for row in rows} == set(recorded.store.keys("runs"))
    assert all(0 <= float(row["value"]) <= 1 for row in rows)


def test_no_records_are_an_error_that_says_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="transfusion publish"):
        open_records(tmp_path)


def test_every_published_chapter_finds_its_runs_without_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit above the size of a set is the whole set only to who has it: a profile must say so itself."""
    monkeypatch.delenv("TRANSFUSION_DATA", raising=False)
    here = project.find(Path(__file__).parent)
    profile = profiles.load(here, "published")
    pages = [(one, profile.parameters(one)) for one in profile.pages(here)] + profile.guests(here)
    for chapter, values in pages:
        study = studies.TABLE[chapter.name].of(parameters.effective(chapter, values))
        assert study.ensure(open_records().load), chapter.name
