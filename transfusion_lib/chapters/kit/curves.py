"""What the chapters on learning curves share: one data set, one recipe, one grid of steps."""

from typing import Annotated, Literal

from pydantic import Field

from transfusion_lib.chapters.kit.sources import Pretrained, source_for
from transfusion_lib.chapters.kit.study import OnBad, Study
from transfusion_lib.data import limited, spec_for
from transfusion_lib.spec import DataSpec, InitSpec, ModelSpec, RunSpec, Slim, TrainSpec

Count = Annotated[int, Field(gt=0)]
Seeds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
Start = Literal["random", "mean_var", "pretrained"]


class Curves(Study):
    """Base of the studies that compare starts by their learning curves, so that equal runs are trained once."""

    dataset: str
    size: Count
    train_images: Count | None
    val_images: Count | None
    test_images: Count | None
    pretrained: Pretrained
    seeds: Seeds
    steps: Count
    eval_every: Count
    batch_size: Count
    learning_rate: Annotated[float, Field(gt=0)]
    precision: Literal["float32", "bfloat16"]
    on_bad: OnBad = "error"

    def images(self, *, train: int | None = None) -> DataSpec:
        """Return the data; ``train`` is another number of training images."""
        images = {"train": self.train_images, "val": self.val_images, "test": self.test_images}
        found = limited(spec_for(self.dataset, size=self.size, on_bad=self.on_bad, **images))
        return found.replace(train=train) if train else found

    def training(self, *, steps: int | None = None) -> TrainSpec:
        """Return the recipe, the grid included; ``steps`` is another length."""
        return TrainSpec(
            steps=steps or self.steps,
            eval_every=self.eval_every,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            precision=self.precision,
        )

    def start(self, network: str, method: str, **fields: object) -> InitSpec | None:
        """Return an initialisation of a network, or None where there are no pretrained weights for it.

        ``fields`` are further ones of ``InitSpec``; "random" needs no weights.
        """
        if method == "random":
            return InitSpec(**fields)  # type: ignore[arg-type]  # validated by the spec
        weights = source_for(network, pretrained=self.pretrained)
        if weights is None:
            return None
        return InitSpec(method=method, weights=weights, **fields)  # type: ignore[arg-type]  # validated by the spec

    def runs(
        self,
        network: str,
        init: InitSpec | None,
        *,
        slim: Slim | None = None,
        data: DataSpec | None = None,
        train: TrainSpec | None = None,
        seeds: list[int] | None = None,
    ) -> list[RunSpec]:
        """Return one run per seed of a network from a start, none where the start does not exist."""
        if init is None:
            return []
        model = ModelSpec(name=network, slim=slim)
        data, train = data or self.images(), train or self.training()
        seeds = self.seeds if seeds is None else seeds
        return [RunSpec(data=data, model=model, init=init, train=train, seed=seed) for seed in seeds]
