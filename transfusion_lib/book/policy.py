"""A content security policy in every page: the book's own scripts run, and no text of a user's can become one."""

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from transfusion_lib.errors import BuildError

OWN = "'self' file:"  # a page that is opened from the disk has no host
RULES = {
    "default-src": "'none'",
    "style-src": f"{OWN} 'unsafe-inline'",
    "img-src": f"{OWN} data:",
    "font-src": f"{OWN} data:",
    "connect-src": OWN,
    "form-action": OWN,
    "base-uri": "'none'",
}
THEMES = "search.html"
"""A page that the theme alone writes: its scripts are those of every page."""
_PAGE = re.compile(r"DOCUMENTATION_OPTIONS\.pagename = '[\w./-]+';")  # the theme's one script that differs by page
_HANDLERS = ("toggleFullScreen()", "window.print()")
_SCRIPT = re.compile(r"<script\b(?![^>]*\bsrc=)([^>]*)>(.*?)</script\s*>", re.DOTALL | re.IGNORECASE)
_DATA = re.compile(r"""type=["'](?!text/javascript|module)""")
_CHARSET = re.compile(r"<meta charset=[^>]*>", re.IGNORECASE)


def protect(html: Path) -> None:
    """Put the policy into every page of ``html``; a script that the theme did not write is a ``BuildError``."""
    pages = {path: path.read_text(encoding="utf-8") for path in html.rglob("*.html")}
    known = set(_scripts(pages[html / THEMES]))
    foreign = [
        f"{path.relative_to(html)}: {script.strip()[:80]}"
        for path, text in pages.items()
        for script in _scripts(text)
        if script not in known and not _PAGE.fullmatch(script)
    ]
    if foreign:
        raise BuildError("pages hold scripts that are not the theme's:\n" + "\n".join(foreign))
    for path, text in pages.items():
        rules = f'<meta http-equiv="Content-Security-Policy" content="{_policy(_scripts(text))}">'
        if found := _CHARSET.search(text):
            path.write_text(f"{text[: found.end()]}{rules}{text[found.end() :]}", encoding="utf-8")


def _policy(scripts: Iterable[str]) -> str:
    hashes = " ".join(dict.fromkeys(map(_hash, (*scripts, *_HANDLERS))))
    rules = RULES | {"script-src": f"{OWN} 'unsafe-hashes' {hashes}"}
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _scripts(text: str) -> Iterator[str]:
    """Yield the scripts that stand in a page itself."""
    return (script for kind, script in _SCRIPT.findall(text) if script.strip() and not _DATA.search(kind))


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
