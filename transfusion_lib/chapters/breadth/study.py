"""Does transfer do on other tasks, image sizes and amounts of data what it does on one? (Transfusion, section 3)."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from transfusion_lib.chapters.kit.curves import Count, Curves
from transfusion_lib.chapters.kit.cuts import by_spec
from transfusion_lib.chapters.performance.study import STARTS
from transfusion_lib.errors import ParameterError
from transfusion_lib.runs import Run
from transfusion_lib.spec import RunSpec


class Cell(Curves):
    """Networks x (random, pretrained) x seeds on one task."""

    name: ClassVar[str] = "breadth"

    networks: Annotated[list[str], Field(min_length=1)]

    def specs(self) -> list[RunSpec]:
        """Return a run for each network that has pretrained weights, start and seed."""
        return [
            spec
            for name in self.networks
            if self.start(name, "pretrained") is not None
            for way in STARTS
            for spec in self.runs(name, self.start(name, way))
        ]


class Breadth(Cell):
    """The same comparison in several cells. A cell is this chapter's own parameters with some of them replaced."""

    early: Count
    cells: Annotated[list[dict[str, Any]], Field(min_length=1)]

    @model_validator(mode="after")
    def _cells_are_sound(self) -> "Breadth":
        for cell in self.each():
            if not any(cell.start(name, "pretrained") for name in cell.networks):
                raise ParameterError(
                    f"networks: no pretrained weights of {', '.join(cell.networks)} are at hand with "
                    f'pretrained="{cell.pretrained}", so there is nothing to compare on {cell.dataset}; '
                    "transfusion models shows which networks have some"
                )
            if self.early not in cell.training().grid:
                raise ParameterError(
                    f"early: {self.early} is no step of the grid of {cell.dataset}, a multiple of {cell.eval_every} up "
                    f"to {cell.steps}: all runs are read there"
                )
        return self

    def each(self) -> list[Cell]:
        """Return the cells in their order."""
        own = {name: getattr(self, name) for name in Cell.model_fields}
        return [Cell(**{**own, **changed}) for changed in self.cells]

    def specs(self) -> list[RunSpec]:
        """Return the runs of every cell; two cells may share some."""
        return list(dict.fromkeys(spec for cell in self.each() for spec in cell.specs()))

    def by_cell(self, runs: Sequence[Run]) -> list[list[Run]]:
        """Return the runs of each cell, those of networks without pretrained weights left out."""
        known = by_spec(runs)
        return [[known[spec] for spec in cell.specs()] for cell in self.each()]
