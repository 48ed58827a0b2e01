"""One module per question; the table finds a study by its chapter's name."""

from transfusion_lib.chapters.ablations.study import Ablations
from transfusion_lib.chapters.breadth.study import Breadth
from transfusion_lib.chapters.convergence.study import Convergence
from transfusion_lib.chapters.cutpoint.study import Cutpoint
from transfusion_lib.chapters.differential.study import Differential
from transfusion_lib.chapters.filters.study import Filters
from transfusion_lib.chapters.hybrids.study import Hybrids
from transfusion_lib.chapters.kit.study import Study
from transfusion_lib.chapters.own.study import Own
from transfusion_lib.chapters.performance.study import Performance
from transfusion_lib.chapters.representations.study import Representations
from transfusion_lib.chapters.reuse.study import Reuse
from transfusion_lib.chapters.segmentation.study import Segmentation
from transfusion_lib.chapters.tasks.study import Tasks
from transfusion_lib.chapters.transfusion.study import Transfusion
from transfusion_lib.chapters.tutorial.study import Tutorial
from transfusion_lib.chapters.volumes.study import Volumes

__all__ = [
    "TABLE",
    "Ablations",
    "Breadth",
    "Convergence",
    "Cutpoint",
    "Differential",
    "Filters",
    "Hybrids",
    "Own",
    "Performance",
    "Representations",
    "Reuse",
    "Segmentation",
    "Study",
    "Tasks",
    "Transfusion",
    "Tutorial",
    "Volumes",
]

_ALL: tuple[type[Study], ...] = (
    Tasks,
    Performance,
    Breadth,
    Convergence,
    Transfusion,
    Hybrids,
    Representations,
    Filters,
    Reuse,
    Differential,
    Cutpoint,
    Ablations,
    Segmentation,
    Volumes,
    Tutorial,
    Own,
)
TABLE: dict[str, type[Study]] = {study.name: study for study in _ALL}
