"""How far training moved the weights: L2 distance per stage at every kept step, and filter by filter in conv1."""

from typing import Any

import torch
from torch import Tensor

from transfusion_lib.networks import Network, State, first_convolution
from transfusion_lib.runs import Run
from transfusion_lib.runs.analyses import stored


@stored("movement.travelled", version=1)
def travelled(run: Run) -> dict[str, Any]:
    """Return how far the filters of each stage and the head are from their start, at every step that the run kept.

    ``rows`` holds a mapping per step and stage: ``distance`` (L2, of the weights of convolutions and linear layers;
    batch norm is left out, its scale is no direction), ``start`` (the L2 norm at step 0) and ``weights``, how many.
    """
    network = run.initial()
    before = _copy(network.state_dict())
    stages = [*network.stages, "head"]
    names = {stage: filters(network, stage) for stage in stages}
    kept: dict[int, State] = {step: run.weights(step) for step in run.spec.train.snapshots}
    kept[int(run.record["selected_step"])] = run.weights()
    rows = [
        {
            "step": step,
            "stage": stage,
            "distance": distance(state, before, names[stage]),
            "start": distance(before, None, names[stage]),
            "weights": sum(before[name].numel() for name in names[stage]),
        }
        for step, state in sorted(kept.items())
        for stage in stages
    ]
    return {"rows": rows}


@stored("movement.first_filters", version=1)
def first_filters(run: Run) -> dict[str, Any]:
    """Return the first convolution's weights before and after training: tensors (filters, channels, height, width)."""
    network = run.initial()
    before = first_convolution(network).weight.detach().clone()
    network.load_state_dict(run.weights())
    return {"before": before, "after": first_convolution(network).weight.detach()}


def filters(network: Network, stage: str) -> tuple[str, ...]:
    """Return the names in ``state_dict`` of a stage's (or the head's) convolution and linear weights."""
    start = "head." if stage == "head" else f"body.{stage}."
    state = network.state_dict()
    return tuple(name for name in state if name.startswith(start) and state[name].ndim > 1)


def distance(state: State, origin: State | None, names: tuple[str, ...]) -> float:
    """Return the L2 distance of the named tensors from ``origin`` (None is 0), all of them as one vector."""
    parts = [state[name].double() - (0 if origin is None else origin[name].double()) for name in names]
    return float(torch.cat([part.flatten() for part in parts]).norm())


def by_filter(before: Tensor, after: Tensor) -> Tensor:
    """Return how far each filter (n, ...) moved relative to its first norm, float64 (n,)."""
    change = (after.double() - before.double()).flatten(1).norm(dim=1)
    moved: Tensor = change / before.double().flatten(1).norm(dim=1).clamp_min(1e-12)
    return moved


def _copy(state: State) -> State:
    return {name: value.clone() for name, value in state.items()}
