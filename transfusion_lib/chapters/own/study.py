"""Which start and which network for your own images, and how sure is that?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from transfusion_lib.chapters.kit.curves import Count, Curves, Start
from transfusion_lib.data import limited, spec_for
from transfusion_lib.runs import Run
from transfusion_lib.spec import Augment, DataSpec, RunSpec, TrainSpec


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One network from one start: its runs, and those of half as many steps that say whether it has converged."""

    network: str
    start: str
    runs: tuple[Run, ...]
    half: tuple[Run, ...]


class Own(Curves):
    """Networks x starts x seeds, by the recipe for final performance, each also with half the steps."""

    name: ClassVar[str] = "own"
    split: ClassVar[Literal["official"]] = "official"  # type: ignore[misc]  # no parameter here: one split for all arms

    external_dataset: str | None
    unit: str | None
    networks: Annotated[list[str], Field(min_length=1)]
    starts: Annotated[list[Start], Field(min_length=1)]
    steps: Annotated[int, Field(ge=2)]
    worst_images: Count

    def images(self, *, train: int | None = None) -> DataSpec:
        """Return the data; ``train`` is another number of training images."""
        counts = {"train": train or self.train_images, "val": self.val_images, "test": self.test_images}
        return limited(spec_for(self.dataset, size=self.size, unit=self.unit, on_bad=self.on_bad, **counts))

    def external(self) -> DataSpec | None:
        """Return the external test set, if any."""
        if self.external_dataset is None:
            return None
        return spec_for(self.external_dataset, size=self.size, on_bad=self.on_bad)

    def training(self, *, steps: int | None = None) -> TrainSpec:
        """Return the recipe of final scores: Adam, cosine to 0, mild augmentation, the last weights."""
        plain = super().training(steps=steps)
        return plain.replace(schedule="cosine", augment=Augment(flip=True, crop=0.8, brightness=0.1))

    def _arms(self) -> list[tuple[str, str, list[RunSpec], list[RunSpec]]]:
        found: list[tuple[str, str, list[RunSpec], list[RunSpec]]] = []
        for network in self.networks:
            for start in self.starts:
                init = self.start(network, start)
                whole = self.runs(network, init)
                half = self.runs(network, init, train=self.training(steps=self.steps // 2))
                found += [(network, start, whole, half)] if whole else []
        return found

    def specs(self) -> list[RunSpec]:
        """Return the runs of every network and start, whole and of half the steps."""
        return [spec for *_, whole, half in self._arms() for spec in (*whole, *half)]

    def arms(self, runs: Sequence[Run]) -> list[Arm]:
        """Return the runs by network and start."""
        rest = iter(runs)
        return [
            Arm(
                network=network,
                start=start,
                runs=tuple(next(rest) for _ in whole),
                half=tuple(next(rest) for _ in half),
            )
            for network, start, whole, half in self._arms()
        ]
