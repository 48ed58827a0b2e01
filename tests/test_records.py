"""Records: complete, without weights, found by what they describe, and never mistaken for another run."""

import csv
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from transfusion_lib import chapters, paths, runs
from transfusion_lib.analysis import audit
from transfusion_lib.book import parameters, profiles, project, speed
from transfusion_lib.chapters.kit import planned
from transfusion_lib.errors import DamagedError, MissingRunError, StoreError
from transfusion_lib.runs import Run, analyses, run, sums
from transfusion_lib.runs.records import Records, open_records
from transfusion_lib.runs.store import Store
from transfusion_lib.spec import InitSpec, RunSpec


@analyses.stored("tests.test_records.biggest", version=1)
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
    assert found.publish({"small/quick": specs}, source=store) == (2, 1), "the source of the weights is recorded too"
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
    monkeypatch.setattr(paths, "records_root", lambda: recorded.store.root)
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
    before = _files(recorded)
    assert recorded.publish({"small/quick": specs}, source=store) == (0, 0)
    assert _files(recorded) == before
    with pytest.raises(MissingRunError):
        Records(tmp_path / "other").publish({"small/quick": [specs[0].replace(seed=9)]}, source=store)
    assert not (tmp_path / "other").exists()


def test_what_is_recorded_already_need_not_be_in_the_store(
    recorded: Records, specs: list[RunSpec], store: Store
) -> None:
    shutil.rmtree(store.root / "runs")
    more = specs[0].replace(init=InitSpec(), seed=5)
    runs.ensure([more], store=store)
    assert recorded.publish({"small/quick": [*specs, more]}, source=store) == (1, 0)
    assert len(recorded.load([*specs, more])) == 2


def test_what_no_page_reads_can_be_removed(recorded: Records, specs: list[RunSpec], store: Store) -> None:
    other = specs[0].replace(init=InitSpec(), seed=5)
    (made,) = runs.ensure([other], store=store)
    assert biggest(made)["biggest"] > 0
    before = _files(recorded)
    both = {"small/quick": specs, "other/quick": [other]}
    assert recorded.publish(both, source=store) == (1, 1)
    assert recorded.prune(both) == (0, 0)
    assert recorded.prune({"small/quick": specs}) == (1, 1)
    assert _files(recorded) == before, "not the other study's table either"


def test_a_changed_record_is_found(recorded: Records) -> None:
    assert recorded.verify() == []
    assert recorded.stale() == []
    victim = next(recorded.store.root.glob("runs/*/record.json"))
    victim.write_text(victim.read_text().replace("0.", "1.", 1))
    (problem,) = recorded.verify()
    assert str(victim) in problem.what


@pytest.mark.parametrize(
    ("kind", "file", "listed"),
    [
        ("runs", "record.json", ["contents.csv", "studies/small/quick.csv"]),
        ("analyses", "result.json", ["analyses.csv"]),
    ],
)
def test_a_record_changed_with_its_manifest_is_found(
    recorded: Records, kind: str, file: str, listed: list[str]
) -> None:
    assert recorded.verify() == []
    folder = recorded.store.root / kind / recorded.store.keys(kind)[0]
    changed = (folder / file).read_bytes().replace(b": 1", b": 11", 1)
    assert changed != (folder / file).read_bytes()
    (folder / file).write_bytes(changed)
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    manifest[file] = hashlib.sha256(changed).hexdigest()
    (folder / "MANIFEST.json").write_text(json.dumps(manifest))
    assert [one.key for one in Records(recorded.store.root).verify()] == listed


@pytest.mark.parametrize("name", ["contents.csv", "analyses.csv", "studies/small/quick.csv"])
@pytest.mark.parametrize("said", [b"", b"key\nnone\n", b"\xff\x00,,", None])
def test_a_table_that_says_something_else_is_found_and_written_again(
    recorded: Records, specs: list[RunSpec], store: Store, name: str, said: bytes | None
) -> None:
    table = recorded.store.root / name
    right = table.read_bytes()
    table.unlink()
    if said is not None:
        table.write_bytes(said)
    assert [one.key for one in recorded.verify()] == [name]
    recorded.publish({"small/quick": specs}, source=store)
    assert table.read_bytes() == right


