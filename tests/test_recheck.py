"""Training again finds what hashes cannot: a record that is whole and wrong."""

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.test_segmentation import LUNGS
from transfusion_lib import runs
from transfusion_lib.errors import DataError, InterruptedRunError, StoreError
from transfusion_lib.runs import audit
from transfusion_lib.runs.run import KIND, Run
from transfusion_lib.runs.store import Entry, Store
from transfusion_lib.spec import InitSpec, RunSpec
from transfusion_lib.training import device as devices
from transfusion_lib.training import interrupts, provenance
from transfusion_lib.training.device import Resources
from transfusion_lib.training.train import Progress


def test_a_sound_store_agrees_to_the_bit(store: Store, small: RunSpec, tmp_path: Path) -> None:
    child = small.replace(init=InitSpec(method="pretrained", weights=small), seed=8)
    runs.ensure([small, child])
    found = [audit.again(run, among=store, weights=store) for run in audit.sample(store, 5, seed=0)]
    assert sorted(one.key for one in found) == store.keys(KIND)
    assert all(
        (one.agrees, one.tolerance, one.curve, one.final, one.scores) == (True, 0.0, 0.0, 0.0, 0.0) for one in found
    )


def test_a_run_is_named_by_the_first_digits_of_its_key(store: Store, small: RunSpec) -> None:
    one, other = runs.ensure([small, small.replace(seed=8)])
    assert [run.key for run in audit.named(store, [other.key[:12], one.key, other.key[:12]])] == [other.key, one.key]
    with pytest.raises(StoreError, match="2 finished runs, but none begins with 8c76c2z"):
        audit.named(store, ["8c76c2z"])
    with pytest.raises(StoreError, match="2 begin with : give more digits"):
        audit.named(store, [""])


def test_a_segmentation_is_trained_again_too(store: Store) -> None:
    """Its curves have a list per step, one number for each region."""
    (run,) = runs.ensure([LUNGS])
    found = audit.again(run, among=store, weights=store)
    assert (found.agrees, found.curve, found.final, found.scores) == (True, 0.0, 0.0, 0.0)


def _changed(store: Store, run: Run, change: Callable[[dict[str, Any]], None]) -> Run:
    """Store ``run`` with another record, whole by its checksums, and return it."""
    files = {path.name: path.read_bytes() for path in run.entry.folder.iterdir() if path.name != "MANIFEST.json"}
    record = json.loads(files["record.json"])
    change(record)
    files["record.json"] = json.dumps(record).encode()
    store.set_aside(KIND, run.key)
    store.add(KIND, run.key, files)
    assert store.verify() == []
    return Run(run.spec, Entry(store.root / KIND / run.key))


def _elsewhere(record: dict[str, Any]) -> None:
    for made in (record["provenance"], *record["provenance"]["sittings"]):
        made["machine"]["processor"] = "another"


def _stopped(spec: RunSpec, *, at: int, resources: Resources) -> None:
    """Train ``spec`` until it is asked to stop at a step, and leave its checkpoint."""

    def stop(_spec: RunSpec, progress: Progress) -> None:
        if progress.step == at:
            interrupts.request()

    with pytest.raises(InterruptedRunError), interrupts.on_sigterm():
        runs.ensure([spec], resources=resources, report=stop)


def test_a_run_of_two_sittings_says_both(store: Store, small: RunSpec) -> None:
    """Stopped under two threads, it goes on under one: the sums were divided otherwise, so no bit is demanded."""
    one, two = (Resources(device=torch.device("cpu"), threads=threads) for threads in (1, 2))
    _stopped(small, at=5, resources=two)
    [run] = runs.ensure([small], resources=one)
    made = run.record["provenance"]
    said = [(part["first_step"], part["last_step"], part["machine"]["threads"]) for part in made["sittings"]]
    assert said == [(0, 5, 2), (5, 12, 1)]
    assert made["machine"]["threads"] == 1
    assert all(part["started"] <= part["finished"] for part in made["sittings"])
    assert set(made) - {"sittings"} == set(provenance.record(torch.device("cpu")))
    found = audit.again(run, among=store, weights=store)
    assert found.agrees
    assert found.start_tolerance == audit.START


def test_a_run_stopped_and_continued_alike_agrees_to_the_bit(store: Store, small: RunSpec) -> None:
    same = Resources(device=torch.device("cpu"))
    _stopped(small, at=5, resources=same)
    [run] = runs.ensure([small], resources=same)
    assert len(run.record["provenance"]["sittings"]) == 2
    found = audit.again(run, among=store, weights=store)
    assert (found.start_tolerance, found.scores, found.agrees) == (0.0, 0.0, True)


