"""Forked kernels are as separate as started ones, and their ends are seen."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from transfusion_lib.book import nursery
from transfusion_lib.book.nursery import Kernel, Nursery

pytestmark = pytest.mark.skipif(not nursery.works_here(), reason="kernels are forked on Linux only")

PROBE = """
import json, os, signal, sys, time
from pathlib import Path
import torch
told = {
    "word": os.environ.get("WORD"), "others": "OTHER" in os.environ, "arguments": sys.argv[1:], "folder": os.getcwd(),
    "leads": os.getpgid(0) == os.getpid(), "parent": os.getppid(), "tables": TABLES in sys.modules,
    "interrupts": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
    "changed": getattr(torch, "mine", None), "pid": os.getpid(),
}
torch.mine = sys.argv[1]
print("to the terminal, not to the builder")
Path(sys.argv[1] + ".json").write_text(json.dumps(told))
if "wait" in sys.argv:
    time.sleep(60)
sys.exit(3)
""".replace("TABLES", repr("transfusion_lib.chapters"))


ROOT = str(Path(__file__).parents[1])
BUILDER = """
import sys, time
from transfusion_lib.book.nursery import Nursery
forks = Nursery({})
one = forks.fork([sys.executable, "-m", "probe", "a", "wait"], environment={}, folder=sys.argv[1])
print(forks.process.pid, one.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def forks() -> Iterator[Nursery]:
    with closing(Nursery({"OMP_NUM_THREADS": "1"})) as found:
        yield found


@pytest.fixture(autouse=True)
def probe(tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text(PROBE)


def kernel(forks: Nursery, folder: Path, *arguments: str, **environment: str) -> Kernel:
    command = [sys.executable, "-Xfrozen_modules=off", "-m", "probe", *arguments]
    return forks.fork(command, environment=environment, folder=str(folder))


def test_a_kernel_has_what_it_was_given_and_nothing_of_others(forks: Nursery, tmp_path: Path) -> None:
    one = kernel(forks, tmp_path, "a", "-f", "b c", WORD="first", OTHER="x")
    two = kernel(forks, tmp_path, "d", WORD="second")
    assert one.pid != two.pid
    assert [one.wait(60), two.wait(60)] == [3, 3]
    first, second = (json.loads((tmp_path / f"{name}.json").read_text()) for name in "ad")
    assert (first["word"], first["arguments"]) == ("first", ["a", "-f", "b c"])
    assert second.pop("pid") == two.pid
    assert second == {
        "word": "second",
        "others": False,
        "arguments": ["d"],
        "folder": str(tmp_path),
        "leads": True,
        "parent": forks.process.pid,
        "tables": True,
        "interrupts": True,
        "changed": None,
    }


def test_whoever_asks_gets_the_kernel_asked_for(forks: Nursery, tmp_path: Path) -> None:
    def one(number: int) -> bool:
        name = str(number)
        made = kernel(forks, tmp_path, name, WORD=name)
        made.wait(60)
        return bool(json.loads((tmp_path / f"{name}.json").read_text())["pid"] == made.pid)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(24)))


def test_the_end_of_a_kernel_is_seen(forks: Nursery, tmp_path: Path) -> None:
    one = kernel(forks, tmp_path, "a", "wait")
    assert one.poll() is None
    one.kill()
    assert one.wait(60) == one.poll() == -signal.SIGKILL
    one.terminate()  # as with Popen, nothing


def test_without_the_process_to_fork_from_all_kernels_have_ended(tmp_path: Path) -> None:
    with closing(Nursery({})) as forks:
        one = kernel(forks, tmp_path, "a", "wait")
        forks.process.kill()
        assert one.wait(60) == 1
        with pytest.raises(RuntimeError, match="forked from has ended"):
            kernel(forks, tmp_path, "b")
        assert gone(one.pid, within=20)


def test_nothing_outlives_a_builder_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "builder.py").write_text(BUILDER)
    command = [sys.executable, "builder.py", str(tmp_path)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": ROOT}) as one:
        assert one.stdout is not None
        pids = [int(word) for word in one.stdout.readline().split()]
        assert len(pids) == 2
        assert not any(map(gone, pids))
        one.kill()
    assert all(gone(pid, within=20) for pid in pids)


def gone(pid: int, *, within: float = 0) -> bool:
    """Whether a process has ended, or does so in time; a zombie has."""
    until = time.monotonic() + within
    while True:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
