"""The papers' claims, each with a rule that was fixed before the runs, and the verdict on them.

A chapter measures what a claim's parts ask for, calls ``judge("T11", evidence)`` and shows the ``Verdict``; ``write``
keeps it for the scoreboard. A verdict is *supported*, *contradicted*, *inconclusive* or *not tested*, by one rule:

- a part names a quantity and the region in which the claim says it lies: above a bound, below it, or within a margin;
- **supported**: in every part, for every case (a network, a data set, a stage), the 95 % interval lies inside the
  region. Each bound is tested at 2.5 % and all must pass, so a false claim is supported at most 2.5 % of the time;
- **contradicted**: for some case the interval lies outside, at a level corrected for the number of cases (Bonferroni),
  so a true claim is contradicted at most 5 % of the time (2.5 % with one bound);
- **inconclusive** otherwise; always so with fewer than 3 seeds, with intervals that do not cover the variation over
  seeds, with saturated scores, times that the grid cannot resolve, and similarities that chance alone would give.

Knows intervals, not runs; never imports training.
"""

from transfusion_lib.papers.pilot.judge import COLUMNS as COLUMNS
from transfusion_lib.papers.pilot.judge import WITHDRAWN as WITHDRAWN
from transfusion_lib.papers.pilot.judge import Arrival as Arrival
from transfusion_lib.papers.pilot.judge import Evidence as Evidence
from transfusion_lib.papers.pilot.judge import Finding as Finding
from transfusion_lib.papers.pilot.judge import Verdict as Verdict
from transfusion_lib.papers.pilot.judge import judge as judge
from transfusion_lib.papers.pilot.record import read as read
from transfusion_lib.papers.pilot.record import scoreboard as scoreboard
from transfusion_lib.papers.pilot.record import write as write
from transfusion_lib.papers.pilot.rules import Claim as Claim
from transfusion_lib.papers.pilot.rules import Part as Part
from transfusion_lib.papers.pilot.rules import Region as Region
from transfusion_lib.papers.pilot.table import TABLE as TABLE
