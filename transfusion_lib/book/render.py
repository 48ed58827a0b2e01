"""Sphinx, through Jupyter Book, with every warning an error."""

import os
import re
import subprocess
import sys
from pathlib import Path

from transfusion_lib.book import policy
from transfusion_lib.book.execute import SLOW_IMPORT, Build
from transfusion_lib.book.project import import_path
from transfusion_lib.errors import BuildError


def render(build: Build) -> Path:
    """Render ``build.source`` and return the folder of the pages; a ``BuildError`` holds Sphinx's warnings and errors.

    Jupyter Book exits 0 on much that is wrong; ``check.rendered`` looks at the pages afterwards.
    """
    source = build.source.resolve()
    program = f"import sys; sys.modules['{SLOW_IMPORT}'] = None; from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", program, "build", str(source), "-W", "-n", "--keep-going", "--quiet"]
    # A relative --toc resolves against the source folder: give absolute paths.
    command += ["--toc", str(source / "_toc.yml"), "--config", str(source / "_config.yml")]
    command += ["--path-output", str(source)]
    environment = os.environ | {"PYTHONPATH": import_path()}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    log = done.stdout + done.stderr
    (build.folder / "render.log").write_text(log, encoding="utf-8")
    made = source / "_build" / "html"
    if done.returncode or not (made / "index.html").is_file():
        raise BuildError(f"the pages do not render (exit {done.returncode})\n\n{_complaints(log)}")
    _mend(made)
    policy.protect(made)
    return made


def _mend(made: Path) -> None:
    """Repair what a screen reader stumbles over: a role that wants list items, and toggles of the contents unnamed."""
    for page in made.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        mended = _TOGGLE.sub(r'\1\2\3<summary aria-label="Pages under \2">', text.replace(*_WRONG_ROLE))
        if mended != text:
            page.write_text(mended, encoding="utf-8")


_WRONG_ROLE = ('<div role="list" class="citation-list"', '<div class="citation-list"')
_TOGGLE = re.compile(
    r'(<a class="[^"]*\breference internal\b[^"]*" href="[^"]*">\s*)([^<"]+?)(\s*</a><details[^>]*>)<summary>'
)


def _complaints(log: str) -> str:
    """Return the lines of Sphinx's log that name an error, or the log's end if none does."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", log)
    wrong = [line for line in plain.splitlines() if re.search(r"WARNING|ERROR|CRITICAL|Traceback|[Ee]xception", line)]
    return "\n".join(wrong or plain.splitlines()[-30:])
