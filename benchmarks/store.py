"""What many runs cost: ``transfusion bench store``.

1. 1,000 finished runs listed and loaded: under 2 s. ``todo`` over 10,000 specs: under 3 s.
2. Time grows linearly in the number of steps and of images, memory does not grow with steps.

The 1,000 runs are copies of one small record under their own keys.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.report import Report
from transfusion_lib import data, runs
from transfusion_lib import device as devices
from transfusion_lib.spec import DataSpec, InitSpec, ModelSpec, RunSpec, TrainSpec
from transfusion_lib.store import Store
from transfusion_lib.train import fit

BASE = RunSpec(
    data=DataSpec(name="fundus", size=32, train=256, val=16, test=24),
    model=ModelSpec(name="cbr_tiny"),
    train=TrainSpec(steps=20, eval_every=1_000_000, batch_size=8),
)
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


def growth(report: Report) -> None:
    """Fit a line to the time of training by steps, and compare the memory of a short and a long run."""
    sizes = (50, 100, 200, 400)
    found = [json.loads(_alone(steps)) for steps in sizes]
    seconds = [one["seconds"] for one in found]
    slope, start = np.polyfit(sizes, seconds, 1)
    residual = float(np.abs(np.polyval((slope, start), sizes) - seconds).max() / max(seconds))
    report.add("time by steps: slope of the line", 1e3 * float(slope), "ms a step", details=f"start {start:.2f} s")
    report.add("time by steps: largest distance from the line", residual, "of the longest", at_most=0.1)
    report.add("memory of 400 steps against 50", found[-1]["memory"] / found[0]["memory"], "times", at_most=1.05)


def _alone(steps: int) -> bytes:
    """Train in a process of its own and return what it printed: seconds of processor time, and peak memory."""
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.store", str(steps)], check=True, stdout=subprocess.PIPE
    ).stdout


def one(steps: int) -> dict[str, float]:
    """Return the processor time of training for ``steps``, and the peak memory of this process."""
    spec = BASE.replace(train=BASE.train.replace(steps=steps))
    dataset, chosen = data.load(spec.data), devices.resources()
    with devices.threads(1):
        fit(spec.replace(train=spec.train.replace(steps=5)), dataset, source=None, resources=chosen)
        began = time.process_time()
        fit(spec, dataset, source=None, resources=chosen)
    return {"seconds": time.process_time() - began, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}


if __name__ == "__main__":
    print(json.dumps(one(int(sys.argv[1]))))
