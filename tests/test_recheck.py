"""Training again finds what hashes cannot: a record that is whole and wrong."""

import json
from pathlib import Path

import pytest
import torch

from tests.test_segmentation import LUNGS
from transfusion_lib import device as devices
from transfusion_lib import recheck, runs
from transfusion_lib.errors import DataError
from transfusion_lib.run import KIND
from transfusion_lib.spec import InitSpec, RunSpec
from transfusion_lib.store import Store


def test_a_sound_store_agrees_to_the_bit(store: Store, small: RunSpec, tmp_path: Path) -> None:
    child = small.replace(init=InitSpec(method="pretrained", weights=small), seed=8)
    runs.ensure([small, child])
    found = [recheck.again(run, store) for run in recheck.sample(store, 5, seed=0)]
    assert sorted(one.key for one in found) == store.keys(KIND)
    assert all(
        (one.agrees, one.tolerance, one.curve, one.final, one.scores) == (True, 0.0, 0.0, 0.0, 0.0) for one in found
    )


def test_a_segmentation_is_trained_again_too(store: Store) -> None:
    """Its curves have a list per step, one number for each region."""
    (run,) = runs.ensure([LUNGS])
    found = recheck.again(run, store)
    assert (found.agrees, found.curve, found.final, found.scores) == (True, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("other", [False, True])
def test_a_wrong_number_is_found(store: Store, small: RunSpec, other: bool) -> None:
    """By one part in a million on a machine like this, by more than the tolerance on another."""
    (run,) = runs.ensure([small])
    files = {path.name: path.read_bytes() for path in run.entry.folder.iterdir() if path.name != "MANIFEST.json"}
    record = json.loads(files["record.json"])
    record["curve"]["test_auroc"][-1] += recheck.FINAL + 0.01 if other else 1e-6
    if other:
        record["provenance"]["machine"]["processor"] = "another"
    files["record.json"] = json.dumps(record).encode()
    store.set_aside(KIND, run.key)
    store.add(KIND, run.key, files)
    assert store.verify() == []
    [wrong] = recheck.sample(store, 1, seed=1)
    found = recheck.again(wrong, store)
    assert found.tolerance == (recheck.TOLERANCE if other else 0.0)
    assert not found.agrees


def test_a_cheap_sample_has_short_runs_without_a_source(store: Store, small: RunSpec) -> None:
    child = small.replace(init=InitSpec(method="pretrained", weights=small), seed=8)
    (made, _) = runs.ensure([small, child])
    assert [run.key for run in recheck.sample(store, 5, seed=0, within=1e6)] == [made.key]
    assert recheck.sample(store, 5, seed=0, within=0.0) == []


def test_seconds_of_a_gpu_say_nothing_of_a_cpu(store: Store, small: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFUSION_DEVICE", "cpu")
    (run,) = runs.ensure([small])
    assert recheck.sample(store, 5, seed=0, within=1e6)
    here = devices.describe(torch.device("cpu"))
    monkeypatch.setattr(devices, "describe", lambda _: here | {"gpu": "NVIDIA H100 80GB HBM3"})
    runs.ensure([small.replace(seed=9)])
    assert [one.key for one in recheck.sample(store, 5, seed=0, within=1e6)] == [run.key]
    assert len(recheck.sample(store, 5, seed=0)) == 2


def test_a_gpu_may_be_further_off(store: Store, small: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    here = devices.describe(torch.device("cpu"))
    with monkeypatch.context() as patch:
        patch.setattr(devices, "describe", lambda _: here | {"gpu": "NVIDIA H100 80GB HBM3"})
        (run,) = runs.ensure([small])
    found = recheck.again(run, store)
    assert (found.tolerance, found.final_tolerance) == (recheck.GPU_TOLERANCE, recheck.GPU_FINAL)
    assert found.agrees


def test_an_audit_is_kept_and_read(store: Store, small: RunSpec, tmp_path: Path) -> None:
    (run,) = runs.ensure([small])
    compared = [recheck.again(run, store)]
    assert recheck.read_audit(tmp_path) is None
    recheck.write_audit(tmp_path, compared, of=40, seed=3)
    found = recheck.read_audit(tmp_path)
    assert found is not None
    assert (found["records"], found["seed"], found["runs"][0]["key"]) == (40, 3, run.key)
    assert found["runs"][0]["agrees"]
    assert found["made"]["machine"]["instructions"]


def test_a_sample_is_of_its_size_and_seed(store: Store, small: RunSpec) -> None:
    runs.ensure([small.replace(seed=seed, train=small.train.replace(steps=1)) for seed in range(4)])
    drawn = [[run.key for run in recheck.sample(store, 2, seed=seed)] for seed in (0, 0, 1, 2, 3)]
    assert drawn[0] == drawn[1]
    assert len(set(map(tuple, drawn))) > 1
    assert all(len(set(keys)) == 2 for keys in drawn)


def test_a_run_on_other_data_is_not_compared(store: Store, small: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    (run,) = runs.ensure([small])
    monkeypatch.setattr(recheck, "key", lambda spec: "0" * 64)
    with pytest.raises(DataError, match="trained on other data or weights than are here now"):
        recheck.again(run, store)


def test_runs_of_another_version_are_passed_over(store: Store, small: RunSpec) -> None:
    """A later version's spec has fields that this one does not know: neither samples nor estimates stumble."""
    (run,) = runs.ensure([small])
    files = {name: run.entry.read(name) for name in ("spec.json", "record.json")}
    later = {name: content.replace(b'"seed": 3', b'"seed": 3, "later": 1') for name, content in files.items()}
    assert later != files
    store.add(KIND, "f" * 64, later)
    assert [one.key for one in recheck.sample(store, 5, seed=0)] == [run.key]
    runs.ensure([small.replace(seed=4)])
