"""Run a chapter's notebook with typed parameters, in a kernel of its own."""

import contextlib
import hashlib
import importlib.util
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transfusion_lib import errors
from transfusion_lib.book import parameters, profiles
from transfusion_lib.book.project import Chapter, import_path, read_notebook, write_notebook
from transfusion_lib.errors import BuildError, MissingExtraError, StoreError, UserError

PROGRESS = "TRANSFUSION_PROGRESS"
"""Names a file to the kernel; each line appended to it is shown at once and never enters a page."""

SLOW_IMPORT = "rfc3987_syntax"
"""A checker of IRIs that jsonschema imports if it can: four seconds in every process that reads a notebook.
No schema of ours has an IRI; None in its place in ``sys.modules`` makes that import fail, which jsonschema expects."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Build:
    """What one build is: the pages that it makes carry its id, and the gate looks for it."""

    id: str
    profile: str
    folder: Path
    """Holds ``source/`` (what Sphinx reads) and ``html/`` (what the reader opens)."""
    trained: Sequence[str] = ()
    """Chapters that train, where the profile only reads records."""

    @property
    def source(self) -> Path:
        """The assembled pages and executed notebooks."""
        return self.folder / "source"

    def progress(self, chapter: Chapter) -> Path:
        """Return the file that a chapter tells its progress to."""
        return self.folder / f"progress-{chapter.name}.log"

    @property
    def html(self) -> Path:
        """The rendered book; there only when every check has passed."""
        return self.folder / "html"


def need_extras() -> None:
    """Raise a ``MissingExtraError`` with the install line unless chapters can be executed and pages rendered."""
    for name in ("papermill", "matplotlib", "jupyter_book"):
        if importlib.util.find_spec(name) is None:
            install = 'pip install "transfusion-reproduced[book]"'
            raise MissingExtraError(f'chapters need the extra "book" ({name} is missing): {install}')


class Kernels:
    """What the kernels of a build have in common: their threads, and their end when one chapter fails."""

    def __init__(self, *, threads: int) -> None:
        self.threads = threads
        """Of each kernel's linear algebra; all kernels at work together should use each core once."""
        self.managers: list[Any] = []
        self.stopped = False

    def manager(self, chapter: Chapter, build: Build) -> type[Any]:
        """Return the class of kernel managers that start a kernel for ``chapter``: this interpreter, this library.

        Nothing of the builder's own environment or folder changes, so chapters can be executed side by side.
        """
        from jupyter_client.kernelspec import KernelSpecManager
        from jupyter_client.manager import AsyncKernelManager

        environment, kernels = self._environment(chapter, build), self

        class Manager(AsyncKernelManager):
            async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]  # theirs is made async
                if kernels.stopped:
                    raise RuntimeError("not begun, since another chapter failed")
                kernels.managers.append(self)
                self.kernel_spec_manager = KernelSpecManager(kernel_dirs=[])  # never a "python3" kernel of the user's
                await super().start_kernel(**options, env=os.environ | environment, cwd=str(chapter.source.parent))

        return Manager

    def stop(self) -> None:
        """End all kernels, and let none begin; workers that one of them has stop with checkpoints."""
        self.stopped = True
        for manager in self.managers:
            pid = getattr(manager.provisioner, "pid", None)
            if pid is not None and manager.has_kernel:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)

    def _environment(self, chapter: Chapter, build: Build) -> dict[str, str]:
        """Return the kernel's profile, the file that it tells its progress to, and this very library."""
        return {
            profiles.VARIABLE: build.profile,
            PROGRESS: str(build.progress(chapter).resolve()),
            profiles.LIVE: "1" if chapter.name in build.trained else "",
            "PYTHONPATH": import_path(),
            "OMP_NUM_THREADS": str(self.threads),
            "OMP_WAIT_POLICY": "passive",  # beside other work, spinning threads make minutes of an analysis's seconds
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # debugpy's warning on stderr
        }


