"""What loading data costs: ``python -m benchmarks.data``, each line in a fresh process.

1. First load of the 5,856 chest x-rays at 64 px: decoded into an empty cache. At most 40 s on two cores, below 1.5 GB.
2. Second load, from that cache. Under 1 s.
3. Synthetic fundus photographs a second: at least 400 at 64 px and 60 at 224 px on two cores.

Needs ``TRANSFUSION_DATA``, the folder of chest_xray.zip, for 1 and 2. Times do not include starting Python and
importing PyTorch; memory, the process's peak, does.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from transfusion_lib import data
from transfusion_lib.spec import DataSpec

PICTURES = {64: 2000, 224: 400}  # drawn in one go, by size
MEGABYTE = 2**20


def main() -> None:
    """Run all and print one line for each figure; with ``--one`` measure a single load and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=2, metavar=("SPEC", "CACHE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(DataSpec.from_json(options.one[0]), cache=Path(options.one[1]))))
        return
    print(f"{len(os.sched_getaffinity(0))} cores")
    with tempfile.TemporaryDirectory() as folder:
        if "TRANSFUSION_DATA" in os.environ:
            for which in ("first", "second"):
                report(f"chest x-rays at 64 px, {which} load", DataSpec(name="chest_xray"), cache=Path(folder))
        else:
            print("chest x-rays: not measured, TRANSFUSION_DATA is not set")
        for size, n in PICTURES.items():
            spec = DataSpec(name="fundus", size=size, train=n, val=2, test=2)
            report(f"fundus at {size} px", spec, cache=Path(folder))


def report(what: str, spec: DataSpec, *, cache: Path) -> None:
    """Measure one load in a process of its own and print it."""
    command = [sys.executable, "-m", "benchmarks.data", "--one", spec.to_json(), str(cache)]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    rate = found["images"] / found["seconds"]
    print(
        f"{what}: {found['images']:,} images in {found['seconds']:.2f} s, {rate:,.0f} a second, "
        f"{found['processor_seconds']:.2f} s of processor time, peak {found['peak'] / MEGABYTE:,.0f} MB"
    )


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
    main()
