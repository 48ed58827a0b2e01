"""Runs by their specs: trained once, resumed bit for bit after kill -9, shared between processes, never half-read."""

import multiprocessing
import os
import random
import re
import signal
import time
from pathlib import Path

import pytest
import torch

from tests.pictures import class_folders, write_files
from tests.runs_alike import same
from transfusion_lib import data, runs
from transfusion_lib.errors import DataError, InterruptedRunError, MissingRunError, SpecError
from transfusion_lib.runs.store import Store
from transfusion_lib.runs.trainer import Trainer
from transfusion_lib.spec import DataSpec, InitSpec, RunSpec
from transfusion_lib.training import interrupts
from transfusion_lib.training.device import Resources
from transfusion_lib.training.train import Progress

# Children are forked from a server that has imported the library once.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["transfusion_lib.runs"])


def train(spec: RunSpec, root: Path, said: Path) -> None:
    """Ask for a run in a process of its own, with a checkpoint after every step; tell in a file how it goes."""
    torch.set_num_threads(1)

    def say(line: object) -> None:
        with said.open("a") as file:
            file.write(f"{line}\n")

    runs.ensure(
        [spec],
        store=Store(root),
        say=say,
        report=lambda _spec, progress: say(progress.step),
        resources=Resources(device=torch.device("cpu"), checkpoint_every_s=0.0),
    )


def test_a_run_is_trained_once(store: Store, small: RunSpec) -> None:
    lines: list[str] = []
    (first,) = runs.ensure([small], say=lines.append)
    again, twin = runs.ensure([small, small], say=lines.append)
    assert "trained in" in lines[0]
    assert "from the store" in lines[1]
    assert len(lines) == 2
    assert first.key == again.key == twin.key == runs.key(small)
    assert same(first, again)
    assert store.keys("runs") == [first.key]
    assert list((store.root / "work" / first.key).glob("checkpoint*")) == []


def test_the_record_says_what_was_run(store: Store, small: RunSpec) -> None:
    (run,) = runs.ensure([small])
    assert RunSpec(**small.model_dump()) == small
    assert run.record["spec"] == small.model_dump(mode="json")
    assert run.record["dataset"]["fingerprint"] == data.fingerprint(small.data)
    assert run.record["dataset"]["synthetic"] is True
    assert run.record["dataset"]["cases"] == {"train": 48, "val": 16, "test": 24}
    assert run.record["provenance"]["versions"]["torch"] == torch.__version__.split("+")[0]
    assert run.cases["test_scores"].shape == (24, 2)
    assert run.curve["step"] == [0, 5, 10, 12]


def test_initial_and_final_networks_come_back(store: Store, small: RunSpec) -> None:
    spec = small.replace(train=small.train.replace(snapshots=(5,)))
    (run,) = runs.ensure([spec])
    final, start = run.network().state_dict(), run.network(0).state_dict()
    assert all(torch.equal(final[name], value) for name, value in run.weights().items())
    assert not torch.equal(final["head.linear.weight"], start["head.linear.weight"])
    assert torch.equal(run.weights(0)["head.linear.weight"], start["head.linear.weight"])
    assert run.weights(5).keys() == final.keys()
    with pytest.raises(MissingRunError, match="it kept 0, 5"):
        run.weights(7)


def test_a_run_is_a_source_of_weights(store: Store, small: RunSpec) -> None:
    spec = small.replace(init=InitSpec(method="pretrained", weights=small), seed=8)
    lines: list[str] = []
    (run,) = runs.ensure([spec], say=lines.append)
    assert ["seed 3" in line for line in lines] == [True, False]
    source = runs.load(small).weights()
    start = run.initial().state_dict()
    assert torch.equal(start["body.pool4.1.conv.weight"], source["body.pool4.1.conv.weight"])
    assert not torch.equal(start["head.linear.weight"], source["head.linear.weight"])
    other = small.replace(init=InitSpec(method="pretrained", weights=small.replace(seed=4)), seed=8)
    assert runs.key(other) != runs.key(spec)


def test_nothing_trains_where_training_is_forbidden(store: Store, small: RunSpec, tmp_path: Path) -> None:
    with pytest.raises(MissingRunError, match="transfusion run"):
        runs.ensure([small], live=False)
    assert store.keys("runs") == []
    runs.ensure([small])
    assert len(runs.ensure([small], live=False)) == 1


def test_todo(store: Store, small: RunSpec) -> None:
    longer = small.replace(train=small.train.replace(steps=24))
    other = small.replace(model=small.model.replace(name="cbr_small"))
    runs.ensure([small])
    done, missing, unknown = runs.todo([small, longer, other])
    assert (done.state, missing.state, unknown.state) == ("done", "missing", "missing")
    assert done.estimate_s is None
    assert unknown.estimate_s is None
    assert missing.estimate_s == pytest.approx(2 * runs.load(small).record["seconds"], rel=0.01)
    assert longer.to_json() in missing.command
    with store.claim(missing.key):
        assert [one.state for one in runs.todo([small, longer])] == ["done", "running"]


@pytest.mark.parametrize("name", ["record.json", "final.safetensors"])
def test_damage_is_never_read(store: Store, small: RunSpec, name: str) -> None:
    (run,) = runs.ensure([small])
    before = run.weights()
    path = run.entry.folder / name
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert [problem.key for problem in store.verify()] == [run.key]
    (again,) = runs.ensure([small])
    assert all(torch.equal(again.weights()[key], before[key]) for key in before)


