"""``transfusion cut``: how much of a network a task needs, on anyone's images.

Searches by validation, shows accuracy against cost, reads the test set once for the chosen network and the whole one,
and says how sure it is.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from transfusion_lib import data, runs
from transfusion_lib import networks as models
from transfusion_lib.analysis import costs
from transfusion_lib.analysis.costs import Costs
from transfusion_lib.data.dataset import Dataset, Split
from transfusion_lib.errors import UserError, WeightsError
from transfusion_lib.networks import weights
from transfusion_lib.networks.init import init_for
from transfusion_lib.runs import Engine, Run
from transfusion_lib.runs.grid import Say
from transfusion_lib.runs.search import Candidate, Found, Search
from transfusion_lib.runs.store import Store
from transfusion_lib.spec import ModelSpec, RunSpec, TrainSpec
from transfusion_lib.stats import Interval, auprc, auroc, over_cases, over_seeds_and_cases

Rule = Literal["best", "one-se"]
"""Recommend the best on validation, or the cheapest within one standard error of it (Breiman et al. 1984)."""
Start = Literal["pretrained", "random"]
QUICK = TrainSpec(steps=40, eval_every=10, select="best")
FULL = TrainSpec(  # TruncatedTL's: Adam at 1e-4, halved on a plateau of the validation AUPRC, the best weights kept
    steps=2000, eval_every=50, batch_size=64, learning_rate=1e-4, schedule="plateau", select="best"
)
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
    spec = data.spec_for(place, size=size or (64 if quick else 224), task=task)
    base = RunSpec(
        data=spec, model=ModelSpec(name=model), init=init, train=(QUICK if quick else FULL).replace(**settings)
    )
    return Search(base=base, seeds=tuple(range(seeds or (2 if quick else 3))), reach=2 if quick else None)


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
    networks = {one.cut: one.runs[0].spec.model for one in found}
    measured = costs.measure(networks, num_outputs=dataset.num_outputs, size=search.base.data.size, rounds=9)
    rows = _rows(found, measured, dataset)
    chosen = _choose(found, rows, rule)
    scores = {
        score: _test_scores(chosen, whole, dataset, score=score) for score in ("auroc", "auprc")
    }  # the only place where the test set is read
    return Advice(
        search=search,
        rows=rows,
        chosen=chosen,
        whole=whole,
        best=found.chosen.cut,
        rule=rule,
        scores=scores,
        exported=max(zip(chosen.validation, chosen.runs, strict=True), key=lambda pair: pair[0])[1],
        limits=_limits(
            dataset, search, rows, whole=chosen.cut == whole.cut, difference=scores["auprc"].get("difference")
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
            behind = _interval(dataset, "val", one.runs, best.runs, score="auprc", repeats=REPEATS)
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


def _test_scores(chosen: Candidate, whole: Candidate, dataset: Dataset, *, score: str) -> dict[str, Interval]:
    found = {"cut": _interval(dataset, "test", chosen.runs, score=score)}
    if chosen.cut != whole.cut:
        found["whole"] = _interval(dataset, "test", whole.runs, score=score)
        found["difference"] = _interval(dataset, "test", chosen.runs, whole.runs, score=score)
    return found


def _interval(
    dataset: Dataset,
    part: Literal["val", "test"],
    of: tuple[Run, ...],
    minus: tuple[Run, ...] | None = None,
    *,
    score: str,
    repeats: int = 500,
) -> Interval:
    """Return a score's mean over seeds, or its difference; the interval is over seeds (if several) and cases."""
    split: Split = dataset.splits()[part]
    metric = _metric(dataset, score)
    sets = [np.stack([run.cases[f"{part}_scores"].numpy() for run in group]) for group in (of, minus) if group]
    truth = split.labels.numpy()
    units = split.units if len(set(split.units)) < len(split.units) else None
    generator = np.random.default_rng(0)
    if len(of) == 1:
        sets = [group[0] for group in sets]
        return over_cases(
            metric, truth, sets[0], minus=sets[1] if minus else None, units=units, generator=generator, repeats=repeats
        )
    return over_seeds_and_cases(
        metric, truth, sets[0], minus=sets[1] if minus else None, units=units, generator=generator, repeats=repeats
    )


def _metric(dataset: Dataset, score: str) -> Callable[[NDArray[np.generic], NDArray[np.float64]], float]:
    """Return one headline score of ``metrics.score``, fast enough for thousands of resamples."""
    binary = {"auroc": auroc, "auprc": auprc}[score]
    classes = range(len(dataset.classes))

    def metric(labels: NDArray[np.generic], chances: NDArray[np.float64]) -> float:
        if dataset.kind == "multiclass" and dataset.positive is not None:
            return binary(np.isin(labels, dataset.positive), chances[:, list(dataset.positive)].sum(1))
        if dataset.kind == "multiclass":
            columns = [(labels == k, chances[:, k]) for k in classes]
        else:
            known = [np.isin(labels[:, k], (0, 1)) for k in classes]  # an ignored label is NaN
            columns = [(labels[known[k], k], chances[known[k], k]) for k in classes]
        return float(np.mean([binary(*column) for column in columns if 0 < column[0].sum() < len(column[0])]))

    return metric


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


def _rarest(split: Split, dataset: Dataset) -> int:
    if dataset.kind == "multiclass":
        return min(int((split.labels == k).sum()) for k in range(len(dataset.classes)))
    return min(int((split.labels[:, k] == 1).sum()) for k in range(len(dataset.classes)))


def as_json(advice: Advice) -> dict[str, Any]:
    """Return the advice as values that JSON has; what is not finite is None."""
    found: dict[str, Any] = _finite({
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


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
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
