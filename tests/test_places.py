"""Places and values that are wrong are said before anything is trained; two at once, and disks that fail, end well."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.books import small_project
from tests.pictures import class_folders, write_files
from transfusion_lib import data, paths, runs
from transfusion_lib.book import build, made, parameters, prepare
from transfusion_lib.book.execute import Build
from transfusion_lib.book.project import Project, find
from transfusion_lib.chapters import TABLE
from transfusion_lib.errors import BuildError, DamagedError, ParameterError, SpecError, StoreError
from transfusion_lib.runs.store import MANIFEST, Store, open_store
from transfusion_lib.spec import DataSpec, InitSpec, RunSpec, TrainSpec, read_spec


def curves(chapter: str = "convergence", **values: object) -> dict[str, object]:
    """Return a chapter's parameters with ``values`` in place of its defaults."""
    return parameters.effective(find().chapter(chapter), values)


def test_a_store_that_is_a_file_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    with pytest.raises(StoreError, match="is a file; point TRANSFUSION_STORE at a folder"):
        open_store(tmp_path / "store")


@pytest.mark.parametrize("name", ["TRANSFUSION_STORE", "TRANSFUSION_CACHE"])
def test_a_tilde_is_the_home(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(name, "~/mine")
    found = {"TRANSFUSION_STORE": paths.store_root, "TRANSFUSION_CACHE": data.default_cache}[name]()
    assert found == (tmp_path / "mine").resolve()


def test_relative_places_are_resolved_where_they_were_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path / "mine", class_folders())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    here = find(Path(__file__))
    for typed in ("mine", "./mine", "~/mine", f"../{tmp_path.name}/mine"):
        given = parameters.given(here.chapter("convergence"), [f"dataset={typed}"])
        assert given == {"dataset": str(tmp_path / "mine")}
    cells = parameters.given(
        here.chapter("breadth"), ['cells=[{"dataset": "mine"}, {"dataset": "fundus", "size": 32}]']
    )
    assert cells == {"cells": [{"dataset": str(tmp_path / "mine")}, {"dataset": "fundus", "size": 32}]}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"dataset": " "}, "dataset is empty"),
        ({"dataset": "no_such_set"}, "unknown data set"),
        ({"networks": ["resnet51"]}, 'unknown network "resnet51"'),
        ({"steps": 10**23}, "steps"),
        ({"steps": 10**9, "eval_every": 1}, "evaluations; raise eval_every"),
    ],
)
def test_what_is_wrong_with_a_chapters_values_is_said_first(values: dict[str, object], said: str) -> None:
    chapter = find().chapter("convergence")
    with pytest.raises((ParameterError, SpecError), match=said) as error:
        prepare.check([(chapter, values)])
    assert str(error.value).startswith("chapter convergence: ")
    assert len(str(error.value)) < 700


def test_chapters_on_curves_leave_bad_files_out_where_asked(tmp_path: Path) -> None:
    files = class_folders() | {"cat/broken.png": b"broken"}
    values = curves(dataset=str(write_files(tmp_path, files)), on_bad="skip", size=32)
    study = TABLE["convergence"].of(values)
    assert {spec.data.on_bad for spec in study.specs()} == {"skip"}


def test_own_folders_are_named_by_their_folder() -> None:
    specs = [DataSpec(name="folder", root=root) for root in ("/a/clinic A", "/a/clinic B")]
    assert data.titles(specs) == ["clinic A", "clinic B"]
    specs = [DataSpec(name="folder", root=root) for root in ("/a/images", "/b/images", "/b/images")]
    assert data.titles(specs) == ["a/images", "b/images", "b/images"]
    assert data.titles([DataSpec(name="fundus"), DataSpec(name="chest_xray", root="/x/y")]) == ["fundus", "chest_xray"]


def test_a_file_that_is_no_spec_is_one_line(tmp_path: Path) -> None:
    for content in (os.urandom(3_000_000), os.urandom(300_000), b'{"data": "' + b"x" * 500_000):
        (tmp_path / "spec.json").write_bytes(content)
        with pytest.raises(SpecError) as error:
            read_spec(tmp_path / "spec.json")
        assert len(str(error.value)) < 500
        assert "spec.json" in str(error.value)


def test_numbers_that_no_machine_can_hold_are_refused() -> None:
    with pytest.raises(SpecError, match="steps"):
        TrainSpec(steps=10**23, eval_every=10**22)


