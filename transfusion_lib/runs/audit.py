"""Train finished runs again from their specs and compare: does the store hold what the program computes?"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from transfusion_lib import data
from transfusion_lib.errors import DataError, SpecError, StoreError
from transfusion_lib.runs.run import KIND, Run, key, label, source_of
from transfusion_lib.runs.store import Entry, Store
from transfusion_lib.spec import RunSpec
from transfusion_lib.training import device as devices
from transfusion_lib.training import provenance
from transfusion_lib.training.device import Resources
from transfusion_lib.training.train import fit

START = 0.005
"""Of any score before the first step, on another machine or with another PyTorch. Rounding has not grown there: records
trained again differed by nothing on another processor and, from random weights, by 0.001 on a GPU; runs of another seed
by more than this in 98 of 100 pairs, of another start or network in 998 of 1,000."""

SPREADS, FINAL_SPREADS = 1.5, 4.0
"""Of the mean difference of the scores over all evaluations there, and of the last scores, a single evaluation at a
constant rate, in spreads (see ``_spread``). Records made with AVX-512 were trained again with AVX2
(``ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2``), 120 of the cheap ones drawn at random: one differed by 1.04
spreads on the mean, the others by 0 to 0.87, and at the last by up to 3.1."""

USUAL_SPREAD = 0.025
"""Where no other seed is recorded: a quarter of the recorded spreads are smaller."""

AUDIT = "audit.json"


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One run, trained again."""

    key: str
    what: str
    start_tolerance: float | None
    """Of ``start``; 0 where all sittings of the run were on a CPU like this, with this version, None where it starts
    from another run's weights, which were trained again too."""
    tolerance: float
    """Of ``curve``."""
    final_tolerance: float
    """Of ``final``."""
    start: float
    """Largest difference of a score before the first step."""
    curve: float
    """Mean difference of the scores over all evaluations."""
    final: float
    """Largest difference of a score at the last step."""
    scores: float
    """Largest difference of a final probability."""

    @property
    def agrees(self) -> bool:
        """Whether no score differs by more than it may; on an equal machine, whether no bit differs."""
        if self.start_tolerance == 0:
            return self.start == self.curve == self.final == self.scores == 0
        started = self.start_tolerance is None or self.start <= self.start_tolerance
        return started and self.curve <= self.tolerance and self.final <= self.final_tolerance


def sample(store: Store, count: int, *, seed: int, within: float | None = None) -> list[Run]:
    """Return ``count`` finished runs of this version, drawn at random without repetition; all if there are fewer.

    A version that gives a spec another meaning gives it another key, and cannot train its earlier runs again.

    ``within`` leaves out those that took more seconds, those whose seconds say nothing of this machine, since a GPU
    took them and here is none, and those that start from another run, which would have to be made first.
    """
    runs = [run for name in store.keys(KIND) if (run := _read(store, name)) is not None and _of_this_version(run)]
    if within is not None:
        gpu = devices.resources().device.type != "cpu"
        runs = [run for run in runs if run.record["seconds"] <= within and not _has_source(run)]
        runs = [run for run in runs if gpu or "gpu" not in run.record["provenance"]["machine"]]
    drawn = np.random.default_rng(seed).permutation(len(runs))[:count]
    return [runs[number] for number in sorted(drawn)]


def _of_this_version(run: Run) -> bool:
    """Tell whether this program would give the run its key, if its data and weights are what they were."""
    return run.spec.key(data=run.record["dataset"]["fingerprint"], weights=run.record["weights"]) == run.key


def named(store: Store, keys: Sequence[str]) -> list[Run]:
    """Return the finished runs whose keys begin so; a ``StoreError`` where one begins none or several."""
    found = []
    for asked in dict.fromkeys(keys):
        matching = [name for name in store.keys(KIND) if name.startswith(asked)]
        if len(matching) != 1:
            known = len(store.keys(KIND))
            what = (
                f"{len(matching)} begin with {asked}: give more digits"
                if matching
                else f"none begins with {asked}; keys are the folders in {store.root / KIND}"
            )
            raise StoreError(f"{store.root} has {known} finished runs, but {what}")
        run = _read(store, matching[0])
        if run is None:
            raise StoreError(f"{store.root}: {matching[0]} was described by another version of this program")
        found.append(run)
    return found


