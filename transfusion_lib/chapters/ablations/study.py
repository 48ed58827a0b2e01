"""What does TruncatedTL depend on: pooling, architecture, source? (TruncatedTL, appendices B and C.2)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from transfusion_lib.chapters.kit.curves import Count
from transfusion_lib.chapters.kit.cuts import Arm, Transfer, both_stages, by_spec
from transfusion_lib.data import spec_for
from transfusion_lib.runs import Run
from transfusion_lib.runs.search import Found, Search
from transfusion_lib.spec import InitSpec, RunSpec


class Ablations(Transfer):
    """Truncation with and without pooling, in several architectures; and a source of our own."""

    name: ClassVar[str] = "ablations"

    networks: Annotated[list[str], Field(min_length=1)]
    blocks: dict[str, list[str]]
    """Each network's candidates; one that is not named tries the end of every stage."""
    pooling_network: str
    pooling_blocks: list[str]
    source_network: str
    source_dataset: str
    source_images: Count | None
    source_steps: Count
    source_start: Literal["random", "pretrained"]

    def truncations(self) -> dict[str, Search]:
        """Return each network's search over blocks, pooled."""
        return {network: self._search(network, self.blocks.get(network, [])) for network in self.networks}

    def pooling(self) -> dict[str, Search]:
        """Return the searches with and without pooling, over the same blocks."""
        pooled = self._search(self.pooling_network, self.pooling_blocks)
        return {"pooled": pooled, "not pooled": pooled.replace(pooled=False)}

    def source(self) -> RunSpec:
        """Return the run on medical images whose weights are transferred."""
        plain = self.whole(self.source_network)
        return plain.replace(
            data=spec_for(self.source_dataset, size=self.size, train=self.source_images),
            init=plain.init if self.source_start == "pretrained" else InitSpec(),
            train=plain.train.replace(steps=self.source_steps, eval_every=self.source_steps, schedule="constant"),
        )

    def sources(self) -> dict[str, RunSpec]:
        """Return the fine-tuning from each source: none, natural images, medical images."""
        medical = InitSpec(method="pretrained", weights=self.source())
        return {
            "random": self.whole(self.source_network, init=InitSpec()),
            "natural": self.whole(self.source_network),
            "medical": self.whole(self.source_network, init=medical),
        }

    def specs(self) -> list[RunSpec]:
        """Return everything: nothing here waits for results."""
        full = [spec for network in self.networks for spec in self.seeded(self.whole(network))]
        searches = [*self.truncations().values(), *self.pooling().values()]
        cut = [spec for search in searches for spec in search.block_specs()]
        transferred = [spec for one in self.sources().values() for spec in self.seeded(one)]
        return list(dict.fromkeys([*full, *cut, *transferred]))

    def architectures(self, runs: Sequence[Run]) -> dict[str, tuple[Arm, Arm]]:
        """Return each network's full fine-tuning and its best truncation."""
        found = {}
        for network, one in self._found(self.truncations(), runs).items():
            full = Arm(name="FTL", method="FTL", cut=None, runs=self._seeds(self.whole(network), runs))
            best = Arm(name="TTL-1", method="TTL", cut=one.chosen.cut, runs=one.chosen.runs)
            found[network] = (full, best)
        return found

    def pooled(self, runs: Sequence[Run]) -> dict[str, Found]:
        """Return what the searches with and without pooling found."""
        return self._found(self.pooling(), runs)

    def by_source(self, runs: Sequence[Run]) -> dict[str, tuple[Run, ...]]:
        """Return the runs from each source."""
        return {name: self._seeds(spec, runs) for name, spec in self.sources().items()}

    def _search(self, network: str, blocks: Sequence[str]) -> Search:
        return Search(base=self.whole(network), seeds=tuple(self.seeds), blocks=tuple(blocks) or None, reach=0)

    def _found(self, searches: Mapping[str, Search], runs: Sequence[Run]) -> dict[str, Found]:
        return {name: both_stages(search, runs) for name, search in searches.items()}

    def _seeds(self, spec: RunSpec, runs: Sequence[Run]) -> tuple[Run, ...]:
        known = by_spec(runs)
        return tuple(known[one] for one in self.seeded(spec))
