"""What the chapters on where to cut share: full fine-tuning on one data set, and networks cut, slimmed or frozen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from transfusion_lib import networks
from transfusion_lib.chapters.kit.curves import Curves
from transfusion_lib.errors import ParameterError
from transfusion_lib.runs import Run
from transfusion_lib.runs.search import Found, Method, Search
from transfusion_lib.spec import InitSpec, RunSpec, TrainSpec

Differential = Literal["LWFT", "TF", "TTL"]
METHODS: dict[Differential, Method] = {"LWFT": "freeze", "TF": "slim", "TTL": "truncate"}
"""The differential methods: layer-wise fine-tuning, TransFusion, TruncatedTL; and what each does at a cut point."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One method as it is compared: its runs, one per seed."""

    name: str
    """As in the paper's tables: FTL, TTL-1 (best block), TTL-2 (best of the second stage)."""
    method: str
    """FTL, FE (feature extraction), LWFT, TF or TTL."""
    cut: str | None
    """Where it was cut, slimmed above, or frozen up to; None for FTL."""
    runs: tuple[Run, ...]


class Transfer(Curves):
    """Pretrained networks on one data set; the specs of the chapter "Convergence" at its parameters, so its runs."""

    schedule: Literal["constant", "cosine", "one_cycle", "plateau"]
    select: Literal["last", "best"]

    def training(self, *, steps: int | None = None) -> TrainSpec:
        """Return the recipe, the grid included; ``steps`` is another length."""
        return super().training(steps=steps).replace(schedule=self.schedule, select=self.select)

    def whole(self, network: str, *, init: InitSpec | None = None) -> RunSpec:
        """Return the full fine-tuning of a network, of the first seed; ``init`` replaces its pretrained weights."""
        init = init or self.start(network, "pretrained")
        if init is None:
            known = ", ".join(name for name in networks.TABLE if self.start(name, "pretrained"))
            raise ParameterError(
                f'chapter {self.name}: {network} has no pretrained weights of source "{self.pretrained}"; '
                f"these have: {known}"
            )
        return self.runs(network, init, seeds=self.seeds[:1])[0]

    def seeded(self, spec: RunSpec) -> list[RunSpec]:
        """Return ``spec`` once for each seed."""
        drawn = self.split == "drawn"
        return [
            spec.replace(seed=seed, data=spec.data.replace(seed=seed) if drawn else spec.data) for seed in self.seeds
        ]


class Cuts(Transfer):
    """One network, fully fine-tuned, as a feature extractor, and by each differential method at its cut points."""

    network: str
    methods: list[Differential]
    blocks: list[str]
    """Candidates of TTL's first stage; none stands for the end of every stage."""
    other_blocks: list[str]
    """Candidates of the other methods' first stage, likewise."""
    reach: Annotated[int, Field(ge=0)] | None
    refine: list[Differential]
    """Methods whose second stage is searched too."""
    body_lr_scale: Annotated[float, Field(gt=0)]

    def searches(self) -> dict[Differential, Search]:
        """Return the search of each method."""
        found = {}
        for method in self.methods:
            base = self.whole(self.network)
            if method == "LWFT":
                base = base.replace(train=base.train.replace(body_lr_scale=self.body_lr_scale))
            blocks = self.blocks if method == "TTL" else self.other_blocks
            found[method] = Search(
                base=base,
                seeds=tuple(self.seeds),
                method=METHODS[method],
                blocks=tuple(blocks) or None,
                reach=self.reach,
            )
        return found

    def extraction(self) -> RunSpec:
        """Return the run that trains a new head on frozen features."""
        base = self.whole(self.network)
        top = networks.describe(base.model, size=self.size).stages[-1]
        return base.replace(train=base.train.replace(freeze=top))

    def specs(self) -> list[RunSpec]:
        """Return full fine-tuning, feature extraction, and the first stage of each search."""
        ends = [*self.seeded(self.whole(self.network)), *self.seeded(self.extraction())]
        return list(dict.fromkeys([*ends, *(spec for one in self.searches().values() for spec in one.block_specs())]))

    def then(self, runs: Sequence[Run]) -> list[RunSpec]:
        """Return the second stage of each search that is refined, around the block that the first found best."""
        asked = {run.spec for run in runs}
        wanted = [
            spec
            for method, search in self.searches().items()
            if method in self.refine
            for spec in search.fine_specs(first_stage(search, runs).block.cut)
        ]
        return [spec for spec in dict.fromkeys(wanted) if spec not in asked]

    def found(self, runs: Sequence[Run]) -> dict[str, Found]:
        """Return what each search found among the chapter's runs: both stages where it is refined."""
        return {
            method: both_stages(search, runs) if method in self.refine else first_stage(search, runs)
            for method, search in self.searches().items()
        }

    def arms(self, runs: Sequence[Run]) -> list[Arm]:
        """Return the rows of the paper's table: FTL, feature extraction, and the best of each stage of each method."""
        known = by_spec(runs)

        def of(spec: RunSpec) -> tuple[Run, ...]:
            return tuple(known[one] for one in self.seeded(spec))

        top = self.extraction().train.freeze
        found = [
            Arm(name="FTL", method="FTL", cut=None, runs=of(self.whole(self.network))),
            Arm(name="FE", method="FE", cut=top, runs=of(self.extraction())),
        ]
        for method, search in self.found(runs).items():
            found.append(Arm(name=f"{method}-1", method=method, cut=search.block.cut, runs=search.block.runs))
            if method in self.refine:
                found.append(Arm(name=f"{method}-2", method=method, cut=search.chosen.cut, runs=search.chosen.runs))
        return found


def by_spec(runs: Sequence[Run]) -> Mapping[RunSpec, Run]:
    """Return each run by its spec."""
    return {run.spec: run for run in runs}


def first_stage(search: Search, runs: Sequence[Run]) -> Found:
    """Return what the first stage alone found, among runs that exist."""
    return both_stages(search.replace(reach=0), runs)


def both_stages(search: Search, runs: Sequence[Run]) -> Found:
    """Return what both stages found, among runs that exist."""
    known = by_spec(runs)
    return search.run(lambda specs: [known[spec] for spec in specs])
