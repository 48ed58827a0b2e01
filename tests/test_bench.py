"""The benchmarks' frame: figures judged, kept as they come, shown with their machine; not the figures themselves."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import gpu, peer, train
from benchmarks.report import Report
from transfusion_lib import networks
from transfusion_lib.book import speed
from transfusion_lib.errors import UserError
from transfusion_lib.spec import ModelSpec


def test_figures_are_judged_and_kept_as_they_come(tmp_path: Path) -> None:
    said: list[str] = []
    report = Report("store", said.append, tmp_path / "bench" / "store.json")
    report.note("twice | measured")
    report.add("ratio", 3.4, "times", at_least=3.5)
    report.add("seconds", 1.0, "s", at_most=1, details="a|b")
    kept = json.loads((tmp_path / "bench" / "store.json").read_text())
    assert [(row["met"], row["target"]) for row in kept["rows"]] == [(False, "at least 3.5"), (True, "at most 1")]
    assert kept["made"]["machine"]["cores"] >= 1
    assert said[1] == "ratio: 3.4 times (at least 3.5: missed)"
    shown = speed.page(tmp_path / "none", tmp_path / "bench")
    assert "| ratio | 3.4 times | at least 3.5: **missed** |  |" in shown
    assert kept["made"]["machine"]["processor"] in shown
    assert "a\\|b" in shown
    assert "Nothing was measured" in speed.page(tmp_path / "none")


def test_figures_of_several_subjects_are_one_table_with_details_below(tmp_path: Path) -> None:
    """The longer side goes down: a phone shows few columns."""
    report = Report("train", lambda said: None, tmp_path / "train.json")
    report.add("matrix product", 1234.0, "GFLOP/s")
    report.add("images", 999.7, "a second")
    for network, times in (("cbr_tiny", 3.4), ("resnet50", 2.0)):
        report.add(f"{network}: faster", times, "times", at_least=3.5, details="spread")
        report.add(f"{network}: of the limit", 93.04, "%")
        report.add(f"{network}: page faults", 0.0, "a step")
    report.add("resnet50: only here", 1.0, "s")
    shown = speed.page(tmp_path).splitlines()
    assert "|  | cbr_tiny | resnet50 |" in shown
    assert "| faster | 3.4 times<br>at least 3.5: **missed** | 2 times<br>at least 3.5: **missed** |" in shown
    assert "| only here |  | 1 s |" in shown
    assert "| matrix product | 1,234 GFLOP/s |" in shown
    assert "| images | 1,000 a second |" in shown
    details = shown[shown.index(":::{dropdown} Spreads and details") : shown.index(":::")]
    assert "| cbr_tiny: faster | 3.4 times | at least 3.5: **missed** | spread |" in details
    for network in ("a", "b", "c", "d"):
        report.add(f"{network}: faster", 1.0, "times")
    assert "|  | faster | of the limit | page faults | only here |" in speed.page(tmp_path).splitlines()


@pytest.mark.slow
def test_both_loops_see_the_same_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRANSFUSION_DATA", raising=False)
    monkeypatch.setattr(train, "IMAGES", 64)
    assert train.write_images(tmp_path) == "fundus"
    run = train.our_run("cbr_tiny", "float32")
    assert len(run.splits["train"]) == len(list(tmp_path.glob("*/*.jpeg"))) == 64
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12288, 2))
    loop = peer.ReferenceLoop(network, tmp_path, size=64, batch_size=32, workers=1)
    images, labels = next(loop.batches)
    ours, _ = run.batch(0)
    assert images.shape == ours.shape
    assert set(labels.tolist()) <= {0, 1}


def test_a_gpu_is_measured_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFUSION_DEVICE", "cpu")
    with pytest.raises(UserError, match="bench gpu needs a GPU"):
        gpu.measure(Report("gpu", print))


@pytest.mark.slow
def test_the_loops_of_a_gpu_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU, in float32, where nothing is replayed: the figures are of the right size and there is one of each."""
    monkeypatch.delenv("TRANSFUSION_DATA", raising=False)
    monkeypatch.setattr(train, "IMAGES", 64)
    monkeypatch.setattr(gpu, "LONG_ENOUGH", 0.0)
    monkeypatch.setattr(gpu, "our_run", lambda name, _, **rest: train.our_run(name, "float32", **rest))
    train.write_images(tmp_path)
    report = Report("gpu", print)
    cpu = torch.device("cpu")
    gpu.compare(report, "efficientnet_lite0", tmp_path, size=64, pairs=1, rate=1e3, device=cpu)
    found = {row.what.partition(": ")[2]: row.value for row in report.rows}
    assert 0.5 < found["faster for replaying steps"] < 2
    assert 20 < found["of the limit"] < 150
    work = train.step_work("efficientnet_lite0", batch=1)
    assert found["of the chip's rate"] == pytest.approx(100 * work * found["data included"] / 1e3)


def test_clocks() -> None:
    found = train.clocks(lambda: train.seconds(lambda: time.sleep(0.2)))
    assert found.wall >= 0.2
    assert found.processor < 0.15
    assert train.clocks(lambda: train.seconds(lambda: b"x" * 2**26)).faults > 100


def test_a_peer_runs_in_a_process_of_its_own() -> None:
    loop = peer.Elsewhere(_pid_and_steps)
    assert [loop(1), loop(2)] == [(loop.process.pid, 1), (loop.process.pid, 2)]
    assert loop.process.pid != os.getpid()
    loop.close()
    assert loop.process.exitcode == 0


def _pid_and_steps() -> Callable[[int], tuple[int, int]]:
    return lambda steps: (os.getpid(), steps)


def test_the_work_of_a_step_is_three_times_that_of_forward() -> None:
    """PyTorch counts forward and backward; the input of the first convolution needs no gradient."""
    network = networks.build(ModelSpec(name="cbr_tiny"), num_outputs=2, size=64, generator=torch.Generator()).train()
    with FlopCounterMode(display=False) as counter:
        network(torch.randn(train.BATCH, 3, 64, 64)).sum().backward()
    first = 2 * train.BATCH * 64 * 3 * 5 * 5 * 32 * 32
    assert train.step_work("cbr_tiny") == pytest.approx((counter.get_total_flops() + first) / 1e9, rel=0.02)
