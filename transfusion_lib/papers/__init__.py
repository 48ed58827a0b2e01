"""What the papers say: their numbers, their claims, the judge.

``CLAIMS`` are the sentences and their rules as data, ``Evidence`` is what runs give, ``judge`` makes a ``Verdict`` of
both, ``power`` says before the runs what a plan can show, ``printed`` holds the papers' own numbers, and ``table`` puts
all of it side by side. Knows arrays and ``stats`` only.
"""

from transfusion_lib.papers.claims import CLAIMS as CLAIMS
from transfusion_lib.papers.claims import Claim as Claim
from transfusion_lib.papers.claims import Part as Part
from transfusion_lib.papers.evidence import Arm as Arm
from transfusion_lib.papers.evidence import Arms as Arms
from transfusion_lib.papers.evidence import Case as Case
from transfusion_lib.papers.evidence import Counts as Counts
from transfusion_lib.papers.evidence import Evidence as Evidence
from transfusion_lib.papers.evidence import Pairs as Pairs
from transfusion_lib.papers.evidence import Reach as Reach
from transfusion_lib.papers.evidence import Relation as Relation
from transfusion_lib.papers.evidence import Slope as Slope
from transfusion_lib.papers.judge import ONE_LOOK as ONE_LOOK
from transfusion_lib.papers.judge import Look as Look
from transfusion_lib.papers.judge import Verdict as Verdict
from transfusion_lib.papers.judge import judge as judge
from transfusion_lib.papers.judge import two_looks as two_looks
from transfusion_lib.papers.numbers import printed as printed
from transfusion_lib.papers.page import Row as Row
from transfusion_lib.papers.page import table as table
from transfusion_lib.papers.power import Power as Power
from transfusion_lib.papers.power import power as power
