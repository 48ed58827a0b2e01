"""Where the first weights come from: each method is a function of one source tensor, applied over the stages.

Transfusion: section 3 (pretrained), section 5 (Mean Var, weight transfusion), appendix F.3 (Gabor).
Weight-statistics transfer, WT-ST-n: Matsoukas et al., CVPR 2022.
"""

import math
from collections.abc import Callable
from itertools import product

import torch
from torch import Generator, Tensor

from transfusion_lib import networks
from transfusion_lib.errors import SpecError, WeightsError
from transfusion_lib.networks import Network, State, first_convolution
from transfusion_lib.networks.stages import BatchNorm
from transfusion_lib.spec import Gabor, InitSpec, ModelSpec, RunSpec


def mean_var(source: Tensor, generator: Generator) -> Tensor:
    """Return iid normal draws with the mean and standard deviation of ``source`` (Transfusion, section 5).

    As in the paper the drawn values have these moments up to sampling error; they are not standardised.
    """
    deviation, mean = torch.std_mean(source, correction=0)
    return torch.randn(source.shape, generator=generator) * deviation + mean


def covariance(source: Tensor, generator: Generator) -> Tensor:
    """Return filters drawn iid from the normal with the mean and covariance that those of ``source`` have in space.

    A filter is what one output channel sees of one input channel (Trockman et al., ICLR 2023). Where it is a single
    number, or the source is no convolution, this is ``mean_var``.
    """
    filters = source.flatten(2).flatten(0, 1) if source.ndim > 3 else source.new_empty(0, 1)
    if filters.shape[1] == 1:
        return mean_var(source, generator)
    mean = filters.double().mean(0)
    values, directions = torch.linalg.eigh(torch.cov(filters.double().T, correction=0))
    root = directions * values.clamp(min=0).sqrt()
    drawn = torch.randn(filters.shape, generator=generator, dtype=torch.float64) @ root.T + mean
    found: Tensor = drawn.to(source.dtype).reshape(source.shape)
    return found


def bootstrap(source: Tensor, generator: Generator) -> Tensor:
    """Return values drawn with replacement from those of ``source``, in its shape."""
    return source.flatten()[torch.randint(source.numel(), source.shape, generator=generator)]


def permutation(source: Tensor, generator: Generator) -> Tensor:
    """Return the values of ``source`` in random order, in its shape."""
    return source.flatten()[torch.randperm(source.numel(), generator=generator)].reshape(source.shape)


SAMPLERS: dict[str, Callable[[Tensor, Generator], Tensor]] = {
    "mean_var": mean_var,
    "covariance": covariance,
    "bootstrap": bootstrap,
    "permutation": permutation,
}


def pretrained_name(network: str) -> str | None:
    """Return the name of a network's pretrained weights: ImageNet's where published, else our own, or None."""
    names = networks.TABLE[networks.base(network)].weights if networks.base(network) in networks.TABLE else ()
    return names[0] if names else None


def init_for(method: str, network: str) -> InitSpec | None:
    """Return the plain initialisation called ``method``, or None where the network has no pretrained weights for it."""
    if method == "random":
        return InitSpec()
    weights = pretrained_name(network)
    return None if weights is None else InitSpec(method=method, weights=weights)  # type: ignore[arg-type]  # validated


def network_for(
    model: ModelSpec, init: InitSpec, *, num_outputs: int, size: int, source: State | None, generator: Generator
) -> Network:
    """Return the network of ``model`` for images of edge ``size``, with the first weights that ``init`` describes.

    ``source`` holds what ``init.weights`` names (``weights.load``, or a finished run's state), None for "random".
    """
    network = networks.build(model, num_outputs=num_outputs, size=size, generator=generator)
    return initialise(network, init, source=source, generator=generator)


@torch.no_grad()
def initialise(network: Network, spec: InitSpec, *, source: State | None, generator: Generator) -> Network:
    """Write the weights that ``spec`` describes into ``network``, as ``networks.build`` returned it, and return it.

    What stays random keeps the values that ``build`` drew, so networks that differ in ``up_to`` only share them.
    Above a ``Slim`` cut everything stays random, unless the source is a run of the same ``Slim``. Tensors that
    ``source`` lacks or has in another shape are a ``WeightsError`` that names the first.
    """
    state = network.state_dict()
    source = {} if source is None else _for_channels(_for_axes(source, state), network)
    norms = {
        f"{prefix}.{name}"
        for prefix, part in network.named_modules()
        if isinstance(part, BatchNorm)
        for name in part.state_dict()
    }
    names = network.names()
    for cut, method in _methods(network, spec).items():
        if method == "random":
            continue
        _check(source, state, names[cut], network=network)
        for name in names[cut]:
            value = _value(name, source[name], method, spec, is_norm=name in norms, generator=generator)
            if value is not None:
                state[name].copy_(value)
    if spec.gabor is not None:
        first = first_convolution(network)
        first.weight.copy_(gabor_filters(spec.gabor, tuple(first.weight.shape), generator=generator))
    return network