def test_a_damaged_record_is_trained_again(store: Store, small: RunSpec) -> None:
    (run,) = runs.ensure([small])
    (run.entry.folder / "record.json").write_bytes(b"{}")
    lines: list[str] = []
    runs.ensure([small], say=lines.append)
    assert "trained in" in lines[0]


def test_unknown_names_are_the_users_mistake(store: Store, small: RunSpec) -> None:
    with pytest.raises(SpecError, match='did you mean "fundus"'):
        runs.ensure([small.replace(data=small.data.replace(name="fundos"))])
    with pytest.raises(SpecError, match='did you mean "cbr_tiny"'):
        runs.ensure([small.replace(model=small.model.replace(name="cbr_tyni"))])
    with pytest.raises(DataError, match="/nowhere: no such folder or zip"):
        runs.ensure([small.replace(data=DataSpec(name="folder", root="/nowhere"))])


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_killed_and_resumed_runs_are_bit_for_bit_the_same(
    store: Store, small: RunSpec, tmp_path: Path, seed: int
) -> None:
    """Kill -9 again and again at random moments; what finally finishes equals a run that was never touched."""
    spec = small.replace(train=small.train.replace(steps=24, eval_every=3, select="best", snapshots=(7,)))
    data.load(spec.data)
    generator = random.Random(seed)
    said = tmp_path / "said"
    exits = []
    for _ in range(3):
        process = PROCESSES.Process(target=train, args=(spec, store.root, said))
        process.start()
        before = said.stat().st_size if said.exists() else 0
        while process.is_alive() and (said.stat().st_size if said.exists() else 0) == before:
            time.sleep(0.01)
        process.join(generator.uniform(0.0, 0.5))
        process.kill()
        process.join()
        exits.append(process.exitcode)
        assert store.keys("runs") == [] or runs.load(spec, store=store).entry.verify() is None
    assert exits.count(-signal.SIGKILL) >= 2
    process = PROCESSES.Process(target=train, args=(spec, store.root, said))
    process.start()
    process.join()
    assert process.exitcode == 0
    steps = [int(line) for line in said.read_text().split("\n") if line.isdigit()]
    assert len(steps) < 2 * len(set(steps)), "it began again instead of going on"
    other = tmp_path / "other"
    process = PROCESSES.Process(target=train, args=(spec, other, tmp_path / "plain"))
    process.start()
    process.join()
    assert same(runs.load(spec, store=store), runs.load(spec, store=Store(other)))


def test_two_processes_asked_for_one_run_train_it_once(store: Store, small: RunSpec, tmp_path: Path) -> None:
    data.load(small.data)
    spec = small.replace(train=small.train.replace(steps=60, eval_every=20))
    said = tmp_path / "said"
    both = [PROCESSES.Process(target=train, args=(spec, store.root, said)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert said.read_text().count("trained in") == 1
    assert len(re.findall("made by another process|from the store", said.read_text())) == 1


@pytest.mark.parametrize("when", [0, 5, 10])
def test_sigterm_stops_with_a_checkpoint_and_the_same_request_goes_on(
    store: Store, small: RunSpec, tmp_path: Path, when: int
) -> None:
    (plain,) = runs.ensure([small], store=Store(tmp_path / "plain"))

    def stop(_spec: RunSpec, progress: Progress) -> None:
        if progress.step == when:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRunError, match=f"at step {when} of 12;.*75"), interrupts.on_sigterm():
        runs.ensure([small], report=stop)
    assert store.keys("runs") == []
    steps: list[int] = []
    (run,) = runs.ensure([small], report=lambda _spec, progress: steps.append(progress.step))
    assert steps == [step for step in (0, 5, 10, 12) if step > when], "it began again instead of going on"
    assert same(run, plain)


def test_a_stop_between_runs_starts_no_other(store: Store, small: RunSpec) -> None:
    interrupts.request()
    with pytest.raises(InterruptedRunError), interrupts.on_sigterm():
        runs.ensure([small])
    assert list(store.root.glob("work/*/checkpoint*")) == []
    assert not interrupts.requested()


def test_labels_corrected_between_two_runs_are_seen_by_the_second(store: Store, small: RunSpec, tmp_path: Path) -> None:
    """A worker keeps its last data in memory, but not under the key of other data."""
    root = write_files(tmp_path / "set", class_folders())
    spec = small.replace(data=DataSpec(name="folder", root=str(root), size=32))
    trainer = Trainer(store, Resources(device=torch.device("cpu")))
    trainer.train(spec, lambda _progress: None)
    first = trainer.dataset
    moved = next((root / "dog").iterdir())
    moved.rename(root / "cat" / f"was-{moved.name}")
    trainer.train(spec.replace(seed=4), lambda _progress: None)
    assert trainer.dataset is not first
    assert runs.load(spec.replace(seed=4)).record["dataset"]["fingerprint"] == data.fingerprint(spec.data)
    assert len(store.keys("runs")) == 2


def test_data_that_change_while_they_are_read_are_not_trained_on(
    store: Store, small: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(store, Resources(device=torch.device("cpu")))
    monkeypatch.setattr("transfusion_lib.runs.trainer.key", lambda spec: "0" * 64)
    with pytest.raises(DataError, match="its files changed as they were read; ask for the run again"):
        trainer.train(small, lambda _progress: None)
    assert store.keys("runs") == []
