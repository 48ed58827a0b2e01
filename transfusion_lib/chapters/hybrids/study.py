"""Can a lighter network with few pretrained stages, or with synthetic filters, do as well? (Figure 8)."""

from typing import Annotated, ClassVar

from pydantic import Field

from transfusion_lib.chapters.kit.curves import Count, Panels
from transfusion_lib.chapters.transfusion.study import stages_of
from transfusion_lib.errors import ParameterError
from transfusion_lib.spec import Gabor, RunSpec, Slim


class Hybrids(Panels):
    """A large and a small network: random, Gabor filters in conv1, pretrained conv1, Slim, full transfer."""

    name: ClassVar[str] = "hybrids"

    model: str
    small_model: str | None
    slim_stages: Count
    slim_factor: Annotated[int, Field(ge=2)]
    orientations: Count
    threshold: Annotated[float, Field(gt=0.5, lt=1)]
    in_a_row: Count

    def slim(self) -> Slim:
        """Return the surgery of the Slim network: pretrained and whole up to a stage, thinner above it."""
        stages = stages_of(self.model, size=self.size)
        if self.slim_stages >= len(stages):
            raise ParameterError(
                f"chapter {self.name}: slim_stages is {self.slim_stages}, and {self.model} has {len(stages)} stages; "
                "leave at least one to be thinner"
            )
        return Slim(above=stages[self.slim_stages - 1], factor=self.slim_factor)

    def specs(self) -> list[RunSpec]:
        """Return every hybrid of the large network, and of the small one those of Figure 8, for each seed."""
        slim = self.slim()
        found = self._filters(self.model)
        found += self.runs(self.model, self.start(self.model, "pretrained", up_to=slim.above), slim=slim)
        return found + (self._filters(self.small_model) if self.small_model else [])

    def _filters(self, network: str) -> list[RunSpec]:
        """Return the runs that differ in the first stage, and full transfer."""
        first = stages_of(network, size=self.size)[0]
        starts = (
            self.start(network, "random"),
            self.start(network, "random", gabor=Gabor(orientations=self.orientations)),
            self.start(network, "pretrained", up_to=first),
            self.start(network, "pretrained"),
        )
        return [spec for start in starts for spec in self.runs(network, start)]
