"""Where a network looks: Grad-CAM (Selvaraju et al. 2017) over the table of stages, and whether that is the lesion.

TruncatedTL, Table 1 and appendix D, shows maps; a number is added here, where the data have masks.
"""

from typing import Any

import torch
from torch import Tensor

from transfusion_lib import data
from transfusion_lib.data.dataset import Dataset
from transfusion_lib.networks import Network
from transfusion_lib.runs import Run
from transfusion_lib.runs.analyses import stored
from transfusion_lib.training.batches import to_input
from transfusion_lib.training.device import resources

ANATOMY = frozenset({"optic_disc", "vessels", "right_lung", "left_lung", "heart"})
"""Regions of masks that are no finding."""
BATCH = 64


def grad_cam(network: Network, x: Tensor, labels: Tensor, *, dataset: Dataset) -> Tensor:
    """Return each image's map (n, height, width) on the output of the last unit, at least 0, for its true label.

    ``x`` is the network's input. What is differentiated: the log-odds of the headline's classes where there are
    such, else the log-probability of the true class; of several labels the sum of the outputs of those present.
    """
    with torch.no_grad():
        maps = network.eval().body(x)
    maps = maps.detach().requires_grad_()
    with torch.enable_grad():
        goal = _goal(network.head(maps), labels, dataset).sum()
    (slope,) = torch.autograd.grad(goal, maps)
    weights = slope.flatten(2).mean(2)[(...,) + (None,) * (maps.ndim - 2)]
    found: Tensor = (weights * maps).sum(1).relu().detach()
    return found


@stored("gradcam.pointing", version=1)
def pointing(run: Run, *, images: int | None, examples: int) -> dict[str, Any]:
    """Return how often the strongest point of a test image's map lies on a finding, for images that have one.

    Per image: ``place`` in the test set, ``hit`` (the strongest point, after bilinear enlargement, is within 1/32 of
    the image's edge of a finding), ``chance`` (a point drawn anywhere would hit), ``centre`` (its centre would),
    ``inside`` (share of the map's sum on findings), ``area`` (their share of the image), ``blank`` (no map: nothing
    speaks for the label; never a hit). ``maps`` (examples, height, width) are those of the first, scaled to 1.
    Without masks of findings only the examples are looked at, and ``rows`` holds their ``place`` alone.
    """
    dataset = data.load(run.spec.data)
    findings = findings_of(dataset)
    wanted = _diseased(dataset) & (True if findings is None else findings.flatten(1).any(1))
    places = wanted.nonzero().flatten()[: examples if findings is None else images]
    device = resources().device
    network = run.network().to(device)
    rows, kept = [], []
    for part in places.split(BATCH):
        x = to_input(
            dataset.test.images[part].to(device), channels=network.in_channels, mean=network.mean, std=network.std
        )
        maps = grad_cam(network, x, dataset.test.labels[part].to(device), dataset=dataset)
        large = torch.nn.functional.interpolate(maps[:, None], size=x.shape[2:], mode="bilinear")[:, 0].cpu()
        for map_, place in zip(large, part.tolist(), strict=True):
            scored = {} if findings is None else _looked_at(map_, findings[place])
            rows.append({"place": place, **scored})
        kept.append(large)
    if not rows:
        return {"rows": []}
    shown = torch.cat(kept)[:examples]
    return {"rows": rows, "maps": shown / shown.flatten(1).amax(1).clamp_min(1e-12)[:, None, None]}


def findings_of(dataset: Dataset) -> Tensor | None:
    """Return where each test image's findings are, uint8 (n, height, width); None where no mask says so."""
    wanted = [k for k, region in enumerate(dataset.regions) if region not in ANATOMY]
    if dataset.test.masks is None or not wanted:
        return None
    return dataset.test.masks[:, wanted].amax(1)


def _looked_at(map_: Tensor, finding: Tensor) -> dict[str, Any]:
    """Return what one image's map says, (height, width) both."""
    reach = max(1, map_.shape[-1] // 32)
    near = torch.nn.functional.max_pool2d(finding[None, None].float(), 2 * reach + 1, stride=1, padding=reach)[0, 0]
    total = float(map_.sum())
    return {
        "hit": bool(total > 0 and near.flatten()[map_.argmax()] > 0),
        "chance": float(near.mean()),
        "centre": bool(near[near.shape[0] // 2, near.shape[1] // 2] > 0),
        "inside": float((map_ * finding).sum()) / total if total > 0 else 0.0,
        "area": float(finding.float().mean()),
        "blank": total == 0,
    }


def _goal(outputs: Tensor, labels: Tensor, dataset: Dataset) -> Tensor:
    """Return what each image's map explains, (n,)."""
    if dataset.kind == "multilabel":
        return (outputs * labels.nan_to_num()).sum(1)
    chances = outputs.log_softmax(1)
    if dataset.positive is None:
        return chances.gather(1, labels[:, None])[:, 0]
    positive = torch.zeros(outputs.shape[1], dtype=torch.bool, device=outputs.device)
    positive[list(dataset.positive)] = True
    return chances[:, positive].logsumexp(1) - chances[:, ~positive].logsumexp(1)


def _diseased(dataset: Dataset) -> Tensor:
    """Return which test images have a label to explain, bool (n,)."""
    labels = dataset.test.labels.cpu()
    if dataset.kind == "multilabel":
        return (labels == 1).any(1)
    if dataset.positive is None:
        return torch.ones(len(labels), dtype=torch.bool)
    return torch.isin(labels, torch.tensor(dataset.positive))
