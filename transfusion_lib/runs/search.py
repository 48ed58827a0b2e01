"""Where to cut: the two-stage search of TruncatedTL (section 3.2), as a plan over runs.

First a network cut at the end of each block, then cut points between the neighbours of the best block. Validation
alone decides, so the test set is touched once, by whoever reads the chosen network's test scores afterwards. A search
is specs, asked for in two batches: it resumes where it was stopped, and shares its runs with everything else.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from transfusion_lib import networks
from transfusion_lib.errors import SpecError
from transfusion_lib.networks import Network
from transfusion_lib.runs import Run
from transfusion_lib.spec import ModelSpec, RunSpec, Seed, Slim, Spec, Truncate
from transfusion_lib.training.metrics import JUDGE

Method = Literal["truncate", "slim", "freeze"]
"""What is done above the cut point (truncate: TTL, slim: TF) or up to it (freeze: LWFT)."""
Ensure = Callable[[Sequence[RunSpec]], Sequence[Run]]
"""``runs.ensure`` with its options bound."""


class Search(Spec):
    """Which networks are tried; ``base`` is the whole network's run, whose seed the search replaces."""

    base: RunSpec
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, strict=False)]
    method: Method = "truncate"
    pooled: bool = True
    blocks: Annotated[tuple[str, ...], Field(strict=False)] | None = None
    """The first stage's cut-offs; None is the end of every stage."""
    reach: Annotated[int, Field(ge=0)] | None = None
    """How many cut points on each side of the best block the second stage tries; None is all up to the next block."""

    def block_cuts(self) -> tuple[str, ...]:
        """Return the cut-offs of the first stage, from the input on."""
        stages, _ = _table(self.base.model)
        last = -1 if self.method == "slim" else None  # nothing lies above the last stage
        return stages[:last] if self.blocks is None else self.blocks

    def fine_cuts(self, block: str) -> tuple[str, ...]:
        """Return the cut points between ``block``'s neighbours among the first stage's cut-offs, without these three.

        Above the last cut-off and below the first there is nothing that the first stage would not have tried.
        """
        _, cuts = _table(self.base.model)
        ends = sorted(_position(self.base.model, cut) for cut in self.block_cuts())
        here = _position(self.base.model, block)
        low = max((end for end in ends if end < here), default=0)
        high = min((end for end in ends if end > here), default=here)
        below, above = cuts[low : here - 1], cuts[here : high - 1 if high > here else here]
        if self.reach is None:
            return below + above
        return below[max(0, len(below) - self.reach) :] + above[: self.reach]

    def specs_at(self, cut: str) -> list[RunSpec]:
        """Return the runs of one cut point, one per seed."""
        spec = spec_at(self.base, cut, method=self.method, pooled=self.pooled)
        return [spec.replace(seed=seed) for seed in self.seeds]

    def block_specs(self) -> list[RunSpec]:
        """Return all runs of the first stage."""
        return [spec for cut in self.block_cuts() for spec in self.specs_at(cut)]

    def fine_specs(self, block: str) -> list[RunSpec]:
        """Return all runs of the second stage around ``block``."""
        return [spec for cut in self.fine_cuts(block) for spec in self.specs_at(cut)]

    def run(self, ensure: Ensure) -> "Found":
        """Return what the two stages found; ``ensure`` is called once for each."""
        blocks = self._judged(self.block_cuts(), ensure)
        found = Found(search=self, blocks=blocks, fine=())
        return Found(search=self, blocks=blocks, fine=self._judged(self.fine_cuts(found.block.cut), ensure))

    def _judged(self, cuts: tuple[str, ...], ensure: Ensure) -> "tuple[Candidate, ...]":
        runs = iter(ensure([spec for cut in cuts for spec in self.specs_at(cut)]))
        return tuple(Candidate(cut=cut, runs=tuple(next(runs) for _ in self.seeds)) for cut in cuts)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One cut point and its runs, one per seed."""

    cut: str
    runs: tuple[Run, ...]

    @property
    def validation(self) -> list[float]:
        """The judge's score of each seed: validation AUPRC (Dice in segmentation) of the selected weights."""
        return [validation_score(run) for run in self.runs]

    @property
    def score(self) -> float:
        """Mean of ``validation``."""
        return float(np.mean(self.validation))


@dataclass(frozen=True, kw_only=True)
class Found:
    """The candidates of both stages, from the input on, and the best of them."""

    search: Search
    blocks: tuple[Candidate, ...]
    fine: tuple[Candidate, ...]

    def __iter__(self) -> Iterator[Candidate]:
        """Yield every candidate, from the input on."""
        model = self.search.base.model
        return iter(sorted((*self.blocks, *self.fine), key=lambda one: _position(model, one.cut)))

    @property
    def block(self) -> Candidate:
        """The best of the first stage ("-1" in the paper); of equals the smallest network."""
        return max(self.blocks, key=lambda one: one.score)

    @property
    def chosen(self) -> Candidate:
        """The best of both stages ("-2"); of equals the one cut lowest."""
        return max(self, key=lambda one: one.score)


def spec_at(base: RunSpec, cut: str, *, method: Method = "truncate", pooled: bool = True) -> RunSpec:
    """Return ``base`` cut at, slimmed above or frozen up to ``cut``, a stage or cut point; else a ``SpecError``.

    Cut after the last unit, with a pooled head, is the whole network: the same spec, hence the same run.
    """
    position, (_, cuts) = _position(base.model, cut), _table(base.model)
    if method == "freeze":
        return base.replace(train=base.train.replace(freeze=cut))
    if method == "slim":
        init = base.init if base.init.method == "random" else base.init.replace(up_to=cut)
        return base.replace(model=base.model.replace(slim=Slim(above=cut)), init=init)
    if position == len(cuts) and pooled:
        return base
    init = base.init
    if init.up_to is not None and _position(base.model, init.up_to) > position:
        init = init.replace(up_to=None, above="random")  # the cut removed the stage that it names
    return base.replace(model=base.model.replace(truncate=Truncate(at=cut, pooled=pooled)), init=init)


def validation_score(run: Run) -> float:
    """Return the judge's score of a run: validation AUPRC, or Dice in segmentation, of its selected weights."""
    name = f"val_{JUDGE[run.record['dataset']['kind']]}"
    value = run.final[name]
    if value is None:
        raise SpecError(f"{run}: {name} is not defined where all validation images are of one class; ask for more")
    return float(value)


def _position(model: ModelSpec, cut: str) -> int:
    return _network(_plain(model)).position(cut)


def _table(model: ModelSpec) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the stages and the cut points of a network, from the input on."""
    network = _network(_plain(model))
    return network.stages, network.cut_points


def _plain(model: ModelSpec) -> str:
    if model.truncate is not None or model.slim is not None:
        raise SpecError(f"a search starts from a whole network; leave truncate and slim out of {model.name}")
    return model.name


@lru_cache(maxsize=8)
def _network(name: str) -> Network:
    return networks.blueprint(ModelSpec(name=name), num_outputs=2, size=networks.architecture(name).minimum_size)
