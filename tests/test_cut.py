"""``transfusion cut`` on picture folders: its advice, its files, its errors, and that it can be stopped anywhere."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.pictures import class_folders, encoded, gradient, write_files
from transfusion_lib import __main__ as cli
from transfusion_lib import data, runs
from transfusion_lib.cutting import card, cut
from transfusion_lib.cutting.cut import Advice, advise
from transfusion_lib.errors import SpecError, UserError, WeightsError
from transfusion_lib.runs.search import Search
from transfusion_lib.runs.store import Store

TINY = {"model": "cbr_tiny", "size": 32, "seeds": 2, "start": "random", "quick": True, "steps": 6, "batch_size": 8}


def folder(root: Path, *, per_class: int = 30) -> Path:
    """Return pictures of two classes that differ in brightness."""
    files = {
        f"{name}/{k:03d}.png": encoded((gradient(100 * number + k) * (0.55 + 0.45 * number)).astype(np.uint8))
        for number, name in enumerate(("dark", "light"))
        for k in range(per_class)
    }
    return write_files(root, files)


def small(root: Path, **changes: object) -> Search:
    return cut.plan(str(root), **TINY | changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def own_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for the tests that read the same advice."""
    root = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFUSION_STORE", str(root))
        patch.setenv("TRANSFUSION_DEVICE", "cpu")
        patch.setattr(cut, "REPEATS", 50)
        yield Store(root)


@pytest.fixture(scope="module")
def advice(own_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Advice:
    return advise(small(folder(tmp_path_factory.mktemp("pictures"))), say=lambda _: None)


def test_advice_agrees_with_its_runs_and_is_written(advice: Advice, tmp_path: Path) -> None:
    rows = {row.cut: row for row in advice.rows}
    assert list(rows) == ["pool1", "pool2", "pool3", "pool4"]
    assert rows["pool4"].whole
    assert rows["pool1"].on_frontier, "the cheapest network is never dominated"
    assert advice.row.behind is None
    assert max(row.validation for row in advice.rows) == advice.row.validation
    one = rows["pool1"].behind or rows["pool2"].behind
    assert one is not None
    assert one.what_varies == "seed and test case"
    auroc = np.mean([run.final["test_auroc"]
                     for run in advice.chosen.runs])  # fmt: skip
    assert advice.scores["auroc"]["cut"].estimate == pytest.approx(auroc)
    done = card.write(advice, tmp_path / "out", levels={"specificity": 90, "sensitivity": 90})
    assert max(done.differences.values()) < 1e-5
    text = (tmp_path / "out" / "MODEL_CARD.md").read_text()
    dataset = data.load(advice.search.base.data)
    for needed in ("Not for clinical use", dataset.fingerprint, advice.exported.key[:12], "0 dark, 1 light"):
        assert needed in text
    assert advice.exported.spec.to_json() in text
    found = json.loads((tmp_path / "out" / "search.json").read_text())
    assert found["recommended"] == advice.chosen.cut
    assert "NaN" not in text


def test_networks_that_validation_cannot_tell_apart_are_said(advice: Advice) -> None:
    dataset = data.load(advice.search.base.data)
    tied = [replace(row, validation=1.0) for row in advice.rows]
    apart = [replace(row, validation=k / 10) for k, row in enumerate(advice.rows)]
    said = [
        [line for line in cut._limits(dataset, advice.search, rows, whole=False, difference=None) if "share" in line]
        for rows in (tied, apart)
    ]
    assert said[0] == ["4 networks share the best validation score: these images cannot tell them apart, and the "
                       "smallest was taken."]  # fmt: skip
    assert said[1] == []


def test_again_it_trains_nothing_and_one_se_takes_the_cheapest_that_is_as_good(advice: Advice) -> None:
    lines: list[str] = []
    again = advise(advice.search, rule="one-se", say=lines.append)
    assert sum("from the store" in line for line in lines) == 8
    close = [row for row in again.rows if row.behind is None or row.behind.estimate >= -row.behind.se]
    assert again.row.costs.macs == min(row.costs.macs for row in close)
    assert again.best == advice.chosen.cut


def test_weights_that_are_not_here_are_said_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=r"TRANSFUSION_WEIGHTS.*--model efficientnet_lite0.*--start random"):
        cut.plan("fundus", model="resnet50", quick=True)
    assert cut.plan("fundus", model="resnet50", start="random").base.init.method == "random"
    assert cut.plan("fundus", model="efficientnet_lite0", quick=True).base.init.weights == "imagenet"


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match='did you mean "resnet50"'):
        cut.plan("fundus", model="resnet5")
    with pytest.raises(SpecError, match="Nor is it a folder"):
        cut.plan(str(tmp_path / "nowhere"), model="efficientnet_lite0")
    with pytest.raises(UserError, match='unknown rule "cheap"'):
        cut.checked_rule("cheap")
    with pytest.raises(UserError, match='unknown start "warm"'):
        cut.checked_start("warm")


