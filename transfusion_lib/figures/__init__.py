"""Frames to figures in one style, a module per chapter; computes nothing, reads nothing."""

from transfusion_lib.figures.breadth import leads as leads
from transfusion_lib.figures.convergence import convergence as convergence
from transfusion_lib.figures.dots import dots as dots
from transfusion_lib.figures.performance import costs as costs
from transfusion_lib.figures.performance import forest as forest
from transfusion_lib.figures.performance import small_data as small_data
from transfusion_lib.figures.performance import source_accuracy as source_accuracy
from transfusion_lib.figures.speed import curves_and_arrivals as curves_and_arrivals
from transfusion_lib.figures.speed import marginal as marginal
from transfusion_lib.figures.speed import starts as starts
from transfusion_lib.figures.speed import waiting as waiting
from transfusion_lib.figures.style import drawing as drawing
from transfusion_lib.figures.style import source as source
from transfusion_lib.figures.style import svg as svg
from transfusion_lib.figures.tasks import balance as balance
from transfusion_lib.figures.tasks import contact_sheet as contact_sheet
from transfusion_lib.figures.tasks import side_by_side as side_by_side
