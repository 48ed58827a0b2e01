"""What the chapter "Your images" recommends, by validation alone, and what it warns of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from transfusion_lib import data
from transfusion_lib.analysis.evaluation import Cases, Report, Task, evaluate, interval, losses, points
from transfusion_lib.analysis.unseen import judge_of, read
from transfusion_lib.chapters.kit.curve_tables import NETWORKS, STARTS
from transfusion_lib.chapters.own.study import Arm
from transfusion_lib.data.dataset import Dataset
from transfusion_lib.networks import describe
from transfusion_lib.runs.standing import duration
from transfusion_lib.spec import DataSpec
from transfusion_lib.stats import Interval, over_cases, over_seeds_and_cases
from transfusion_lib.stats.decisions import Rate
from transfusion_lib.stats.words import listed, told

SETTLED = 0.01
"""Validation AUROC that the second half of the steps may still bring."""
SATURATED = 0.99
FEW = 20
"""Validation images of the rarest class below which a choice owes more to chance than to the networks."""
LEVELS: dict[Rate, int] = {"specificity": 90, "sensitivity": 90}


@dataclass(frozen=True, kw_only=True)
class Judged:
    """An arm on the validation images."""

    arm: Arm
    score: Interval
    """Validation AUROC."""
    gain: Interval
    """What the second half of the steps brought."""
    behind: Interval | None
    """Its score minus that of the best converged arm; None for that one, and where none has converged."""
    parameters: int
    macs: int
    seconds: float
    """Of one training, mean over seeds."""

    @property
    def converged(self) -> bool:
        """Tell whether more steps would hardly change its score."""
        return self.gain.estimate <= SETTLED

    @property
    def name(self) -> str:
        """Network and start, as a sentence has them."""
        return f"{NETWORKS.get(self.arm.network, self.arm.network)}, {STARTS[self.arm.start]}"


def judged(arms: Sequence[Arm], dataset: Dataset) -> list[Judged]:
    """Return every arm's validation score; no test image is looked at."""
    scores = [interval(dataset, "val", arm.runs, score="auroc") for arm in arms]
    gains = [interval(dataset, "val", arm.runs, arm.half, score="auroc") for arm in arms]
    settled = [k for k, gain in enumerate(gains) if gain.estimate <= SETTLED]
    best = max(settled, key=lambda k: scores[k].estimate, default=None)
    found = []
    for k, arm in enumerate(arms):
        spec = arm.runs[0].spec
        cost = describe(spec.model, num_outputs=dataset.num_outputs, size=spec.data.size)
        behind = None
        if best is not None and k != best:
            behind = interval(dataset, "val", arm.runs, arms[best].runs, score="auroc")
        seconds = float(np.mean([run.record["seconds"] for run in arm.runs]))
        found.append(
            Judged(
                arm=arm,
                score=scores[k],
                gain=gains[k],
                behind=behind,
                parameters=cost.parameters,
                macs=cost.macs,
                seconds=seconds,
            )
        )
    return found


def recommended(found: Sequence[Judged]) -> Judged | None:
    """Return the cheapest of the converged arms that validation does not tell from the best; None without any."""
    settled = [one for one in found if one.converged]
    close = [one for one in settled if one.behind is None or one.behind.high >= 0]
    return min(close, key=lambda one: (one.macs, one.seconds, -one.score.estimate), default=None)


def leading(found: Sequence[Judged]) -> Judged:
    """Return the best arm on validation, converged or not."""
    return max(found, key=lambda one: one.score.estimate)


def warnings(found: Sequence[Judged], dataset: Dataset) -> list[str]:
    """Return what a reader must know before they believe the choice, a sentence each."""
    lines = [f"Copies: {leak}; scores on them are too good." for leak in dataset.leaks]
    rarest = min(min(int(true.sum()), int((~true).sum())) for true, _ in _questions(dataset))
    if rarest < FEW:
        lines.append(
            f"The validation set is too small to choose by: {rarest} of its {len(dataset.val):,} images are of the "
            f"rarest answer, and below {FEW} the choice owes more to chance than to the networks."
        )
    below = [one.name for one in found if one.score.high < 0.5]
    if below:
        lines.append(f"Below chance on validation: {listed(below)}. Look at the labels: they may be exchanged.")
    unsure = [one.name for one in found if one.score.low <= 0.5 <= one.score.high]
    if unsure:
        lines.append(f"Not told from chance on validation: {listed(unsure)}.")
    if sum(one.score.estimate >= SATURATED for one in found) > 1:
        lines.append(
            f"Saturated: several arms reach {SATURATED} on validation, so these images cannot tell them apart. Check "
            "that nothing gives the class away: a border, a marker, the scanner."
        )
    rising = [one.name for one in found if not one.converged]
    if rising:
        lines.append(f"Not converged, and hence not recommended: {listed(rising)}. Train them longer: raise steps.")
    return lines


def _questions(dataset: Dataset) -> list[tuple[np.ndarray, np.ndarray]]:
    labels = dataset.val.labels.numpy()
    nothing = np.zeros((len(labels), dataset.num_outputs))
    return list(Task.of(dataset).questions(labels, nothing).values())


