"""What training costs on a GPU: ``transfusion bench gpu``, everything in bfloat16.

1. The chip's own rate of matrix products.
2. At 224 px in batches of 128 and at 64 px in batches of 32: our loop, data included, in images a second and as a
   share of that rate, against the reference loop (``benchmarks.peer``) with a ``DataLoader`` worker per core, in turn;
   and the limit: forward and backward of the same network on one constant batch.
3. The same steps without replaying recorded ones; compiled, or with kernels that cuDNN chose by the clock, with what
   that takes before the first step.
4. Many seeds of one small run: one after another in one process, and at once in several that share the GPU.

The images are those of ``bench train``.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import torch

from benchmarks.report import Report
from benchmarks.train import (
    PROMISED,
    data_spec,
    limit,
    matrix_rate,
    our_run,
    seconds,
    step_work,
    their_loop,
    timed,
    write_images,
)
from transfusion_lib import runs
from transfusion_lib.errors import UserError
from transfusion_lib.runs.engines import Processes
from transfusion_lib.runs.store import Store
from transfusion_lib.spec import ModelSpec, RunSpec, TrainSpec
from transfusion_lib.training import device as devices
from transfusion_lib.training.device import Resources

BATCHES = {224: 128, 64: 32}
MATRIX = 8192
LONG_ENOUGH = 0.25  # seconds of one measurement
QUEUED = 2  # batches that each worker of a DataLoader prepares ahead, also while another loop is measured
SEEDS, SEED_STEPS = 8, 1000
INSTEAD = (("cbr_tiny", 64), ("resnet50", 224))


def measure(report: Report, *, network: str | None = None, pairs: int = 7) -> None:
    """Measure all networks, or one, and report the figures."""
    device = devices.resources().device
    if device.type != "cuda":
        raise UserError("bench gpu needs a GPU that PyTorch can use, and this machine has none; here: bench train")
    report.device = device
    with tempfile.TemporaryDirectory() as folder:
        name = write_images(Path(folder))
        report.note(f"images of {name}, {pairs} pairs in turn; the reference loop has {devices.cores()} workers")
        rate = matrix_rate(torch.bfloat16, edge=MATRIX, device=device)
        report.add(f"matrix product of {MATRIX}, bfloat16", rate / 1e3, "TFLOP/s")
        for size in BATCHES:
            for one in [network] if network else PROMISED:
                compare(report, one, Path(folder), size=size, pairs=pairs, rate=rate, device=device)
        seeds_at_once(report, Path(folder))
        for one, size in INSTEAD:
            if network in (None, one):
                instead(report, one, size, device=device)


def compare(
    report: Report, network: str, folder: Path, *, size: int, pairs: int, rate: float, device: torch.device
) -> None:
    """Measure one network at one size; ``rate`` is the chip's, in GFLOP/s."""
    batch = BATCHES[size]
    ours = our_run(network, "bfloat16", size=size, batch=batch, resources=Resources(device=device))
    plain = our_run(network, "bfloat16", size=size, batch=batch, resources=Resources(device=device, replayed=False))
    with closing(their_loop(network, folder, size=size, batch=batch, device=device)) as theirs:
        loops: dict[str, Callable[[int], float]] = {
            "theirs": theirs.run,
            "ours": lambda steps: timed(ours, steps)(),
            "plain": lambda steps: timed(plain, steps)(),
            "limit": lambda steps: limit(ours, steps),
        }
        steps = {name: enough(loop) for name, loop in loops.items()}
        steps["theirs"] = max(steps["theirs"], 3 * QUEUED * devices.cores())
        rounds = [{name: batch * steps[name] / loop(steps[name]) for name, loop in loops.items()} for _ in range(pairs)]
    speed = {name: statistics.median(one[name] for one in rounds) for name in loops}
    what = f"{network}, {size} px, batch {batch}"
    mine = [one["ours"] for one in rounds]
    report.add(f"{what}: data included", speed["ours"], "images/s", details=f"{min(mine):,.0f} to {max(mine):,.0f}")
    work = step_work(network, size=size, batch=1)
    details = f"{work:.1f} GFLOP an image"
    report.add(f"{what}: of the chip's rate", 100 * work * speed["ours"] / rate, "%", details=details)
    ratios = [one["ours"] / one["theirs"] for one in rounds]
    details = f"{min(ratios):.2f} to {max(ratios):.2f}; the reference loop: {speed['theirs']:,.0f} images/s"
    report.add(f"{what}: faster than the reference loop", statistics.median(ratios), "times", details=details)
    again = [one["ours"] / one["plain"] for one in rounds]
    report.add(
        f"{what}: faster for replaying steps",
        statistics.median(again),
        "times",
        details=f"{min(again):.2f} to {max(again):.2f}",
    )
    near = statistics.median(one["ours"] / one["limit"] for one in rounds)
    details = f"forward and backward alone: {speed['limit']:,.0f} images/s"
    report.add(f"{what}: of the limit", 100 * near, "%", details=details)


def instead(report: Report, network: str, size: int, *, device: torch.device) -> None:
    """Measure other ways to take steps against ours, and after how many steps they have paid for their preparation."""
    batch = BATCHES[size]
    ours = our_run(network, "bfloat16", size=size, batch=batch, resources=Resources(device=device))
    usual = seconds(lambda: timed(ours, 3)())
    steps = enough(lambda count: timed(ours, count)())
    for way in ("kernels chosen by the clock", "compiling"):
        resources = Resources(device=device, compiled=way == "compiling")
        other = our_run(network, "bfloat16", size=size, batch=batch, resources=resources)
        torch.backends.cudnn.benchmark = way != "compiling"
        made = seconds(lambda: timed(other, 3)()) - usual  # noqa: B023  # called at once
        torch.backends.cudnn.benchmark = False
        pairs = [(timed(ours, steps)() / steps, timed(other, steps)() / steps) for _ in range(7)]
        gain = statistics.median(one - two for one, two in pairs)
        pays = f"pays after {made / gain:,.0f} steps" if gain > 0 else "does not pay"
        ratios = [one / two for one, two in pairs]
        details = f"{min(ratios):.2f} to {max(ratios):.2f}; {made:.0f} s before the first step: {pays}"
        what = f"{network}, {size} px, batch {batch}: faster for {way}"
        report.add(what, statistics.median(ratios), "times", details=details)


def seeds_at_once(report: Report, folder: Path) -> None:
    """Measure many seeds of one small run: in one process, and in several that share the GPU."""
    train = TrainSpec(steps=SEED_STEPS, eval_every=SEED_STEPS // 4, batch_size=BATCHES[64], precision="bfloat16")
    specs = [RunSpec(data=data_spec(64), model=ModelSpec(name="cbr_tiny"), train=train, seed=s) for s in range(SEEDS)]
    alone = 0.0
    for workers in (1, 4, SEEDS):
        began = time.perf_counter()
        runs.ensure(specs, store=Store(folder / f"store-{workers}"), engine=Processes(workers=workers))
        took = time.perf_counter() - began
        alone = alone or took
        what = f"cbr_tiny, 64 px, {SEEDS} seeds of {SEED_STEPS:,} steps, {workers} at once"
        report.add(what, took, "s", details=f"{alone / took:.2f} times as fast as one at a time")


def enough(loop: Callable[[int], float]) -> int:
    """Return how many steps of a loop, warm after this, are long enough to measure."""
    loop(5)
    return max(5, round(LONG_ENOUGH * 5 / loop(5)))
