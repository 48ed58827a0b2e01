"""Which stages does the gain in speed come from? (Transfusion, section 5, Figure 7)."""

from typing import Annotated, ClassVar

from pydantic import Field

from transfusion_lib.chapters.kit.curves import Count, Panels
from transfusion_lib.errors import ParameterError, unknown
from transfusion_lib.networks import blueprint
from transfusion_lib.spec import ModelSpec, RunSpec


class Transfusion(Panels):
    """A large and a small network, pretrained up to one stage after the other and random, or Mean Var, above it."""

    name: ClassVar[str] = "transfusion"

    model: str
    small_model: str | None
    stages: dict[str, list[str]]
    mean_var_above: dict[str, list[str]]
    threshold: Annotated[float, Field(gt=0.5, lt=1)]
    in_a_row: Count

    @property
    def networks(self) -> list[str]:
        """The large network, then the small one, if any."""
        return [self.model, *([self.small_model] if self.small_model else [])]

    def stops(self, network: str) -> list[str]:
        """Return the stages to transfuse up to, from the input on; all but the last where none are named."""
        known = stages_of(network, size=self.size)
        chosen = self.stages.get(network, list(known[:-1]))
        for stage in (*chosen, *self.mean_var_above.get(network, [])):
            if stage not in known:
                raise ParameterError(f"chapter {self.name}: {network}: {unknown('stage', stage, known)}")
        return sorted(chosen, key=known.index)

    def specs(self) -> list[RunSpec]:
        """Return, for each network and seed, the random start, one per stage reached, full transfer, and WT-ST-n."""
        return [spec for network in self.networks for spec in self._specs(network)]

    def _specs(self, network: str) -> list[RunSpec]:
        reached = [self.start(network, "pretrained", up_to=stage) for stage in self.stops(network)]
        above = [
            self.start(network, "pretrained", up_to=stage, above="mean_var")
            for stage in self.mean_var_above.get(network, [])
        ]
        starts = [self.start(network, "random"), *reached, self.start(network, "pretrained"), *above]
        return [spec for start in starts for spec in self.runs(network, start)]


def stages_of(network: str, *, size: int) -> tuple[str, ...]:
    """Return the names of a network's stages, from the input on."""
    return blueprint(ModelSpec(name=network), num_outputs=1, size=size).stages
