"""Costs of finished runs' networks, measured once and kept, so that a page drawn again repeats nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from transfusion_lib.analysis import costs
from transfusion_lib.runs import Run
from transfusion_lib.runs.analyses import stored
from transfusion_lib.training import device as devices
from transfusion_lib.training import provenance


@stored("timings.measured", version=1)
def measured(runs: Mapping[str, Run], *, batches: Sequence[int], rounds: int) -> dict[str, Any]:
    """Return the costs of each named run's network, for images as it was trained on, and the machine they are of.

    ``networks`` holds parameters, macs, memory in bytes, and ``latency_ms``: by batch size, as text, one value a
    round. Networks take turns, so the values of a round are paired. Runs of one network are measured once.
    """
    resources = devices.resources()
    first = next(iter(runs.values()))
    names: dict[Any, str] = {}
    for name, run in runs.items():
        names.setdefault(run.spec.model, name)
    with devices.threads(resources.threads):
        found = costs.measure(
            {name: spec for spec, name in names.items()},
            num_outputs=len(first.record["dataset"]["classes"]),
            size=first.spec.data.size,
            batches=tuple(batches),
            rounds=rounds,
            device=resources.device,
        )
    made = provenance.record(resources.device)
    rows = {}
    for name, run in runs.items():
        row = asdict(found[names[run.spec.model]])
        row["latency_ms"] = {str(batch): list(values) for batch, values in row["latency_ms"].items()}
        rows[name] = row | {"measured_as": names[run.spec.model]}
    return {"networks": rows, "machine": made["machine"], "threads": resources.threads, "finished": made["finished"]}
