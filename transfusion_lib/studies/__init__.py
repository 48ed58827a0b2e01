"""One module per question; the table finds a study by its chapter's name."""

from transfusion_lib.studies.convergence import Convergence
from transfusion_lib.studies.hybrids import Hybrids
from transfusion_lib.studies.performance import Performance
from transfusion_lib.studies.segmentation import Segmentation
from transfusion_lib.studies.study import Study
from transfusion_lib.studies.tasks import Tasks
from transfusion_lib.studies.transfusion import Transfusion
from transfusion_lib.studies.volumes import Volumes

__all__ = [
    "TABLE",
    "Convergence",
    "Hybrids",
    "Performance",
    "Segmentation",
    "Study",
    "Tasks",
    "Transfusion",
    "Volumes",
]

TABLE: dict[str, type[Study]] = {
    study.name: study for study in (Convergence, Tasks, Performance, Transfusion, Hybrids, Segmentation, Volumes)
}
