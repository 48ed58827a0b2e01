"""What loading data costs: ``transfusion bench data``, each figure in a fresh process.

1. First load of the 5,856 chest x-rays at 64 px: decoded into an empty cache. At most 40 s on two cores, below 1.5 GB.
2. Second load, from that cache. Under 1 s.
3. Synthetic fundus photographs a second: at least 400 at 64 px and 60 at 224 px on two cores.

Needs ``TRANSFUSION_DATA``, the folder of chest_xray.zip, for 1 and 2. Times do not include starting Python and
importing PyTorch; memory, the process's peak, does.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import Report
from transfusion_lib import data
from transfusion_lib.spec import DataSpec

PICTURES = {64: 2000, 224: 400}  # drawn in one go, by size
RATES = {64: 400, 224: 60}  # promised on two cores


def measure(report: Report) -> None:
    """Measure all and report the figures."""
    with tempfile.TemporaryDirectory() as folder:
        if "TRANSFUSION_DATA" in os.environ:
            spec = DataSpec(name="chest_xray")
            first = load(report, "chest x-rays at 64 px, first load", spec, cache=Path(folder), at_most=40)
            load(report, "chest x-rays at 64 px, second load", spec, cache=Path(folder), at_most=1)
            report.add("peak memory of the first load", first["peak"] / 2**30, "GiB", at_most=1.5)
        else:
            report.note("chest x-rays: not measured, TRANSFUSION_DATA is not set")
        for size, n in PICTURES.items():
            spec = DataSpec(name="fundus", size=size, train=n, val=2, test=2)
            found = load(report, f"{n} fundus photographs at {size} px", spec, cache=Path(folder))
            rate = found["images"] / found["seconds"]
            report.add(f"fundus photographs at {size} px", rate, "a second", at_least=RATES[size])


def load(report: Report, what: str, spec: DataSpec, *, cache: Path, at_most: float | None = None) -> dict[str, float]:
    """Measure one load in a process of its own, report and return it."""
    command = [sys.executable, "-m", "benchmarks.data", spec.to_json(), str(cache)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    details = f"{found['images']:,} images, {found['processor_seconds']:.2f} s of processor time"
    report.add(what, found["seconds"], "s", at_most=at_most, details=details)
    return found


def measured(spec: DataSpec, *, cache: Path) -> dict[str, float]:
    """Return the cost of one load: seconds, processor seconds, images and the peak memory of the process in bytes."""
    processor, began = time.process_time(), time.perf_counter()
    loaded = data.load(spec, cache=cache)
    seconds = time.perf_counter() - began
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    return {
        "seconds": seconds,
        "processor_seconds": time.process_time() - processor,
        "images": sum(len(split) for split in loaded.splits().values()),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
    }


if __name__ == "__main__":
    print(json.dumps(measured(DataSpec.from_json(sys.argv[1]), cache=Path(sys.argv[2]))))
