"""A network as an ordered table of stages, and random weights for it.

Everything the papers do to a network (transfuse, slim, truncate, freeze, compare stage by stage) is a short
function over this table, so it works for every architecture. Nothing here knows the number of spatial axes.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from transfusion_lib.errors import SpecError, unknown
from transfusion_lib.spec import Slim

BatchNorm = _BatchNorm
Convolution = _ConvNd
State = dict[str, Tensor]
"""Weights and running statistics by their names in a ``Network``."""


class Head(nn.Module):
    """Average over positions (or keep them all), drop out, and one linear layer: (n, channels, ...) to (n, outputs)."""

    def __init__(self, linear: nn.Linear, *, dropout: float = 0.0, pooled: bool = True) -> None:
        super().__init__()
        self.pooled = pooled
        self.dropout = nn.Dropout(dropout)
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2).mean(-1) if self.pooled else x.flatten(1)
        scores: Tensor = self.linear(self.dropout(x))
        return scores


class Network(nn.Module):
    """Named stages of units, and a head.

    A unit maps one tensor to one tensor and holds the whole of any skip connection. Units are numbered from 1
    in their stage, so weights are named like ``body.block3.4.conv1.weight``. A cut point names a unit:
    ``block3.4``, or the bare stage (``conv1``) where the stage has one unit. A stage's name also stands for its
    last unit wherever a cut point is asked for.
    """

    def __init__(
        self,
        name: str,
        stages: Mapping[str, Sequence[nn.Module]],
        head: Head,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        super().__init__()
        self.name = name
        self.body = nn.Sequential()
        self.paths: dict[str, str] = {}
        """Where each cut point's unit is in ``body``, from the input on."""
        for stage, units in stages.items():
            numbered = {str(number): unit for number, unit in enumerate(units, start=1)}
            self.body.add_module(stage, nn.Sequential(OrderedDict(numbered)))
            self.paths |= {stage if len(units) == 1 else f"{stage}.{n}": f"{stage}.{n}" for n in numbered}
        self.head = head
        self.mean = mean
        """Mean of the input per channel, for images in 0..1."""
        self.std = std
        """Standard deviation of the input per channel, for images in 0..1."""
        self.slim: Slim | None = None
        """How the channels were divided, if they were; the weights above ``slim.above`` have no published source."""
        self.frozen = 0
        """How many units, from the input on, stay in evaluation mode whatever ``train`` asks."""

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (n, outputs), before softmax or sigmoid, of a batch (n, channels, height, width)."""
        scores: Tensor = self.head(self.body(x))
        return scores

    def features(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield each cut point with the output (n, channels, ...) of its unit, from the input on."""
        for cut, unit in self.units().items():
            x = unit(x)
            yield cut, x

    def train(self, mode: bool = True) -> "Network":
        """Set training mode, except in frozen units, whose batch norm must neither use nor update batch statistics."""
        super().train(mode)
        for unit in list(self.units().values())[: self.frozen]:
            unit.eval()
        return self

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the stages, from the input on."""
        return tuple(name for name, _ in self.body.named_children())

    @property
    def cut_points(self) -> tuple[str, ...]:
        """The names of the units, from the input on."""
        return tuple(self.paths)

    @property
    def in_channels(self) -> int:
        """Channels of the image."""
        return first_convolution(self).in_channels

    def units(self) -> dict[str, nn.Module]:
        """Return every unit by its cut point, from the input on."""
        return {cut: self.body.get_submodule(path) for cut, path in self.paths.items()}

    def position(self, cut: str) -> int:
        """Return how many units lie up to and including ``cut``, a stage or cut point; else a ``SpecError``."""
        ends = {path.split(".")[0]: number for number, path in enumerate(self.paths.values(), start=1)}
        ends |= {point: number for number, point in enumerate(self.paths, start=1)}
        if cut not in ends:
            raise SpecError(f"{self.name}: {unknown('stage or cut point', cut, ends)}")
        return ends[cut]

    def names(self) -> dict[str, tuple[str, ...]]:
        """Return which names of ``state_dict`` each cut point holds, in order; the head's are under ``head``."""
        held = {
            cut: tuple(f"body.{self.paths[cut]}.{name}" for name in u.state_dict()) for cut, u in self.units().items()
        }
        return held | {"head": tuple(f"head.{name}" for name in self.head.state_dict())}


def first_convolution(module: nn.Module) -> Convolution:
    """Return the convolution that sees the image."""
    return next(part for part in module.modules() if isinstance(part, Convolution))


def give_storage(module: nn.Module, device: torch.device) -> None:
    """Give a module built on the device "meta" zeros on ``device``."""
    state = module.state_dict()  # any operation on a "meta" tensor, to_empty too, imports sympy and more for seconds
    zeros = {name: torch.zeros(old.shape, dtype=old.dtype, device=device) for name, old in state.items()}
    module.load_state_dict(zeros, assign=True)


@torch.no_grad()
def randomise(module: nn.Module, *, generator: torch.Generator) -> None:
    """Fill ``module`` with random weights, drawn in the order of its parts.

    Convolutions: normal with variance 2 / fan-out (He et al. 2015, as in ResNet and EfficientNet; fan-out counts
    one group). Linear layers: uniform within 1 / sqrt(fan-in). Biases 0; batch norm 1 and 0, its running
    statistics 0 and 1. One rule for all networks: the papers state none, and batch norm follows almost every
    convolution. A part with other parameters or buffers is a ``TypeError``: nothing may stay as it was.
    """
    for part in module.modules():
        if isinstance(part, Convolution):
            fan_out = part.out_channels // part.groups * math.prod(part.kernel_size)
            part.weight.normal_(0.0, math.sqrt(2.0 / fan_out), generator=generator)
        elif isinstance(part, nn.Linear):
            part.weight.uniform_(-1.0, 1.0, generator=generator).div_(math.sqrt(part.in_features))
        elif isinstance(part, BatchNorm):
            part.reset_parameters()
        elif part._parameters or part._buffers:
            raise TypeError(f"no rule for random weights of {type(part).__name__}")
        if isinstance(part, Convolution | nn.Linear) and part.bias is not None:
            part.bias.zero_()
