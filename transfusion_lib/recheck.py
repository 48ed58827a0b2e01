"""Train finished runs again from their specs and compare: does the store hold what the program computes?"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transfusion_lib import data, provenance
from transfusion_lib import device as devices
from transfusion_lib.device import Resources
from transfusion_lib.errors import DataError, SpecError
from transfusion_lib.run import KIND, Run, key, label, source_of
from transfusion_lib.spec import RunSpec
from transfusion_lib.store import Entry, Store
from transfusion_lib.train import Result, fit

TOLERANCE = 0.025
"""Of the mean difference of AUROC and AUPRC over all evaluations, on another machine or with another PyTorch: rounding
grows from step to step. Fifteen records of an Intel processor, trained again on an AMD one, differed by 0.002 to 0.020;
runs of another start by 0.027 and more, of another seed by 0.017 to 0.070. On an equal machine nothing may differ."""

FINAL = 0.1
"""Of the last scores there: a single evaluation at a constant rate. In those fifteen runs the final test AUROC differed
by at most 0.028, and the limit was 0.05 until an audit on a processor without AVX-512 found 0.074 in a run whose curve
differed by 0.012 on the mean."""

GPU_TOLERANCE, GPU_FINAL = 0.07, 0.15
"""The same where one of the two was trained on a GPU, which rounds float32 to TF32. Ten runs from random weights on an
H100 and on processors differed by 0.005 to 0.064, at the end by up to 0.12: as far as two seeds. Such an audit finds
only gross errors."""

AUDIT = "audit.json"


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One run, trained again."""

    key: str
    what: str
    tolerance: float
    """Of ``curve``; 0 where the run was trained on a CPU like this, with this version."""
    final_tolerance: float
    """Of ``final``."""
    curve: float
    """Mean difference of the scores over all evaluations."""
    final: float
    """Largest difference of a score at the last step."""
    scores: float
    """Largest difference of a final probability."""

    @property
    def agrees(self) -> bool:
        """Whether no score differs by more than it may; on an equal machine, whether no bit differs."""
        if self.tolerance == 0:
            return self.curve == self.final == self.scores == 0
        return self.curve <= self.tolerance and self.final <= self.final_tolerance


def sample(store: Store, count: int, *, seed: int, within: float | None = None) -> list[Run]:
    """Return ``count`` finished runs, drawn at random without repetition; all where there are fewer.

    ``within`` leaves out those that took more seconds, those whose seconds say nothing of this machine, since a GPU
    took them and here is none, and those that start from another run, which would have to be made first.
    """
    runs = [run for name in store.keys(KIND) if (run := _read(store, name)) is not None]
    if within is not None:
        gpu = devices.resources().device.type != "cpu"
        runs = [run for run in runs if run.record["seconds"] <= within and not _has_source(run)]
        runs = [run for run in runs if gpu or "gpu" not in run.record["provenance"]["machine"]]
    drawn = np.random.default_rng(seed).permutation(len(runs))[:count]
    return [runs[number] for number in sorted(drawn)]


def _has_source(run: Run) -> bool:
    return isinstance(run.spec.init.weights, RunSpec)


def again(run: Run, store: Store) -> Compared:
    """Train ``run`` from its first step, keep nothing, and return how far the numbers are from the store's.

    A ``DataError`` says that its data or weights are others today, so that there is nothing to compare.
    """
    if key(run.spec) != run.key:
        raise DataError(f"{label(run.spec)}: trained on other data or weights than are here now; train it as a new run")
    machine = run.record["provenance"]["machine"]
    here = devices.resources()
    chosen = Resources(device=here.device, threads=int(machine["threads"]))
    with devices.threads(chosen.threads):
        found = fit(run.spec, data.load(run.spec.data), source=source_of(run.spec, store), resources=chosen)
        now = provenance.record(chosen.device)
    versions = run.record["provenance"]["versions"]
    alike = (
        chosen.device.type == "cpu"
        and machine == now["machine"]
        and all(versions[name] == now["versions"][name] for name in ("torch", "numpy"))
    )
    curve, final = _differences(run, found)
    gpu = "gpu" in machine or "gpu" in now["machine"]
    tolerances = (0.0, 0.0) if alike else (GPU_TOLERANCE, GPU_FINAL) if gpu else (TOLERANCE, FINAL)
    return Compared(
        key=run.key,
        what=label(run.spec),
        tolerance=tolerances[0],
        final_tolerance=tolerances[1],
        curve=curve,
        final=final,
        scores=float((found.test_scores - run.cases["test_scores"]).abs().max()),
    )


def write_audit(folder: Path, compared: Sequence[Compared], *, of: int, seed: int) -> Path:
    """Write what training again found, with the machine and the time, as ``audit.json`` beside the records."""
    found = {
        "made": provenance.record(devices.resources().device),
        "records": of,
        "seed": seed,
        "runs": [{**asdict(one), "agrees": one.agrees} for one in compared],
    }
    path = folder / AUDIT
    path.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path


def read_audit(folder: Path) -> dict[str, Any] | None:
    """Return the last audit, or None where none was kept."""
    path = folder / AUDIT
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _differences(run: Run, found: Result) -> tuple[float, float]:
    """Return the mean difference of the scores and the largest at the end; infinite where the steps differ.

    Scores by class or region, lists at each step, are left out.
    """
    if run.curve["step"] != found.curve["step"]:
        return float("inf"), float("inf")
    names = [name for name in run.curve if name.startswith(("val_", "test_")) and "_by_" not in name]
    pairs = [(run.curve[name], found.curve[name]) for name in names]
    before, after = (np.array([part[side] for part in pairs], dtype=float) for side in (0, 1))
    if (np.isnan(before) != np.isnan(after)).any():
        return float("inf"), float("inf")
    differences = np.nan_to_num(np.abs(before - after))
    return float(differences.mean()), float(differences[:, -1].max())


def _read(store: Store, name: str) -> Run | None:
    """Return a run, or None where another version of this program described it."""
    entry = Entry(store.root / KIND / name)
    try:
        return Run(RunSpec.from_json(entry.read("spec.json")), entry)
    except SpecError:
        return None