def test_a_run_whose_first_sitting_nobody_recorded_is_not_held_to_bits(store: Store, small: RunSpec) -> None:
    def forget(record: dict[str, Any]) -> None:
        record["provenance"]["sittings"][0]["first_step"] = 5

    run = _changed(store, runs.ensure([small])[0], forget)
    assert audit.again(run, among=store, weights=store).start_tolerance == audit.START


def test_a_record_of_the_pilot_has_one_sitting(store: Store, small: RunSpec) -> None:
    run = _changed(store, runs.ensure([small])[0], lambda record: record["provenance"].pop("sittings"))
    assert audit.again(run, among=store, weights=store).start_tolerance == 0.0


@pytest.mark.parametrize("number", [0, -1])
def test_a_wrong_number_is_found_on_a_machine_like_this(store: Store, small: RunSpec, number: int) -> None:
    """By one part in a million."""

    def change(record: dict[str, Any]) -> None:
        record["curve"]["test_auroc"][number] += 1e-6

    run = _changed(store, runs.ensure([small])[0], change)
    found = audit.again(run, among=store, weights=store)
    assert (found.start_tolerance, found.tolerance, found.final_tolerance) == (0.0, 0.0, 0.0)
    assert not found.agrees


@pytest.mark.parametrize(
    ("number", "by", "agrees"),
    [(0, audit.START * 0.9, True), (0, audit.START * 1.1, False),
     (-1, audit.USUAL_SPREAD * audit.FINAL_SPREADS * 0.9, True),
     (-1, audit.USUAL_SPREAD * audit.FINAL_SPREADS * 1.1, False)],
)  # fmt: skip
def test_elsewhere_a_number_may_be_as_far_off_as_rounding_leads(
    store: Store, small: RunSpec, number: int, by: float, agrees: bool
) -> None:
    """Before the first step hardly, at the last more; no other seed says how far, so a usual spread does."""

    def change(record: dict[str, Any]) -> None:
        _elsewhere(record)
        record["curve"]["test_auroc"][number] += by

    run = _changed(store, runs.ensure([small])[0], change)
    found = audit.again(run, among=store, weights=store)
    assert (found.start if number == 0 else found.final) == pytest.approx(by)
    assert (found.start_tolerance, found.tolerance) == (audit.START, audit.SPREADS * audit.USUAL_SPREAD)
    assert found.agrees == agrees


def test_elsewhere_a_curve_may_be_as_far_off_as_other_seeds(store: Store, small: RunSpec) -> None:
    """The spread is the mean over all pairs of seeds of this run, and no other run counts."""
    made = runs.ensure([small.replace(seed=seed) for seed in (1, 2, 3)])
    runs.ensure([small.replace(train=small.train.replace(learning_rate=1e-2))])
    names = [name for name in made[0].curve if name.startswith(("val_", "test_")) and "_by_" not in name]
    scores = [np.array([run.curve[name] for name in names]) for run in made]
    spread = np.mean([np.abs(one - other).mean() for one, other in combinations(scores, 2)])
    found = audit.again(_changed(store, made[0], _elsewhere), among=store, weights=store)
    assert spread > 0
    assert found.tolerance == pytest.approx(audit.SPREADS * spread)
    assert found.final_tolerance == pytest.approx(audit.FINAL_SPREADS * spread)
    assert found.agrees

    def swap(record: dict[str, Any]) -> None:
        _elsewhere(record)
        record["curve"] = made[1].curve

    swapped = audit.again(_changed(store, made[0], swap), among=store, weights=store)
    assert swapped.start > audit.START
    assert not swapped.agrees


def test_a_wrong_curve_is_found_and_does_not_widen_its_own_limit(store: Store, small: RunSpec) -> None:
    """It starts and ends as it should, and lies."""
    made = runs.ensure([small, small.replace(seed=4)])
    sound = audit.again(_changed(store, made[0], _elsewhere), among=store, weights=store)

    def lie(record: dict[str, Any]) -> None:
        _elsewhere(record)
        for name, scores in record["curve"].items():
            if name.startswith(("val_", "test_")) and "_by_" not in name:
                scores[1:-1] = [score - 1 for score in scores[1:-1]]

    found = audit.again(_changed(store, made[0], lie), among=store, weights=store)
    assert (found.start, found.final, found.tolerance) == (0.0, 0.0, sound.tolerance)
    assert not found.agrees


