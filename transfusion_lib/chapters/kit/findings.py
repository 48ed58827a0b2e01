"""What the study's runs say of the claims: evidence for the judge, made of the plan's runs and no others."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from transfusion_lib import networks
from transfusion_lib.chapters.kit import scores
from transfusion_lib.chapters.kit.curve_tables import NETWORKS
from transfusion_lib.errors import MeasureError
from transfusion_lib.papers.claims import CLAIMS
from transfusion_lib.papers.evidence import Arm, Arms, Case, Counts, Evidence, Reach
from transfusion_lib.papers.plan import Cell, Plan
from transfusion_lib.runs.run import Run
from transfusion_lib.spec import RunSpec
from transfusion_lib.stats import Scored

Score = Callable[[Run], float]
Runs = dict[int, Run]
"""The runs of an arm by the seed of their split."""


def final(run: Run) -> float:
    """Return the score of the test images with the final weights: AUROC, or Dice of masks."""
    kind = run.record["dataset"]["kind"]
    return scores.final(run, "test_dice" if kind == "segmentation" else "test_auroc")


def loss_on_the_way(run: Run) -> float:
    """Return the mean training loss over a whole run, the endpoint of speed."""
    return float(run.cases["losses"].double().mean())


@dataclass(frozen=True)
class Findings:
    """The runs of a plan that exist, and the evidence that they give.

    ``runs`` are the made ones by their specs; one that the plan does not ask for is a ``MeasureError``.
    """

    plan: Plan
    runs: Mapping[RunSpec, Run]
    kept_back: Set[RunSpec] = frozenset()
    """Made, but of cells that are not whole: they judge nothing yet."""

    def __post_init__(self) -> None:
        asked = {spec for cell in self.plan.cells for spec in self.plan.specs(cell)}
        for spec, run in self.runs.items():
            if spec not in asked:
                raise MeasureError(f"{run} is not a run of the study's plan {self.plan.hash[:12]}: it judges nothing")

    def missing(self, cell: Cell) -> list[RunSpec]:
        """Return the runs of a cell that are still to be made."""
        return [spec for spec in self.plan.specs(cell) if spec not in self.runs and spec not in self.kept_back]

    def arms(self, cell: str, task: str, network: str) -> dict[str, list[Run]]:
        """Return the runs of a cell's arms on a task, in the order of their splits, without arms that have none."""
        found = {name: self._arm(cell, task, network, name) for name in self._cells[cell].arms}
        return {name: [runs[split] for split in sorted(runs)] for name, runs in found.items() if runs}

    def evidence(self) -> dict[str, Evidence]:
        """Return the evidence of each claim of which some runs are made."""
        makers = {
            "T1": self._t1,
            "T2": self._t2,
            "T4": self._t4,
            "T11": self._speed,
            "T12": self._speed,
            "T13": self._speed,
            "T14": self._t14,
            "T15": self._speed,
            "R1": self._r1,
            "R2": self._r2,
            "R3": self._r3,
            "R8": self._r8,
            "R9": self._r9,
            "R10": self._r10,
            "R11": self._r11,
            "N1": self._n1,
            "N3": self._speed,
        }
        found = {}
        for claim, make in makers.items():
            parts = {name: [case for case in cases if case] for name, cases in make(claim).items()}
            parts = {name: cases for name, cases in parts.items() if cases}
            if parts:
                found[claim] = Evidence(parts=_premises(claim, parts) | parts, reach=self._reach(claim))
        return found

    # ------------------------------------------------------------------------------------------------ runs and arms

    @cached_property
    def _cells(self) -> dict[str, Cell]:
        return {cell.id: cell for cell in self.plan.cells}

    def _arm(self, cell: str, task: str, network: str, arm: str, images: int | None = None) -> Runs:
        specs = self.plan.arms(self._cells[cell])[task, network, arm, images]
        return {spec.data.seed: self.runs[spec] for spec in specs if spec in self.runs}

    def _arms(self, arms: Mapping[str, Runs], score: Score = final) -> Arms | None:
        """Return arms to compare, or None where one of them has no run yet."""
        if not all(arms.values()):
            return None
        shared = _shared(next(iter(arms.values()))) if score is final else 0.0
        return Arms(
            arms={
                name: Arm(
                    scores=[score(run) for run in runs.values()],
                    draws=list(runs),
                    tested=[_scored(run) for run in runs.values()] if score is final and _has_units(runs) else (),
                )
                for name, runs in arms.items()
            },
            shared=shared,
        )

    def _case(self, task: str, network: str, arms: Arms | None, what: str = "") -> Case | None:
        title = self.plan.tasks[task].title
        return Case(measure=arms, network=NETWORKS[networks.base(network)], task=title, what=what) if arms else None

    def _settings(self, *cells: str) -> list[tuple[str, str, str]]:
        """Return every cell, task and network of these cells."""
        return [
            (cell, task, network)
            for cell in cells
            for task in self._cells[cell].tasks
            for network in self._cells[cell].networks
        ]

    def _reach(self, claim: str) -> Reach | None:
        cells = [cell for cell in self.plan.cells if claim in cell.claims]
        made = [self.runs[spec] for cell in cells for spec in self.plan.specs(cell) if spec in self.runs]
        if not made:
            return None
        return Reach(
            networks=list(dict.fromkeys(NETWORKS[networks.base(run.spec.model.name)] for run in made)),
            size=max(run.spec.data.size for run in made),
            images=max(run.record["dataset"]["cases"]["train"] for run in made),
            steps=max(run.spec.train.steps for run in made),
        )

    # ------------------------------------------------------------------------------------------- final performance

    _FINAL = ("E.lite0", "E.tiny", "E.cbr", "E.resnet50")

    def _final_arms(self, cell: str, task: str, network: str) -> dict[str, Runs]:
        """Return pretrained runs, the longest random ones of which twice as many steps were tried, and those."""
        names = [name for name in self._cells[cell].arms if name.startswith("random")]
        short, long = list(pairwise(names))[-1]
        return {
            "pretrained": self._arm(cell, task, network, "pretrained"),
            "random": self._arm(cell, task, network, short),
            "random, doubled": self._arm(cell, task, network, long),
        }

    def _t1(self, _: str) -> dict[str, list[Case | None]]:
        many = [
            self._case(
                task, network, self._arms({n: self._arm(cell, task, network, n) for n in ("pretrained", "random")})
            )
            for cell, task, network in self._settings("H.many")
        ]
        shrinks = []
        for _cell, task, network in self._settings("H.few"):
            home = next(
                (c for c in self._FINAL if network in self._cells[c].networks and task in self._cells[c].tasks), None
            )
            if home is None:
                continue
            ends = self._final_arms(home, task, network)
            few = {n: self._arm("H.few", task, network, n, 250) for n in ("pretrained", "random")}
            arms = {f"{n}, few": runs for n, runs in few.items()} | {f"{n}, many": ends[n] for n in few}
            shrinks.append(self._case(task, network, self._arms(arms)))
        return {
            "no change": [
                self._case(task, network, self._arms(self._final_arms(cell, task, network)))
                for cell, task, network in self._settings(*self._FINAL)
            ],
            "shrinks with images": shrinks,
            "no change with large data": many,
        }

    def _t2(self, _: str) -> dict[str, list[Case | None]]:
        """Compare pretrained networks: the CBR whose validation is best in each draw against each large network."""
        cases = []
        for cell in ("E.resnet50", "E.lite0"):
            for _cell, task, network in self._settings(cell):
                small = [
                    self._arm(home, task, one, "pretrained")
                    for home in ("E.tiny", "E.cbr")
                    for one in self._cells[home].networks
                    if task in self._cells[home].tasks
                ]
                best = _chosen([runs for runs in small if runs], by=[runs for runs in small if runs])
                arms = {"cbr": best, "imagenet": self._arm(cell, task, network, "pretrained")}
                cases.append(self._case(task, network, self._arms(arms)))
        ends = [
            self._case(task, network, self._arms(self._final_arms(cell, task, network)))
            for cell, task, network in self._settings("E.resnet50", "E.lite0")
        ]
        return {"difference": cases, "final": ends}

    def _t4(self, _: str) -> dict[str, list[Case | None]]:
        cases = []
        for task in self._cells["H.few"].tasks:
            for images in self._cells["H.few"].images:
                for small in ("cbr_large_t", "cbr_small"):
                    arms = {
                        f"{size}, {start}": self._arm("H.few", task, network, start, images)
                        for size, network in (("large", "resnet50"), ("small", small))
                        for start in ("pretrained", "random")
                    }
                    cases.append(self._case(task, small, self._arms(arms), f"{images:,} images"))
        return {"interaction": cases}

    def _r10(self, _: str) -> dict[str, list[Case | None]]:
        sources = {
            "skin": "from 3,000 skin lesions", "knees": "from 3,000 knees", "pneumonia": "from 3,000 chest x-rays",
        }  # fmt: skip
        cases = []
        for task in self._cells["I"].tasks:
            for own, medical in sources.items():
                if own == task:
                    continue  # the target itself is no other source
                arms = {
                    "medical": self._arm("I", task, "cbr_tiny", medical),
                    "natural": self._arm("I", task, "cbr_tiny", "from 3,000 natural images"),
                    "none": self._arm("E.tiny", task, "cbr_tiny", "random"),
                }
                cases.append(self._case(task, "cbr_tiny", self._arms(arms), medical))
        return {"difference": cases}

    # ------------------------------------------------------------------------------------------------------- speed

    def _speed(self, claim: str) -> dict[str, list[Case | None]]:
        by_claim: dict[str, dict[str, tuple[str, ...]]] = {
            "T11": {"speed": ("pretrained", "random")},
            "T12": {"a good part": ("pretrained", "random", "mean_var")},
            "T13": {"lowest": ("random", "block2", "pretrained"), "conv1": ("random", "conv1", *_LATER, "pretrained")},
            "T15": {"speed": ("random", "gabor", "conv1", "pretrained")},
            "N3": {"speed": ("covariance", "mean_var")},
        }
        found: dict[str, list[Case | None]] = {}
        for part, wanted in by_claim[claim].items():
            for cell, task, network in self._settings("D.resnet50", "D.lite0"):
                if part == "conv1" and network != "resnet50":
                    continue  # the paper's blocks are ResNet-50's
                arms = {name: self._arm(cell, task, network, _ARMS[name]) for name in wanted if name != "block4"}
                if "block4" in wanted:
                    arms["block4"] = arms["pretrained"]
                found.setdefault(part, []).append(self._case(task, network, self._arms(arms, loss_on_the_way)))
        return found

    def _t14(self, _: str) -> dict[str, list[Case | None]]:
        names = ("random", "slim", "pretrained")
        speed = [
            self._case(
                task, network, self._arms({n: self._arm(cell, task, network, _ARMS[n]) for n in names}, loss_on_the_way)
            )
            for cell, task, network in self._settings("D.resnet50", "D.lite0")
        ]
        lite = self._settings("C.arms")
        performance = [
            self._case(
                task,
                network,
                self._arms(
                    {
                        "slim": self._arm(cell, task, network, "TF above block3"),
                        "pretrained": self._arm(cell, task, network, "FTL"),
                    }
                ),
            )
            for cell, task, network in lite
        ]
        return {"speed": speed, "performance": performance}

    # --------------------------------------------------------------------------------------- differential transfer

    _BLOCKS = ("TTL after block3", "TTL after block4", "TTL after block5", "TTL after block6")
    _FINE = ("TTL after block4.1", "TTL after block4.2", "TTL after block5.1", "TTL after block5.2")

    def _of(self, cell: str, task: str, network: str, names: Sequence[str]) -> list[Runs]:
        return [self._arm(cell, task, network, name) for name in names]

    def _ttl(self, task: str, network: str, *, fine: bool = False) -> Runs:
        """Return TTL cut where another training on the same split validates best: blocks, or layers too."""
        arms, search = (self._of(cell, task, network, self._BLOCKS) for cell in ("C.arms", "C.search"))
        if fine:
            arms += self._of("C.fine", task, network, self._FINE)
            search += self._of("C.fine-search", task, network, self._FINE)
        return _chosen(arms, by=search)

    def _differential(self, task: str, network: str) -> dict[str, Arm]:
        """Return the methods as they are compared; TF and LWFT by the mean of their two fixed cuts."""
        of = {name: self._arm("C.arms", task, network, name) for name in self._cells["C.arms"].arms}
        return {
            "full": _mean(of["FTL"]),
            "TTL": _mean(self._ttl(task, network)),
            "TF": _mean(of["TF above block3"], of["TF above block5"]),
            "LWFT": _mean(of["LWFT above block3"], of["LWFT above block5"]),
        }

    def _compared(self, task: str, network: str, names: Sequence[str]) -> Case | None:
        arms = self._differential(task, network)
        if not all(len(arms[name].draws) for name in names):
            return None
        shared = _shared(self._arm("C.arms", task, network, "FTL"))
        return self._case(task, network, Arms(arms={name: arms[name] for name in names}, shared=shared))

    def _r1(self, _: str) -> dict[str, list[Case | None]]:
        names = ("full", "TF", "LWFT", "TTL")
        return {"difference": [self._compared(task, network, names) for _, task, network in self._settings("C.arms")]}

    def _r2(self, _: str) -> dict[str, list[Case | None]]:
        settings = self._settings("C.arms")
        smaller = []
        for _cell, task, network in settings:
            chosen = self._ttl(task, network)
            if chosen:
                mine = float(np.mean([_parameters(run) for run in chosen.values()]))
                for name, arm in (("FTL", "FTL"), ("TF", "TF above block5"), ("LWFT", "LWFT above block5")):
                    others = self._arm("C.arms", task, network, arm)
                    if others:
                        counts = Counts(values={"TTL": mine, "other": _parameters(next(iter(others.values())))})
                        smaller.append(
                            Case(measure=counts, network=NETWORKS[network], task=self.plan.tasks[task].title, what=name)
                        )
        names = ("full", "TF", "LWFT", "TTL")
        return {
            "smaller": list(smaller),
            "no worse": [self._compared(task, network, ("full", "TTL")) for _, task, network in settings],
            "best": [self._compared(task, network, names) for _, task, network in settings],
        }

    def _r3(self, _: str) -> dict[str, list[Case | None]]:
        cases = []
        for _cell, task, network in self._settings("C.fine"):
            arms = {"second stage": self._ttl(task, network, fine=True), "first stage": self._ttl(task, network)}
            cases.append(self._case(task, network, self._arms(arms)))
        return {"difference": cases}

    def _r8(self, _: str) -> dict[str, list[Case | None]]:
        return {
            "difference": [
                self._case(
                    task,
                    network,
                    self._arms(
                        {
                            "pooled": self._arm(cell, task, network, f"TTL after {cut}"),
                            "not pooled": self._arm(cell, task, network, f"TTL after {cut}, unpooled"),
                        }
                    ),
                    f"cut after {cut}",
                )
                for cell, task, network in self._settings("C.arms")
                for cut in ("block4", "block5")
            ]
        }

    def _r9(self, _: str) -> dict[str, list[Case | None]]:
        cases = []
        for task in self._cells["G.resnet50"].tasks:
            arms = {}
            for size, cell, network, cuts in (
                ("large", "G.resnet50", "resnet50", ("block2", "block3")),
                ("middle", "C.arms", "efficientnet_lite0", ("block4", "block5")),
                ("small", "G.small", "cbr_small", ("pool2", "pool3")),
            ):
                arms[f"full, {size}"] = _mean(self._arm(cell, task, network, "FTL"))
                arms[f"TTL, {size}"] = _mean(*self._of(cell, task, network, [f"TTL after {cut}" for cut in cuts]))
            like = self._arm("C.arms", task, "efficientnet_lite0", "FTL")
            cases.append(self._bare(task, "", arms, like=like))
        return dict.fromkeys(("helps", "alike"), cases)

    def _n1(self, _: str) -> dict[str, list[Case | None]]:
        """Compare Lite0 at both sizes; the plan has no cut CBR-Tiny at 64 px to set beside the one at 128."""
        cuts = [f"TTL after {cut}" for cut in ("block4", "block5")]
        arms = {
            f"{what}, {size}": _mean(*self._of(cell, "knees", "efficientnet_lite0", chosen))
            for size, cell in (("64", "C.arms"), ("128", "G.128"))
            for what, chosen in (("TTL", cuts), ("full", ["FTL"]))
        }
        of = self._arm("C.arms", "knees", "efficientnet_lite0", "FTL")
        return {"interaction": [self._bare("knees", "efficientnet_lite0", arms, like=of)]}

    def _bare(self, task: str, network: str, arms: Mapping[str, Arm], *, like: Runs) -> Case | None:
        """Return a case of arms whose runs share as many test images as those of ``like``."""
        if not like or not all(len(arm.draws) for arm in arms.values()):
            return None
        name = NETWORKS[network] if network else ""
        return Case(measure=Arms(arms=arms, shared=_shared(like)), network=name, task=self.plan.tasks[task].title)

    # ------------------------------------------------------------------------------------------------ segmentation

    def _r11(self, _: str) -> dict[str, list[Case | None]]:
        cases = []
        for cell, task, network in self._settings("B.arms"):
            names = [name for name in self._cells[cell].arms if name != "whole"]
            cut = _chosen(self._of(cell, task, network, names), by=self._of("B.search", task, network, names))
            cases.append(
                self._case(task, network, self._arms({"cut": cut, "whole": self._arm(cell, task, network, "whole")}))
            )
        return {"difference": cases}


