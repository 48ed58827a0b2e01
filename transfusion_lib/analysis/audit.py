"""Train finished runs again from their specs and compare: does the store hold what the program computes?"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from transfusion_lib import data
from transfusion_lib.errors import DamagedError, DataError, SpecError, StoreError, UserError
from transfusion_lib.runs import analyses, cases, ensure, sums
from transfusion_lib.runs.records import open_records
from transfusion_lib.runs.run import KIND, Run, key, label, load, source_of
from transfusion_lib.runs.standing import duration
from transfusion_lib.runs.store import Entry, Problem, Store, open_store
from transfusion_lib.spec import RunSpec
from transfusion_lib.stats.interval import t_quantile
from transfusion_lib.training import device as devices
from transfusion_lib.training import metrics, provenance
from transfusion_lib.training.device import Resources
from transfusion_lib.training.train import FIRST, fit

START = 0.005
"""Of any score before the first step, on another machine or with another PyTorch. Rounding has not grown there: records
trained again differed by nothing on another processor and, from random weights, by 0.001 on a GPU; 15 of the pilot's
1,026 pairs of seeds are nearer than this."""

LOSS = {"float32": 0.01, "bfloat16": 0.15}
"""Of the loss of each of the first steps there, as a share of itself, by precision. With AVX2 in place of AVX-512 the
first five losses of CBR-Tiny and EfficientNet-Lite0 differed by up to 0.003 in float32, and in bfloat16 by 0.002 and by
0.10: batch norms of few positions magnify it."""

SPREADS = 1.5
"""Of the mean difference of the scores over all evaluations there, in spreads (see ``_spread``)."""

USUAL_SPREAD = 0.025
"""Where no other seed is recorded: a quarter of the recorded spreads are smaller."""

SEEDS = 3
"""Other seeds of an arm that can judge a final score; of fewer the interval would be wider than any honest doubt."""

FINAL = 0.05
"""Of the final score where no arm can judge: two seeds of the pilot's median arm (SD 0.017) are nearer in 95 of 100
pairs."""

AUDIT = "audit.json"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What training a spec gave: a record, or the same trained again."""

    curve: Mapping[str, Sequence[Any]]
    first_losses: Sequence[float]
    final: Mapping[str, Any]
    """Scores of the selected weights by name, see ``Run.final``."""
    test_scores: Tensor
    """As the file of the record would give them back."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One run, trained again."""

    key: str
    what: str
    start_tolerance: float | None
    """Of ``start``; 0 where all sittings of the run were on a CPU like this, with this version, and it starts from the
    same weights: then no bit may differ. None where it starts from a run that was trained again elsewhere."""
    loss_tolerance: float
    """Of ``loss``."""
    tolerance: float
    """Of ``curve``."""
    final_tolerance: float
    """Of ``final``."""
    start: float
    """Largest difference of a score before the first step."""
    loss: float | None
    """Largest difference of a loss of the first steps, as a share of it; None where the pilot recorded none."""
    curve: float
    """Mean difference of the scores over all evaluations."""
    final: float
    """Difference of the final score: test AUROC, or Dice."""
    finals: float
    """Largest difference of any final score, of AUPRC and validation too."""
    again: float | None
    """The final score of the run trained again; None where it is not defined."""
    arm: int
    """How many other seeds of its arm are among the records."""
    low: float | None
    high: float | None
    """The 95 % prediction interval of those seeds for ``again``; None where they are fewer than ``SEEDS``."""
    scores: float
    """Largest difference of a final probability."""
    cases: float
    """Largest difference of a recorded final score from the same score of the recorded cases."""
    source: bool | None
    """Whether the run that it starts from agrees, as it is at hand; None where it starts from none."""

    @property
    def agrees(self) -> bool:
        """Whether no number differs by more than it may; on an equal machine, whether no bit differs."""
        sound = self.cases <= cases.MOVED + EXACT and self.source is not False
        if self.start_tolerance == 0:
            return sound and not any((self.start, self.loss, self.curve, self.finals, self.scores))
        started = self.start_tolerance is None or (
            self.start <= self.start_tolerance and (self.loss or 0) <= self.loss_tolerance
        )
        return sound and started and self.curve <= self.tolerance and self.ended

    @property
    def ended(self) -> bool:
        """Whether the final score counts as reproduced.

        As near to the record as a start must be, or both as near to it as two seeds are in 95 of 100 pairs and inside
        the prediction interval of the arm.
        """
        low, high, again = self.low, self.high, self.again
        inside = low is None or high is None or again is None or low <= again <= high
        return self.final <= START or (inside and self.final <= self.final_tolerance)

    @property
    def judged(self) -> str:
        """By what the final score is judged, in words."""
        if self.low is None or self.high is None:
            return f"cannot be judged by its arm ({self.arm} other seeds)"
        return f"{self.arm} other seeds: {self.low:.3f} to {self.high:.3f}"

    @property
    def row(self) -> dict[str, Any]:
        """What the command line shows of it."""
        return {"run": self.key[:12], "agrees": self.agrees, "start differs by": self.start, "curve by": self.curve,
                "allowed": self.tolerance, "first losses by": self.loss, "last score by": self.final,
                "there allowed": self.final_tolerance, "judged by": self.judged, "what": self.what}  # fmt: skip


