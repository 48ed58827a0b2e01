"""What a training step costs: ``transfusion bench train``, at 64 px in batches of 32.

1. Our loop against torchvision's reference loop (``benchmarks.peer``) on the same images, in turn: the median of the
   pairs' ratios. Both flip and crop at random, both use all cores; ours trains in bfloat16 where that pays. Beside it
   the page faults of a step: memory that went back to the system and is fetched again.
2. The limit: forward and backward of the same network on one constant batch, without data, optimizer or reading back.
   Beside the time on the clock stands the processor time: the clock of a busy machine says little.
3. The share of feeding and evaluation in our time, evaluating 350 images every 100 steps.
4. Peak memory of both with all their processes, each in a process of its own.
5. The machine's own rate of matrix products, and how much faster than the peer a loop would be whose network ran at
   that rate in the better precision and that did nothing else: convolutions are matrix products, so where a promise
   exceeds this, no loop on this machine can keep it short of fewer multiplications.

The images are chest_xray from ``TRANSFUSION_DATA``, or synthetic fundus photographs without it.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from PIL import Image

from benchmarks.report import Report
from transfusion_lib import data, networks
from transfusion_lib.data.sources import chest_xray
from transfusion_lib.spec import Augment, DataSpec, ModelSpec, RunSpec, TrainSpec
from transfusion_lib.training import device as devices
from transfusion_lib.training.device import Resources
from transfusion_lib.training.train import _Run

if TYPE_CHECKING:
    from benchmarks.peer import ReferenceLoop

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
PROMISED = {"cbr_tiny": 2.5, "cbr_small": 2.3, "cbr_large_w": 2.0, "resnet50": 1.9, "efficientnet_lite0": 2.5}
SIZE, BATCH, IMAGES = 64, 32, 2000
EVALUATED, EVERY = 350, 100
MATRIX = 2048
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Clocks:
    """What a call took."""

    wall: float
    """Seconds, as the call says."""
    processor: float
    """Seconds of this process and its children."""
    faults: int
    """Pages that the system had to give to this process."""


def measure(report: Report, *, network: str | None = None, pairs: int = 7) -> None:
    """Measure all networks, or one, and report the figures; both loops have all cores."""
    devices.keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder, devices.threads(devices.cores()):
        where = Path(folder)
        name = write_images(where)
        report.note(f"{IMAGES:,} images of {name}, {torch.get_num_threads()} threads, {pairs} pairs in turn")
        rates = {dtype: matrix_rate(dtype) for dtype in (torch.float32, torch.bfloat16)}
        for dtype, rate in rates.items():
            report.add(f"matrix product of {MATRIX}, {str(dtype).removeprefix('torch.')}", rate, "GFLOP/s")
        for one in [network] if network else PROMISED:
            compare(report, one, where, pairs=pairs, multiplied=max(rates, key=lambda dtype: rates[dtype]))


def compare(report: Report, network: str, folder: Path, *, pairs: int, multiplied: torch.dtype) -> None:
    """Measure one network; ``multiplied`` are the numbers of which the machine computes matrix products faster."""
    from benchmarks.peer import Elsewhere

    precision = faster_precision(network)
    ours = our_run(network, precision)
    steps = 4
    ours_run = timed(ours, steps)
    with closing(Elsewhere(partial(clocked_peer, network, folder, torch.get_num_threads()))) as theirs:
        ours_run(), theirs(steps)  # warm: buffers, workers, queues
        # The rate of products too in turn: of a machine with neighbours it doubles and halves within minutes.
        measured = [
            ((theirs(steps), clocks(ours_run)), limit(ours, steps), matrix_rate(multiplied)) for _ in range(pairs)
        ]
    rounds, rates = [(pair, alone) for pair, alone, _ in measured], [rate for *_, rate in measured]
    peer, own = (1e3 * statistics.median(pair[at].wall for pair, _ in rounds) / steps for at in (0, 1))
    floor = 1e3 * statistics.median(alone for _, alone in rounds) / steps
    ratios = [peers.wall / mine.wall for (peers, mine), _ in rounds]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}; {peer:.0f} ms a step against {own:.0f} ms in {precision}"
    what = f"{network}: faster than the reference loop"
    report.add(what, statistics.median(ratios), "times", at_least=PROMISED.get(network), details=spread)
    worked = statistics.median(peers.processor / mine.processor for (peers, mine), _ in rounds)
    report.add(f"{network}: less processor time than the reference loop", worked, "times")
    fetched, again = (statistics.median(pair[at].faults for pair, _ in rounds) / steps for at in (0, 1))
    details = f"the reference loop, without its workers: {fetched:,.0f}"
    report.add(f"{network}: page faults", again, "a step", details=details)
    near = statistics.median(alone / mine.wall for (_, mine), alone in rounds)
    report.add(f"{network}: of the limit", 100 * near, "%", details=f"forward and backward alone {floor:.0f} ms")
    work = step_work(network)
    faster = [peers.wall / steps / (work / rate) for ((peers, _), _), rate in zip(rounds, rates, strict=True)]
    rate = statistics.median(rates)
    report.add(
        f"{network}: a loop at the rate of matrix products would be faster by",
        statistics.median(faster),
        "times",
        details=f"{work:.0f} GFLOP a step at {rate:.0f} GFLOP/s; ours runs at {1e3 * work / own:.0f} GFLOP/s",
    )
    feeding, evaluating = shares(ours, own / 1e3)
    details = f"feeding {100 * feeding:.1f} %, evaluation {100 * evaluating:.1f} %"
    report.add(f"{network}: feeding and evaluation", 100 * (feeding + evaluating), "%", at_most=10, details=details)
    memory = [peak_memory(which, network, folder) for which in (precision, "theirs")]
    details = f"{memory[0]:.0f} MiB against {memory[1]:.0f} MiB"
    report.add(f"{network}: peak memory against the peer's", memory[0] / memory[1], "times", at_most=1, details=details)


def faster_precision(network: str) -> Precision:
    """Return the precision in which our loop is faster on this machine."""
    found: dict[Precision, float] = {}
    for precision in PRECISIONS:
        run = our_run(network, precision)
        timed(run, 2)()
        # The processor's time, not the clock of a machine that may be busy.
        found[precision] = min(clocks(timed(run, 1)).processor for _ in range(4))
    return min(found, key=lambda precision: found[precision])


def our_run(
    network: str,
    precision: Precision,
    *,
    size: int = SIZE,
    batch: int = BATCH,
    resources: Resources = Resources(device=CPU),  # noqa: B008  # frozen
) -> _Run:
    """Return our loop, ready for its first step."""
    train = TrainSpec(
        steps=100_000,
        eval_every=EVERY,
        batch_size=batch,
        optimizer="sgd",
        augment=Augment(flip=True, crop=0.3),
        precision=precision,
    )
    spec = RunSpec(data=data_spec(size), model=ModelSpec(name=network), train=train)
    return _Run(spec, data.load(spec.data), source=None, resources=resources)


def their_loop(
    network: str, folder: Path, *, size: int = SIZE, batch: int = BATCH, device: torch.device = CPU
) -> "ReferenceLoop":
    """Return the peer's loop over the files in ``folder`` with the same network."""
    # Not at the top: torchvision takes 75 MiB, which are not our loop's, whose memory is measured by this file too.
    from benchmarks.peer import ReferenceLoop

    built = networks.build(
        ModelSpec(name=network), num_outputs=2, size=size, generator=torch.Generator().manual_seed(0)
    )
    return ReferenceLoop(built, folder, size=size, batch_size=batch, workers=devices.cores(), device=device)


