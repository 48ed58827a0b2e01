"""One module per question; the table finds a study by its chapter's name."""

from transfusion_lib.studies.ablations import Ablations
from transfusion_lib.studies.breadth import Breadth
from transfusion_lib.studies.convergence import Convergence
from transfusion_lib.studies.cutpoint import Cutpoint
from transfusion_lib.studies.differential import Differential
from transfusion_lib.studies.filters import Filters
from transfusion_lib.studies.hybrids import Hybrids
from transfusion_lib.studies.performance import Performance
from transfusion_lib.studies.representations import Representations
from transfusion_lib.studies.reuse import Reuse
from transfusion_lib.studies.segmentation import Segmentation
from transfusion_lib.studies.study import Study
from transfusion_lib.studies.tasks import Tasks
from transfusion_lib.studies.transfusion import Transfusion
from transfusion_lib.studies.tutorial import Tutorial
from transfusion_lib.studies.volumes import Volumes

__all__ = [
    "TABLE",
    "Ablations",
    "Breadth",
    "Convergence",
    "Cutpoint",
    "Differential",
    "Filters",
    "Hybrids",
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
)
TABLE: dict[str, type[Study]] = {study.name: study for study in _ALL}