def _methods(network: Network, spec: InitSpec) -> dict[str, str]:
    """Return the method that fills each cut point and the head."""
    cuts = network.cut_points
    same_slim = isinstance(spec.weights, RunSpec) and spec.weights.model.slim == network.slim
    fitting = len(cuts) if network.slim is None or same_slim else network.position(network.slim.above)
    last = fitting if spec.up_to is None else network.position(spec.up_to)
    if last > fitting and spec.method != "random":
        raise SpecError(
            f'InitSpec: up_to "{spec.up_to}" lies above "{cuts[fitting - 1]}", the last cut point that Slim leaves as '
            f"wide as the source; lower up_to, or leave it out"
        )
    methods: dict[str, str] = {}
    for number, cut in enumerate(cuts, start=1):
        methods[cut] = spec.method if number <= last else spec.above if number <= fitting else "random"
    return methods | {"head": "pretrained" if spec.keep_head else "random"}


def _value(
    name: str, source: Tensor, method: str, spec: InitSpec, *, is_norm: bool, generator: Generator
) -> Tensor | None:
    """Return what ``method`` makes of one source tensor; None leaves batch norm as it was built, at 1 and 0.

    Running statistics are never sampled: a variance could be negative, and both belong to the source's activations.
    """
    if method == "pretrained" or (is_norm and spec.batch_norm == "keep"):
        return source
    is_affine = name.endswith((".weight", ".bias"))
    if is_norm and (spec.batch_norm == "reset" or not is_affine):
        return None
    return SAMPLERS[method](source, generator)


def _check(source: State, state: State, names: tuple[str, ...], *, network: Network) -> None:
    """Raise a ``WeightsError`` unless the source holds exactly these tensors, in their shapes."""
    if not source:
        raise WeightsError(f"{network.name}: the weights that the spec names were not given as source")
    for name in names:
        if name not in source:
            raise WeightsError(
                f'{network.name}: the source has no "{name}"; name as up_to the last stage that both networks have'
            )
        if source[name].shape != state[name].shape:
            raise WeightsError(
                f'{network.name}: "{name}" is {tuple(source[name].shape)} in the source and '
                f"{tuple(state[name].shape)} here; name as up_to the last stage that fits"
                + (", or leave keep_head out" if name.startswith("head.") else "")
            )


def _for_axes(source: State, state: State) -> State:
    """Return ``source`` with flat filters repeated along the depth where the network's have one (I3D).

    Divided by their number, so that a volume that is the same at every depth gives what one of its slices gave.
    """
    inflated = {}
    for name, flat in source.items():
        if name in state and state[name].ndim == 5 and flat.ndim == 4:
            depth = state[name].shape[2]
            inflated[name] = flat.unsqueeze(2).expand(-1, -1, depth, -1, -1) / depth
    return source | inflated


def _for_channels(source: State, network: Network) -> State:
    """Return ``source`` for the network's image channels: RGB weights are summed for grey, as timm does.

    A grey image in a summed convolution gives what it gives as three equal channels in the original. The
    other way, each of the three channels gets a third.
    """
    first = first_convolution(network)
    name = next(f"{prefix}.weight" for prefix, part in network.named_modules() if part is first)
    weight = source.get(name)
    if weight is None or weight.shape[1] == first.in_channels:
        return source
    shared = weight.sum(1, keepdim=True) / first.in_channels
    return source | {name: shared.expand(-1, first.in_channels, *weight.shape[2:])}


def gabor_filters(spec: Gabor, shape: tuple[int, ...], *, generator: Generator) -> Tensor:
    """Return a convolution weight (out, in, height, width) of Gabor filters, equal in every input channel.

    Each filter has mean zero and the norm that random weights have on average. Every filter of the bank occurs
    equally often, as far as the channels go; which occur once more, and the order, is drawn.
    """
    if len(shape) != 4:
        raise SpecError(f"InitSpec: Gabor filters are for images, and this first convolution has shape {shape}")
    out_channels, in_channels, height, width = shape
    bank = _gabor_bank(spec, height, width)
    rounds = math.ceil(out_channels / len(bank))
    order = torch.cat([torch.randperm(len(bank), generator=generator) for _ in range(rounds)])[:out_channels]
    filters = bank[order] - bank[order].mean((1, 2), keepdim=True)
    norm = math.sqrt(2.0 / out_channels)  # He-normal weights, per input channel: sqrt(height * width * 2 / fan-out)
    filters *= norm / filters.norm(dim=(1, 2), keepdim=True)
    return filters[:, None].expand(-1, in_channels, -1, -1)


def _gabor_bank(spec: Gabor, height: int, width: int) -> Tensor:
    """Return all filters of a bank, (orientations * wavelengths * phases, height, width), not normalised."""
    y, x = torch.meshgrid(torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2, indexing="ij")
    octaves = 2.0**spec.bandwidth
    bank = []
    for orientation, wavelength in product(range(spec.orientations), spec.wavelengths):
        theta = math.pi * orientation / spec.orientations
        along, across = x * math.cos(theta) + y * math.sin(theta), y * math.cos(theta) - x * math.sin(theta)
        sigma = wavelength / math.pi * math.sqrt(math.log(2) / 2) * (octaves + 1) / (octaves - 1)
        envelope = torch.exp(-(along**2 + (spec.aspect * across) ** 2) / (2 * sigma**2))
        phases = [math.pi * phase / spec.phases for phase in range(spec.phases)]
        bank += [envelope * torch.cos(2 * math.pi * along / wavelength + phase) for phase in phases]
    return torch.stack(bank)