EXACT = 1e-6
"""By which one score may differ between two libraries that compute it."""


def draw(store: Store, count: int, *, seed: int, within: float | None = None) -> list[Run]:
    """Return ``count`` finished runs of this version, drawn at random without repetition; all if there are fewer.

    A version that gives a spec another meaning gives it another key, and cannot train its earlier runs again.

    ``within`` leaves out those that took more seconds, those whose seconds say nothing of this machine, since a GPU
    took them and here is none, and those that start from another run, which would have to be made first. Damaged runs
    are left out: there is nothing to compare with.
    """
    runs = [run for run in _runs(store) if _of_this_version(run)]
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
        try:
            found.append(_read(Entry(store.root / KIND / matching[0])))
        except SpecError:
            said = f"{store.root}: {matching[0]} was described by another version of this program"
            raise StoreError(said) from None
    return found


def _has_source(run: Run) -> bool:
    return isinstance(run.spec.init.weights, RunSpec)


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What ``check`` found in a store."""

    runs: int
    """How many finished runs were hashed."""
    problems: Sequence[Problem]
    compared: Sequence[Compared]
    seed: int | None
    """Of the sample; None where runs were named."""

    @property
    def sound(self) -> bool:
        """Whether nothing is damaged and every run that was trained again agrees."""
        return not self.problems and all(one.agrees for one in self.compared)

    def lines(self) -> Iterator[str]:
        """Yield the counts in words."""
        yield f"{self.runs} runs checked, {len(self.problems)} damaged"
        if self.compared:
            differ = sum(not one.agrees for one in self.compared)
            how = "as asked" if self.seed is None else f"seed {self.seed}"
            yield f"{len(self.compared)} trained again ({how}), {differ} differ"

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        again = [{**asdict(one), "agrees": one.agrees} for one in self.compared]
        return {"checked": self.runs, "problems": list(map(asdict, self.problems)), "sample": again, "seed": self.seed}


def check(
    keys: Sequence[str] = (),
    *,
    records: bool,
    sample: int | None = None,
    seed: int | None = None,
    within: float | None = None,
    keep: bool = False,
    say: Callable[[str], None],
) -> Checked:
    """Hash the store, or the records, and train runs again: those that ``keys`` name, or a sample.

    By default the sample is one run of the store and none of the records. ``keep`` keeps the result with the records.
    A run of a default sample whose data are not here is left out, and ``say`` says so. A ``UserError`` says which
    options exclude each other.
    """
    if keep and not (records and sample):
        raise UserError("--keep needs --records and --sample K: it keeps what training records again found")
    if keys and (sample is not None or within is not None):
        raise UserError("a KEY names what to train again, --sample and --within draw among all: give one or the other")
    mine = open_store()
    store = open_records().store if records else mine
    count = len(store.keys(KIND))
    # Records are in git, which holds every version: a damaged one is named, and nothing is moved.
    problems = open_records().verify() if records else [*store.verify(KIND), *store.verify(analyses.KIND)]
    drawn = time.time_ns() % 2**31 if seed is None else seed
    asked = (0 if records else 1) if sample is None else sample
    chosen = named(store, keys) if keys else draw(store, asked, seed=drawn, within=within)
    compared = _all_again(chosen, among=store, weights=mine, strict=bool(keys) or sample is not None, say=say)
    if keep:
        write_audit(store.root, compared, of=count, seed=drawn)
    return Checked(runs=count, problems=problems, compared=compared, seed=None if keys else drawn)


def _all_again(
    chosen: Sequence[Run], *, among: Store, weights: Store, strict: bool, say: Callable[[str], None]
) -> list[Compared]:
    """Return how each of ``chosen`` compares with itself, trained again; see ``again``.

    Unless ``strict``, runs whose data are not here are left out: their hashes still count. Damaged ones always are:
    the hashes found them.
    """
    compared = []
    for run in chosen:
        say(f"training again, {duration(run.record['seconds'])} at first: {label(run.spec)}")
        try:
            if isinstance(run.spec.init.weights, RunSpec):
                ensure([run.spec.init.weights], store=weights, say=say)  # a record has no weights to start from
            compared.append(again(run, among=among, weights=weights))
        except (DataError, DamagedError) as error:
            if strict and isinstance(error, DataError):
                raise
            say(f"not trained again: {error}")
    return compared


def again(run: Run, *, among: Store, weights: Store) -> Compared:
    """Train ``run`` from its first step, keep nothing, and return how far the numbers are from those in its store.

    ``among`` is that store: its other seeds of the run say how far rounding may lead. ``weights`` has the run that it
    starts from, which is compared with its own record too. A ``DataError`` says that its data or weights are others
    today, so that there is nothing to compare.
    """
    if key(run.spec) != run.key:
        raise DataError(f"{label(run.spec)}: trained on other data or weights than are here now; train it as a new run")
    made = run.record["provenance"]
    chosen = Resources(device=devices.resources().device, threads=int(made["machine"]["threads"]))
    dataset = data.load(run.spec.data)
    with devices.threads(chosen.threads):
        result = fit(run.spec, dataset, source=source_of(run.spec, weights), resources=chosen)
        now = _settings(provenance.record(chosen.device))
    kind, positive = dataset.kind, dataset.positive
    final = _scores(result.test_scores, dataset.test.labels, "test", kind=kind, positive=positive)
    final |= _scores(result.val_scores, dataset.val.labels, "val", kind=kind, positive=positive)
    found = Outcome(
        curve=result.curve,
        first_losses=result.losses[:FIRST].tolist(),
        final=final,
        test_scores=run.as_kept(result.test_scores),
    )
    sittings = made.get("sittings", [{"first_step": 0, **made}])
    whole = sittings[0]["first_step"] == 0
    alike = chosen.device.type == "cpu" and whole and all(_settings(one) == now for one in sittings)
    source = _source(run, among=among, weights=weights)
    return compared(run, found, others=_arm(run, among), source=source, alike=alike)


def compared(
    run: Run, found: Outcome, *, others: Sequence[Run], source: Compared | None = None, alike: bool = False
) -> Compared:
    """Return how far ``found`` is from what ``run`` recorded.

    ``others`` are the other seeds of its arm, ``source`` how the run that it starts from compares, and ``alike`` says
    that both were made on equal machines.
    """
    same = source is None or source.scores == source.curve == 0
    exact = alike and same
    differences = _differences(run.curve, found.curve)
    name = "test_dice" if "test_dice" in run.final else "test_auroc"
    low, high, final_tolerance = _predicted([one.final[name] for one in others])
    return Compared(
        key=run.key,
        what=label(run.spec),
        start_tolerance=0.0 if exact else START if same else None,
        loss_tolerance=0.0 if exact else LOSS[run.spec.train.precision],
        tolerance=0.0 if exact else SPREADS * _spread([found.curve, *(one.curve for one in others)]),
        final_tolerance=0.0 if exact else final_tolerance,
        start=float(differences[:, 0].max()),
        loss=_losses_apart(run.record.get("first_losses", []), found.first_losses),
        curve=float(differences.mean()),
        final=_apart(run.final[name], found.final[name]),
        finals=max(_apart(value, found.final[score]) for score, value in run.final.items() if "_by_" not in score),
        again=found.final[name],
        arm=len(others),
        low=low,
        high=high,
        scores=float((found.test_scores - run.cases["test_scores"]).abs().max()),
        cases=_from_cases(run),
        source=None if source is None else source.agrees,
    )


def beside(recorded: Run, made: Run, *, among: Store, source: Compared | None = None) -> Compared:
    """Return how far ``made``, the same run made here, is from its record in ``among``."""
    found = Outcome(
        curve=made.curve,
        first_losses=made.record.get("first_losses", []),
        final=made.final,
        test_scores=recorded.as_kept(made.cases["test_scores"]),
    )
    return compared(recorded, found, others=_arm(recorded, among), source=source)


def _source(run: Run, *, among: Store, weights: Store) -> Compared | None:
    """Return how the run that ``run`` starts from, as ``weights`` has it, differs from its record in ``among``."""
    if not isinstance(run.spec.init.weights, RunSpec):
        return None
    made = load(run.spec.init.weights, store=weights)
    entry = among.find(KIND, made.key)
    if entry is None:
        raise DataError(f"{label(run.spec)}: {among.root} has no run {made.key[:12]}, from whose weights it starts")
    recorded = _read(entry)
    return beside(recorded, made, among=among, source=_source(recorded, among=among, weights=weights))


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
    if (folder / sums.SUMS).is_file():
        sums.write(folder, AUDIT)
    return path


def read_audit(folder: Path) -> dict[str, Any] | None:
    """Return the last audit, or None where none was kept."""
    return sums.json_of(folder, AUDIT) if (folder / AUDIT).is_file() else None


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


def _losses_apart(before: Sequence[float], after: Sequence[float]) -> float | None:
    """Return how far the losses of the first steps are apart at most, as a share of the first's; 1 if not as many."""
    if not before:
        return None
    if len(before) != len(after):
        return 1.0
    one, other = np.array(before), np.array(after)
    return float(np.max(np.abs(one - other) / np.maximum(np.abs(one), np.finfo(np.float64).tiny)))


