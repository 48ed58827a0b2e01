"""Do independent fine-tunings end in one basin? Networks on the straight line between two (Neyshabur et al. 2020)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from transfusion_lib.analysis import probe_sets
from transfusion_lib.analysis.movement import distance, filters
from transfusion_lib.analysis.robustness import BATCH, to_network
from transfusion_lib.errors import MeasureError
from transfusion_lib.networks import Network, State
from transfusion_lib.networks.stages import BatchNorm
from transfusion_lib.runs import Run
from transfusion_lib.runs.analyses import stored
from transfusion_lib.training import metrics

STATISTICS = 128
"""Training images from which the statistics of batch norm are measured again."""


@stored("barriers.path", version=2)
def path(first: Run, second: Run, *, points: int = 5, cases: int = 200) -> dict[str, Any]:
    """Return the test loss and AUROC of networks on the line between two finished runs of one network and data set.

    Every tensor is interpolated, the head's too; the statistics of batch norm are then measured again on 128 training
    images, at the ends as well, since the mean of two networks' statistics is not that of the mean network. ``rows``
    holds a mapping per point: ``at`` (0 is the first), ``loss``, ``auroc``. Value ``apart`` is the L2 distance
    between the bodies' filters, relative to the mean of their norms.
    """
    if (first.spec.model, first.spec.data) != (second.spec.model, second.spec.data):
        raise MeasureError("a line between two runs needs the same network and the same data")
    data = probe_sets.dataset(first)
    images, labels = probe_sets.cases(data.test, cases)
    again = data.train.drawn(STATISTICS).images
    ends = first.weights(), second.weights()
    network = probe_sets.network(first)
    rows = []
    for at in torch.linspace(0, 1, points).tolist():
        network.load_state_dict(between(*ends, at=at))
        measure_statistics(network, again)
        with torch.inference_mode():
            outputs = torch.cat([network(to_network(network, part)) for part in images.split(BATCH)]).cpu()
        chances = metrics.probabilities(outputs, kind=data.kind).numpy()
        auroc = metrics.score(chances, labels.numpy(), kind=data.kind, positive=data.positive).auroc
        rows.append(
            {
                "at": at,
                "loss": float(metrics.loss(outputs, labels, kind=data.kind)),
                "auroc": None if auroc != auroc else auroc,
            }
        )
    names = tuple(name for stage in network.stages for name in filters(network, stage))
    norm = (distance(ends[0], None, names) + distance(ends[1], None, names)) / 2
    return {"rows": rows, "apart": distance(ends[0], ends[1], names) / norm}


def between(first: State, second: State, *, at: float) -> State:
    """Return the weights at ``at`` on the line from ``first`` (0) to ``second`` (1); counters are the first's."""
    return {name: value.lerp(second[name], at) if value.is_floating_point() else value for name, value in first.items()}


def barrier(losses: Sequence[float]) -> float:
    """Return how far the losses at evenly spaced points rise above the line between their ends; 0 at least."""
    values = torch.tensor(losses, dtype=torch.float64)
    line = torch.linspace(float(values[0]), float(values[-1]), len(values), dtype=torch.float64)
    return max(0.0, float((values - line).max()))


@torch.no_grad()
def measure_statistics(network: Network, images: Tensor) -> None:
    """Set every batch norm's statistics to those of ``images`` under the present weights; leaves evaluation mode."""
    norms = [part for part in network.modules() if isinstance(part, BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over batches
        norm.train()
    for part in images.split(64):
        if len(part) > 1:
            network(to_network(network, part))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
