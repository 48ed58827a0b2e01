"""What only a GPU can show: nothing waits in the loop, and each way of computing gives the same within tolerance."""

from pathlib import Path

import pytest
import torch

from transfusion_lib import data, runs
from transfusion_lib.runs.engines import Processes
from transfusion_lib.runs.store import Store
from transfusion_lib.spec import Augment, RunSpec
from transfusion_lib.training import device as devices
from transfusion_lib.training.device import Resources
from transfusion_lib.training.train import Result, _Run, fit

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
GPU = torch.device("cuda")


@pytest.fixture(autouse=True)
def float32_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """TF32's rounding grows to 0.02 of a probability in twelve steps, and would hide what these tests look for."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture
def drawn(small: RunSpec) -> RunSpec:
    """A run in which everything is drawn at random and rounding does not grow."""
    changes = Augment(flip=True, rotation=10.0, crop=0.8, brightness=0.2)
    return small.replace(train=small.train.replace(optimizer="sgd", learning_rate=1e-2, augment=changes))


def trained(spec: RunSpec, resources: Resources) -> Result:
    return fit(spec, data.load(spec.data), source=None, resources=resources)


def close(one: Result, two: Result) -> None:
    """Assert that two runs differ by rounding."""
    torch.testing.assert_close(one.test_scores, two.test_scores, rtol=0, atol=5e-3)
    torch.testing.assert_close(one.curve["train_loss"][1:], two.curve["train_loss"][1:], rtol=5e-3, atol=0)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("resident", [True, False])
def test_no_step_waits_for_the_gpu(
    drawn: RunSpec, precision: str, resident: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "fits", lambda *_: resident)
    spec = drawn.replace(train=drawn.train.replace(precision=precision, optimizer="adam"))
    run = _Run(spec, data.load(spec.data), source=None, resources=Resources(device=GPU))
    for _ in range(3):  # the first steps allocate and choose algorithms
        run.take_step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(7):  # into the next epoch
            run.take_step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert run.losses.isfinite().all()


def test_a_gpu_is_near_a_cpu(drawn: RunSpec) -> None:
    close(trained(drawn, Resources(device=GPU)), trained(drawn, Resources(device=torch.device("cpu"))))


def test_images_that_do_not_fit_change_nothing(drawn: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    before = trained(drawn, Resources(device=GPU))
    monkeypatch.setattr(devices, "fits", lambda *_: False)
    close(trained(drawn, Resources(device=GPU)), before)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("network", ["cbr_tiny", "efficientnet_lite0"])
def test_replayed_gradients_are_plain_ones(drawn: RunSpec, network: str, precision: str) -> None:
    """Each step from the same weights: over steps rounding grows, to 0.07 of a probability for EfficientNet-Lite0."""
    spec = drawn.replace(model=drawn.model.replace(name=network), train=drawn.train.replace(precision=precision))
    replayed, plain = (
        _Run(spec, data.load(spec.data), source=None, resources=Resources(device=GPU, replayed=way))
        for way in (True, False)
    )
    for step in range(4):
        plain.network.load_state_dict(replayed.network.state_dict())
        losses = []
        for run in (replayed, plain):
            batch = run.batch(step)
            run.record(*batch)
            torch.manual_seed(step)  # dropout
            losses.append(run.gradients(*batch).clone())
        torch.testing.assert_close(losses[0], losses[1], rtol=1e-3, atol=1e-5)
        for (name, one), two in zip(replayed.network.named_parameters(), plain.network.parameters(), strict=True):
            assert one.grad is not None
            assert two.grad is not None
            far = (one.grad - two.grad).norm() / two.grad.norm().clamp(min=1e-6)
            assert far < 0.02, name
        for mine, usual in zip(replayed.network.buffers(), plain.network.buffers(), strict=True):
            torch.testing.assert_close(mine, usual, rtol=1e-3, atol=1e-4)
        replayed.optimizer.step()


def test_a_resumed_run_replays_on(drawn: RunSpec) -> None:
    """Recording a step draws numbers; the dropout of the first step after it must be that of an unbroken run."""
    run, again = (_Run(drawn, data.load(drawn.data), source=None, resources=Resources(device=GPU)) for _ in range(2))
    run.network.head.dropout.p = again.network.head.dropout.p = 0.5
    for _ in range(5):
        run.take_step()
    tensors, notes = run.state()
    again.restore({name: value.cpu() for name, value in tensors.items()}, notes)
    for _ in range(3):
        run.take_step()
        again.take_step()
    for name, value in run.network.state_dict().items():
        torch.testing.assert_close(value, again.network.state_dict()[name], rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore")  # of torch.compile's own, one of an empty graph that it records first
def test_compiled_steps_are_near_plain_ones(drawn: RunSpec) -> None:
    close(trained(drawn, Resources(device=GPU, compiled=True)), trained(drawn, Resources(device=GPU)))


def test_seeds_that_share_a_gpu_are_near_those_alone(
    drawn: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRANSFUSION_DEVICE", raising=False)
    seeds = [drawn.replace(seed=seed) for seed in range(4)]  # TF32 in both: the workers are processes of their own
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    alone = runs.ensure(seeds, store=Store(tmp_path / "alone"))
    shared = runs.ensure(seeds, store=Store(tmp_path / "shared"), engine=Processes(workers=4))
    for one, two in zip(alone, shared, strict=True):
        torch.testing.assert_close(one.cases["test_scores"], two.cases["test_scores"], rtol=0, atol=5e-3)
