"""One module per question; the table finds a study by its chapter's name."""

from transfusion_lib.studies.convergence import Convergence
from transfusion_lib.studies.study import Study
from transfusion_lib.studies.tasks import Tasks

__all__ = ["TABLE", "Convergence", "Study", "Tasks"]

TABLE: dict[str, type[Study]] = {study.name: study for study in (Convergence, Tasks)}