def clocked_peer(network: str, folder: Path, threads: int) -> Callable[[int], Clocks]:
    """Return a function that takes steps of the peer's loop and returns its clocks."""
    torch.set_num_threads(threads)
    loop = their_loop(network, folder)
    return lambda steps: clocks(lambda: loop.run(steps))


def timed(run: _Run, steps: int) -> Callable[[], float]:
    """Return a function that takes steps of ``run`` and returns their seconds."""

    def take() -> float:
        began = time.perf_counter()
        for _ in range(steps):
            run.take_step()
        run.losses.sum().item()
        return time.perf_counter() - began

    return take


def limit(run: _Run, steps: int) -> float:
    """Return the seconds of forward and backward on a constant batch, as often as ``steps``."""
    images, labels = run.batch(0)
    run.record(images, labels)
    devices.synchronise(images.device)
    began = time.perf_counter()
    for _ in range(steps):
        run.gradients(images, labels)
    devices.synchronise(images.device)
    return time.perf_counter() - began


def step_work(network: str, *, size: int = SIZE, batch: int = BATCH) -> float:
    """Return the GFLOP of forward and backward on a batch: backward takes two products for each of forward's."""
    return 3 * 2 * batch * networks.describe(ModelSpec(name=network), num_outputs=2, size=size).macs / 1e9


