"""``transfusion cut``: how much of a network a task needs, on anyone's images.

Searches by validation, shows accuracy against cost, reads the test set once for the chosen network and the whole one,
and says how sure it is.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from transfusion_lib import data, runs
from transfusion_lib import networks as models
from transfusion_lib.analysis import costs
from transfusion_lib.analysis.costs import Costs
from transfusion_lib.analysis.evaluation import Headline, interval
from transfusion_lib.data.dataset import Dataset, Split
from transfusion_lib.errors import SpecError, UserError, WeightsError
from transfusion_lib.networks import weights
from transfusion_lib.networks.init import init_for
from transfusion_lib.runs import Engine, Run
from transfusion_lib.runs.grid import Say
from transfusion_lib.runs.search import Candidate, Found, Search
from transfusion_lib.runs.store import Store
from transfusion_lib.spec import DataSpec, ModelSpec, RunSpec, TrainSpec
from transfusion_lib.stats import Interval

Rule = Literal["best", "one-se"]
"""Recommend the best on validation, or the cheapest within one standard error of it (Breiman et al. 1984)."""
Start = Literal["pretrained", "random"]
QUICK = TrainSpec(steps=40, eval_every=10, select="best")
FULL = TrainSpec(  # TruncatedTL's: Adam at 1e-4, halved on a plateau of the validation AUPRC, the best weights kept
    steps=2000, eval_every=50, batch_size=64, learning_rate=1e-4, schedule="plateau", select="best"
)
SETTLED = 0.005
"""By how much validation AUPRC may still rise in the last quarter of the steps."""
SPREAD = 0.3
"""Range of the middle 80 % of the times of one network, relative to their median, above which they mean little."""
REPEATS = 200  # resamples for each interval of the table; the test set's get the default


@dataclass(frozen=True, kw_only=True)
class Row:
    """One network of the search."""

    cut: str
    whole: bool
    validation: float
    """Mean over seeds of the validation score."""
    behind: Interval | None
    """Validation score minus that of the best network, seeds and validation images varying; None for the best."""
    costs: Costs
    on_frontier: bool
    """No other network is both better on validation and cheaper in multiply-adds."""


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What the search found: everything that is printed, written into the card and exported."""

    search: Search
    rows: tuple[Row, ...]
    chosen: Candidate
    whole: Candidate
    best: str
    rule: Rule
    scores: dict[str, dict[str, Interval]]
    """Test AUROC and AUPRC of "cut" and "whole", and of "difference" where they differ, by score."""
    exported: Run
    """The run whose weights are handed over: of the chosen network's seeds the best on validation."""
    limits: tuple[str, ...]
    """What a reader must keep in mind, in sentences."""

    @property
    def row(self) -> Row:
        """The chosen network's row."""
        return next(row for row in self.rows if row.cut == self.chosen.cut)

    @property
    def whole_row(self) -> Row:
        """The whole network's row."""
        return next(row for row in self.rows if row.whole)


def plan(
    place: str,
    *,
    model: str,
    size: int | None = None,
    seeds: int | None = None,
    task: str | None = None,
    positive: str | None = None,
    unit: str | None = None,
    on_bad: str = "error",
    start: Start = "pretrained",
    quick: bool = False,
    **train: Any,
) -> Search:
    """Return the search on a data set by name or place; ``train`` replaces fields of the training, None left out.

    A network without pretrained weights here is a ``WeightsError`` that says how to get them.
    """
    models.architecture(model)  # an unknown name is a mistake of its own
    init = init_for(start, model)
    if init is None or (start == "pretrained" and not _have(model, str(init.weights))):
        raise WeightsError(
            f"{model} has no pretrained weights at hand. Either download them once where there is a network and name "
            "their folder in TRANSFUSION_WEIGHTS, or use a network that comes with its weights "
            "(--model efficientnet_lite0), or start from random weights (--start random)"
        )
    settings = {name: value for name, value in train.items() if value is not None}
    spec = place_of(place, size=size or (64 if quick else 224), task=task, positive=positive, unit=unit, on_bad=on_bad)
    base = RunSpec(
        data=spec, model=ModelSpec(name=model), init=init, train=(QUICK if quick else FULL).replace(**settings)
    )
    return Search(base=base, seeds=tuple(range(seeds or (2 if quick else 3))), reach=2 if quick else None)