def _has_source(run: Run) -> bool:
    return isinstance(run.spec.init.weights, RunSpec)


def again(run: Run, *, among: Store, weights: Store) -> Compared:
    """Train ``run`` from its first step, keep nothing, and return how far the numbers are from those in its store.

    ``among`` is that store, whose other seeds of the run say how far rounding may lead; ``weights`` has the run it
    starts from. A ``DataError`` says that its data or weights are others today, so that there is nothing to compare.
    """
    if key(run.spec) != run.key:
        raise DataError(f"{label(run.spec)}: trained on other data or weights than are here now; train it as a new run")
    made = run.record["provenance"]
    chosen = Resources(device=devices.resources().device, threads=int(made["machine"]["threads"]))
    dataset = data.load(run.spec.data)
    with devices.threads(chosen.threads):
        found = fit(run.spec, dataset, source=source_of(run.spec, weights), resources=chosen)
        now = _settings(provenance.record(chosen.device))
    sittings = made.get("sittings", [{"first_step": 0, **made}])
    whole = sittings[0]["first_step"] == 0
    alike = chosen.device.type == "cpu" and whole and all(_settings(one) == now for one in sittings)
    differences = _differences(run.curve, found.curve)
    spread = 0.0 if alike else _spread(run, found.curve, among)
    return Compared(
        key=run.key,
        what=label(run.spec),
        start_tolerance=0.0 if alike else None if _has_source(run) else START,
        tolerance=SPREADS * spread,
        final_tolerance=FINAL_SPREADS * spread,
        start=float(differences[:, 0].max()),
        curve=float(differences.mean()),
        final=float(differences[:, -1].max()),
        scores=float((run.as_kept(found.test_scores) - run.cases["test_scores"]).abs().max()),
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


def _settings(made: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what can change the bits of a sitting: the machine with its threads and processes, the versions."""
    return made["machine"], made["versions"]["torch"], made["versions"]["numpy"]


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> np.ndarray:
    """Return how far two curves are apart: (scores, evaluations); 1, as far as can be, where they have other steps.

    Scores by class or region, lists at each step, are left out.
    """
    names = [name for name in before if name.startswith(("val_", "test_")) and "_by_" not in name]
    if before["step"] != after["step"]:
        return np.ones((len(names), 1))
    one, other = (np.array([curve[name] for name in names], dtype=float) for curve in (before, after))
    return np.where(np.isnan(one) & np.isnan(other), 0.0, np.nan_to_num(np.abs(one - other), nan=1.0))


def _spread(run: Run, again: Mapping[str, Any], among: Store) -> float:
    """Return how far two seeds of a run are apart: the mean difference of their scores over all evaluations and pairs.

    Rounding grows from step to step, in some networks until it moves a run as far as another seed would and in others
    not at all, so that no single number fits all.

    The curve ``again`` stands for the run's own seed, since a record that is wrong must not widen its own limit.
    """
    found = (_read(among, name) for name in among.keys(KIND) if name != run.key)
    others = [one.curve for one in found if one is not None and one.spec.replace(seed=run.spec.seed) == run.spec]
    pairs = [float(_differences(one, other).mean()) for one, other in combinations([again, *others], 2)]
    return float(np.mean(pairs)) if pairs else USUAL_SPREAD


def _read(store: Store, name: str) -> Run | None:
    """Return a run, or None where another version of this program described it."""
    entry = Entry(store.root / KIND / name)
    try:
        return Run(RunSpec.from_json(entry.read("spec.json")), entry)
    except SpecError:
        return None
