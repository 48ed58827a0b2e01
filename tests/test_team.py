"""A team of processes computes what one does: batch norm, dropout, gradients, whole runs; only the first one writes."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from tests.runs_alike import same
from transfusion_lib import data, networks, runs
from transfusion_lib.errors import InterruptedRunError, SpecError, ToldError, TrainingError, TransfusionError
from transfusion_lib.runs.store import Store
from transfusion_lib.spec import Augment, ModelSpec, RunSpec
from transfusion_lib.training import interrupts, team
from transfusion_lib.training.batches import augment
from transfusion_lib.training.device import Resources
from transfusion_lib.training.team import Team

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.test_team"])
SIZE = 2
ROOT = Path(__file__).resolve().parents[1]


def together(work: Callable[..., None], *args: object, exits: int = 0) -> None:
    """Call ``work(team, *args)`` in each of two processes, which must end with ``exits``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    members = [PROCESSES.Process(target=_member, args=(rank, port, work, *args)) for rank in range(SIZE)]
    for member in members:
        member.start()
    for member in members:
        member.join()
    assert [member.exitcode for member in members] == [exits] * SIZE


def _member(rank: int, port: int, work: Callable[..., None], *args: object) -> None:
    torch.set_num_threads(1)
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": SIZE, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in place.items()} | {"TRANSFUSION_DEVICE": "cpu"}
    with interrupts.on_sigterm(), team.joined() as here:
        work(here, *args)


class Layers(nn.Module):
    """Everything that looks over a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.depth = StochasticDepth(0.5, "row")
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.dropout(self.depth(self.norm(self.first(x)).relu()).mean((2, 3)))
        return y


def layers() -> tuple[Layers, Tensor]:
    """Return the same layers, trained a little, and the same batch of 7 wherever it is called."""
    generator = torch.Generator().manual_seed(0)
    network = Layers()
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.1, 1.0, generator=generator)
    return network, torch.rand(7, 3, 6, 6, generator=generator) * torch.arange(1, 8).reshape(-1, 1, 1, 1)


def step(network: Layers, x: Tensor, here: Team, *, dtype: torch.dtype | None = None) -> Tensor:
    """Return the outputs of a whole batch, and leave gradients of a loss that no mean of parts gives."""
    module = here.module(network.train())
    torch.manual_seed(5)
    with here.over_batch(len(x)), torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
        mine = module(x[here.part(len(x))]).float()
    whole = here.outputs(mine, len(x))
    here.backward((whole**2).sum().log() + whole.std())
    return whole.detach()


def one_batch(here: Team, dtype: torch.dtype | None) -> None:
    """Compare with this process alone."""
    (mine, x), (alone, _) = layers(), layers()
    outputs, expected = step(mine, x, here, dtype=dtype), step(alone, x, Team(), dtype=dtype)
    relative, absolute = (2e-2, 2e-2) if dtype else (1e-4, 1e-6)
    torch.testing.assert_close(outputs, expected, rtol=relative, atol=absolute)
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(mine.state_dict()[name], value, rtol=relative, atol=absolute)
    for (name, parameter), other in zip(alone.named_parameters(), mine.parameters(), strict=True):
        assert parameter.grad is not None, name
        assert other.grad is not None, name
        scale = float(parameter.grad.abs().max())
        assert float((other.grad - parameter.grad).abs().max()) <= (0.05 if dtype else 1e-4) * scale + 1e-6, name


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_layers_see_the_whole_batch(dtype: torch.dtype | None) -> None:
    """Outputs, running statistics and gradients are those of one process, the parts being of 3 and 4 images."""
    together(one_batch, dtype)


def one_step(here: Team, name: str) -> None:
    """Compare a network's gradients with this process alone; where a norm takes one out again, they are rounding."""
    size = networks.architecture(name).minimum_size + 32  # norms over single positions would magnify rounding
    spec, images = ModelSpec(name=name), torch.rand(7, 3, size, size, generator=torch.Generator().manual_seed(1))
    mine, alone = (
        networks.build(spec, num_outputs=3, size=size, generator=torch.Generator().manual_seed(0)) for _ in range(2)
    )
    outputs, expected = step(mine, images, here), step(alone, images, Team())  # type: ignore[arg-type]
    torch.testing.assert_close(outputs, expected, rtol=1e-4, atol=1e-4)
    found, wanted = (
        torch.cat([torch.as_tensor(one.grad).flatten() for one in two.parameters()]) for two in (mine, alone)
    )
    assert float((found - wanted).norm() / wanted.norm()) <= 5e-2