def place_of(
    place: str, *, size: int, task: str | None = None, positive: str | None = None, unit: str | None, on_bad: str
) -> DataSpec:
    """Return the data at a place or of a name, with the positive class, unit and treatment of faults asked for."""
    spec = data.spec_for(place, size=size, unit=unit, on_bad=on_bad, **({} if task is None else {"task": task}))
    if positive is None:
        return spec
    if not getattr(data.TABLE[spec.name], "own", False):
        raise SpecError(
            f"{spec.name}: the positive class of this set is given by its task; transfusion data show {spec.name}"
        )
    return spec.replace(task=f"{spec.task or ''}={positive}")


def advise(
    search: Search, *, rule: Rule = "best", store: Store | None = None, say: Say, engine: Engine | None = None
) -> Advice:
    """Return the advice of a search; runs that the store lacks are trained, ``say`` gets a line for each.

    ``engine`` says where they are trained, by default in this process.
    """
    dataset = data.load(search.base.data)
    if dataset.kind == "segmentation":
        raise UserError(f"transfusion cut is for classes, and task {dataset.task} has masks: see chapter segmentation")
    found = search.run(lambda specs: runs.ensure(specs, store=store, say=say, engine=engine))
    (whole,) = [one for one in found if one.runs[0].spec.model.truncate is None]
    say("measuring costs")
    others = costs.others_at_work()
    networks = {one.cut: one.runs[0].spec.model for one in found}
    measured = costs.measure(networks, num_outputs=dataset.num_outputs, size=search.base.data.size, rounds=9)
    rows = _rows(found, measured, dataset)
    chosen = _choose(found, rows, rule)
    headlines: tuple[Headline, ...] = ("auroc", "auprc")
    # The only place where the test set is read.
    scores: dict[str, dict[str, Interval]] = {
        score: _test_scores(chosen, whole, dataset, score=score) for score in headlines
    }
    return Advice(
        search=search,
        rows=rows,
        chosen=chosen,
        whole=whole,
        best=found.chosen.cut,
        rule=rule,
        scores=scores,
        exported=max(zip(chosen.validation, chosen.runs, strict=True), key=lambda pair: pair[0])[1],
        limits=(
            *_limits(
                dataset, search, rows, whole=chosen.cut == whole.cut, difference=scores["auprc"].get("difference")
            ),
            _convergence(chosen, [run for one in found for run in one.runs]),
            *_about_times([times for row in rows for times in row.costs.latency_ms.values()], others),
        ),
    )


def _have(model: str, name: str) -> bool:
    """Whether pretrained weights are here, or can be downloaded now."""
    try:
        weights.find(name, network=model)
    except WeightsError:
        return False
    return True


def _rows(found: Found, measured: Mapping[str, Costs], dataset: Dataset) -> tuple[Row, ...]:
    best = found.chosen
    rows = []
    for one in found:
        mine = measured[one.cut]
        rivals = [other for other in found if other.cut != one.cut]
        dominated = any(other.score >= one.score and measured[other.cut].macs < mine.macs for other in rivals)
        behind = None
        if one.cut != best.cut:
            behind = interval(dataset, "val", one.runs, best.runs, score="auprc", repeats=REPEATS)
        rows.append(
            Row(
                cut=one.cut,
                whole=one.runs[0].spec.model.truncate is None,
                validation=one.score,
                behind=behind,
                costs=mine,
                on_frontier=not dominated,
            )
        )
    return tuple(rows)


def _choose(found: Found, rows: tuple[Row, ...], rule: Rule) -> Candidate:
    if rule == "best":
        return found.chosen
    close = [row for row in rows if row.behind is None or row.behind.estimate >= -row.behind.se]
    cheapest = min(close, key=lambda row: row.costs.macs)
    return next(one for one in found if one.cut == cheapest.cut)


def _test_scores(chosen: Candidate, whole: Candidate, dataset: Dataset, *, score: Headline) -> dict[str, Interval]:
    found = {"cut": interval(dataset, "test", chosen.runs, score=score)}
    if chosen.cut != whole.cut:
        found["whole"] = interval(dataset, "test", whole.runs, score=score)
        found["difference"] = interval(dataset, "test", chosen.runs, whole.runs, score=score)
    return found


