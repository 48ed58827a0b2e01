"""Kernels at once: one process imports what every chapter needs, and each kernel is a fork of it (Linux only).

Importing takes most of the time of a page of recorded runs. Each fork has the environment, folder and process group
that a kernel of its own would have; but what a library reads at import it reads here, once for all. The builder asks
with a line of JSON on the process's standard input, and reads on its standard output which process was born and, later,
how it ended. When the builder dies, so does this process, and with it the kernels.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PRELOADED = (
    "ipykernel.kernelapp",
    "lifelines",
    "matplotlib_inline.backend_inline",
    "timm",
    "transfusion_lib.book.page",
    "transfusion_lib.chapters",
    "transfusion_lib.chapters",
    "transfusion_lib.chapters",
)


def works_here() -> bool:
    """Whether forks are safe: on macOS system libraries do not survive one, on Windows there is none."""
    return sys.platform == "linux"


class Nursery:
    """The builder's side: a process to fork kernels from; to be closed."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Start it with what is read once at import, the number of threads for example."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "transfusion_lib.book.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | dict(environment),
        )
        self.asking = threading.Lock()
        """Held from a request to its answer, which does not say whose it is."""
        self.changed = threading.Condition()
        self.born: list[int] = []
        self.ended: dict[int, int] = {}
        self.over = False
        threading.Thread(target=self._listen, daemon=True).start()

    def fork(self, command: Sequence[str], *, environment: Mapping[str, str], folder: str) -> "Kernel":
        """Return a kernel that runs ``command`` (python ... -m MODULE ARGUMENT ...); waits until imports are done."""
        arguments = list(command[command.index("-m") + 1 :])
        request = {"arguments": arguments, "environment": dict(environment), "folder": folder}
        with self.asking, self.changed:
            assert self.process.stdin is not None
            with contextlib.suppress(BrokenPipeError, ValueError):  # it has died, or was closed
                self.process.stdin.write(json.dumps(request) + "\n")
                self.process.stdin.flush()
            self.changed.wait_for(lambda: self.born or self.over)
            if not self.born:
                raise RuntimeError("the process that kernels are forked from has ended (out of memory?)")
            return Kernel(self, self.born.pop())

    def close(self) -> None:
        """End it, and the kernels that are left."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                with self.changed:
                    told = json.loads(line)
                    if "born" in told:
                        self.born.append(told["born"])
                    else:
                        self.ended[told["pid"]] = told["status"]
                    self.changed.notify_all()
        with self.changed:
            self.over = True
            self.changed.notify_all()


class Kernel:
    """A forked kernel, as ``subprocess.Popen`` would show it."""

    stdin = stdout = stderr = None

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.nursery, self.pid = nursery, pid

    @property
    def returncode(self) -> int | None:
        """How it ended, None while it runs."""
        ended = self.nursery.ended.get(self.pid)
        return 1 if ended is None and self.nursery.over else ended

    def poll(self) -> int | None:
        """Return how it ended, None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended."""
        with self.nursery.changed:
            self.nursery.changed.wait_for(lambda: self.returncode is not None, timeout)
        if (code := self.returncode) is None:
            raise subprocess.TimeoutExpired("kernel", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


def main() -> None:
    """Be the process that kernels are forked from, until the builder closes its end."""
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to a whole terminal or group: the builder decides
        signal.signal(number, signal.SIG_IGN)
    for name in PRELOADED:
        with contextlib.suppress(Exception):  # the chapter that needs it imports it again, and shows why it fails
            importlib.import_module(name)
    gc.freeze()  # a collection in a kernel would touch, and so copy, the memory of all that was imported
    me = os.getpid()
    request = _serve()
    if request is None:
        os._exit(0)  # libraries complain of what is frozen
    _become(request, me)


def _serve() -> dict[str, Any] | None:
    """Fork for each request; return the request in the kernel, and None here when there are no more."""
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with selectors.DefaultSelector() as selector:
        selector.register(woken, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        while True:
            ready = [key.fileobj for key, _ in selector.select()]
            if woken in ready:
                os.read(woken, 4096)
                _tell_of_the_dead()
            if sys.stdin in ready:
                line = sys.stdin.readline()
                if not line:
                    return None
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    return dict(json.loads(line))
                _tell(born=pid)


def _tell_of_the_dead() -> None:
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            _tell(pid=found[0], status=os.waitstatus_to_exitcode(found[1]))


def _tell(**message: int) -> None:
    print(json.dumps(message), flush=True)  # noqa: T201  # what the builder reads


def _become(request: Mapping[str, Any], parent: int) -> None:
    """Be the kernel that was asked for, until the process that it was forked from ends.

    ipykernel's own watch over its parent does not begin: it reads at import who that is.
    """
    os.setsid()
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        signal.signal(number, usual)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it has ended before
        os._exit(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)  # standard output was the builder's line
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.path[0] = request["folder"]
    module, *arguments = request["arguments"]
    sys.argv = [module, *arguments]
    status = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(status)  # taking all modules apart would take two seconds


if __name__ == "__main__":
    main()
