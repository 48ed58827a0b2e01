"""Training again finds what hashes cannot: a record that is whole and wrong."""

import json
import math
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.test_segmentation import LUNGS
from transfusion_lib import runs
from transfusion_lib.analysis import audit
from transfusion_lib.errors import DataError, InterruptedRunError, StoreError
from transfusion_lib.runs.records import RUN_FILES, open_records
from transfusion_lib.runs.run import KIND, Run
from transfusion_lib.runs.store import Entry, Store
from transfusion_lib.spec import InitSpec, RunSpec
from transfusion_lib.training import device as devices
from transfusion_lib.training import interrupts, provenance
from transfusion_lib.training.device import Resources
from transfusion_lib.training.train import Progress

LOSS = audit.LOSS["float32"]


def test_a_sound_store_agrees_to_the_bit(store: Store, small: RunSpec, tmp_path: Path) -> None:
    runs.ensure([small, _child(small)])
    found = [audit.again(run, among=store, weights=store) for run in audit.draw(store, 5, seed=0)]
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
    assert len(run.record["first_losses"]) == 5
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
        record["curve"]["val_auroc"][number] += 1e-6

    run = _changed(store, runs.ensure([small])[0], change)
    found = audit.again(run, among=store, weights=store)
    assert (found.start_tolerance, found.tolerance, found.final_tolerance) == (0.0, 0.0, 0.0)
    assert not found.agrees


@pytest.mark.parametrize("name", ["test_auprc", "val_auroc"])
def test_a_wrong_final_score_is_found_on_a_machine_like_this(store: Store, small: RunSpec, name: str) -> None:
    """Also one that no arm judges."""
    (made,) = runs.ensure([small])
    run = _changed(store, made, lambda record: record.update(final=made.final | {name: made.final[name] + 1e-6}))
    assert not audit.again(run, among=store, weights=store).agrees


@pytest.mark.parametrize(("by", "agrees"), [(0.9, True), (1.1, False)])
@pytest.mark.parametrize("what", ["start", "loss"])
def test_elsewhere_the_first_numbers_differ_by_rounding_only(
    store: Store, small: RunSpec, what: str, by: float, agrees: bool
) -> None:
    def change(record: dict[str, Any]) -> None:
        _elsewhere(record)
        if what == "start":
            record["curve"]["val_auroc"][0] += audit.START * by
        else:
            record["first_losses"][3] /= 1 - LOSS * by

    run = _changed(store, runs.ensure([small])[0], change)
    found = audit.again(run, among=store, weights=store)
    assert (found.start if what == "start" else found.loss) == pytest.approx(
        by * (audit.START if what == "start" else LOSS), abs=1e-9
    )
    assert found.agrees == agrees


@pytest.mark.parametrize(("by", "agrees"), [(0.9, True), (1.1, False)])
def test_fewer_than_three_seeds_cannot_judge_a_final_score(
    store: Store, small: RunSpec, monkeypatch: pytest.MonkeyPatch, by: float, agrees: bool
) -> None:
    runs.ensure([small.replace(seed=seed) for seed in (1, 2)])
    (made,) = runs.ensure([small])
    name = "test_auroc"

    def change(record: dict[str, Any]) -> None:
        _elsewhere(record)
        record["final"] = made.final | {name: made.final[name] - audit.FINAL * by}

    monkeypatch.setattr(audit, "_from_cases", lambda run: 0.0)
    found = audit.again(_changed(store, made, change), among=store, weights=store)
    assert (found.arm, found.low, found.final_tolerance) == (2, None, audit.FINAL)
    assert found.judged == "cannot be judged by its arm (2 other seeds)"
    assert found.final == pytest.approx(audit.FINAL * by)
    assert found.agrees == agrees


def test_a_final_score_that_its_own_cases_do_not_give_is_found(store: Store, small: RunSpec) -> None:
    """However wide the other seeds are."""
    (made,) = runs.ensure([small])

    def change(record: dict[str, Any]) -> None:
        _elsewhere(record)
        record["final"] = made.final | {"test_auprc": made.final["test_auprc"] + 2e-4}

    found = audit.again(_changed(store, made, change), among=store, weights=store)
    assert found.cases == pytest.approx(2e-4, abs=1e-4)
    assert not found.agrees


