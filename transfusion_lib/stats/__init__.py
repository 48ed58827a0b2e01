"""Intervals and tests. Each says what varies: the seed of the run, the test case, or both.

The two kinds of uncertainty answer different questions and are never mixed by accident: an interval over seeds says
how far another training run may lie, one over test cases how far another test set may lie. An ``Interval`` keeps its
standard error and degrees of freedom, so that a rule can ask for another level or a one-sided test.

Random numbers come from the caller's NumPy generator. Knows only arrays.
"""

from transfusion_lib.stats.cases import Metric as Metric
from transfusion_lib.stats.cases import auprc as auprc
from transfusion_lib.stats.cases import auroc as auroc
from transfusion_lib.stats.cases import delong as delong
from transfusion_lib.stats.cases import delong_difference as delong_difference
from transfusion_lib.stats.cases import over_cases as over_cases
from transfusion_lib.stats.cases import over_seeds_and_cases as over_seeds_and_cases
from transfusion_lib.stats.draws import Scored as Scored
from transfusion_lib.stats.draws import Spread as Spread
from transfusion_lib.stats.draws import over_draws as over_draws
from transfusion_lib.stats.draws import over_draws_and_cases as over_draws_and_cases
from transfusion_lib.stats.interval import Interval as Interval
from transfusion_lib.stats.interval import Scale as Scale
from transfusion_lib.stats.interval import Varies as Varies
from transfusion_lib.stats.interval import t_quantile as t_quantile
from transfusion_lib.stats.pairs import over_pairs as over_pairs
from transfusion_lib.stats.power import levels as levels
from transfusion_lib.stats.power import power as power
from transfusion_lib.stats.power import runs_needed as runs_needed
from transfusion_lib.stats.relations import r_squared as r_squared
from transfusion_lib.stats.relations import slope_over_networks as slope_over_networks
from transfusion_lib.stats.relations import spearman as spearman
from transfusion_lib.stats.relations import trend as trend
from transfusion_lib.stats.seeds import combine as combine
from transfusion_lib.stats.seeds import contrast as contrast
from transfusion_lib.stats.seeds import difference as difference
from transfusion_lib.stats.seeds import exact as exact
from transfusion_lib.stats.seeds import holm as holm
from transfusion_lib.stats.seeds import over_seeds as over_seeds
from transfusion_lib.stats.seeds import ratio as ratio
from transfusion_lib.stats.seeds import share as share
from transfusion_lib.stats.seeds import share_of_gain as share_of_gain
from transfusion_lib.stats.tasks import MIN_TASKS as MIN_TASKS
from transfusion_lib.stats.tasks import Pooled as Pooled
from transfusion_lib.stats.tasks import pooled as pooled
from transfusion_lib.stats.tasks import random_effects as random_effects
from transfusion_lib.stats.times import Survival as Survival
from transfusion_lib.stats.times import Time as Time
from transfusion_lib.stats.times import survival as survival
from transfusion_lib.stats.times import time_to_threshold as time_to_threshold
