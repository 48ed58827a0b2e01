"""Outputs of a network's stages on a fixed probe set, as samples for ``similarity``: neurons are channels.

One rule for convolutional maps, always named: ``Positions`` or ``Pooled``. Public code that leaves it open compares a
map's positions in one place and its flattened pixels in another.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from transfusion_lib.analysis.similarity import Moments
from transfusion_lib.errors import MeasureError
from transfusion_lib.networks.stages import Network
from transfusion_lib.training.batches import to_input


@dataclass(frozen=True, kw_only=True)
class Positions:
    """Every position of a map is a sample (Transfusion, section 4); of each image some are drawn without replacement.

    Which ones depends only on the seed, the image's place in the probe set and the size of the map, so the samples of
    different networks, and of different batch sizes, are the same. Positions of one image are not independent: draw
    more images rather than more positions, and take the floor from ``unrelated``.
    """

    per_image: int = 16
    """How many; all where the map has no more."""
    seed: int = 0


@dataclass(frozen=True)
class Pooled:
    """The average over the positions of a map is one sample; for stages whose maps differ in size."""


Rule = Positions | Pooled


def rows(maps: Tensor, rule: Rule, *, first: int = 0) -> Tensor:
    """Return a stage's output (images, channels, ...) as samples (rows, channels), image by image.

    ``first`` is the place of the first image in the probe set. Outputs (images, channels) are samples already.
    """
    if maps.ndim < 2:
        raise MeasureError(f"a stage's output is (images, channels, ...), got {tuple(maps.shape)}")
    if maps.ndim == 2:
        return maps
    flat = maps.flatten(2)
    if isinstance(rule, Pooled):
        return flat.mean(2)
    chosen = _chosen(rule, first, len(flat), flat.shape[2]).to(flat.device)
    return flat.gather(2, chosen[:, None].expand(-1, flat.shape[1], -1)).transpose(1, 2).flatten(0, 1)


def outputs(
    network: Network,
    images: Tensor,
    *,
    cut_points: Sequence[str],
    batch_size: int = 64,
    order: Tensor | None = None,
) -> Iterator[dict[str, Tensor]]:
    """Yield, batch by batch, the output (images, channels, ...) of each cut point, on the network's device.

    ``images`` is uint8 (n, c, height, width), normalised here as the network expects; a stage's name stands for its
    last unit. Puts the network in evaluation mode and leaves it there. ``order`` (n,) feeds other images in place of
    these.
    """
    units = {cut: network.cut_points[network.position(cut) - 1] for cut in cut_points}
    if not units:
        raise MeasureError(f"{network.name}: no cut point asked for; known: {', '.join(network.cut_points)}")
    device = next(network.parameters()).device
    places = torch.arange(len(images)) if order is None else order
    network.eval()
    for first in range(0, len(places), batch_size):
        batch = images[places[first : first + batch_size]].to(device)
        x = to_input(batch, channels=network.in_channels, mean=network.mean, std=network.std)
        found: dict[str, Tensor] = {}
        with torch.no_grad():
            for unit, maps in network.features(x):
                if unit in units.values():
                    found[unit] = maps.clone()  # the next unit may begin with an activation in place
                if len(found) == len(set(units.values())):
                    break
        yield {cut: found[unit] for cut, unit in units.items()}


def chunks(
    network: Network,
    images: Tensor,
    *,
    cut_points: Sequence[str],
    rule: Rule,
    batch_size: int = 64,
    order: Tensor | None = None,
) -> Iterator[dict[str, Tensor]]:
    """Yield, batch by batch, the samples (rows, channels) of each cut point; see ``outputs``.

    Images that ``order`` (n,) feeds in place of others are drawn at the others' positions.
    """
    batches = outputs(network, images, cut_points=cut_points, batch_size=batch_size, order=order)
    for number, batch in enumerate(batches):
        yield {cut: rows(maps, rule, first=number * batch_size) for cut, maps in batch.items()}


def collect(
    network: Network, images: Tensor, *, cut_points: Sequence[str], rule: Rule, batch_size: int = 64
) -> dict[str, Tensor]:
    """Return all samples of each cut point in memory, float32; see ``chunks``. For probes of a few thousand images."""
    parts = list(chunks(network, images, cut_points=cut_points, rule=rule, batch_size=batch_size))
    return {cut: torch.cat([part[cut] for part in parts]) for cut in cut_points}


def moments(
    networks: Mapping[str, Network],
    images: Tensor,
    *,
    cut_points: Sequence[str],
    rule: Rule,
    batch_size: int = 64,
    orders: Mapping[str, Tensor] | None = None,
) -> dict[str, Moments]:
    """Return, for each cut point, the ``Moments`` of all networks on the same samples, in one pass over the images.

    Every pair of networks can then be compared at every cut point. ``orders`` gives some networks other images:
    the pair then measures the floor, what two layers share that do not see the same image (``unrelated``).
    """
    shuffled = orders or {}
    unknown = sorted(set(shuffled) - set(networks))
    if unknown:
        raise MeasureError(f"orders for networks that are not here: {', '.join(unknown)}")
    gathered = {cut: Moments() for cut in cut_points}
    streams = [
        chunks(network, images, cut_points=cut_points, rule=rule, batch_size=batch_size, order=shuffled.get(name))
        for name, network in networks.items()
    ]
    for batch in zip(*streams, strict=True):
        for cut, total in gathered.items():
            total.update({name: part[cut] for name, part in zip(networks, batch, strict=True)})
    return gathered


def unrelated(n: int, *, generator: torch.Generator) -> Tensor:
    """Return an order of ``n`` images, int64 (n,), in which none is in its own place."""
    if n < 2:
        raise MeasureError(f"unrelated images need at least 2, got {n}")
    ring = torch.randperm(n, generator=generator)
    order = torch.empty_like(ring)
    order[ring] = ring.roll(1)
    return order


@lru_cache(maxsize=64)
def _chosen(rule: Positions, first: int, images: int, positions: int) -> Tensor:
    """Return which positions each image gives, int64 (images, drawn)."""
    if positions <= rule.per_image:
        return torch.arange(positions).expand(images, -1)
    drawn = [
        np.random.default_rng([rule.seed, first + image, positions]).choice(positions, rule.per_image, replace=False)
        for image in range(images)
    ]
    return torch.from_numpy(np.stack(drawn))