def execute(chapter: Chapter, values: Mapping[str, Any], build: Build, kernels: Kernels, *, say: Say) -> Path:
    """Execute ``chapter`` with ``values`` in place of its defaults, and return the executed notebook.

    May be called from several threads at once. A cell that fails raises a ``BuildError`` with chapter, cell, source
    and traceback; one that meets a mistake of the user's, a data set that is not there for instance, raises that error
    with the chapter's name and the cell.
    The notebook's metadata holds a ``stamp``, which ``check`` compares.
    """
    leave_out_slow_import()
    logging.getLogger("papermill").setLevel(logging.ERROR)  # it cannot read annotated parameters, and says so
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillException, PapermillExecutionError

    target = build.source / f"{chapter.page}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _followed(build.progress(chapter), say), _event_loop():
            papermill.execute_notebook(
                chapter.source,
                target,
                parameters=dict(values),
                kernel_name="python3",
                progress_bar=False,
                start_timeout=600,  # several kernels at once on a busy machine take more than papermill's minute
                kernel_manager_class=kernels.manager(chapter, build),
                extra_arguments=["--log-level=CRITICAL"],  # it warns of local TCP ports and of its own shutdown
            )
    except PapermillExecutionError as error:
        mistake = getattr(errors, error.ename, None)
        if isinstance(mistake, type) and issubclass(mistake, UserError | StoreError):
            raise mistake(f"chapter {chapter.name}, cell In [{error.exec_count}]: {error.evalue}") from None
        if full := re.match(r"\[Errno (?:13|28|30|122)\] .*", error.evalue):
            raise BuildError(f"chapter {chapter.name}, cell In [{error.exec_count}]: {full[0]}") from None
        raise BuildError(failure(chapter, error.exec_count, error.source, "\n".join(error.traceback))) from None
    except DeadKernelError:
        raise BuildError(f"chapter {chapter.name}: its kernel died (out of memory?)\n{_last_cell(target)}") from None
    except (CellTimeoutError, PapermillException, RuntimeError) as error:
        raise BuildError(f"chapter {chapter.name}: {type(error).__name__}: {error}") from None
    notebook = read_notebook(target)
    notebook["metadata"]["transfusion"] = stamp(chapter, values, build)
    write_notebook(target, notebook)
    return target


def leave_out_slow_import() -> None:
    """Spare this process the ``SLOW_IMPORT``, unless it has it already; to be called before nbformat is imported."""
    sys.modules.setdefault(SLOW_IMPORT, None)  # type: ignore[arg-type]


def stamp(chapter: Chapter, values: Mapping[str, Any], build: Build) -> dict[str, Any]:
    """Return what an executed notebook records of its making: of which build, of what, with what, from what source."""
    return {
        "build": build.id,
        "chapter": chapter.name,
        "profile": build.profile,
        "parameters": parameters.effective(chapter, values),
        "source": hashlib.sha256(chapter.source.read_bytes()).hexdigest(),
    }


def failure(chapter: Chapter, number: int | None, source: str, traceback: str) -> str:
    """Return what to print of a failed cell: the chapter, the cell, its source and the traceback, without colours."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", traceback)
    return (
        f"chapter {chapter.name} ({chapter.source.name}), cell In [{number}] failed\n\n"
        f"{_indented(source)}\n\n{plain.strip()}\n"
    )


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def _last_cell(target: Path) -> str:
    """Return the source of the cell that was running when the kernel of ``target`` died."""
    cells = read_notebook(target)["cells"] if target.exists() else []
    begun = [cell for cell in cells if cell["metadata"].get("papermill", {}).get("status") not in (None, "pending")]
    return _indented(begun[-1]["source"]) if begun else ""


@contextlib.contextmanager
def _event_loop() -> Iterator[None]:
    """Close the event loop that Jupyter makes for a thread and forgets."""
    from jupyter_core.utils import ensure_event_loop

    try:
        yield
    finally:
        ensure_event_loop().close()


@contextlib.contextmanager
def _followed(file: Path, say: Say) -> Iterator[None]:
    """Say each line that is appended to ``file`` while the block runs."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("")
    done = threading.Event()

    def follow() -> None:
        with file.open(encoding="utf-8") as stream:
            pending = ""
            while True:
                last = done.is_set()
                pending += stream.read()
                *lines, pending = pending.split("\n")
                for line in lines:
                    say(line)
                if last:
                    return
                time.sleep(0.2)

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    try:
        yield
    finally:
        done.set()
        follower.join()
