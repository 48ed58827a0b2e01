"""Train finished runs again from their specs and compare: does the store hold what the program computes?"""

from dataclasses import dataclass

import numpy as np

from transfusion_lib import data, provenance
from transfusion_lib import device as devices
from transfusion_lib.device import Resources
from transfusion_lib.run import KIND, Run, label, source_of
from transfusion_lib.spec import RunSpec
from transfusion_lib.store import Entry, Store
from transfusion_lib.train import Result, fit

TOLERANCE = 0.05
"""Largest difference of an AUROC or AUPRC on the curve from another machine's or another PyTorch's: rounding grows
from step to step. On the same CPU, threads and version nothing may differ."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One run, trained again."""

    key: str
    what: str
    tolerance: float
    """0 where the run was trained on a CPU like this, with this version."""
    curve: float
    """Largest difference of a score on the curve."""
    scores: float
    """Largest difference of a final probability."""

    @property
    def agrees(self) -> bool:
        """Whether nothing differs by more than the tolerance (final probabilities: only where it is 0)."""
        return self.curve <= self.tolerance and (self.tolerance > 0 or self.scores == 0)


def sample(store: Store, count: int, *, seed: int) -> list[Run]:
    """Return ``count`` finished runs, drawn at random without repetition; all where there are fewer."""
    keys = store.keys(KIND)
    drawn = np.random.default_rng(seed).permutation(len(keys))[:count]
    return [_read(store, keys[number]) for number in sorted(drawn)]


def again(run: Run, store: Store) -> Compared:
    """Train ``run`` from its first step, keep nothing, and return how far the numbers are from the store's."""
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
    return Compared(
        key=run.key,
        what=label(run.spec),
        tolerance=0.0 if alike else TOLERANCE,
        curve=_curve_difference(run, found),
        scores=float((found.test_scores - run.cases["test_scores"]).abs().max()),
    )


def _curve_difference(run: Run, found: Result) -> float:
    """Return the largest difference of a score; infinite where the curves have not the same steps."""
    if run.curve["step"] != found.curve["step"]:
        return float("inf")
    names = [name for name in run.curve if name.startswith(("val_", "test_")) and not name.endswith("_by_class")]
    pairs = [(run.curve[name], found.curve[name]) for name in names]
    before, after = (np.array([part[side] for part in pairs], dtype=float) for side in (0, 1))
    if (np.isnan(before) != np.isnan(after)).any():
        return float("inf")
    return float(np.nan_to_num(np.abs(before - after)).max())


def _read(store: Store, key: str) -> Run:
    entry = Entry(store.root / KIND / key)
    return Run(RunSpec.from_json(entry.read("spec.json"), source=str(entry.folder / "spec.json")), entry)
