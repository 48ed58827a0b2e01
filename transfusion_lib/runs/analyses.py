"""What is computed from finished runs, once: stored under name, version, run keys and arguments.

``@stored("probes.probe", version=1)`` wraps a function of runs that returns JSON values and tensors. A result that the
runs' store holds is read, so a chapter that is drawn again computes nothing. Raise ``version`` when the function would
now give other numbers.
"""

import functools
import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec

from pydantic import BaseModel
from safetensors.torch import save
from torch import Tensor

from transfusion_lib import paths
from transfusion_lib.errors import MissingRunError
from transfusion_lib.runs import Run
from transfusion_lib.runs.store import Entry, Store
from transfusion_lib.spec import canonical_json

KIND = "analyses"

P = ParamSpec("P")
Result = dict[str, Any]
"""JSON values and tensors by name; tuples come back as lists, as from any JSON."""


def stored(name: str, *, version: int) -> Callable[[Callable[P, Mapping[str, Any]]], Callable[P, Result]]:
    """Return a decorator that stores under ``name`` what a function of runs returns: JSON values and tensors.

    The name is part of the key: it stays when the function moves to another module.

    Arguments are runs, sequences and mappings of them, specs, and JSON values; anything else is a ``TypeError``, and
    so is a call without any run, which would have no store.
    """

    def wrap(compute: Callable[P, Mapping[str, Any]]) -> Callable[P, Result]:
        signature = inspect.signature(compute)

        @functools.wraps(compute)
        def read_or_compute(*args: P.args, **kwargs: P.kwargs) -> Result:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            involved: list[Run] = []
            arguments = {word: _describe(value, involved) for word, value in bound.arguments.items()}
            if not involved:
                raise TypeError(f"{name} was given no run to analyse")
            description = {"analysis": name, "version": version, "arguments": arguments}
            key = hashlib.sha256(canonical_json(description).encode()).hexdigest()
            store = Store(involved[0].entry.folder.parents[1])
            recorded = store.root == paths.records_root()
            found = store.find(KIND, key)
            if found is not None and not recorded and found.verify():
                store.set_aside(KIND, key)  # damaged: computed again
                found = None
            if found is None:
                if recorded:
                    raise MissingRunError(
                        f"the records hold no {name} of these runs ({key[:12]}); train the study, then publish it again"
                    )
                found = store.add(KIND, key, _files(compute(*args, **kwargs), description))
            return _read(found)

        return read_or_compute

    return wrap


def _describe(value: Any, involved: list[Run]) -> Any:
    """Return an argument as JSON values, runs as their keys; adds each run to ``involved``."""
    match value:
        case Run():
            involved.append(value)
            return {"$run": value.key}  # no argument is called so
        case BaseModel():
            return value.model_dump(mode="json")
        case None | bool() | int() | float() | str():
            return value
        case Mapping():
            return {str(name): _describe(part, involved) for name, part in value.items()}
        case Sequence():
            return [_describe(part, involved) for part in value]
    raise TypeError(f"an analysis takes runs, specs and JSON values, not {type(value).__name__}")


def _files(result: Mapping[str, Any], description: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the files of an entry: what was asked, the values, the tensors if there are any."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in result.items() if isinstance(value, Tensor)}
    values = {name: value for name, value in result.items() if not isinstance(value, Tensor)}
    record = {"description": description, "values": values, "tensors": sorted(tensors)}
    files = {"result.json": json.dumps(record, indent=1, allow_nan=False).encode()}
    return files | ({"tensors.safetensors": save(tensors)} if tensors else {})


def _read(entry: Entry) -> Result:
    record = entry.json("result.json")
    tensors = entry.tensors("tensors.safetensors") if record["tensors"] else {}
    return {**record["values"], **tensors}
