"""Does a pretrained start converge faster, and and why? (Transfusion, section 5, Figure 6)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from transfusion_lib.data import spec_for
from transfusion_lib.spec import ModelSpec, RunSpec, TrainSpec
from transfusion_lib.studies.study import Study, init_for

Count = Annotated[int, Field(gt=0)]


class Convergence(Study):
    """Networks x initialisations x seeds on one data set, evaluated on a fine grid of early steps."""

    name: ClassVar[str] = "convergence"

    dataset: str
    size: Count
    train_images: Count | None
    val_images: Count | None
    test_images: Count | None
    networks: Annotated[list[str], Field(min_length=1)]
    inits: Annotated[list[Literal["random", "mean_var", "pretrained"]], Field(min_length=1)]
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    steps: Count
    eval_every: Count
    batch_size: Count
    learning_rate: Annotated[float, Field(gt=0)]
    threshold: Annotated[float, Field(gt=0.5, lt=1)]
    in_a_row: Count

    def specs(self) -> list[RunSpec]:
        """Return a run for each network, initialisation that it has weights for, and seed."""
        data = spec_for(
            self.dataset, size=self.size, train=self.train_images, val=self.val_images, test=self.test_images
        )
        train = TrainSpec(
            steps=self.steps,
            eval_every=self.eval_every,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
        )
        starts = [
            (network, init)
            for network in self.networks
            for method in self.inits
            if (init := init_for(method, network)) is not None
        ]
        return [
            RunSpec(data=data, model=ModelSpec(name=network), init=init, train=train, seed=seed)
            for network, init in starts
            for seed in self.seeds
        ]
