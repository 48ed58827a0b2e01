"""Which values a study's parameters may have, in words, from the very types that check them."""

from collections.abc import Mapping
from typing import Any

from transfusion_lib.chapters.kit.study import Study

_NETWORKS = ("network", "networks", "model")
_WORDS = {"dataset": "a name of transfusion data list, or a path", "cut": "a cut point of transfusion models NAME"}


def allowed(study: type[Study]) -> dict[str, str]:
    """Return for each parameter what it may be; "" where its type says all."""
    schema = study.model_json_schema()
    return {name: _named(name) or _words(field, schema) for name, field in schema["properties"].items()}


def _named(name: str) -> str:
    """Return what a parameter may be that names something: a data set, a network, a cut point."""
    last = name.rpartition("_")[2]
    if last in _NETWORKS:
        return "names of transfusion models" if last.endswith("s") else "a name of transfusion models"
    return _WORDS.get(last, "")


def _words(field: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Return a JSON schema's constraints in words."""
    if "$ref" in field:
        field = schema["$defs"][field["$ref"].rpartition("/")[2]]
    match field:
        case {"anyOf": kinds}:
            return " or ".join(words for kind in kinds if (words := _words(kind, schema)))
        case {"enum": values}:
            return ", ".join(map(str, values))
        case {"const": value}:
            return str(value)
        case {"type": "null"}:
            return "None"
        case {"type": "array", "items": items}:
            each = _words(items, schema)
            some = "one or more" if field.get("minItems") else "any number"
            return f"{some} of: {each}" if each else some
        case _:
            return _bounds(field)


def _bounds(field: Mapping[str, Any]) -> str:
    """Return the ends between which a number must lie."""
    names = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    return ", ".join(f"{word} {field[key]:g}" for key, word in names.items() if key in field)
