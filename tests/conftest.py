"""Shared by all tests: a small real run, and a store of one's own."""

from pathlib import Path

import pytest
from hypothesis import settings

from transfusion_lib.runs.store import Store
from transfusion_lib.spec import DataSpec, ModelSpec, RunSpec, TrainSpec

# The same examples each time: no change fails by another's luck. To look for new ones: --hypothesis-profile default.
settings.register_profile("pinned", derandomize=True)
settings.load_profile("pinned")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store that everything in this process and its children uses."""
    monkeypatch.setenv("TRANSFUSION_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("TRANSFUSION_DEVICE", "cpu")
    return Store(tmp_path / "store")


@pytest.fixture
def small() -> RunSpec:
    """A run of a second: CBR-Tiny on 48 synthetic fundus photographs."""
    return RunSpec(
        data=DataSpec(name="fundus", size=32, train=48, val=16, test=24),
        model=ModelSpec(name="cbr_tiny"),
        train=TrainSpec(steps=12, eval_every=5, batch_size=8),
        seed=3,
    )
