"""What many runs cost: ``transfusion bench store``.

1. 1,000 finished runs listed and loaded: under 2 s. ``todo`` over 10,000 specs, on computed data and on a folder of
   files: under 3 s.
2. Time grows linearly in the number of steps and of images, memory does not grow with steps.

The 1,000 runs are copies of one small record under their own keys.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.report import Report
from transfusion_lib import data, runs
from transfusion_lib.runs.store import Store
from transfusion_lib.spec import DataSpec, InitSpec, ModelSpec, RunSpec, TrainSpec
from transfusion_lib.training import device as devices
from transfusion_lib.training.train import fit

BASE = RunSpec(
    data=DataSpec(name="fundus", size=32, train=256, val=16, test=24),
    model=ModelSpec(name="cbr_tiny"),
    train=TrainSpec(steps=20, eval_every=1_000_000, batch_size=8),
)
FILES = 5000
PRETRAINED = InitSpec(method="pretrained", weights="imagenet")


def measure(report: Report) -> None:
    """Measure all and report the figures."""
    with tempfile.TemporaryDirectory() as folder:
        many(report, Store(Path(folder)))
    growth(report)


def many(report: Report, store: Store) -> None:
    """Fill a store, then list, load and plan."""
    runs.ensure([BASE], store=store)
    [entry] = [store.find(runs.KIND, key) for key in store.keys(runs.KIND)]
    assert entry is not None
    files = {name: entry.read(name) for name in entry.manifest()}
    specs = [BASE.replace(seed=seed) for seed in range(1000)]
    for spec in specs[1:]:
        record = json.loads(files["record.json"]) | {"key": runs.key(spec), "spec": spec.model_dump(mode="json")}
        store.add(runs.KIND, runs.key(spec), files | {"record.json": json.dumps(record).encode()})
    began = time.perf_counter()
    found = runs.ensure(specs, store=store, live=False)
    assert [run.curve["step"][-1] for run in found] == [20] * 1000
    report.add("1,000 finished runs listed and loaded", time.perf_counter() - began, "s", at_most=2)
    starts = (BASE, BASE.replace(model=ModelSpec(name="efficientnet_lite0"), init=PRETRAINED))
    asked = [start.replace(seed=seed) for seed in range(5000) for start in starts]
    began = time.perf_counter()
    plan = runs.todo(asked, store=store)
    assert sum(one.state == "done" for one in plan) == 1000
    report.add("todo over 10,000 specs", time.perf_counter() - began, "s", at_most=3)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(FILES):
            place = Path(folder) / "ab"[number % 2]
            place.mkdir(exist_ok=True)
            (place / f"{number}.png").write_bytes(number.to_bytes(4))  # planned with, never decoded
        of_files = DataSpec(name="folder", root=folder, size=32)
        data.fingerprint(of_files)  # reads every file, once
        asked = [spec.replace(data=of_files) for spec in asked]
        began = time.perf_counter()
        assert len(runs.todo(asked, store=store)) == len(asked)
        report.add(f"todo over 10,000 specs, {FILES:,} files", time.perf_counter() - began, "s", at_most=3)


def growth(report: Report) -> None:
    """Fit lines to the time of training by steps and of drawing by images, and compare the memory of short and long."""
    for what, unit, sizes in (("steps", "step", (50, 100, 200, 400)), ("images", "image", (1000, 2000, 4000, 8000))):
        found = [json.loads(_alone(what, size)) for size in sizes]
        seconds = [one["seconds"] for one in found]
        slope, start = np.polyfit(sizes, seconds, 1)
        residual = float(np.abs(np.polyval((slope, start), sizes) - seconds).max() / max(seconds))
        line = f"time by {what}"
        report.add(f"{line}: slope of the line", 1e3 * float(slope), f"ms per {unit}", details=f"start {start:.2f} s")
        report.add(f"{line}: largest distance from the line", residual, "of the longest", at_most=0.1)
        if what == "steps":
            report.add(
                "memory of 400 steps against 50", found[-1]["memory"] / found[0]["memory"], "times", at_most=1.05
            )


def _alone(what: str, size: int) -> bytes:
    """Measure in a process of its own and return what it printed: seconds of processor time, and peak memory."""
    with tempfile.TemporaryDirectory() as empty:
        return subprocess.run(
            [sys.executable, "-m", "benchmarks.store", what, str(size)],
            env=os.environ | {"TRANSFUSION_STORE": empty},
            check=True,
            stdout=subprocess.PIPE,
        ).stdout


def one(what: str, size: int) -> dict[str, float]:
    """Return the processor time of ``size`` steps of training, or of drawing ``size`` images, and the peak memory."""
    began = _processor_time()
    if what == "images":
        data.load(BASE.data.replace(train=size, size=64))
    else:
        spec = BASE.replace(train=BASE.train.replace(steps=size))
        dataset, chosen = data.load(spec.data), devices.resources()
        with devices.threads(1):
            fit(spec.replace(train=spec.train.replace(steps=5)), dataset, source=None, resources=chosen)
            began = _processor_time()
            fit(spec, dataset, source=None, resources=chosen)
    return {"seconds": _processor_time() - began, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}


def _processor_time() -> float:
    """Return the seconds that this process and its finished children have computed."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    print(json.dumps(one(sys.argv[1], int(sys.argv[2]))))
