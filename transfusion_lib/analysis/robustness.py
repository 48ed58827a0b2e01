"""What a finished network can lose: stages set back to their start or drawn anew, and blocks of its input shuffled.

Zhang et al. 2022 ("Are all layers created equal?") for stages; Neyshabur et al. 2020 for blocks.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from transfusion_lib import networks
from transfusion_lib.analysis import probe_sets
from transfusion_lib.data.dataset import Dataset
from transfusion_lib.errors import MeasureError
from transfusion_lib.networks import Network, State
from transfusion_lib.runs import Run
from transfusion_lib.runs.analyses import stored
from transfusion_lib.training import metrics
from transfusion_lib.training.batches import to_input

BATCH = 50


@stored("robustness.stages_set_back", version=2)
def stages_set_back(run: Run, *, cases: int = 200, seed: int = 0) -> dict[str, Any]:
    """Return the test AUROC of a finished run with one stage at a time set back.

    ``rows`` holds a mapping per stage: ``initial`` (the stage has the weights, and the batch-norm statistics, with
    which training began) and ``fresh`` (other random weights from ``seed``); value ``intact`` is the network's own.
    On ``cases`` test images, drawn; what lies below the stage is computed once.
    """
    data = probe_sets.dataset(run)
    images, labels = probe_sets.cases(data.test, cases)
    network = probe_sets.network(run)
    end = {name: value.clone() for name, value in network.state_dict().items()}
    others = {
        "initial": run.initial().state_dict(),
        "fresh": networks.build(
            run.spec.model,
            num_outputs=data.num_outputs,
            size=run.spec.data.size,
            generator=probe_sets.generator(seed, run.spec.seed, 1),
        ).state_dict(),
    }
    rows: list[dict[str, Any]] = []
    below = [to_network(network, part) for part in images.split(BATCH)]
    with torch.inference_mode():
        for stage in network.stages:
            row: dict[str, Any] = {"stage": stage}
            for name, state in others.items():
                set_stage(network, stage, state)
                row[name] = _auroc(data, torch.cat([_above(network, stage, part) for part in below]), labels)
            set_stage(network, stage, end)
            rows.append(row)
            if stage == network.stages[0]:
                intact = _auroc(data, torch.cat([_above(network, stage, part) for part in below]), labels)
            below = [network.body.get_submodule(stage)(part) for part in below]
    return {"rows": rows, "intact": intact}


@stored("robustness.blocks_shuffled", version=2)
def blocks_shuffled(run: Run, *, blocks: Sequence[int], cases: int = 200, seed: int = 0) -> dict[str, Any]:
    """Return the test AUROC of a finished run on images cut into square blocks that change places.

    ``rows`` holds a mapping per edge of a block in pixels, from the whole image (intact) down. Every image has a
    shuffle of its own, the same for all networks.
    """
    data = probe_sets.dataset(run)
    images, labels = probe_sets.cases(data.test, cases)
    network = probe_sets.network(run)
    rows = []
    for block in [run.spec.data.size, *blocks]:
        changed = shuffled(images, block=block, generator=probe_sets.generator(seed, block))
        rows.append({"block": block, "auroc": auroc(network, data, changed, labels)})
    return {"rows": rows}


def shuffled(images: Tensor, *, block: int, generator: torch.Generator) -> Tensor:
    """Return ``images`` (n, c, height, width) with their blocks of ``block`` pixels in random places, each its own.

    Blocks as large as the image leave it as it is. Where they do not divide it, as many as fit are taken around the
    centre, and the margin stays. Larger blocks are a ``MeasureError``.
    """
    n, channels, height, width = images.shape
    rows, columns = height // block, width // block
    if not rows or not columns:
        raise MeasureError(f"blocks of {block} pixels do not fit into an image of {height} x {width}")
    top, left = (height - rows * block) // 2, (width - columns * block) // 2
    whole = images.clone()
    inside = whole[:, :, top : top + rows * block, left : left + columns * block]
    parts = inside.reshape(n, channels, rows, block, columns, block).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    order = torch.stack([torch.randperm(rows * columns, generator=generator) for _ in range(n)])
    parts = parts.gather(1, order.reshape(n, -1, 1, 1, 1).expand_as(parts))
    inside.copy_(parts.unflatten(1, (rows, columns)).permute(0, 3, 1, 4, 2, 5).reshape(inside.shape))
    return whole


def set_stage(network: Network, stage: str, state: State) -> None:
    """Write one stage's tensors of ``state`` into ``network``."""
    own = network.state_dict()
    with torch.no_grad():
        for name in own:
            if name.startswith(f"body.{stage}."):
                own[name].copy_(state[name])


def auroc(network: Network, data: Dataset, images: Tensor, labels: Tensor) -> float | None:
    """Return the headline AUROC of a network on uint8 images, None where the labels are all alike."""
    with torch.inference_mode():
        outputs = torch.cat([network(to_network(network, part)) for part in images.split(BATCH)])
    return _auroc(data, outputs, labels)


def to_network(network: Network, images: Tensor) -> Tensor:
    """Return uint8 images as the network's normalised input, on its device."""
    device = next(network.parameters()).device
    return to_input(images.to(device), channels=network.in_channels, mean=network.mean, std=network.std)


def _above(network: Network, stage: str, x: Tensor) -> Tensor:
    """Return the outputs that ``stage``'s input leads to."""
    for name in network.stages[network.stages.index(stage) :]:
        x = network.body.get_submodule(name)(x)
    found: Tensor = network.head(x)
    return found


def _auroc(data: Dataset, outputs: Tensor, labels: Tensor) -> float | None:
    chances = metrics.probabilities(outputs, kind=data.kind).cpu().numpy()
    found = metrics.score(chances, labels.numpy(), kind=data.kind, positive=data.positive).auroc
    return None if found != found else found
