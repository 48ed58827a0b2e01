"""The tutorial's few runs: one network from two starts, small enough for a newcomer's patience."""

from typing import Annotated, ClassVar

from pydantic import Field

from transfusion_lib.chapters.kit.curves import Count, Seeds, Start
from transfusion_lib.chapters.kit.study import Study
from transfusion_lib.data import limited, spec_for
from transfusion_lib.networks.init import init_for
from transfusion_lib.spec import ModelSpec, RunSpec, TrainSpec


class Tutorial(Study):
    """One network x starts x seeds on a few images."""

    name: ClassVar[str] = "tutorial"

    dataset: str
    size: Count
    images: Count | None
    network: str
    starts: Annotated[list[Start], Field(min_length=2)]
    seeds: Seeds
    steps: Count

    def specs(self) -> list[RunSpec]:
        """Return a run for each start that the network has weights for, and seed."""
        data = limited(spec_for(self.dataset, size=self.size, train=self.images))
        inits = [init for start in self.starts if (init := init_for(start, self.network)) is not None]
        return [
            RunSpec(
                data=data,
                model=ModelSpec(name=self.network),
                init=init,
                train=TrainSpec(steps=self.steps, eval_every=max(1, self.steps // 8)),
                seed=seed,
            )
            for init in inits
            for seed in self.seeds
        ]
