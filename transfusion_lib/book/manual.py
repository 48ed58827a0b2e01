"""Pages made from the sources they describe: every chapter's parameters, and the library's public names."""

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

from transfusion_lib.book import parameters, studies
from transfusion_lib.book.execute import Build
from transfusion_lib.book.project import Chapter

LIBRARY = Path(__file__).resolve().parents[1]


def write(chapters: Sequence[Chapter], build: Build) -> None:
    """Write ``manual-parameters.md`` and ``manual-library.md``, which pages of the book include."""
    for name, lines in (("parameters", _parameters(chapters)), ("library", _library())):
        (build.source / f"manual-{name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _parameters(chapters: Sequence[Chapter]) -> Iterator[str]:
    for chapter in chapters:
        declared = parameters.declared(chapter)
        yield f"## {chapter.title}\n\n{chapter.question} → [the chapter](/{chapter.page}.ipynb)\n"
        first = declared[0].example if declared else ""
        yield f'```\nmake chapter NAME={chapter.name} ARGS="-p {declared[0].name}={first}"\n```\n' if declared else ""
        values = studies.allowed(chapter.name)
        yield "| parameter | type | default | meaning | allowed |\n|---|---|---|---|---|"
        for one in declared:
            cells = (f"`{one.name}`", one.type, f"`{one.default!r}`", one.meaning, values.get(one.name, ""))
            yield f"| {' | '.join(map(_cell, cells))} |"
        yield ""


def _library() -> Iterator[str]:
    """Yield a section per module, in the order of the packages, with its public classes and functions."""
    for path in sorted(LIBRARY.rglob("*.py")):
        name = ".".join(path.relative_to(LIBRARY.parent).with_suffix("").parts).removesuffix(".__init__")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        public = [node for node in tree.body if isinstance(node, Definition) and not node.name.startswith("_")]
        about = ast.get_docstring(tree)
        if about is None or name.endswith("__main__"):
            continue
        yield f"## `{name}`\n\n{_plain(about)}\n"
        for node in public:
            yield from _definition(node)


Definition = ast.FunctionDef | ast.ClassDef


def _definition(node: Definition, *, owner: str = "") -> Iterator[str]:
    """Yield a public class or function: its signature, its docstring, and a class's public methods."""
    decorators = {ast.unparse(one) for one in node.decorator_list}
    if isinstance(node, ast.FunctionDef):
        shown = owner + node.name if "property" in decorators else f"{owner}{node.name}({ast.unparse(node.args)})"
        shown += f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
    else:
        shown = f"class {node.name}"
    text = _plain(ast.get_docstring(node) or "").replace("\n", "\n  ")
    yield f"`` {shown} ``\n: {text}\n"
    if isinstance(node, ast.ClassDef):
        for part in node.body:
            if isinstance(part, ast.FunctionDef) and not part.name.startswith("_") and ast.get_docstring(part):
                yield from _definition(part, owner=f"{node.name}.")


def _plain(docstring: str) -> str:
    """Return a docstring as Markdown that shows what it says: tables are, but no link, list or heading by accident."""
    kept = docstring.split("``")
    for place in range(0, len(kept), 2):
        kept[place] = "\n".join(line if line.startswith("|") else _escaped(line) for line in kept[place].split("\n"))
    return "``".join(kept)


def _escaped(line: str) -> str:
    for mark in "\\[]<>*_{}#|$":
        line = line.replace(mark, f"\\{mark}")
    return line


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