def test_elsewhere_the_arm_judges_the_final_score(store: Store, small: RunSpec) -> None:
    """By its other seeds, of runs and of data, and by no run of another description."""
    arm = [small.replace(seed=seed, data=small.data.replace(seed=seed)) for seed in (1, 2, 3)]
    made = runs.ensure([small, *arm])
    runs.ensure([small.replace(train=small.train.replace(learning_rate=1e-2))])
    values = [run.final["test_auroc"] for run in made[1:]]
    mean, spread = np.mean(values), np.std(values, ddof=1)
    found = audit.again(_changed(store, made[0], _elsewhere), among=store, weights=store)
    assert found.arm == 3
    assert found.low == pytest.approx(mean - 4.3027 * spread * math.sqrt(4 / 3), abs=1e-4)
    assert found.high == pytest.approx(mean + 4.3027 * spread * math.sqrt(4 / 3), abs=1e-4)
    assert found.final_tolerance == pytest.approx(4.3027 * spread * math.sqrt(2), abs=1e-4)
    assert found.judged.startswith("3 other seeds: ")
    assert found.agrees


def test_one_more_seed_is_inside_the_interval_in_95_of_100_arms() -> None:
    """Simulated arms; a run that lost half of what it learnt is outside in nearly all."""
    generator = np.random.default_rng(0)
    inside, near, lost = [], [], []
    for _ in range(2000):
        *others, recorded, again = generator.normal(0.85, 0.006, size=11)
        low, high, tolerance = audit._predicted(others)
        assert low is not None
        assert high is not None
        inside.append(low <= again <= high)
        near.append(abs(again - recorded) <= tolerance)
        lost.append(low <= again - 0.1 <= high)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.015)
    assert np.mean(near) == pytest.approx(0.95, abs=0.015)
    assert np.mean(lost) < 0.01


def test_hardly_a_pair_of_other_seeds_of_the_records_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record of one seed in another's place. Of arms that hardly vary, as U-Nets do, some pairs slip through."""
    arms = defaultdict(list)
    for spec, entry in open_records().by_spec.items():
        arms[spec.replace(seed=0, data=spec.data.replace(seed=0))].append(Run(spec, entry))
    some = sorted((arm for arm in arms.values() if len(arm) > 3), key=lambda arm: arm[0].key)[::8]
    monkeypatch.setattr(audit, "_from_cases", lambda run: 0.0)  # asked of a record alone
    agree, pairs, itself = 0, 0, True
    for arm in some:
        for run in arm:
            others = [one for one in arm if one is not run]
            for one in others:
                agree += audit.compared(run, _as_found(one), others=others).agrees
                pairs += 1
            itself &= audit.compared(run, _as_found(run), others=others).agrees
    assert pairs > 200
    assert agree <= 0.05 * pairs
    assert itself


def _as_found(run: Run) -> audit.Outcome:
    return audit.Outcome(
        curve=run.curve,
        first_losses=run.record.get("first_losses", []),
        final=run.final,
        test_scores=run.cases["test_scores"],
    )


def test_another_seed_in_its_place_is_found(store: Store, small: RunSpec) -> None:
    made = runs.ensure([small.replace(seed=seed) for seed in (1, 2, 3)])

    def swap(record: dict[str, Any]) -> None:
        _elsewhere(record)
        record |= {name: made[1].record[name] for name in ("curve", "first_losses", "selected_step")}

    found = audit.again(_changed(store, made[0], swap), among=store, weights=store)
    assert found.start > audit.START
    assert found.loss is not None
    assert found.loss > 10 * LOSS
    assert not found.agrees


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
        record["curve"]["step"][-2] += 1

    found = audit.again(_changed(store, runs.ensure([small])[0], change), among=store, weights=store)
    assert (found.start, found.curve, found.agrees) == (1.0, 1.0, False)
    assert audit.write_audit(tmp_path, [found], of=1, seed=0).is_file()