@pytest.mark.parametrize(
    "name",
    [
        "efficientnet_b0",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("cbr_small", "densenet121", "efficientnet_lite0")),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("inception_v3", "resnet18", "resnet50")),
    ],
)
def test_networks_step_as_one_process_does(name: str) -> None:
    """Outputs and gradients of a batch, with all that a network draws and all norms over parts of 3 and 4 images."""
    together(one_step, name)


def messages(here: Team) -> None:
    """Send and hear, agree to stop, notice different checkpoints."""
    sent = {"what": "train", "name": "ä" * 5000}
    if here.leads:
        here.tell(sent)
    else:
        assert here.hear() == sent
    assert not here.asked_to_stop(0)
    if not here.leads:
        interrupts.request()
    assert not here.asked_to_stop(team.AGREE_EVERY - 1)
    assert here.asked_to_stop(team.AGREE_EVERY)
    assert interrupts.requested()
    here.check_same(3)
    with pytest.raises(TransfusionError, match="do not see the same checkpoint"):
        here.check_same(here.rank)


def test_a_team_agrees() -> None:
    together(messages)


def test_parts_cover_a_batch_once_and_are_changed_as_the_whole() -> None:
    parts = [Team(rank=rank, size=3).part(10) for rank in range(3)]
    assert [list(range(10))[part] for part in parts] == [[0, 1, 2], [3, 4, 5], [6, 7, 8, 9]]
    images, everything = torch.rand(10, 1, 8, 8), Augment(flip=True, rotation=20, crop=0.7, brightness=0.3)
    whole = augment(images, everything, torch.Generator().manual_seed(1))
    for part in parts:
        changed = augment(images[part], everything, torch.Generator().manual_seed(1), part=part, of=10)
        assert torch.equal(changed, whole[part])


def gentle(small: RunSpec) -> RunSpec:
    """Return a run with all that draws at random, in which rounding grows slowly: plain gradient descent.

    One process whose first weights are wrong by a millionth ends with a loss that differs by 5e-4.
    """
    changes = Augment(flip=True, rotation=10.0)
    return small.replace(
        train=small.train.replace(optimizer="sgd", learning_rate=1e-3, augment=changes, select="best", snapshots=(7,))
    )


def make(here: Team, spec: RunSpec, root: Path) -> None:
    """Ask for a run as the command does."""
    resources = Resources(device=torch.device("cpu"), checkpoint_every_s=0.0, team=here)
    [run] = runs.ensure([spec], store=Store(root), resources=resources)
    assert run.record["provenance"]["machine"]["processes"] == SIZE


def test_the_same_run_within_tolerance(store: Store, small: RunSpec, tmp_path: Path) -> None:
    """Same key; scores, snapshot and weights differ by rounding. A batch of 9 is shared unevenly."""
    spec = gentle(small)
    spec = spec.replace(train=spec.train.replace(batch_size=9))
    data.load(spec.data)
    [alone] = runs.ensure([spec], store=Store(tmp_path / "alone"))
    together(make, spec, store.root)
    found = runs.load(spec, store=store)
    assert found.key == alone.key
    assert found.entry.verify() is None
    assert found.curve["step"] == alone.curve["step"]
    torch.testing.assert_close(found.cases["test_scores"], alone.cases["test_scores"], rtol=0, atol=2e-3)
    torch.testing.assert_close(found.curve["train_loss"][1:], alone.curve["train_loss"][1:], rtol=1e-3, atol=0)
    for step in (7, None):
        for name, value in alone.weights(step).items():
            torch.testing.assert_close(found.weights(step)[name], value, rtol=1e-2, atol=1e-3)


def interrupted(here: Team, spec: RunSpec, root: Path) -> None:
    """Ask for a run; the second process is asked to stop in its middle."""

    def report(_spec: RunSpec, progress: object) -> None:
        if progress.step == 5:  # type: ignore[attr-defined]
            interrupts.request()

    resources = Resources(device=torch.device("cpu"), checkpoint_every_s=1e9, team=here)
    with pytest.raises((InterruptedRunError, ToldError)):
        runs.ensure([spec], store=Store(root), resources=resources, report=report)