def test_the_contents_name_every_run_and_every_analysis(recorded: Records) -> None:
    rows = _rows(recorded.store.root / "contents.csv")
    assert {row["key"] for row in rows} == set(recorded.store.keys("runs"))
    assert all(0 <= float(row["value"]) <= 1 for row in rows)
    (computed,) = _rows(recorded.store.root / "analyses.csv")
    assert [computed["key"]] == recorded.store.keys("analyses")
    assert computed["runs"] in {row["key"][:12] for row in rows}


def test_studies_that_share_a_run_both_list_it(recorded: Records, specs: list[RunSpec], store: Store) -> None:
    more = specs[0].replace(init=InitSpec(), seed=5)
    runs.ensure([more], store=store)
    recorded.publish({"other/quick": [*specs, more]}, source=store)
    tables = recorded.store.root / "studies"
    first, second = (_rows(tables / study / "quick.csv") for study in ("small", "other"))
    assert len(first) == 2
    assert len(second) == 3
    assert [row for row in second if row in first] == first, "the same rows in the same order"


def test_no_records_are_an_error_that_says_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="transfusion publish"):
        open_records(tmp_path)


def test_every_published_chapter_finds_its_runs_without_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit above the size of a set is the whole set only to who has it: a profile must say so itself.

    The table of each study lists what its chapter reads today and what that starts from, that of each cell of the plan
    what is recorded of it, and together they list all.
    """
    monkeypatch.delenv("TRANSFUSION_DATA", raising=False)
    here = project.find(Path(__file__).parent)
    profile = profiles.load(here, "published")
    pages = [(one, profile.parameters(one)) for one in profile.pages(here)]
    recorded, read = open_records(), dict[str, set[str]]()
    for chapter, values in pages:
        study = chapters.TABLE[chapter.name].of(parameters.effective(chapter, values))
        found = study.ensure(recorded.load)
        assert found, chapter.name
        read[f"{chapter.name}/published"] = {
            one.key for one in recorded.load(runs.with_sources([one.spec for one in found]))
        }
    plan = planned.plan()
    tried = [spec for by_rate in plan.trials().values() for specs in by_rate.values() for spec in specs]
    for name, planned_runs in ({"pilot": tried} | {cell.id: plan.specs(cell) for cell in plan.cells}).items():
        specs = [spec for spec in planned_runs if recorded.has(spec)]
        if specs:
            read[f"study/{name}"] = {one.key for one in recorded.load(runs.with_sources(specs))}
    tables = recorded.store.root / "studies"
    listed = {
        path.relative_to(tables).with_suffix("").as_posix(): {row["key"] for row in _rows(path)}
        for path in tables.glob("*/*.csv")
    }
    assert listed == read
    assert set().union(*listed.values()) == set(recorded.store.keys("runs"))


def _files(records: Records) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in records.store.root.rglob("*") if path.is_file()}


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open() as file:
        return list(csv.DictReader(file))


def test_hashes_cover_every_file_of_the_checkout() -> None:
    """And ``sha256sum --check`` agrees."""
    root = paths.records_root()
    covered = {line.split("  ", 1)[1] for line in (root / sums.SUMS).read_text().splitlines()}
    files = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert {name for name in files if not name.startswith(("runs/", "analyses/"))} == covered | {sums.SUMS}
    assert list(sums.wrong(root)) == []


@pytest.fixture
def whole(recorded: Records) -> Records:
    """Records with an audit and a benchmark beside them."""
    root = recorded.store.root
    (root / "bench").mkdir()
    (root / "bench" / "train.json").write_text('{"rows": [1, 2]}')
    audit.write_audit(root, [], of=2, seed=0)
    sums.write(root)
    assert recorded.verify() == []
    return Records(root)


FILES = (
    "runs/*/MANIFEST.json",
    "runs/*/spec.json",
    "runs/*/record.json",
    "runs/*/cases.safetensors",
    "analyses/*/MANIFEST.json",
    "analyses/*/result.json",
    "contents.csv",
    "analyses.csv",
    "studies/small/quick.csv",
    "audit.json",
    "bench/train.json",
    "SHA256SUMS",
)
DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "edited": lambda path: path.write_bytes(path.read_bytes().replace(b"1", b"2")),
    "rubbish": lambda path: path.write_bytes(b"\xff\xfe{"),
    "no list": lambda path: path.write_bytes(b"{}"),
    "gone": Path.unlink,
    "a folder": lambda path: path.rename(path.with_suffix(".moved")).with_name(path.name).mkdir(),
}


def test_damage_of_every_kind_of_file_is_named_and_the_rest_is_counted(whole: Records, tmp_path: Path) -> None:
    for number, (kind, damage) in enumerate(product(FILES, DAMAGE)):
        root = tmp_path / str(number)
        shutil.copytree(whole.store.root, root)
        victim = sorted(root.glob(kind))[0]
        DAMAGE[damage](victim)
        other = next(path for path in sorted(root.glob("runs/*/record.json")) if path.parent != victim.parent)
        other.write_bytes(b"")
        problems = Records(root).verify()
        named = victim.parent if kind.startswith(("runs/", "analyses/")) else victim
        said = re.compile(f"git checkout -- .*{re.escape(str(named))}")
        assert any(said.search(one.what) for one in problems), (kind, damage, problems)
        assert any(str(other) in one.what for one in problems), (kind, damage, "the count stopped")


@pytest.mark.parametrize("kind", ["runs", "analyses"])
def test_a_lost_entry_is_named(whole: Records, kind: str) -> None:
    key = whole.store.keys(kind)[0]
    shutil.rmtree(whole.store.root / kind / key)
    (problem,) = Records(whole.store.root).verify()
    assert problem.key == key
    assert f"git checkout -- {whole.store.root / kind / key}" in problem.what


def test_all_lost_entries_are_named(whole: Records) -> None:
    shutil.rmtree(whole.store.root / "analyses")
    (whole.store.root / "analyses").write_text("no folder")
    assert any("is missing, and analyses.csv lists it" in one.what for one in whole.verify())


def test_a_damaged_audit_or_benchmark_is_an_error_that_names_it(whole: Records) -> None:
    root = whole.store.root
    for path, read in (
        (root / "audit.json", lambda: audit.read_audit(root)),
        (root / "bench" / "train.json", lambda: speed.page(root / "bench")),
    ):
        sound = path.read_bytes()
        for said in (sound[:-3], sound.replace(b"2", b"3")):
            path.write_bytes(said)
            with pytest.raises(DamagedError, match=f"{path.name} is not what was .*git checkout -- {path}"):
                read()


def test_no_checksum_calls_a_broken_file_sound(whole: Records, specs: list[RunSpec], store: Store) -> None:
    broken = whole.store.root / "bench" / "train.json"
    broken.write_text('{"rows": [1, ')
    with pytest.raises(DamagedError, match=f"{broken} is no JSON .*git checkout"):
        whole.publish({"small/quick": specs}, source=store)


def test_a_new_benchmark_has_its_checksum_when_published(whole: Records, specs: list[RunSpec], store: Store) -> None:
    fresh = whole.store.root / "bench" / "data.json"
    fresh.write_text('{"rows": []}')
    (problem,) = whole.verify()
    assert f"{fresh} has no checksum" in problem.what
    assert "transfusion publish writes it" in problem.what
    whole.publish({"small/quick": specs}, source=store)
    assert whole.verify() == []