def _limits(
    dataset: Dataset, search: Search, rows: Sequence[Row], *, whole: bool, difference: Interval | None
) -> tuple[str, ...]:
    best = max(row.validation for row in rows)
    equals = sum(row.validation == best for row in rows)
    rare = {name: _rarest(split, dataset) for name, split in dataset.splits().items()}
    lines = [
        f"The cut point was chosen on {len(dataset.val)} validation images, {rare['val']} of them of the rarest class: "
        "the fewer, the more the choice owes to chance.",
        f"The test scores come from {len(dataset.test)} images ({rare['test']} of the rarest class) from the source of "
        "the training images. Other scanners, sites and patients may score lower.",
        f"{len(search.seeds)} seed{'s' if len(search.seeds) > 1 else ''}; "
        + (
            "intervals cover the seed and the test images."
            if len(search.seeds) > 1
            else "intervals cover the test images and not what another seed would change."
        ),
        f"Images are resized to {search.base.data.size} pixels: findings smaller than a few of these pixels are lost.",
    ]
    if equals > 1:
        lines.append(
            f"{equals} networks share the best validation score: these images cannot tell them apart, and the smallest "
            "was taken."
        )
    if dataset.synthetic:
        lines.append("The images are synthetic: the scores say nothing about patients.")
    if not whole and difference is not None and difference.low < -0.01:
        lines.append(
            "These data do not show that the cut network is as good as the whole one: a loss of "
            f"{-difference.low:.3f} AUPRC is within the interval."
        )
    return tuple(lines)


def _convergence(chosen: Candidate, everyone: Sequence[Run]) -> str:
    """Return how far from converged the search was: whether more steps would have gone on improving validation."""

    def best(run: Run, share: float) -> float:
        values = [
            value
            for step, value in zip(run.curve["step"], run.curve["val_auprc"], strict=True)
            if value is not None and step <= share * run.curve["step"][-1]
        ]
        return max(values, default=math.nan)

    late = sum(best(run, 1.0) > best(run, 0.999) for run in everyone)
    gain = float(np.mean([best(run, 1.0) - best(run, 0.75) for run in chosen.runs]))
    steps = max(run.curve["step"][-1] for run in chosen.runs)
    settled = gain <= SETTLED and late <= len(everyone) / 4
    return (
        f"In the last quarter of {steps:,} steps the best validation AUPRC of the chosen network rose by {gain:.3f}; "
        f"{late} of {len(everyone)} trainings were best at their last evaluation: "
        + ("the search had settled." if settled else "it had not converged, train longer (--steps).")
    )


def _about_times(times: Sequence[Sequence[float]], others: float | None) -> list[str]:
    """Return a line where latencies mean little: other programs were at work, or times of one network differ."""
    if others is not None and others >= 0.5:
        return [
            f"{others:.1f} other programs were at work on this machine as times were taken: latencies are too long."
        ]
    spread = max(float((np.quantile(one, 0.9) - np.quantile(one, 0.1)) / np.median(one)) for one in times)
    if spread > SPREAD:
        return [f"The times of one network differ by {spread:.0%}: the machine was busy, latencies mean little."]
    return []


def _rarest(split: Split, dataset: Dataset) -> int:
    if dataset.kind == "multiclass":
        return min(int((split.labels == k).sum()) for k in range(len(dataset.classes)))
    return min(int((split.labels[:, k] == 1).sum()) for k in range(len(dataset.classes)))


def as_json(advice: Advice) -> dict[str, Any]:
    """Return the advice as JSON values, None for a number that is not finite."""
    found: dict[str, Any] = finite({
        "recommended": advice.chosen.cut,
        "rule": advice.rule,
        "best": advice.best,
        "rows": [asdict(row) for row in advice.rows],
        "test": {score: {of: asdict(value) for of, value in parts.items()} for score, parts in advice.scores.items()},
        "exported_run": advice.exported.key,
        "limits": advice.limits,
        "search": advice.search.model_dump(mode="json"),
    })  # fmt: skip
    return found


def finite(value: Any) -> Any:
    """Return a value with None for what JSON does not have: numbers that are not finite."""
    if isinstance(value, dict):
        return {str(name): finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def checked_rule(text: str) -> Rule:
    """Return the rule called ``text``."""
    rules: dict[str, Rule] = {"best": "best", "one-se": "one-se"}
    if text not in rules:
        raise UserError(f'unknown rule "{text}"; best or one-se')
    return rules[text]


def checked_start(text: str) -> Start:
    """Return the start called ``text``."""
    starts: dict[str, Start] = {"pretrained": "pretrained", "random": "random"}
    if text not in starts:
        raise UserError(f'unknown start "{text}"; pretrained or random')
    return starts[text]
