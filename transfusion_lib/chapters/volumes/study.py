"""Differential transfer in three dimensions (TruncatedTL, Table 2, pulmonary embolism)."""

from typing import Annotated, ClassVar

from pydantic import Field

from transfusion_lib.chapters.kit.study import Study
from transfusion_lib.data import limited, spec_for
from transfusion_lib.errors import ParameterError
from transfusion_lib.networks.init import init_for
from transfusion_lib.runs.search import spec_at
from transfusion_lib.spec import InitSpec, ModelSpec, RunSpec, TrainSpec

Count = Annotated[int, Field(gt=0)]


class Volumes(Study):
    """A network for volumes from inflated weights, whole, slim above a cut and cut there; and from random weights."""

    name: ClassVar[str] = "volumes"

    dataset: str
    size: Count
    train_images: Count | None
    val_images: Count | None
    test_images: Count | None
    network: str
    cut: str
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    steps: Count
    eval_every: Count
    batch_size: Count
    learning_rate: Annotated[float, Field(gt=0)]

    def methods(self) -> dict[str, RunSpec]:
        """Return one run of each method by its name in the paper."""
        if not self.network.endswith("_3d"):
            raise ParameterError(f'chapter {self.name}: network "{self.network}" takes images; try "{self.network}_3d"')
        images = {"train": self.train_images, "val": self.val_images, "test": self.test_images}
        train = TrainSpec(
            steps=self.steps,
            eval_every=self.eval_every,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            select="best",
        )
        data = limited(spec_for(self.dataset, size=self.size, **images))
        scratch = RunSpec(data=data, model=ModelSpec(name=self.network), init=InitSpec(), train=train)
        init = init_for("pretrained", self.network)
        if init is None:
            raise ParameterError(f"chapter {self.name}: {self.network} has no flat pretrained weights to inflate")
        full = scratch.replace(init=init)
        return {
            "random": scratch,
            "FTL": full,
            "TF": spec_at(full, self.cut, method="slim"),
            "TTL": spec_at(full, self.cut),
        }

    def specs(self) -> list[RunSpec]:
        """Return the runs of each method, for each seed."""
        return [spec.replace(seed=seed) for spec in self.methods().values() for seed in self.seeds]
