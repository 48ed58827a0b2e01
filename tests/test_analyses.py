"""Analyses are computed once: by function, version, runs and arguments, and by nothing else."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from transfusion_lib import paths, runs
from transfusion_lib.errors import MissingRunError
from transfusion_lib.runs import Run, analyses
from transfusion_lib.runs.store import Entry, Store
from transfusion_lib.spec import RunSpec

calls: list[tuple[Any, ...]] = []


@analyses.stored("tests.test_analyses.norms", version=1)
def norms(found: Sequence[Run], *, scale: float = 1.0) -> dict[str, Any]:
    """Return something of each run."""
    calls.append((tuple(run.key for run in found), scale))
    return {"seeds": [run.spec.seed for run in found], "scaled": scale * torch.ones(len(found)), "none": None}


@pytest.fixture
def two(store: Store, small: RunSpec) -> list[Run]:
    """Two finished runs, of which only the keys matter."""
    calls.clear()
    found = []
    for letter, seed in (("a", 0), ("b", 1)):
        entry = store.add(runs.KIND, letter * 64, {"record.json": b"{}"})
        found.append(Run(small.replace(seed=seed), entry))
    return found


def test_an_analysis_is_computed_once(two: list[Run]) -> None:
    first, again = norms(two, scale=2.0), norms(two, scale=2.0)
    assert len(calls) == 1
    assert first["seeds"] == again["seeds"] == [0, 1]
    assert again["none"] is None
    assert torch.equal(again["scaled"], torch.tensor([2.0, 2.0]))


def test_other_runs_order_or_arguments_are_another_analysis(two: list[Run]) -> None:
    norms(two)
    norms(two, scale=1.0)  # the default, said aloud
    assert len(calls) == 1
    norms(two[::-1])
    norms(two[:1])
    norms(two, scale=3.0)
    assert len(calls) == 4


def test_another_version_is_another_analysis(two: list[Run]) -> None:
    norms(two)
    analyses.stored("tests.test_analyses.norms", version=2)(norms.__wrapped__)(two)  # type: ignore[attr-defined]
    assert len(calls) == 2


def test_what_cannot_be_described_is_refused(two: list[Run]) -> None:
    with pytest.raises(TypeError, match="not Tensor"):
        norms(two, scale=torch.ones(1))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="no run"):
        norms([])


def test_records_are_read_and_never_computed(two: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    root = two[0].entry.folder.parents[1]
    monkeypatch.setattr(paths, "records_root", lambda: root)
    with pytest.raises(MissingRunError, match="publish it again"):
        norms(two)
    assert not calls


def test_a_killed_computation_leaves_nothing(two: list[Run]) -> None:
    @analyses.stored("tests.test_analyses.broken", version=1)
    def broken(run: Run) -> dict[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken(two[0])
    assert Store(Entry(two[0].entry.folder).folder.parents[1]).keys(analyses.KIND) == []


def test_a_damaged_analysis_is_computed_again(two: list[Run]) -> None:
    first = norms(two)
    store = Store(two[0].entry.folder.parents[1])
    (key,) = store.keys(analyses.KIND)
    file = store.root / analyses.KIND / key / "result.json"
    file.write_bytes(file.read_bytes().replace(b"0", b"1", 1))
    assert norms(two)["seeds"] == first["seeds"]
    assert len(calls) == 2
    assert len(list((store.root / "damaged").iterdir())) == 1