def test_other_steps_are_as_far_as_scores_can_be(store: Store, small: RunSpec, tmp_path: Path) -> None:
    """And such a result can be kept: JSON has no infinity."""

    def change(record: dict[str, Any]) -> None:
        _elsewhere(record)
        record["curve"]["step"][-1] += 1

    found = audit.again(_changed(store, runs.ensure([small])[0], change), among=store, weights=store)
    assert (found.start, found.curve, found.final, found.agrees) == (1.0, 1.0, 1.0, False)
    assert audit.write_audit(tmp_path, [found], of=1, seed=0).is_file()


def test_weights_made_elsewhere_start_elsewhere(store: Store, small: RunSpec) -> None:
    child = small.replace(init=InitSpec(method="pretrained", weights=small), seed=8)
    run = _changed(store, runs.ensure([small, child])[1], _elsewhere)
    found = audit.again(run, among=store, weights=store)
    assert found.start_tolerance is None
    assert found.tolerance == audit.SPREADS * audit.USUAL_SPREAD
    assert found.agrees


def test_a_cheap_sample_has_short_runs_without_a_source(store: Store, small: RunSpec) -> None:
    child = small.replace(init=InitSpec(method="pretrained", weights=small), seed=8)
    (made, _) = runs.ensure([small, child])
    assert [run.key for run in audit.sample(store, 5, seed=0, within=1e6)] == [made.key]
    assert audit.sample(store, 5, seed=0, within=0.0) == []


def test_seconds_of_a_gpu_say_nothing_of_a_cpu(store: Store, small: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFUSION_DEVICE", "cpu")
    (run,) = runs.ensure([small])
    assert audit.sample(store, 5, seed=0, within=1e6)
    here = devices.describe(torch.device("cpu"))
    monkeypatch.setattr(devices, "describe", lambda _: here | {"gpu": "NVIDIA H100 80GB HBM3"})
    runs.ensure([small.replace(seed=9)])
    assert [one.key for one in audit.sample(store, 5, seed=0, within=1e6)] == [run.key]
    assert len(audit.sample(store, 5, seed=0)) == 2


def test_a_gpu_is_another_machine(store: Store, small: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    here = devices.describe(torch.device("cpu"))
    with monkeypatch.context() as patch:
        patch.setattr(devices, "describe", lambda _: here | {"gpu": "NVIDIA H100 80GB HBM3"})
        (run,) = runs.ensure([small])
    assert audit.again(run, among=store, weights=store).start_tolerance == audit.START


def test_an_audit_is_kept_and_read(store: Store, small: RunSpec, tmp_path: Path) -> None:
    (run,) = runs.ensure([small])
    compared = [audit.again(run, among=store, weights=store)]
    assert audit.read_audit(tmp_path) is None
    audit.write_audit(tmp_path, compared, of=40, seed=3)
    found = audit.read_audit(tmp_path)
    assert found is not None
    assert (found["records"], found["seed"], found["runs"][0]["key"]) == (40, 3, run.key)
    assert found["runs"][0]["agrees"]
    assert found["made"]["machine"]["instructions"]


def test_a_sample_is_of_its_size_and_seed(store: Store, small: RunSpec) -> None:
    runs.ensure([small.replace(seed=seed, train=small.train.replace(steps=1)) for seed in range(4)])
    drawn = [[run.key for run in audit.sample(store, 2, seed=seed)] for seed in (0, 0, 1, 2, 3)]
    assert drawn[0] == drawn[1]
    assert len(set(map(tuple, drawn))) > 1
    assert all(len(set(keys)) == 2 for keys in drawn)


def test_a_run_on_other_data_is_not_compared(store: Store, small: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    (run,) = runs.ensure([small])
    monkeypatch.setattr(audit, "key", lambda spec: "0" * 64)
    with pytest.raises(DataError, match="trained on other data or weights than are here now"):
        audit.again(run, among=store, weights=store)


def test_runs_of_another_version_are_passed_over(store: Store, small: RunSpec) -> None:
    """A later version's spec has fields that this one does not know: neither samples nor estimates stumble."""
    (run,) = runs.ensure([small])
    files = {name: run.entry.read(name) for name in ("spec.json", "record.json")}
    later = {name: content.replace(b'"seed": 3', b'"seed": 3, "later": 1') for name, content in files.items()}
    assert later != files
    store.add(KIND, "f" * 64, later)
    assert [one.key for one in audit.sample(store, 5, seed=0)] == [run.key]
    runs.ensure([small.replace(seed=4)])
