"""Frames to figures in one style, a module per chapter; computes nothing, reads nothing."""

from transfusion_lib.figures.convergence import convergence as convergence
from transfusion_lib.figures.dots import dots as dots
from transfusion_lib.figures.style import drawing as drawing
from transfusion_lib.figures.style import source as source
from transfusion_lib.figures.style import svg as svg
from transfusion_lib.figures.tasks import balance as balance
from transfusion_lib.figures.tasks import contact_sheet as contact_sheet
from transfusion_lib.figures.tasks import side_by_side as side_by_side