def _spread(curves: Sequence[Mapping[str, Any]]) -> float:
    """Return how far two seeds of a run are apart: the mean difference of their scores over all evaluations and pairs.

    Rounding grows from step to step, in some networks until it moves a run as far as another seed would and in others
    not at all, so that no single number fits all. The first curve is that of the run trained again: a record that is
    wrong must not widen its own limit.
    """
    pairs = [float(_differences(one, other).mean()) for one, other in combinations(curves, 2)]
    return float(np.mean(pairs)) if pairs else USUAL_SPREAD


def _predicted(values: Sequence[float | None]) -> tuple[float | None, float | None, float]:
    """Return the 95 % prediction interval for one more of ``values``, and how near two such are in 95 of 100 pairs.

    Of fewer than ``SEEDS`` there is no interval, and ``FINAL`` stands for the nearness.
    """
    known = [value for value in values if value is not None]
    if (count := len(known)) < SEEDS:
        return None, None, FINAL
    mean, deviation, t = float(np.mean(known)), float(np.std(known, ddof=1)), t_quantile(0.975, count - 1)
    half = t * deviation * math.sqrt(1 + 1 / count)
    return mean - half, mean + half, t * deviation * math.sqrt(2)


def _from_cases(run: Run) -> float:
    """Return how far the recorded final scores are from those of the recorded cases."""
    about, kept = run.record["dataset"], run.cases
    found: dict[str, Any] = {}
    for split in ("test", "val"):
        labels = kept.get(f"{split}_labels", kept[f"{split}_scores"])  # in segmentation the scores need none
        found |= _scores(kept[f"{split}_scores"], labels, split, kind=about["kind"], positive=about["positive"])
    return max(_apart(value, found[name]) for name, value in run.final.items() if "_by_" not in name)


