"""What the studies of representations share: the runs of random and pretrained starts on one data set."""

from typing import Annotated, Literal

from pydantic import Field

from transfusion_lib.chapters.kit.study import Study
from transfusion_lib.data import limited, spec_for
from transfusion_lib.networks.init import init_for
from transfusion_lib.spec import ModelSpec, RunSpec, TrainSpec

Count = Annotated[int, Field(gt=0)]


class Starts(Study):
    """Networks x starts x seeds on one data set; the same specs as in the chapter "Mean Var", so the same runs."""

    dataset: str
    size: Count
    train_images: Count | None
    val_images: Count | None
    test_images: Count | None
    networks: Annotated[list[str], Field(min_length=1)]
    inits: Annotated[list[Literal["random", "pretrained"]], Field(min_length=1)]
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    steps: Count
    eval_every: Count
    batch_size: Count
    learning_rate: Annotated[float, Field(gt=0)]

    def specs(self) -> list[RunSpec]:
        """Return a run for each network, start that it has weights for, and seed."""
        images = {"train": self.train_images, "val": self.val_images, "test": self.test_images}
        data = limited(spec_for(self.dataset, size=self.size, **images))
        starts = [
            (network, init)
            for network in self.networks
            for method in self.inits
            if (init := init_for(method, network)) is not None
        ]
        return [
            RunSpec(data=data, model=ModelSpec(name=network), init=init, train=self.train(), seed=seed)
            for network, init in starts
            for seed in self.seeds
        ]

    def train(self) -> TrainSpec:
        """Return how every run trains."""
        return TrainSpec(
            steps=self.steps,
            eval_every=self.eval_every,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
        )
