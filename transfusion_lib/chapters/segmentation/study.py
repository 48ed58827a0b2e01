"""Does a U-Net need all of its depth? (TruncatedTL, Table 2 and appendix A.2)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from transfusion_lib.chapters.kit.study import Study
from transfusion_lib.data import limited, spec_for
from transfusion_lib.errors import ParameterError
from transfusion_lib.networks.init import init_for
from transfusion_lib.runs.search import spec_at
from transfusion_lib.spec import Augment, ModelSpec, RunSpec, TrainSpec

AUGMENT = Augment(flip=True, crop=0.8, brightness=0.1)
"""The study's."""
Count = Annotated[int, Field(gt=0)]


class Segmentation(Study):
    """A U-Net whole and cut at several stages, encoder and decoder alike, over seeds."""

    name: ClassVar[str] = "segmentation"

    dataset: str
    task: str
    split: Literal["official", "drawn"]
    size: Count
    train_images: Count | None
    val_images: Count | None
    test_images: Count | None
    network: str
    init: Literal["random", "pretrained"]
    cuts: Annotated[list[str], Field(min_length=1)]
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    steps: Count
    eval_every: Count
    batch_size: Count
    learning_rate: Annotated[float, Field(gt=0)]
    schedule: Literal["constant", "cosine", "one_cycle", "plateau"]
    select: Literal["last", "best"]
    precision: Literal["float32", "bfloat16"]
    augment: bool
    examples: Count

    def specs(self) -> list[RunSpec]:
        """Return the runs of each cut, from the input on, and of the whole network, for each seed."""
        if not self.network.startswith("unet_"):
            raise ParameterError(
                f'chapter {self.name}: network "{self.network}" is no U-Net; try "unet_{self.network}"'
            )
        init = init_for(self.init, self.network)
        if init is None:
            raise ParameterError(f'chapter {self.name}: {self.network} has no pretrained weights; set init to "random"')
        images = {"train": self.train_images, "val": self.val_images, "test": self.test_images}
        train = TrainSpec(
            steps=self.steps,
            eval_every=self.eval_every,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            schedule=self.schedule,
            select=self.select,
            precision=self.precision,
            augment=AUGMENT if self.augment else Augment(),
        )
        data = limited(spec_for(self.dataset, size=self.size, task=self.task, split=self.split, **images))
        whole = RunSpec(data=data, model=ModelSpec(name=self.network), init=init, train=train)
        each = [*(spec_at(whole, cut) for cut in self.cuts), whole]
        drawn = self.split == "drawn"
        return [
            spec.replace(seed=seed, data=data.replace(seed=seed) if drawn else data)
            for spec in each
            for seed in self.seeds
        ]