_LATER = ("block1", "block2", "block3", "block4")
_ARMS = {
    "random": "random", "pretrained": "pretrained", "mean_var": "Mean Var", "covariance": "covariance",
    "gabor": "Gabor conv1", "conv1": "up to conv1", "block1": "up to block1", "block2": "up to block2",
    "block3": "up to block3", "slim": "Slim above block2",
}  # fmt: skip


def _premises(claim: str, parts: Mapping[str, Sequence[Case]]) -> dict[str, list[Case]]:
    """Return for each premise of a claim the cases that have its arms."""
    cases = [case for its in parts.values() for case in its]
    return {
        name: [
            case
            for case in cases
            if isinstance(case.measure, Arms) and set(part.contrasts[""]) <= set(case.measure.arms)
        ]
        for name, part in CLAIMS[claim].parts.items()
        if part.premise
    }


def _chosen(arms: Sequence[Runs], *, by: Sequence[Runs]) -> Runs:
    """Return for each split the run of the arm whose twin in ``by`` has the lowest validation loss on that split."""
    found = {}
    splits = set.intersection(*(set(runs) for runs in (*arms, *by))) if arms and by else set()
    for split in sorted(splits):
        losses = [scores.validation_loss(runs[split]) for runs in by]
        found[split] = arms[int(np.argmin(losses))][split]
    return found


