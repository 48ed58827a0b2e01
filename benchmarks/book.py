"""How long the book takes: ``transfusion bench book``, made twice in a store of its own.

1. From nothing: every run of the quick profile is trained. At most 20 minutes on two cores.
2. Again, all runs being in the store. At most 2 minutes.
"""

import os
import subprocess
import sys
import tempfile
import time

from benchmarks.report import Report


def measure(report: Report) -> None:
    """Make the book twice and report the minutes."""
    with tempfile.TemporaryDirectory() as folder:
        for what, target in (("the quick book from nothing", 20.0), ("the same again", 2.0)):
            began = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "transfusion_lib", "book"],
                env=os.environ | {"TRANSFUSION_STORE": folder},
                check=True,
                capture_output=True,
                text=True,
            )
            minutes = (time.perf_counter() - began) / 60
            trained = done.stdout.count(": trained in")
            report.add(what, minutes, "minutes", at_most=target, details=f"{trained} runs trained")
