"""Does a pretrained start end higher, with much data and with little? (Transfusion, section 3, Tables 1 to 3)."""

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from transfusion_lib.chapters.kit.curves import Count, Curves
from transfusion_lib.errors import ParameterError
from transfusion_lib.spec import RunSpec

STARTS = ("random", "pretrained")


class Performance(Curves):
    """Networks x (random, pretrained) x seeds, trained on all images and on few of them.

    Runs on few images take ``small_steps``, and the others are read at that step where they are compared.
    """

    name: ClassVar[str] = "performance"

    networks: Annotated[list[str], Field(min_length=1)]
    small_networks: list[str]
    small_train: list[Count]
    small_steps: Count

    @model_validator(mode="after")
    def _on_the_grid(self) -> "Performance":
        if self.small_steps not in self.training().grid:
            raise ParameterError(
                f"small_steps: {self.small_steps} is no step of the grid, a multiple of {self.eval_every} up to "
                f"{self.steps}: the runs on all images are read there"
            )
        return self

    def specs(self) -> list[RunSpec]:
        """Return a run for each network, start that it has weights for, and seed: on all images, then on few."""
        little = self.training(steps=self.small_steps)
        return [
            *(spec for name in self.networks for way in STARTS for spec in self.runs(name, self.start(name, way))),
            *(
                spec
                for count in self.small_train
                for name in self.small_networks
                for way in STARTS
                for spec in self.runs(name, self.start(name, way), data=self.images(train=count), train=little)
            ),
        ]
