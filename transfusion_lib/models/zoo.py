"""Networks of torchvision and timm, their modules moved into the table of stages. Nothing is re-typed.

Each function takes the library's network and returns its stages and head; the library's forward pass and the
table's give the same output (tests/test_models.py).
"""

from collections import OrderedDict
from typing import Any

from torch import nn

from transfusion_lib.models.stages import Head, State

Table = tuple[dict[str, list[nn.Module]], Head]


def efficientnet_lite0(library: Any) -> Table:
    """Return timm's EfficientNet-Lite0 as stages conv1, block1 ... block7, top."""
    stages: dict[str, list[nn.Module]] = {"conv1": [_unit(conv=library.conv_stem, bn=library.bn1)]}
    stages |= {f"block{number}": list(block) for number, block in enumerate(library.blocks, start=1)}
    stages["top"] = [_unit(conv=library.conv_head, bn=library.bn2)]
    return stages, Head(library.classifier, dropout=library.drop_rate)


def in_order(state: State, library: nn.Module) -> State:
    """Return ``state`` under the library's names, tensor by tensor in order (the packaged EfficientNet-Lite0)."""
    return dict(zip(library.state_dict(), state.values(), strict=True))


def _unit(**parts: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(parts))
