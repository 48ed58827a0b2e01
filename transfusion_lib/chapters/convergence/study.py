"""Does a pretrained start converge faster, and why? (Transfusion, section 5, Figure 6)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from transfusion_lib.chapters.kit.curves import Count, Panels, Seeds, Start
from transfusion_lib.spec import RunSpec

CONTROLS: dict[str, dict[str, str]] = {
    "covariance": {"method": "covariance"},
    "bootstrap": {"method": "bootstrap"},
    "permutation": {"method": "permutation"},
    "batch_norm_kept": {"method": "mean_var", "batch_norm": "keep"},
}
"""What else keeps the statistics: the covariance of filters, other samplers, and batch norm as it was."""


class Convergence(Panels):
    """Networks x starts x seeds on one data set, evaluated on a fine grid of early steps, and controls of Mean Var."""

    name: ClassVar[str] = "convergence"

    networks: Annotated[list[str], Field(min_length=1)]
    inits: Annotated[list[Start], Field(min_length=1)]
    control_networks: list[str]
    controls: list[Literal["covariance", "bootstrap", "permutation", "batch_norm_kept"]]
    control_seeds: Seeds
    threshold: Annotated[float, Field(gt=0.5, lt=1)]
    in_a_row: Count

    def specs(self) -> list[RunSpec]:
        """Return a run for each network, start that it has weights for, and seed; then the controls."""
        plain = [
            spec for name in self.networks for way in self.inits for spec in self.runs(name, self.start(name, way))
        ]
        controls = [
            spec
            for name in self.control_networks
            for control in self.controls
            for spec in self.runs(name, self.start(name, **CONTROLS[control]), seeds=self.control_seeds)
        ]
        return [*plain, *controls]
