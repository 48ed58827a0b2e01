"""Runs to tidy frames, and to what a claim asks for, a module per chapter; trains nothing, draws nothing."""

from transfusion_lib.tables.convergence import convergence_alt as convergence_alt
from transfusion_lib.tables.convergence import convergence_finding as convergence_finding
from transfusion_lib.tables.convergence import convergence_titles as convergence_titles
from transfusion_lib.tables.curves import curves as curves
from transfusion_lib.tables.curves import mean_curves as mean_curves
from transfusion_lib.tables.curves import steps_to as steps_to
from transfusion_lib.tables.curves import styled as styled
