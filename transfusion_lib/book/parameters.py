"""A chapter's parameters: read from its ``parameters`` cell, given on a command line, checked against each other.

The cell holds one assignment of a literal per line, and behind it the comment that is its meaning::

    seeds: list[int] = [0, 1, 2]  # one run per seed
"""

import ast
import io
import json
import tokenize
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from transfusion_lib.book.project import Chapter
from transfusion_lib.errors import BuildError, ParameterError, brief, unknown

_TYPES: dict[str, Any] = {"bool": bool, "int": int, "float": float, "str": str, "list": list, "dict": dict}


@dataclass(frozen=True)
class Parameter:
    """One line of a ``parameters`` cell."""

    name: str
    type: str
    """As Python writes it: ``int``, ``list[str]``, ``float | None``."""
    default: Any
    meaning: str

    def check(self, value: Any) -> Any:
        """Return ``value`` in the parameter's type (an int may stand for a float), or raise a ``ParameterError``."""
        try:
            return _adapter(self.type).validate_python(value)
        except ValidationError:
            raise ParameterError(
                f"parameter {self.name} is {self.type}, got {brief(value)}; for example -p {self.name}={self.example}"
            ) from None

    def parse(self, text: str) -> Any:
        """Return what ``text``, the right-hand side of ``-p name=text``, means in the parameter's type."""
        for value in _readings(text):
            try:
                return _adapter(self.type).validate_python(value)
            except ValidationError:
                continue
        return self.check(text)

    @property
    def example(self) -> str:
        """The default as one would type it behind ``-p name=``."""
        return self.default if isinstance(self.default, str) else json.dumps(self.default, separators=(",", ":"))


def declared(chapter: Chapter) -> tuple[Parameter, ...]:
    """Return the parameters of ``chapter`` in their order, none where no cell carries the tag ``parameters``."""
    tagged = [cell for cell in chapter.cells if "parameters" in cell.get("metadata", {}).get("tags", [])]
    if not tagged:
        return ()
    if len(tagged) > 1:
        raise BuildError(f"{chapter.source}: {len(tagged)} cells carry the tag parameters; keep one")
    return _read(tagged[0]["source"], where=str(chapter.source))


def given(chapter: Chapter, assignments: Iterable[str]) -> dict[str, Any]:
    """Return the typed values of ``key=value`` assignments, or raise a ``ParameterError`` that says what exists."""
    known = {parameter.name: parameter for parameter in declared(chapter)}
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise ParameterError(f'"{assignment}" is not of the form key=value; for example -p {_some(known)}')
        if name.strip() not in known:
            raise ParameterError(_unknown(chapter, name.strip(), known))
        values[name.strip()] = _absolute(known[name.strip()].parse(text.strip()), name.strip())
    return values


def _absolute(value: Any, name: str) -> Any:
    """Return the places of data sets in ``value`` as absolute ones: a notebook's kernel has a folder of its own."""
    if isinstance(value, list):
        return [_absolute(each, name) for each in value]
    if isinstance(value, dict):
        return {inner: _absolute(each, inner) for inner, each in value.items()}
    if not isinstance(value, str) or not value.strip() or not name.endswith(("dataset", "datasets")):
        return value
    from transfusion_lib import data

    return data.absolute(value)


def checked(chapter: Chapter, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` (of a profile, say) in the types that ``chapter`` declares, or raise a ``ParameterError``."""
    known = {parameter.name: parameter for parameter in declared(chapter)}
    for name in values:
        if name not in known:
            raise ParameterError(_unknown(chapter, name, known))
    return {name: known[name].check(value) for name, value in values.items()}


def effective(chapter: Chapter, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return every parameter of ``chapter``: its default, or its entry in ``values``."""
    return {parameter.name: values.get(parameter.name, parameter.default) for parameter in declared(chapter)}


def _unknown(chapter: Chapter, name: str, known: Iterable[str]) -> str:
    return f"chapter {chapter.name}: {unknown('parameter', name, known)}"


def _some(known: Mapping[str, Parameter]) -> str:
    first = next(iter(known.values()), None)
    return f"{first.name}={first.example}" if first else "seed=0"


def _read(source: str, *, where: str) -> tuple[Parameter, ...]:
    """Return the assignments in the source of a ``parameters`` cell."""
    comments = {
        token.start[0]: token.string.lstrip("#: ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found = []
    for statement in ast.parse(source).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                annotation = None
            case ast.AnnAssign(target=ast.Name(id=name), annotation=kind, value=ast.expr() as value):
                annotation = ast.unparse(kind)
            case _:
                raise BuildError(f"{where}: the parameters cell holds more than assignments: {ast.unparse(statement)}")
        try:
            default = ast.literal_eval(value)
        except ValueError:
            raise BuildError(f"{where}: parameter {name} is not a literal: {ast.unparse(value)}") from None
        meaning = comments.get(statement.end_lineno or statement.lineno, "")
        parameter = Parameter(name, annotation or _type_of(default), default, meaning)
        try:
            parameter.check(default)
        except (ParameterError, NameError, TypeError, SyntaxError):
            kinds = ", ".join(_TYPES)
            raise BuildError(
                f"{where}: parameter {name}: {parameter.type} = {default!r}; use {kinds} or None"
            ) from None
        found.append(parameter)
    return tuple(found)


def _type_of(default: Any) -> str:
    """Return the type that a literal implies; a list's items have the type of its first."""
    match default:
        case None:
            return "Any"
        case [first, *_]:
            return f"list[{_type_of(first)}]"
        case _:
            return type(default).__name__


def _adapter(kind: str) -> TypeAdapter[Any]:
    """Return the strict validator of a type: no string becomes a number, no number a truth value."""
    names = _TYPES | {"Any": Any}
    return TypeAdapter(eval(kind, {"__builtins__": {}}, names), config=ConfigDict(strict=True))


def _readings(text: str) -> list[Any]:
    """Return what ``text`` may mean, the likeliest first: JSON, Python's words, a list of bare words, itself."""
    readings: list[Any] = []
    words = {"True": True, "False": False, "None": None}
    try:
        readings.append(json.loads(text))
    except ValueError:
        if text in words:
            readings.append(words[text])
        elif text.startswith("[") and text.endswith("]"):
            readings.append([_readings(item.strip().strip("'\""))[0] for item in text[1:-1].split(",")])
    return [*readings, text]
