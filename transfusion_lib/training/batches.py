"""Batches as pure functions: their order, random changes of the images, and the network's input.

Everything works on whole batches on whatever device they are. Random numbers are drawn on the generator's own
device, so a CPU generator gives the same batch on every device.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from transfusion_lib.spec import Augment
from transfusion_lib.training import device as devices

LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, what PIL uses for convert("L")


def order(n: int, *, seed: int, epoch: int) -> Tensor:
    """Return the order of ``n`` images in an epoch: int64 (n,), a pure function of (n, seed, epoch)."""
    state = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(state) % 2**63)
    return torch.randperm(n, generator=generator)


def to_input(
    images: Tensor,
    *,
    channels: int,
    mean: Sequence[float] | Tensor,
    std: Sequence[float] | Tensor,
    augmentation: Augment | None = None,
    generator: torch.Generator | None = None,
    part: slice | None = None,
    of: int | None = None,
) -> Tensor:
    """Return uint8 ``images`` (n, c, [depth,] height, width) as the normalised float32 input of a network.

    A grey image feeds all ``channels``; a colour image becomes grey where the network takes one channel. With
    ``augmentation`` the images are changed before they are normalised, since brightness means nothing after. Images
    that are ``part`` of a batch ``of`` more are changed as in the whole batch.
    """
    batch = images.float() / 255
    if batch.shape[1] != 1:
        batch = match_channels(batch, channels=channels)
    if augmentation is not None:
        if generator is None:
            raise ValueError("augmentation needs a generator")
        batch = augment(batch, augmentation, generator, part=part, of=of)
    batch = match_channels(batch, channels=channels)  # grey is repeated last: a third of the work, the same bits
    shape = (1, channels) + (1,) * (batch.ndim - 2)
    centre, scale = (torch.as_tensor(value, dtype=batch.dtype, device=batch.device) for value in (mean, std))
    return (batch - centre.reshape(shape)) / scale.reshape(shape)


def match_channels(batch: Tensor, *, channels: int) -> Tensor:
    """Return float images (n, c, ...) with ``channels`` channels: grey is repeated, colour becomes its luma."""
    found = batch.shape[1]
    if found == channels:
        return batch
    if found == 1:
        return batch.expand(-1, channels, *batch.shape[2:])
    if (found, channels) == (3, 1):
        weights = torch.tensor(LUMA, dtype=batch.dtype, device=batch.device)
        return torch.einsum("nc...,c->n...", batch, weights).unsqueeze(1)
    raise ValueError(f"images of {found} channels cannot feed a network of {channels}")


def augment(
    images: Tensor, spec: Augment, generator: torch.Generator, *, part: slice | None = None, of: int | None = None
) -> Tensor:
    """Return float ``images`` in [0, 1], (n, c, [depth,] height, width), each changed at random as ``spec`` says.

    Rotation and crop are one bilinear resampling; what rotates in from outside is black. Volumes are changed
    slice by slice, all slices alike. A field at its default draws no random number. Images that are ``part`` of a
    batch ``of`` more get their numbers of the whole batch.
    """
    planes = images.flatten(1, -3)
    n = len(planes)

    def uniform(low: float, high: float) -> Tensor:
        drawn = torch.rand(of or n, generator=generator, device=generator.device)
        return low + (high - low) * devices.send(drawn[part or slice(None)], images.device).to(images.dtype)

    if spec.flip:
        mirrored = uniform(0, 1) < 0.5
        planes = torch.where(mirrored[:, None, None, None], planes.flip(-1), planes)
    if spec.rotation or spec.crop < 1:
        angle = uniform(-spec.rotation, spec.rotation) * (math.pi / 180) if spec.rotation else planes.new_zeros(n)
        edge = uniform(spec.crop, 1) if spec.crop < 1 else planes.new_ones(n)
        shift = [(1 - edge) * uniform(-1, 1) if spec.crop < 1 else planes.new_zeros(n) for _ in range(2)]
        planes = _resample(planes, angle=angle, edge=edge, shift=shift)
    if spec.brightness:
        factor = uniform(1 - spec.brightness, 1 + spec.brightness)
        planes = (planes * factor[:, None, None, None]).clamp(0, 1)
    return planes.reshape(images.shape)


def _resample(planes: Tensor, *, angle: Tensor, edge: Tensor, shift: list[Tensor]) -> Tensor:
    """Return the square of relative size ``edge`` around ``shift``, turned by ``angle``; all (n,), square pixels."""
    height, width = planes.shape[-2:]
    cos, sin = edge * angle.cos(), edge * angle.sin()
    aspect = height / width
    rows = [torch.stack([cos, -sin * aspect, shift[0]], -1), torch.stack([sin / aspect, cos, shift[1]], -1)]
    grid = functional.affine_grid(torch.stack(rows, 1), list(planes.shape), align_corners=False)
    return functional.grid_sample(planes, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
