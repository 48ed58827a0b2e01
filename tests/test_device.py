"""What a run may use: places of workers, processes and GPUs, options that do not fit."""

import os
import platform
import subprocess
import sys

import pytest
import torch

from transfusion_lib.errors import UserError
from transfusion_lib.training import device
from transfusion_lib.training.device import Resources


def test_workers_share_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """More workers than GPUs: the way to train several small networks on one at once."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    both = Resources(device=torch.device("cuda"))
    assert device.places(both) == ["cuda:0", "cuda:1"]
    assert device.places(both, workers=5) == ["cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:0"]
    assert device.places(Resources(device=torch.device("cuda:1")), workers=2) == ["cuda:1"] * 2


def test_cores_are_divided_among_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "cores", lambda: 8)
    assert device.places(Resources(device=torch.device("cpu"), threads=3)) == ["cpu"] * 2
    assert device.places(Resources(device=torch.device("cpu"), threads=16)) == ["cpu"]


def test_each_process_of_a_team_has_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda _: None)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    monkeypatch.delenv("TRANSFUSION_DEVICE", raising=False)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    assert device.resources().device == torch.device("cuda")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert device.resources().device == torch.device("cuda:3")
    assert chosen == [torch.device("cuda:3")]


def test_wrong_options_say_what_is_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFUSION_DEVICE", "cpu")
    for name, value, match in (
        ("TRANSFUSION_COMPILE", "1", "on a CPU it would change the bits"),
        ("TRANSFUSION_COMPILE", "yes", "use 1, or 0"),
        ("TRANSFUSION_THREADS", "0", "use 1, 2"),
        ("TRANSFUSION_DEVICE", "gpu", "use cpu, cuda or cuda:0"),
    ):
        with monkeypatch.context() as one:
            one.setenv(name, value)
            with pytest.raises(UserError, match=match):
                device.resources()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_steps_do_not_fetch_memory_again() -> None:
    """What a step frees the next one gets: without it the pages of 36 MB would come from the system each time."""
    code = """
import resource, torch
from transfusion_lib.training import device
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        blocks = [torch.ones(9_000_000) for _ in range(4)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
device.resources()
first, second = faults(), faults()
print(first, second)
"""
    environment = os.environ | {"TRANSFUSION_DEVICE": "cpu"}
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    first, second = map(int, run.stdout.split())
    assert first > 1000
    assert second < 100
