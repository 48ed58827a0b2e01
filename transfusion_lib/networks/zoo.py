"""Networks of torchvision and timm, their modules moved into the table of stages. Nothing is re-typed.

Each function takes the library's network and returns its stages and head; the library's forward pass and the
table's give the same output (tests/test_models.py).
"""

import re
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from transfusion_lib.networks.stages import Head, State, first_convolution

Stages = dict[str, list[nn.Module]]
Table = tuple[Stages, Head]


class Dense(nn.Module):
    """A dense layer as a unit: its output joined to its input, (n, c, ...) to (n, c + growth, ...)."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.layer(x)], dim=1)


def resnet(library: Any) -> Table:
    """Return torchvision's ResNet as stages conv1, block1 ... block4; a unit is a residual block."""
    stages: Stages = {"conv1": [_unit(conv=library.conv1, bn=library.bn1, relu=library.relu, pool=library.maxpool)]}
    blocks = (library.layer1, library.layer2, library.layer3, library.layer4)
    stages |= {f"block{number}": list(block) for number, block in enumerate(blocks, start=1)}
    return stages, Head(library.fc)


def densenet(library: Any) -> Table:
    """Return torchvision's DenseNet as stages conv1, block1 ... block4.

    A unit is a dense layer; the last of each block is its transition (in block4 the final norm and ReLU). Cut
    points inside a block give what the next layer sees: joined convolutions before their norm and ReLU.
    """
    parts = library.features
    stages: Stages = {"conv1": [_unit(conv=parts.conv0, bn=parts.norm0, relu=parts.relu0, pool=parts.pool0)]}
    ends = (parts.transition1, parts.transition2, parts.transition3, _unit(bn=parts.norm5, relu=nn.ReLU(inplace=True)))
    for number, end in enumerate(ends, start=1):
        layers = parts.get_submodule(f"denseblock{number}").children()
        stages[f"block{number}"] = [*(Dense(layer) for layer in layers), end]
    return stages, Head(library.classifier)


def inception(library: Any) -> Table:
    """Return torchvision's Inception-v3, without its auxiliary head, as stages conv1 ... conv4, mixed5 ... mixed7."""
    stages: Stages = {
        "conv1": [library.Conv2d_1a_3x3],
        "conv2": [library.Conv2d_2a_3x3, _unit(conv=library.Conv2d_2b_3x3, pool=library.maxpool1)],
        "conv3": [library.Conv2d_3b_1x1],
        "conv4": [_unit(conv=library.Conv2d_4a_3x3, pool=library.maxpool2)],
        "mixed5": [library.Mixed_5b, library.Mixed_5c, library.Mixed_5d],
        "mixed6": [library.Mixed_6a, library.Mixed_6b, library.Mixed_6c, library.Mixed_6d, library.Mixed_6e],
        "mixed7": [library.Mixed_7a, library.Mixed_7b, library.Mixed_7c],
    }
    return stages, Head(library.fc, dropout=library.dropout.p)


def efficientnet_b0(library: Any) -> Table:
    """Return torchvision's EfficientNet-B0 as stages conv1, block1 ... block7, top; a unit is an inverted residual."""
    first, *blocks, last = library.features
    stages: Stages = {"conv1": [first]}
    stages |= {f"block{number}": list(block) for number, block in enumerate(blocks, start=1)}
    stages["top"] = [last]
    return stages, Head(library.classifier[1], dropout=library.classifier[0].p)


def efficientnet_lite0(library: Any) -> Table:
    """Return timm's EfficientNet-Lite0 as stages conv1, block1 ... block7, top; a unit is an inverted residual."""
    stages: Stages = {"conv1": [_unit(conv=library.conv_stem, bn=library.bn1)]}
    stages |= {f"block{number}": list(block) for number, block in enumerate(library.blocks, start=1)}
    stages["top"] = [_unit(conv=library.conv_head, bn=library.bn2)]
    return stages, Head(library.classifier, dropout=library.drop_rate)


def keeps_width(unit: nn.Module) -> bool:
    """Return whether a unit must put out as many channels as it gets: an identity skip, or a depthwise first step."""
    residual = isinstance(getattr(unit, "downsample", False), type(None))  # torchvision ResNet
    mobile = getattr(unit, "use_res_connect", False) or getattr(unit, "has_skip", False)  # torchvision, timm
    first = first_convolution(unit)
    return residual or bool(mobile) or first.groups == first.in_channels > 1


def densenet_names(state: State, library: nn.Module) -> State:
    """Return published DenseNet weights under today's names: ``norm.1`` is now ``norm1``."""
    return {re.sub(r"\b(norm|conv)\.([12])\b", r"\1\2", name): tensor for name, tensor in state.items()}


def without_auxiliary(state: State, library: nn.Module) -> State:
    """Return published Inception weights without the auxiliary head."""
    return {name: tensor for name, tensor in state.items() if not name.startswith("AuxLogits.")}


def in_order(state: State, library: nn.Module) -> State:
    """Return ``state`` under the library's names, tensor by tensor in order (the packaged EfficientNet-Lite0)."""
    return dict(zip(library.state_dict(), state.values(), strict=True))


def _unit(**parts: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(parts))
