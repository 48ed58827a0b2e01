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
    split: Literal["official", "drawn"] = "official"
    """Whether each seed draws a split of its own, or all have the one that the data set brings."""
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
        found = self._images(self.dataset)
        return found.replace(train=train) if train else found

    def sets(self) -> list[DataSpec]:
        """Return the data sets on which every run is made."""
        return [self.images()]

    def _images(self, dataset: str) -> DataSpec:
        images = {"train": self.train_images, "val": self.val_images, "test": self.test_images}
        found = spec_for(dataset, size=self.size, on_bad=self.on_bad, **images)
        return limited(found.replace(split=self.split))

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
        """Return an initialisation of a network, or None if it has no pretrained weights.

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
        """Return one run per data set and seed of a network from a start, none where the start does not exist.

        ``data`` is in place of the data sets. On drawn splits a run's seed draws its split too.
        """
        if init is None:
            return []
        model = ModelSpec(name=network, slim=slim)
        return [
            RunSpec(
                data=one.replace(seed=seed) if self.split == "drawn" else one,
                model=model,
                init=init,
                train=train or self.training(),
                seed=seed,
            )
            for one in ([data] if data else self.sets())
            for seed in (self.seeds if seeds is None else seeds)
        ]


class Panels(Curves):
    """Base of those that show several data sets, each a panel of its own."""

    others: list[str] = Field(default_factory=list)
    """Further data sets with the same recipe."""

    def sets(self) -> list[DataSpec]:
        """Return the data sets on which every run is made."""
        return [self.images(), *(self._images(name) for name in self.others)]