def recommendation(found: Sequence[Judged], dataset: Dataset) -> list[str]:
    """Return the recommendation in sentences: what, how sure, at what cost, and what it cannot say."""
    chosen = recommended(found)
    if chosen is None:
        return ["No recommendation: no arm has converged. Raise steps until the gain of the second half is small."]
    best = next(one for one in found if one.converged and one.behind is None)
    lines = [f"Take {chosen.name}: validation AUROC {told(chosen.score)}, {chosen.score.what_varies} varying."]
    if chosen.behind is not None:
        lines.append(
            f"The best on validation is {best.name}, but these images do not tell the two apart: "
            f"{told(chosen.behind, signed=True)}. The recommended one is cheaper."
        )
    test = interval(dataset, "test", chosen.arm.runs, score="auroc")
    lines += [
        f"Its test AUROC is {told(test)}. The test images were read after the choice.",
        f"It costs {chosen.parameters / 1e6:.2f} million parameters and {chosen.macs / 1e6:.0f} million multiply-adds "
        f"an image; a training took {duration(chosen.seconds)} here.",
        f"This cannot say what other scanners, sites or patients would give, nor what more than {len(dataset.train):,} "
        f"training images, other sizes than {dataset.train.images.shape[-1]} pixels or other networks would; "
        f"{len(chosen.arm.runs)} seeds are few.",
    ]
    return lines


def table(found: Sequence[Judged]) -> pd.DataFrame:
    """Return a row per arm: scores on validation with intervals, what more steps bring, costs."""
    chosen = recommended(found)
    return pd.DataFrame([
        {
            "network": NETWORKS.get(one.arm.network, one.arm.network),
            "start": STARTS[one.arm.start],
            "validation AUROC": one.score.estimate,
            "low": one.score.low,
            "high": one.score.high,
            "gain of the second half of the steps": told(one.gain, signed=True),
            "minus best": "" if one.behind is None else told(one.behind, signed=True),
            "parameters (M)": f"{one.parameters / 1e6:.2f}",
            "s per training": f"{one.seconds:.1f}",
            "": "recommended" if one is chosen else "" if one.converged else "not converged",
        }
        for one in found
    ])  # fmt: skip


def cases(chosen: Judged, dataset: Dataset, part: str) -> Cases:
    """Return the validation or test cases as the chosen arm sees them, its seeds' probabilities averaged."""
    split, runs = dataset.splits()[part], chosen.arm.runs
    return Cases(
        names=tuple(runs[0].names.get(part, split.ids)),
        units=split.units,
        truth=split.labels.numpy(),
        chances=np.mean([run.cases[f"{part}_scores"].numpy().astype(np.float64) for run in runs], axis=0),
    )


def report(chosen: Judged, dataset: Dataset) -> Report:
    """Return scores, calibration and decisions on the test images, at thresholds chosen on validation."""
    task = Task.of(dataset)
    thresholds = points(task, cases(chosen, dataset, "val"))
    return evaluate(cases(chosen, dataset, "test"), task, thresholds, levels=LEVELS)


def report_table(found: Report) -> pd.DataFrame:
    """Return a report's scores and rates, a row each."""
    rows = [(name, "", told(value)) for name, value in found.scores.items()]
    for one in found.decisions:
        chosen = f"{one.question} from {one.threshold:.3f} on, chosen for {one.aim} {one.level} % on validation"
        rows += [
            (name, chosen, told(value))
            for name, value in (("sensitivity", one.sensitivity), ("specificity", one.specificity))
            if value is not None
        ]
    return pd.DataFrame(rows, columns=["of the test images", "at", "value and 95 % interval"])


def bins(found: Report) -> pd.DataFrame:
    """Return the reliability curve, a row per bin."""
    return pd.DataFrame(found.reliability, columns=["mean probability", "came true", "cases"])


def external(chosen: Judged, dataset: Dataset, spec: DataSpec | None) -> str:
    """Return the chosen arm's AUROC on an external set, in a sentence."""
    if spec is None:
        return "No external set was given (external_dataset): nothing is known of other sites."
    read_by = [read(judge_of(run, dataset), spec) for run in chosen.arm.runs]
    own, task = read_by[0].cases, Task.of(dataset)
    chances = np.stack([one.cases.chances for one in read_by])
    one_run = len(chances) == 1
    how = over_cases if one_run else over_seeds_and_cases
    score = how(
        task.metric("auroc"),
        own.truth,
        chances[0] if one_run else chances,
        units=own.clusters,
        generator=np.random.default_rng(0),
        repeats=500,
    )
    left = f", {read_by[0].seen:,} that were trained on left out" if read_by[0].seen else ""
    called = data.called(spec.name) if spec.root is None else spec.root
    return f"On {len(own):,} images of {called}{left}, its AUROC is {told(score)}."


def worst(chosen: Judged, dataset: Dataset, *, count: int) -> pd.DataFrame:
    """Return the test images with the highest loss: row in the split, name, true classes, probability, loss."""
    own, task = cases(chosen, dataset, "test"), Task.of(dataset)
    each = losses(own, task)
    rows = []
    for row in np.argsort(-each, kind="stable")[:count]:
        truth = own.truth[row]
        held = [int(truth)] if task.kind == "multiclass" else [k for k, value in enumerate(truth) if value == 1]
        chance = own.chances[row, held].max() if held else math.nan
        rows.append((int(row), own.names[row], " or ".join(task.classes[k] for k in held) or "none", chance, each[row]))
    return pd.DataFrame(rows, columns=["row", "image", "true", "probability of it", "loss"])