def _scores(
    scores: Tensor, labels: Tensor, split: str, *, kind: metrics.Kind, positive: Sequence[int] | None
) -> dict[str, Any]:
    """Return the scores of a split by name, as ``Run.final`` has them: None where one is not defined."""
    found = metrics.summary(scores, labels, kind=kind, positive=positive)
    return {f"{split}_{name}": None if value != value else value for name, value in found.items()}


def _apart(one: float | None, other: float | None) -> float:
    """Return how far two scores are apart; 1, as far as can be, where only one is defined."""
    if one is None or other is None:
        return float(one is not other)
    return abs(one - other)


def _arm(run: Run, among: Store) -> list[Run]:
    """Return the other runs of ``among`` that differ from ``run`` by seed alone, its own and that of its data."""

    def arm(spec: RunSpec) -> RunSpec:
        return spec.replace(seed=0, data=spec.data.replace(seed=0))

    return [one for one in _runs(among) if one.key != run.key and arm(one.spec) == arm(run.spec)]


def _runs(store: Store) -> Iterator[Run]:
    """Yield every run but damaged ones and those that another version of this program described."""
    for name in store.keys(KIND):
        try:
            yield _read(Entry(store.root / KIND / name))
        except (SpecError, StoreError):
            continue


def _read(entry: Entry) -> Run:
    """Return a run whose spec and record are whole."""
    run = Run(RunSpec.from_json(entry.read("spec.json")), entry)
    entry.read("record.json")
    return run
