"""Several processes for one command, started by PyTorch's elastic agent as ``torchrun`` starts them.

``torchrun`` ends with 1 whatever ended its processes. ``together`` returns what they ended with, so that a queue knows
a run that was stopped from one that failed.
"""

import logging
import os
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run

from transfusion_lib.errors import InterruptedRunError


def together(processes: int, arguments: Sequence[str]) -> int:
    """Run this program with ``arguments`` in several ``processes`` of one machine, and return its exit status.

    That is 0, that of the process which failed first, or 75 if all were asked to stop; 128 and the number of a signal
    which killed one, as a shell says it.
    """
    logging.disable(logging.ERROR)  # its agent prints a page for each end but success
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # or a warning is printed; a run sets its own threads
    try:
        run(parse_args(["--standalone", "--nproc-per-node", str(processes), "-m", "transfusion_lib", *arguments]))
    except SignalException:
        return InterruptedRunError.exit_status
    except ChildFailedError as error:
        status = error.get_first_failure()[1].exitcode
        return status if status >= 0 else 128 - status
    return 0