def test_an_entry_without_its_manifest_is_made_again(store: Store, small: RunSpec) -> None:
    [run] = runs.ensure([small])
    (run.entry.folder / MANIFEST).unlink()
    assert [one.state for one in runs.todo([small])] == ["missing"]
    [again] = runs.ensure([small])
    assert again.entry.verify() is None
    assert runs.load(small).final == again.final
    assert len(list((store.root / "damaged").iterdir())) == 1


def test_damaged_weights_of_a_source_are_made_again(
    store: Store, small: RunSpec, caplog: pytest.LogCaptureFixture
) -> None:
    [source] = runs.ensure([small])
    weights = source.entry.folder / "final.safetensors"
    sound = weights.read_bytes()
    weights.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    started = small.replace(init=InitSpec(method="pretrained", weights=small), seed=4)
    with caplog.at_level(logging.WARNING, logger="transfusion"):
        [run] = runs.ensure([started])
    assert run.final
    assert weights.read_bytes() == sound
    assert "is set aside and made again" in caplog.text


def test_a_damaged_snapshot_is_called_damaged(store: Store, small: RunSpec) -> None:
    kept = small.replace(train=small.train.replace(snapshots=(5,)))
    [run] = runs.ensure([kept])
    path = run.entry.folder / "snapshot-5.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(DamagedError, match=r"its checksum differs.*transfusion verify"):
        run.weights(5)


def test_two_builds_of_one_folder_take_turns(tmp_path: Path) -> None:
    folder = tmp_path / "build" / "book"
    said: list[str] = []
    order: list[str] = []

    def second() -> None:
        with build.claimed(folder, say=said.append):
            order.append("second")

    with build.claimed(folder, say=said.append):
        other = threading.Thread(target=second)
        other.start()
        while not said:
            time.sleep(0.01)
        order.append("first")
    other.join()
    assert order == ["first", "second"]
    assert len(said) == 1
    assert "waiting" in said[0]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), "removed meanwhile"),
    ],
)
def test_a_build_that_cannot_be_written_is_one_line(tmp_path: Path, fault: OSError, words: str) -> None:
    with pytest.raises(BuildError, match=words) as error, build.claimed(tmp_path / "book", say=print):
        raise fault
    assert "\n" not in str(error.value)
    with build.claimed(tmp_path / "book", say=print):
        pass  # it is free again


def test_a_page_or_record_of_a_build_that_changed_is_not_believed(tmp_path: Path) -> None:
    one = Build("id", "quick", tmp_path)
    write_files(tmp_path, {"html/index.html": "<p>0.91</p>", "build.json": json.dumps({"build": "id"}), "source/x": ""})
    made.write(one)
    assert made.changed(tmp_path) == []
    assert made.load(tmp_path, "build.json") == {"build": "id"}
    assert made.load(tmp_path, "none.json") is None
    (tmp_path / "html" / "index.html").write_text("<p>0.97</p>")
    assert made.changed(tmp_path) == ["html/index.html"]
    (tmp_path / "build.json").write_text(json.dumps({"build": "if"}))
    with pytest.raises(BuildError, match=r"not what was made.*transfusion book"):
        made.load(tmp_path, "build.json")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint_and_says_so(store: Store, small: RunSpec, number: signal.Signals) -> None:
    spec = small.replace(train=small.train.replace(steps=4000, eval_every=5))
    command = [sys.executable, "-m", "transfusion_lib", "run", spec.to_json()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        work = store.root / "work" / runs.key(spec)
        while not (work / "holder.json").is_file():
            time.sleep(0.05)
        time.sleep(3)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "the same command goes on from there" in said
    assert "Traceback" not in said
    assert (work / "checkpoint.json").is_file()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="needs Linux")
def test_a_signal_while_importing_ends_with_the_status_of_a_queue(store: Store, small: RunSpec) -> None:
    command = [sys.executable, "-m", "transfusion_lib", "run", small.to_json()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        maps = Path(f"/proc/{process.pid}/maps")
        while "libtorch" not in maps.read_text():  # it takes seconds to come in
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 75, said
    assert "Traceback" not in said


def test_a_small_project_can_be_checked(tmp_path: Path) -> None:
    place = small_project(tmp_path)
    prepare.check([(place.chapters[0], {})])
    assert isinstance(place, Project)