def _shared(runs: Runs) -> float:
    """Return the share of test images that two draws of the split have in common on average."""
    cases: Mapping[str, int] = next(iter(runs.values())).record["dataset"]["cases"]
    return cases["test"] / sum(cases.values())


def _has_units(runs: Runs) -> bool:
    return all("test_units" in run.cases for run in runs.values())


def _scored(run: Run) -> Scored:
    """Return what a run said of its test cases: Dice, or the summed probability of the positive classes."""
    values, units = run.cases["test_scores"].double().numpy(), run.cases["test_units"].tolist()
    about = run.record["dataset"]
    if about["kind"] == "segmentation":
        return Scored(scores=values[:, :, 0].mean(1), labels=None, units=units)
    positive = list(about["positive"] or [1])
    truth = np.isin(run.cases["test_labels"].numpy(), positive).astype(np.int64)
    return Scored(scores=values[:, positive].sum(1), labels=truth, units=units)


def _mean(*arms: Runs) -> Arm:
    """Return the mean final score of several arms, split by split."""
    splits = sorted(set.intersection(*(set(runs) for runs in arms))) if arms else []
    return Arm(scores=[float(np.mean([final(runs[split]) for runs in arms])) for split in splits], draws=splits)


def _parameters(run: Run) -> float:
    """Return the millions of parameters of a run's network."""
    outputs = len(run.record["dataset"]["classes"])
    return networks.describe(run.spec.model, num_outputs=outputs, size=run.spec.data.size).parameters / 1e6
