"""One module per question; the table finds a study by its chapter's name."""

from transfusion_lib.studies.ablations import Ablations
from transfusion_lib.studies.convergence import Convergence
from transfusion_lib.studies.cutpoint import Cutpoint
from transfusion_lib.studies.differential import Differential
from transfusion_lib.studies.segmentation import Segmentation
from transfusion_lib.studies.study import Study
from transfusion_lib.studies.tasks import Tasks
from transfusion_lib.studies.volumes import Volumes

__all__ = [
    "TABLE",
    "Ablations",
    "Convergence",
    "Cutpoint",
    "Differential",
    "Segmentation",
    "Study",
    "Tasks",
    "Volumes",
]

TABLE: dict[str, type[Study]] = {
    study.name: study for study in (Convergence, Tasks, Differential, Cutpoint, Ablations, Segmentation, Volumes)
}
