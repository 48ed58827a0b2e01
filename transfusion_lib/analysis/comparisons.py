"""How alike are the stages of finished runs: each before against after training, and runs against each other.

One pass over the probe images serves every network, stage and pair (Transfusion, section 4: Figures 2 to 4).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from transfusion_lib.analysis import activations, probe_sets
from transfusion_lib.analysis.activations import Positions
from transfusion_lib.analysis.similarity import Moments
from transfusion_lib.errors import MeasureError
from transfusion_lib.networks import Network
from transfusion_lib.runs import Run
from transfusion_lib.runs.analyses import stored

BATCH = 50
UNRELATED = " unrelated"


@stored("comparisons.compare", version=2)
def compare(
    runs: Sequence[Run],
    *,
    across: bool = True,
    images: int | None = None,
    per_image: int = 16,
    per_channel: int = 8,
    seed: int = 0,
) -> dict[str, Any]:
    """Return CCA and CKA, each with its floor, per stage: of every run's start with its end, and of pairs of runs.

    ``runs`` share network and data; ``across`` adds every pair of runs, at the start and at the end. The samples are
    ``per_image`` positions of each of ``images`` test images, drawn. A stage with more channels than there are
    samples for, ``per_channel`` each, is compared on that many of its channels, drawn by ``seed``, the same in every
    network.

    ``rows`` holds one mapping a pair and stage: ``moment`` ("before_after", "start", "end"), ``first`` and
    ``second`` (places in ``runs``), ``stage``, ``n``, ``channels`` (compared) ``of`` (there are), ``cca``,
    ``cca_98``, ``cka``, their floors (``..._floor``: the second network sees other images), and ``expected``, the
    CCA of independent samples of the same n and ranks.
    """
    shapes = {(run.spec.model, run.spec.data) for run in runs}
    if len(shapes) != 1:
        raise MeasureError(f"runs to compare share network and data, got {len(shapes)} combinations of them")
    networks = {}
    for place, run in enumerate(runs):
        networks[f"{place} start"] = probe_sets.network(run, 0)
        networks[f"{place} end"] = probe_sets.network(run)
    pairs = {("before_after", k, k): (f"{k} start", f"{k} end") for k in range(len(runs))}
    if across:
        for moment in ("start", "end"):
            both = combinations(range(len(runs)), 2)
            pairs |= {(moment, a, b): (f"{a} {moment}", f"{b} {moment}") for a, b in both}
    found = pair_moments(
        networks,
        probe_sets.images(runs[0], count=images),
        pairs=list(pairs.values()),
        rule=Positions(per_image=per_image, seed=seed),
        per_channel=per_channel,
        seed=seed,
    )
    rows = [
        {"moment": moment, "first": a, "second": b, "stage": stage, "of": stage_found.of}
        | _measures(stage_found.moments, *names)
        for (moment, a, b), names in pairs.items()
        for stage, stage_found in found.items()
    ]
    return {"rows": rows}


@dataclass(frozen=True, kw_only=True)
class StageMoments:
    """The moments of one stage in all networks, on related images and, under names of their own, on unrelated."""

    moments: Moments
    of: int
    """Channels that the stage has; the moments hold as many or fewer."""


def pair_moments(
    networks: dict[str, Network],
    images: Tensor,
    *,
    pairs: Sequence[tuple[str, str]],
    rule: Positions,
    per_channel: int,
    seed: int,
) -> dict[str, StageMoments]:
    """Return the moments of each stage of all networks from one pass over the images, for the named pairs.

    For the floor every second network of a pair is also gathered on unrelated images: within each batch the images
    are shifted by half its length, at the positions of the images in whose place they stand.
    """
    if len(images) < 2:
        raise MeasureError(f"a comparison needs at least 2 images, got {len(images)}")
    images = images[: len(images) - (len(images) % BATCH == 1)]  # a batch of one has no unrelated image
    stages = next(iter(networks.values())).stages
    wanted = [*pairs, *((first, second + UNRELATED) for first, second in pairs)]
    seconds = {second for _, second in pairs}
    found: dict[str, StageMoments] = {}
    kept: dict[str, Tensor] = {}
    for first, batch in _batches(networks, images, stages=stages):
        for stage in stages:
            layers: dict[str, Tensor] = {}
            for name, maps in ((name, output[stage]) for name, output in batch.items()):
                layers[name] = activations.rows(maps, rule, first=first)
                if name in seconds:
                    shifted = maps.roll(len(maps) // 2, 0)
                    layers[name + UNRELATED] = activations.rows(shifted, rule, first=first)
            if stage not in found:
                here = next(iter(layers.values()))
                samples = len(here) * len(images) // min(BATCH, len(images))
                kept[stage] = drawn_channels(here.shape[1], most=max(1, samples // per_channel), seed=seed)
                found[stage] = StageMoments(moments=Moments(pairs=wanted), of=here.shape[1])
            chosen = kept[stage].to(next(iter(layers.values())).device)
            found[stage].moments.update({name: values[:, chosen] for name, values in layers.items()})
    return found


def drawn_channels(channels: int, *, most: int, seed: int) -> Tensor:
    """Return which of a stage's channels are compared, int64 in order: all, or ``most`` of them drawn by ``seed``."""
    if channels <= most:
        return torch.arange(channels)
    return torch.randperm(channels, generator=probe_sets.generator(seed, channels))[:most].sort().values


def _batches(
    networks: dict[str, Network], images: Tensor, *, stages: Sequence[str]
) -> Iterator[tuple[int, dict[str, dict[str, Tensor]]]]:
    """Yield each batch's first place, and every network's output of every stage."""
    streams = [
        activations.outputs(network, images, cut_points=stages, batch_size=BATCH) for network in networks.values()
    ]
    for number, outputs in enumerate(zip(*streams, strict=True)):
        yield number * BATCH, dict(zip(networks, outputs, strict=True))


def _measures(moments: Moments, first: str, second: str) -> dict[str, Any]:
    """Return what a row says of one pair at one stage."""
    cca, cka = moments.cca(first, second), moments.cka(first, second)
    floor, cka_floor = moments.cca(first, second + UNRELATED), moments.cka(first, second + UNRELATED)
    return {
        "n": cca.n,
        "channels": len(moments.mean(first)),
        "cca": cca.mean,
        "cca_98": cca.mean_98,
        "cca_floor": floor.mean,
        "cca_98_floor": floor.mean_98,
        "expected": cca.floor,
        "cka": cka.value,
        "cka_floor": cka_floor.value,
    }