def _child(small: RunSpec) -> RunSpec:
    return small.replace(init=InitSpec(method="pretrained", weights=small), seed=8)


def test_a_start_is_compared_once_its_source_is_at_hand(store: Store, small: RunSpec) -> None:
    """Of the source's very weights, on whatever machine the child was trained."""
    run = _changed(store, runs.ensure([small, _child(small)])[1], _elsewhere)
    found = audit.again(run, among=store, weights=store)
    assert (found.start_tolerance, found.source, found.agrees) == (audit.START, True, True)


def test_a_source_made_elsewhere_is_checked_against_its_own_record(store: Store, small: RunSpec) -> None:
    """Weights that rounding led elsewhere start elsewhere; those of a wrong record are found by that record."""
    source, child = runs.ensure([small, _child(small)])

    def rounded(record: dict[str, Any]) -> None:
        _elsewhere(record)
        record["curve"]["train_loss"][-1] += 1e-6
        record["curve"]["val_auroc"][-2] += 1e-6

    def other(record: dict[str, Any]) -> None:
        rounded(record)
        record["first_losses"][0] *= 1.5

    for change, agrees in ((rounded, True), (other, False)):
        records = Store(store.root.parent / change.__name__)
        for run in (source, child):
            records.add(KIND, run.key, {name: run.entry.read(name) for name in RUN_FILES})
        _changed(records, Run(source.spec, Entry(records.root / KIND / source.key)), change)
        recorded = Run(child.spec, Entry(records.root / KIND / child.key))
        found = audit.again(recorded, among=records, weights=store)
        assert (found.start_tolerance, found.source, found.agrees) == (None, agrees, agrees)


def test_a_record_without_its_source_says_so(store: Store, small: RunSpec, tmp_path: Path) -> None:
    child = runs.ensure([small, _child(small)])[1]
    records = Store(tmp_path / "records")
    records.add(KIND, child.key, {name: child.entry.read(name) for name in RUN_FILES})
    with pytest.raises(DataError, match="from whose weights it starts"):
        audit.again(child, among=records, weights=store)


def test_damaged_runs_neither_stop_a_sample_nor_judge(store: Store, small: RunSpec) -> None:
    sound, *others = runs.ensure([small, *(small.replace(seed=seed) for seed in (4, 5, 6, 7))])
    for run, name in zip(others, ("spec.json", "record.json", "MANIFEST.json"), strict=False):
        (run.entry.folder / name).write_bytes(b"{")
    (others[3].entry.folder / "cases.safetensors").unlink()
    assert {run.key for run in audit.draw(store, 9, seed=0)} == {sound.key, others[3].key}
    assert audit.again(sound, among=store, weights=store).agrees
    with pytest.raises(StoreError, match=r"record\.json is not what was written"):
        audit.named(store, [others[1].key])


def test_a_cheap_sample_has_short_runs_without_a_source(store: Store, small: RunSpec) -> None:
    child = small.replace(init=InitSpec(method="pretrained", weights=small), seed=8)
    (made, _) = runs.ensure([small, child])
    assert [run.key for run in audit.draw(store, 5, seed=0, within=1e6)] == [made.key]
    assert audit.draw(store, 5, seed=0, within=0.0) == []


def test_seconds_of_a_gpu_say_nothing_of_a_cpu(store: Store, small: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFUSION_DEVICE", "cpu")
    (run,) = runs.ensure([small])
    assert audit.draw(store, 5, seed=0, within=1e6)
    here = devices.describe(torch.device("cpu"))
    monkeypatch.setattr(devices, "describe", lambda _: here | {"gpu": "NVIDIA H100 80GB HBM3"})
    runs.ensure([small.replace(seed=9)])
    assert [one.key for one in audit.draw(store, 5, seed=0, within=1e6)] == [run.key]
    assert len(audit.draw(store, 5, seed=0)) == 2


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
    drawn = [[run.key for run in audit.draw(store, 2, seed=seed)] for seed in (0, 0, 1, 2, 3)]
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
    assert [one.key for one in audit.draw(store, 5, seed=0)] == [run.key]
    runs.ensure([small.replace(seed=4)])