def test_a_stopped_team_goes_on_from_its_checkpoint(store: Store, small: RunSpec, tmp_path: Path) -> None:
    """Also one process alone does, with what a team left."""
    spec = gentle(small)
    data.load(spec.data)
    together(interrupted, spec, store.root)
    assert store.keys("runs") == []
    assert len(list(store.root.glob("work/*/checkpoint-*"))) == 1
    together(make, spec, store.root)
    [alone] = runs.ensure([spec], store=Store(tmp_path / "alone"))
    found = runs.load(spec, store=store)
    assert found.curve["step"] == alone.curve["step"]
    torch.testing.assert_close(found.cases["test_scores"], alone.cases["test_scores"], rtol=0, atol=2e-3)


def refused(here: Team, hot: RunSpec, good: RunSpec, root: Path) -> None:
    """Ask for a run that fails on all processes, and one that does not."""
    resources = Resources(device=torch.device("cpu"), team=here)
    with pytest.raises(TrainingError if here.leads else ToldError, match="too high"):
        runs.ensure([hot, good], store=Store(root), resources=resources)
    with pytest.raises(SpecError if here.leads else ToldError, match="2 processes cannot share a batch of 1"):
        runs.ensure([good.replace(train=good.train.replace(batch_size=1))], store=Store(root), resources=resources)


def test_a_failure_is_the_whole_teams_and_the_others_are_made(store: Store, small: RunSpec) -> None:
    hot = small.replace(train=small.train.replace(optimizer="sgd", learning_rate=1e30))
    data.load(small.data)
    together(refused, hot, small, store.root)
    assert store.keys("runs") == [runs.key(small)]


@pytest.mark.slow
def test_torchrun_just_works(store: Store, small: RunSpec, tmp_path: Path) -> None:
    """One run, made and said once."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "transfusion_lib", "run"]
    done = subprocess.run([*command, small.to_json(), "--json"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["provenance"]["machine"]["processes"] == 2
    assert done.stderr.count(": trained in") == 1
    assert store.keys("runs") == [runs.key(small)]


@pytest.mark.slow
def test_processes_stop_on_request_and_go_on(store: Store, small: RunSpec, tmp_path: Path) -> None:
    """SIGTERM reaches the launcher, as a queue sends it; a checkpoint is left, and the end is the same."""
    spec = gentle(small)
    spec = spec.replace(train=spec.train.replace(steps=300, eval_every=50))
    data.load(spec.data)
    command = [sys.executable, "-m", "transfusion_lib", "run", "--processes", "2"]
    launched = subprocess.Popen([*command, spec.to_json()], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert launched.stderr is not None
    said = ""
    while " of 300" not in said and (more := launched.stderr.read(1)):
        said += more
    launched.terminate()
    said += launched.communicate(timeout=60)[1]
    assert launched.returncode == 75, said
    assert "Traceback" not in said
    assert store.keys("runs") == []
    assert len(list(store.root.glob("work/*/checkpoint-*"))) == 1, said
    made = []
    for root in (store.root, tmp_path / "undisturbed"):
        environment = os.environ | {"TRANSFUSION_STORE": str(root)}
        subprocess.run([*command, spec.to_json()], cwd=ROOT, env=environment, capture_output=True, check=True)
        made.append(runs.load(spec, store=Store(root)))
    assert same(*made)


@pytest.mark.slow
def test_processes_end_with_the_status_of_the_one_that_failed(store: Store, small: RunSpec, tmp_path: Path) -> None:
    """A user's mistake is 2, said once; a killed process is 128 and its signal."""
    command = [sys.executable, "-m", "transfusion_lib", "run", "--processes", "2"]
    mistaken = small.replace(train=small.train.replace(batch_size=1))
    done = subprocess.run([*command, mistaken.to_json()], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("error: 2 processes cannot share a batch of 1") == 1
    assert "Traceback" not in done.stderr
    spec = gentle(small).replace(train=gentle(small).train.replace(steps=300, eval_every=50))
    data.load(spec.data)
    launched = subprocess.Popen([*command, spec.to_json()], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert launched.stderr is not None
    said = ""
    while " of 300" not in said and (more := launched.stderr.read(1)):
        said += more
    psutil.Process(launched.pid).children()[1].kill()
    said += launched.communicate(timeout=90)[1]
    assert launched.returncode == 128 + signal.SIGKILL, said
    assert "Traceback" not in said
