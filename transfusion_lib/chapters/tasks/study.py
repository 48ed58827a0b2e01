"""What the tasks look like and how the data are split (Transfusion, section 2 and Figure 1). Trains nothing."""

from typing import Annotated, ClassVar

from pydantic import Field

from transfusion_lib.chapters.kit.study import OnBad, Study
from transfusion_lib.data import limited, spec_for
from transfusion_lib.spec import DataSpec, RunSpec

Count = Annotated[int, Field(gt=0)]


class Tasks(Study):
    """Data sets to look at, in pictures large enough to see and at the size that networks train on."""

    name: ClassVar[str] = "tasks"

    datasets: Annotated[list[str], Field(min_length=1)]
    size: Count
    train_images: Count | None
    val_images: Count | None
    test_images: Count | None
    picture_size: Count
    pictures: Count
    examples: Count
    on_bad: OnBad = "error"

    def specs(self) -> list[RunSpec]:
        """Return no runs: this chapter only looks."""
        return []

    def data(self) -> list[DataSpec]:
        """Return the data sets as the other chapters train on them."""
        return self._each(size=self.size, train=self.train_images)

    def large(self) -> list[DataSpec]:
        """Return a few pictures of each data set, large and, where it has one, under its task of many classes."""
        found = self._each(size=self.picture_size, train=self.pictures)
        return [spec.replace(task=FINE[spec.name]) if spec.name in FINE else spec for spec in found]

    def _each(self, *, size: int, train: int | None) -> list[DataSpec]:
        images = {"train": train, "val": self.val_images, "test": self.test_images}
        return [limited(spec_for(name, size=size, on_bad=self.on_bad, **images)) for name in self.datasets]


FINE = {"fundus": "grade", "eyepacs": "grade", "aptos": "grade", "chest_xray": "three_class"}
"""The tasks that name what is seen rather than what to do about it."""
