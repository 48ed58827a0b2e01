"""What a notebook's cells have set: a name that is nearly a parameter's, and a parameter that its cell sets no more."""

import ast
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

PLAIN = (bool, int, float, str, list, dict, type(None))
INJECTED = "# Parameters"
"""How the cell begins that papermill puts below the parameters cell: it replaces some of them."""
MAKERS = {"dict", "float", "int", "list", "range", "set", "str", "tuple"}


def fault(names: Mapping[str, Any], parameters: Sequence[str]) -> str:
    """Return what is wrong with how ``names``, a notebook's globals or a plain mapping, set ``parameters``, or ""."""
    history = [_assigned(source) for source in names.get("In", ())]
    if not history:
        history = [{name: isinstance(value, PLAIN) for name, value in names.items()}]
    last = {name: place for place, cell in enumerate(history) for name in cell if name in names}
    for name, place in last.items():
        near = difflib.get_close_matches(name, parameters, n=1, cutoff=0.8)
        if history[place][name] and name not in parameters and near and last.get(near[0], 0) <= place:
            return f'no parameter "{name}"; did you mean "{near[0]}"? Rename it where it is set and run that cell'
    known = [set(cell) & set(parameters) for cell in history]
    half = len(last.keys() & set(parameters)) / 2
    given = [source.startswith(INJECTED) for source in names.get("In", ())] or [False]
    whole = [place for place, found in enumerate(known) if len(found) > half and not given[place]]
    for name in parameters:
        if last.get(name) in whole[:-1]:
            return f"{name}={names[name]!r} is of an earlier run of the parameters cell, which sets it no more; set it"
    return ""


def _assigned(source: str) -> dict[str, bool]:
    """Return the names that a cell assigns, and of each whether its value is plain, as a parameter's is."""
    try:
        statements = ast.parse(source).body
    except SyntaxError:
        return {}
    found = {}
    for statement in statements:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            plain = _is_plain(statement.value)
            found.update({target.id: plain for target in targets if isinstance(target, ast.Name)})
    return found


def _is_plain(value: ast.expr) -> bool:
    """Whether an expression is made of literals alone: what a person types, not what a cell computes."""
    return not any(
        isinstance(part, ast.Attribute | ast.JoinedStr) or (isinstance(part, ast.Name) and part.id not in MAKERS)
        for part in ast.walk(value)
    )
