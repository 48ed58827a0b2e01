"""An executed chapter made ready for its readers: parameters folded, the first use of a term linked to its meaning."""

import re
from pathlib import Path
from typing import Any

from transfusion_lib.book.execute import Build
from transfusion_lib.book.project import read_notebook, write_notebook

FOLDED = {"parameters": "Run with", "injected-parameters": "Changed for this build"}
# Where a word is no prose: code, formulas, directives and roles, links, headings, tables.
_NO_PROSE = re.compile(
    r"(^```.*?^```|^:::.*?^:::|^#.*?$|^\|.*?$|`[^`]*`|\$[^$]*\$|\{[\w:]+\}`[^`]*`|!?\[[^\]]*\]\([^)]*\)|\[[^\]]*\]\[[^\]]*\])",
    re.M | re.S,
)
UNLINKED = {"run", "key", "transfusion", "shift", "pilot"}
"""Terms that are also plain verbs, nouns or the paper's name: a link on the wrong one misleads."""


def prepare(notebook: Path, build: Build) -> None:
    """Fold code and parameters, and link the first use of each of the glossary's terms."""
    document = read_notebook(notebook)
    left = terms((build.source / "glossary.md").read_text(encoding="utf-8"))
    for cell in document["cells"]:
        for tag in set(FOLDED) & set(cell["metadata"].get("tags", [])):
            _fold(cell, FOLDED[tag])
        if cell["cell_type"] == "code" and not cell["metadata"].get("tags"):
            cell["metadata"]["tags"] = ["hide-input"]
            cell["metadata"].setdefault("mystnb", {}).update(code_prompt_show="Code", code_prompt_hide="Code")
        if cell["cell_type"] == "markdown":
            cell["source"] = linked(cell["source"], left)
    write_notebook(notebook, document)


def _fold(cell: Any, what: str) -> None:
    """Put a cell of parameters below a line that says what it holds, and names them."""
    names = [line.partition("=")[0].partition(":")[0].strip() for line in cell["source"].splitlines() if "=" in line]
    cell["metadata"]["tags"] = [*cell["metadata"]["tags"], "hide-input"]
    label = f"{what}: {', '.join(name for name in names if name.isidentifier())}"
    cell["metadata"].setdefault("mystnb", {}).update(code_prompt_show=label, code_prompt_hide=what)


def terms(glossary: str) -> list[str]:
    """Return the terms of a page with a glossary, the longest first, those left out that plain prose also uses."""
    listed = re.findall(r"^([A-Za-z]\S*(?: \S+)*)\n  \S", glossary.partition("```{glossary}")[2], re.M)
    return sorted(set(listed) - UNLINKED, key=len, reverse=True)


def linked(text: str, left: list[str]) -> str:
    """Return Markdown with the first use of each term in ``left`` linked, and take those terms out of ``left``."""
    for term in list(left):
        found = re.compile(rf"(?<![\w-])({re.escape(term)}(?:s|es)?)(?![\w-])")
        pieces = _NO_PROSE.split(text)
        for place in range(0, len(pieces), 2):
            if match := found.search(pieces[place]):
                role = f"{{term}}`{match[1]} <{term}>`"
                pieces[place] = pieces[place][: match.start()] + role + pieces[place][match.end() :]
                text = "".join(pieces)
                left.remove(term)
                break
    return text