def shares(run: _Run, step_s: float) -> tuple[float, float]:
    """Return what feeding and evaluation take of the time of training."""
    feeding = statistics.median(seconds(lambda: run.batch(run.progress.step)) for _ in range(9))
    test = run.splits["test"]
    evaluation = statistics.median(seconds(lambda: run.scores(test)) for _ in range(3)) * EVALUATED / len(test)
    whole = EVERY * step_s + evaluation
    return EVERY * feeding / whole, evaluation / whole


def clocks(call: Callable[[], float]) -> Clocks:
    """Return the seconds that ``call`` returns, and what this process spent on it."""
    before, faults = processor(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    wall = call()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    return Clocks(wall=wall, processor=processor() - before, faults=faults)


def processor() -> float:
    """Return the processor seconds of this process and its living children so far (of these on Linux only)."""
    total = time.process_time()
    for pid in children():
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    return total


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def matrix_rate(dtype: torch.dtype, *, edge: int = MATRIX, device: torch.device = CPU) -> float:
    """Return a device's rate of matrix products in GFLOP/s: the best of a few."""
    left, right = torch.randn(2, edge, edge, device=device).to(dtype)

    def product() -> None:
        left @ right
        devices.synchronise(device)

    product()
    return 2 * edge**3 / min(seconds(product) for _ in range(5)) / 1e9


def data_spec(size: int = SIZE) -> DataSpec:
    """Return the images as our loop reads them."""
    known = "TRANSFUSION_DATA" in os.environ and data.TABLE["chest_xray"]
    name = "chest_xray" if known else "fundus"
    return DataSpec(name=name, size=size, train=IMAGES, val=50, test=300)


def write_images(folder: Path) -> str:
    """Write the images as the peer reads them, a JPEG file each in a folder per class; return their set's name."""
    spec = data_spec()
    if spec.name == "chest_xray":
        archive = chest_xray.SOURCE.find(spec)
        assert archive is not None
        with zipfile.ZipFile(archive) as file:
            names = sorted(name for name in file.namelist() if "/train/" in name and name.endswith(".jpeg"))
            for name in names[:: max(1, len(names) // IMAGES)][:IMAGES]:
                path = folder / Path(name).parent.name / Path(name).name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(file.read(name))
        return spec.name
    split = data.load(spec.replace(size=224)).train
    for number, (image, label) in enumerate(zip(split.images, split.labels.tolist(), strict=True)):
        path = folder / str(label) / f"{number}.jpeg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    return spec.name


def peak_memory(which: str, network: str, folder: Path) -> float:
    """Return the peak of a loop's memory in MiB, its workers included and shared pages counted once."""
    command = [sys.executable, "-m", "benchmarks.train", which, network, str(folder)]
    return float(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))


class Memory(threading.Thread):
    """Samples the proportional memory of this process and its children (Linux)."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self.over = threading.Event()

    def run(self) -> None:
        """Sample until it is over."""
        while not self.over.wait(0.1):
            self.peak = max(self.peak, self.now())

    def now(self) -> int:
        """Return the KiB of the process and its children now."""
        total = 0
        for pid in [os.getpid(), *children()]:
            try:
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            except OSError:
                continue
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return total


def children() -> list[int]:
    """Return the processes that this one has started."""
    found = []
    for path in Path("/proc/self/task").glob("*/children"):
        found += [int(word) for word in path.read_text().split()]
    return found


def alone(which: str, network: str, folder: Path) -> float:
    """Return the peak memory in MiB of some steps of one loop in this process: the peer's, or ours in a precision."""
    watch = Memory()
    watch.start()
    if which == "theirs":
        their_loop(network, folder).run(8)
    else:
        devices.keep_freed_memory()
        run = our_run(network, "bfloat16" if which == "bfloat16" else "float32")
        timed(run, 8)()
        run.scores(run.splits["test"])
    watch.over.set()
    watch.join()
    return watch.peak / 1024


if __name__ == "__main__":
    with devices.threads(devices.cores()):
        print(json.dumps(alone(sys.argv[1], sys.argv[2], Path(sys.argv[3]))))
