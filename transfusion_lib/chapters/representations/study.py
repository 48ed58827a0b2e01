"""Do representations differ between starts, and how far do they move? (Transfusion, section 4, Figures 2 to 4)."""

from typing import Annotated, ClassVar

from pydantic import Field

from transfusion_lib.chapters.kit.starts import Count, Starts
from transfusion_lib.spec import TrainSpec


class Representations(Starts):
    """Similarity of stages before against after training and between networks, with its floor."""

    name: ClassVar[str] = "representations"

    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2)]
    """Similarity needs pairs of runs."""
    snapshots: list[Annotated[int, Field(ge=0)]]
    probe_images: Count | None
    per_image: Count
    per_channel: Count

    def train(self) -> TrainSpec:
        """Return how every run trains, and the steps whose weights it keeps."""
        return super().train().replace(snapshots=tuple(self.snapshots))
