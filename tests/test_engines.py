"""Engines: wherever runs are trained, the numbers are the same, failures lose nothing, and progress comes home."""

import contextlib
import sys
from pathlib import Path

import pytest
import torch

from tests.runs_alike import same
from transfusion_lib import runs
from transfusion_lib.errors import MissingExtraError, SpecError, TrainingError, UserError
from transfusion_lib.runs import Engine, Run, Standing, engines
from transfusion_lib.runs.engines import Processes, RayCluster
from transfusion_lib.runs.store import Store
from transfusion_lib.spec import InitSpec, RunSpec


def three(small: RunSpec) -> list[RunSpec]:
    """Return two runs and one that starts from the weights of the second."""
    other = small.replace(seed=4)
    return [small, small.replace(init=InitSpec(method="pretrained", weights=other), seed=8), other]


ENGINES = [
    pytest.param(Processes(workers=2), id="processes"),
    pytest.param(RayCluster(workers=2), id="ray", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_gives_the_same_bits(store: Store, small: RunSpec, tmp_path: Path, engine: Engine) -> None:
    """Also where this process computes with another number of threads."""
    lines: list[str] = []
    steps: list[tuple[int, int]] = []
    standings: list[Standing] = []
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    here = runs.ensure(three(small), store=Store(tmp_path / "here"))
    torch.set_num_threads(before)
    there = runs.ensure(
        three(small),
        store=store,
        engine=engine,
        say=lines.append,
        report=lambda spec, progress: steps.append((spec.seed, progress.step)),
        watch=standings.append,
    )
    assert all(same(one, two) for one, two in zip(here, there, strict=True))
    assert [one.record["provenance"]["machine"]["threads"] for one in here + there] == [1] * 6
    assert sum(": trained in" in line for line in lines) == len(lines) == 3
    for seed in (3, 4, 8):
        assert [step for other, step in steps if other == seed] == [0, 5, 10, 12]
    assert (standings[-1].done, standings[-1].total, standings[-1].running) == (3, 3, 0)
    assert any(one.running == 2 and one.left_s for one in standings)
    source = lines.index(next(line for line in lines if "seed 4" in line))
    assert source < lines.index(next(line for line in lines if "seed 8" in line)), "a source of weights is made first"


@pytest.mark.parametrize("engine", [pytest.param(runs.in_process, id="here"), *ENGINES])
def test_a_run_that_fails_loses_no_other(store: Store, small: RunSpec, engine: Engine) -> None:
    hot = small.replace(train=small.train.replace(optimizer="sgd", learning_rate=1e30))
    child = small.replace(init=InitSpec(method="pretrained", weights=hot))
    good = small.replace(seed=9)
    with pytest.raises(TrainingError, match="2 of 3 runs failed; the other 1 are in the store") as caught:
        runs.ensure([hot, child, good], engine=engine)
    assert "the learning rate 1e+30 is too high" in str(caught.value)
    assert "not tried" in str(caught.value)
    assert hot.to_json() in str(caught.value)
    assert store.keys("runs") == [runs.key(good)]


@pytest.mark.parametrize("engine", [pytest.param(runs.in_process, id="here"), *ENGINES])
def test_a_mistake_stays_a_mistake(store: Store, small: RunSpec, engine: Engine) -> None:
    wrong = small.replace(train=small.train.replace(freeze="pool9"))
    with pytest.raises(SpecError, match=r"pool9.*pool1"):
        runs.ensure([wrong], engine=engine)


def test_what_another_process_trains_is_left_to_it(store: Store, small: RunSpec) -> None:
    """The grid does what it can first, and takes the other's result; nothing is trained twice."""
    other = small.replace(seed=4)
    lines: list[str] = []

    with contextlib.ExitStack() as held:
        held.enter_context(store.claim(runs.key(small)))
        runs.ensure([small, other], say=lines.append, report=lambda _spec, _progress: held.close())
    assert [("seed 3" in line, "trained in" in line) for line in lines] == [(True, False), (False, True), (True, True)]
    assert "another process trains it, waiting" in lines[0]


def test_one_run_is_not_worth_a_process(store: Store, small: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(engines, "Processes", never)
    run: Run
    (run,) = runs.ensure([small], engine=engines.automatic)
    assert run.curve["step"][-1] == 12
    monkeypatch.setattr("transfusion_lib.training.device.cores", lambda: 2)
    with pytest.raises(AssertionError):
        runs.ensure([small.replace(seed=5), small.replace(seed=6)], engine=engines.automatic)


def test_names(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match='did you mean "processes"'):
        engines.named("process")
    with pytest.raises(UserError, match="belong to --engine ray"):
        engines.named("here", address="auto")
    with pytest.raises(UserError, match="a fraction"):
        engines.named("ray", gpus_per_run=0)


def test_ray_missing_says_how_to_install_it(store: Store, small: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r'pip install "transfusion-reproduced\[ray\]"'):
        runs.ensure([small], engine=engines.named("ray"))


@pytest.mark.slow
def test_more_workers_than_the_cluster_has_room_for(store: Store, small: RunSpec) -> None:
    """Actors beyond that would wait for ever, and the runs given to them with them."""
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    lines: list[str] = []
    try:
        runs.ensure(three(small), store=store, engine=RayCluster(workers=3), say=lines.append)
    finally:
        ray.shutdown()
    assert any("has room for 1 workers, not 3" in line for line in lines)
    assert len(store.keys("runs")) == 3