HOSTILE: dict[str, tuple[Mapping[str, bytes | str], str]] = {
    "empty": ({"notes.txt": "nothing"}, "no known layout: found 1 file"),
    "one class": (class_folders(classes=("only",)), "Expected a folder for each class"),
    "too few": (class_folders(per_class=1), "same label"),
    "broken": (class_folders(per_class=20) | {"cat/bad.png": b"\x89PNG no more"}, "bad.png"),
    "loose": (class_folders(per_class=20) | {"loose.png": encoded(gradient())}, "lies in no class folder"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_folders_are_one_message_and_exit_status_2(
    case: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files, says = HOSTILE[case]
    place = write_files(tmp_path / "pictures", files)
    words = ["cut", "--data", str(place), "--quick", "--model", "cbr_tiny", "--start", "random", "--size", "32"]
    monkeypatch.setattr(sys, "argv", ["transfusion", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    shown = capsys.readouterr()
    assert ended.value.code == 2
    assert says in shown.err
    assert "Traceback" not in shown.err


def test_the_command_prints_json_and_writes_files(store: Store, tmp_path: Path) -> None:
    place, out = folder(tmp_path / "pictures"), tmp_path / "out"
    words = (
        f"cut --data {place} --quick --model cbr_tiny --start random --size 32 --steps 4 --seeds 1 --out {out} --json"
    )
    found = CliRunner().invoke(cli.app, words.split())
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["recommended"] in ("pool1", "pool2", "pool3", "pool4")
    written = ["MODEL_CARD.md", "cases.csv", "evaluation.json", "model.onnx", "model.pt2", "search.json"]
    assert sorted(path.name for path in out.iterdir()) == written


@pytest.mark.slow
def test_killed_and_started_again_it_trains_nothing_twice(store: Store, tmp_path: Path) -> None:
    words = f"cut --data {folder(tmp_path / 'pictures')} --quick --model cbr_tiny --start random --size 32 --steps 60"
    command = [sys.executable, "-m", "transfusion_lib", *words.split(), "--out", str(tmp_path / "out")]
    first = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=dict(os.environ))
    end = time.monotonic() + 120
    while len(store.keys(runs.KIND)) < 3 and time.monotonic() < end:
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    done = len(store.keys(runs.KIND))
    assert done >= 3
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    trained = len(re.findall(r": trained in", again.stderr))
    assert len(store.keys(runs.KIND)) == 8
    assert trained <= 8 - done, "a worker may still have finished what it was at"
    assert "recommended:" in again.stdout


def test_masks_are_not_for_this_command(store: Store) -> None:
    search = cut.plan("synthetic_chest", task="lungs", **TINY)  # type: ignore[arg-type]
    few = search.base.data.replace(train=8, val=4, test=4)
    with pytest.raises(UserError, match="task lungs has masks: see chapter segmentation"):
        advise(search.replace(base=search.base.replace(data=few)), say=print)
