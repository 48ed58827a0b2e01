"""What a stage's channels respond to: inputs optimised to excite one channel each (Olah et al. 2017)."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from transfusion_lib.analysis import activations, probe_sets
from transfusion_lib.analysis.activations import Pooled
from transfusion_lib.networks import Network
from transfusion_lib.runs import Run
from transfusion_lib.runs.analyses import stored

RATE = 0.08
CONTRAST = 4.0  # of the first noise, relative to a spectrum of norm 1 a pixel
PROBE = 64


@stored("visualise.favourites", version=2)
def favourites(run: Run, *, channels: int = 2, steps: int = 40, seed: int = 0) -> dict[str, Any]:
    """Return the inputs that most excite a few channels of each stage of a finished run.

    The channels are those whose pooled output varies most over 64 test images. Tensor ``images`` is uint8
    (stages, channels, colours, height, width); value ``stages`` names the stages, ``channels`` the channels of each.
    """
    network = probe_sets.network(run).requires_grad_(False)
    stages = network.stages
    pooled = activations.collect(
        network, probe_sets.images(run, count=PROBE), cut_points=stages, rule=Pooled(), batch_size=PROBE
    )
    chosen = [pooled[stage].var(0).topk(channels).indices.tolist() for stage in stages]
    shape = (network.in_channels, run.spec.data.size, run.spec.data.size)
    images = excite(network, stages, chosen, shape=shape, steps=steps, generator=probe_sets.generator(seed))
    return {"images": images.reshape(len(stages), channels, *shape), "stages": list(stages), "channels": chosen}


def excite(
    network: Network,
    stages: Sequence[str],
    channels: Sequence[Sequence[int]],
    *,
    shape: tuple[int, int, int],
    steps: int,
    generator: torch.Generator,
) -> Tensor:
    """Return one image for each stage and channel, uint8 (all, colours, height, width), by gradient ascent.

    All images go through the network as one batch. An image is the sigmoid of a Fourier series whose coefficients
    start as noise falling with frequency, and is shifted by a few pixels at every step, or it would become noise that
    only the network sees. What rises is the mean of a channel's output over its positions.
    """
    device = next(network.parameters()).device
    wanted = [(stage, channel) for stage, found in zip(stages, channels, strict=True) for channel in found]
    height, width = shape[1:]
    falloff = _falloff(height, width).to(device)
    noise = torch.randn(len(wanted), shape[0], height, width // 2 + 1, 2, generator=generator)
    spectrum = (noise * CONTRAST).to(device).requires_grad_(True)
    centre, scale = (torch.tensor(v, device=device).reshape(1, -1, 1, 1) for v in (network.mean, network.std))
    optimizer = torch.optim.Adam([spectrum], lr=RATE * CONTRAST)
    reach = max(1, min(height, width) // 16)
    units = {stage: network.cut_points[network.position(stage) - 1] for stage in stages}
    for _ in range(steps):
        shift = (torch.randint(-reach, reach + 1, (2,), generator=generator)).tolist()
        moved = _image(spectrum, falloff, height, width).roll(shift, (2, 3))
        maps = dict(network.features((moved - centre) / scale))
        risen = [maps[units[stage]][place, channel].mean() for place, (stage, channel) in enumerate(wanted)]
        optimizer.zero_grad()
        (-torch.stack(risen).sum()).backward()
        optimizer.step()
    found = _image(spectrum.detach(), falloff, height, width)
    return (found * 255).round().to(torch.uint8).cpu()


def _falloff(height: int, width: int) -> Tensor:
    """Return the weight of each Fourier coefficient, 1 / frequency, scaled so that noise has pixels of deviation 1."""
    rows, columns = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    frequency = (rows**2 + columns**2).sqrt().clamp_min(1 / max(height, width))
    falloff = 1 / frequency
    scaled: Tensor = falloff / falloff.square().sum().sqrt() * math.sqrt(height * width / 4)
    return scaled


def _image(spectrum: Tensor, falloff: Tensor, height: int, width: int) -> Tensor:
    """Return images (n, colours, height, width) in 0..1 from real and imaginary parts of their spectrum."""
    coefficients = torch.view_as_complex(spectrum) * falloff
    pixels: Tensor = torch.fft.irfft2(coefficients, s=(height, width), norm="ortho")
    return (pixels / CONTRAST).sigmoid()
