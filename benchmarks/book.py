"""How long the book takes: ``transfusion bench book``, made twice in a store of its own.

1. The book of the records, one chapter of which is trained. At most 2 minutes on two cores, and again.
2. The live book from nothing: every run is trained. At most 12 minutes, and again at most 1.
"""

import os
import subprocess
import sys
import tempfile
import time

from benchmarks.report import Report


def measure(report: Report) -> None:
    """Make each book twice and report the minutes."""
    with tempfile.TemporaryDirectory() as folder:
        for what, profile, target in (
            ("the book", "published", 2.0),
            ("the book again", "published", 2.0),
            ("the live book from nothing", "live", 12.0),
            ("the live book again", "live", 1.0),
        ):
            began = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "transfusion_lib", "book", "--profile", profile],
                env=os.environ | {"TRANSFUSION_STORE": folder},
                check=True,
                capture_output=True,
                text=True,
            )
            minutes = (time.perf_counter() - began) / 60
            trained = done.stdout.count(": trained in")
            report.add(what, minutes, "minutes", at_most=target, details=f"{trained} runs trained")
