"""Change the shape of a network: channels of the image, where it ends, and how wide it is.

Each function changes the network in place and returns it. Layers whose shape changes get random weights from
``generator``, or zeros without one (``networks.build`` fills the whole network afterwards).
"""

import math
from collections import OrderedDict
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from transfusion_lib.errors import SpecError
from transfusion_lib.networks.stages import BatchNorm, Convolution, Network, first_convolution, give_storage, randomise
from transfusion_lib.networks.unet import UNet
from transfusion_lib.networks.zoo import keeps_width
from transfusion_lib.spec import Slim, Truncate


def set_in_channels(network: Network, channels: int, *, generator: torch.Generator | None = None) -> Network:
    """Make ``network`` take images of ``channels`` channels."""
    first = first_convolution(network)
    if channels != first.in_channels:
        first.in_channels = channels
        _resize(first, (first.out_channels, channels, *first.kernel_size), "weight")
        _fill([first], generator)
        network.mean = (sum(network.mean) / len(network.mean),) * channels
        network.std = (sum(network.std) / len(network.std),) * channels
    return network


def truncate(network: Network, spec: Truncate, *, size: int, generator: torch.Generator | None = None) -> Network:
    """Remove everything above ``spec.at`` and put a new head on the rest (TruncatedTL, section 3.2).

    An unpooled head sees every position, so it takes images of edge ``size`` only.
    """
    for cut in network.cut_points[network.position(spec.at) :]:
        stage, number = network.paths.pop(cut).split(".")
        units = network.body.get_submodule(stage)
        delattr(units, number)
        if not list(units.children()):
            delattr(network.body, stage)
    if isinstance(network, UNet):
        network.fit_decoder()
        _fill([network.head], generator)
        return network
    network.head.pooled = spec.pooled
    _refit(network, [network.head], factor=1, size=size)
    _fill([network.head], generator)
    return network


def slim(network: Network, spec: Slim, *, size: int, generator: torch.Generator | None = None) -> Network:
    """Divide the channels of every layer above ``spec.above`` by ``spec.factor``, rounded, and at least 1.

    Transfusion, section 5; TF in TruncatedTL. Layers that see the cut's output keep that many inputs. Where the
    first unit above must put out as many channels as it gets (an identity skip, a depthwise first convolution), a
    joint goes before it: a 1x1 convolution with batch norm, like a ResNet's own projections. Everything above
    gets random weights. ``size`` is the edge of the images, for an unpooled head.
    """
    above = network.cut_points[network.position(spec.above) :]
    parts = [network.units()[cut] for cut in above]
    if not any(isinstance(layer, Convolution) for part in parts for layer in part.modules()):
        raise SpecError(f'{network.name}: Slim finds no convolution above "{spec.above}"; name a lower cut point')
    if keeps_width(parts[0]):
        parts[0] = nn.Sequential(OrderedDict(joint=_joint(parts[0]), unit=parts[0]))
        network.body.set_submodule(network.paths[above[0]], parts[0])
    parts.append(network.head)
    _refit(network, parts, factor=spec.factor, size=size)
    _fill(parts, generator)
    network.slim = spec
    return network


def _fill(parts: list[nn.Module], generator: torch.Generator | None) -> None:
    if generator is not None:
        for part in parts:
            randomise(part, generator=generator)


def _joint(unit: nn.Module) -> nn.Module:
    """Return a 1x1 convolution and batch norm as wide as the unit's input, on its device, in its number of axes."""
    first = first_convolution(unit)
    axes = first.weight.ndim - 2
    channels = first.in_channels
    with torch.device("meta"):  # draws nothing
        parts: dict[str, nn.Module] = {
            "conv": getattr(nn, f"Conv{axes}d")(channels, channels, 1, bias=False),
            "bn": getattr(nn, f"BatchNorm{axes}d")(channels),
        }
    joint = nn.Sequential(OrderedDict(parts))
    give_storage(joint, first.weight.device)
    return joint


@torch.no_grad()
def _refit(network: Network, parts: list[nn.Module], *, factor: int, size: int) -> None:
    """Send one empty image through, and give each layer of ``parts`` the shape it needs when its input arrives."""
    layers = [layer for part in parts for layer in part.modules()]
    hooks = [layer.register_forward_pre_hook(partial(_refit_layer, factor=factor)) for layer in layers]
    weight = first_convolution(network).weight
    image = torch.zeros((1, weight.shape[1], *(size,) * (weight.ndim - 2)), device=weight.device)
    training = network.training
    try:
        network.eval()(image)
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()


def _refit_layer(layer: nn.Module, inputs: tuple[Any, ...], *, factor: int) -> None:
    """Fit a layer to the channels that arrive, and divide those that a convolution puts out."""
    if isinstance(layer, Convolution):
        arriving = inputs[0].shape[1]
        if layer.groups == layer.in_channels > 1:  # depthwise: its width is its input's
            layer.out_channels = arriving * (layer.out_channels // layer.in_channels)
            layer.groups = arriving
        else:
            layer.out_channels = max(1, round(layer.out_channels / factor))
            layer.groups = math.gcd(layer.groups, arriving, layer.out_channels)
        layer.in_channels = arriving
        _resize(layer, (layer.out_channels, arriving // layer.groups, *layer.kernel_size), "weight")
        _resize(layer, (layer.out_channels,), "bias")
    elif isinstance(layer, BatchNorm):
        layer.num_features = inputs[0].shape[1]
        _resize(layer, (layer.num_features,), "weight", "bias", "running_mean", "running_var")
    elif isinstance(layer, nn.Linear):
        layer.in_features = inputs[0].shape[1]
        _resize(layer, (layer.out_features, layer.in_features), "weight")


def _resize(layer: nn.Module, shape: tuple[int, ...], *names: str) -> None:
    """Replace parameters and buffers, where the layer has them, by zeros of another shape."""
    for name in names:
        old: Tensor | None = getattr(layer, name)
        if old is not None:
            new = old.new_zeros(shape)
            setattr(layer, name, nn.Parameter(new) if isinstance(old, nn.Parameter) else new)
