"""Networks, sources and training steps that the tests of models, weights, init and surgery share."""

from functools import cache

import pytest
import torch
from torch import Tensor, nn

from transfusion_lib import networks
from transfusion_lib.networks import Network, State
from transfusion_lib.networks.stages import BatchNorm
from transfusion_lib.spec import ModelSpec

FAST = ("cbr_tiny", "efficientnet_lite0")
NETWORKS = [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in networks.TABLE]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def size(name: str) -> int:
    return max(32, networks.architecture(name).minimum_size)


def network(spec: ModelSpec | str, *, seed: int = 0, num_outputs: int = 3) -> Network:
    spec = ModelSpec(name=spec) if isinstance(spec, str) else spec
    return networks.build(spec, num_outputs=num_outputs, size=size(spec.name), generator=seeded(seed))


def images(spec: ModelSpec | str, *, count: int = 2, seed: int = 0) -> Tensor:
    spec = ModelSpec(name=spec) if isinstance(spec, str) else spec
    edge = size(spec.name)
    return torch.randn(count, spec.in_channels, edge, edge, generator=seeded(seed))


@torch.no_grad()
def enliven(module: nn.Module, *, seed: int = 1) -> None:
    """Give batch norm other values than those it starts with, as in a trained network."""
    generator = seeded(seed)
    for part in module.modules():
        if isinstance(part, BatchNorm):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.normal_(0, 0.1, generator=generator)
            part.running_var.uniform_(0.5, 1.5, generator=generator)
            part.weight.uniform_(0.5, 1.5, generator=generator)
            part.bias.normal_(0, 0.1, generator=generator)


@cache
def source(name: str, *, num_outputs: int = 3) -> State:
    """Return weights that stand for trained ones: no tensor equals one of ``network(name)``. Not to be changed."""
    trained = network(name, seed=1, num_outputs=num_outputs)
    enliven(trained)
    state = trained.state_dict()
    for tensor in state.values():
        if not tensor.is_floating_point():
            tensor.fill_(7)
        elif not tensor.any():
            tensor.add_(0.01)  # biases, which start at 0
    return state


def stage_ends(name: str) -> list[str]:
    return list(networks.blueprint(ModelSpec(name=name), num_outputs=3, size=size(name)).stages)


def cut_points(name: str) -> list[str]:
    return list(networks.blueprint(ModelSpec(name=name), num_outputs=3, size=size(name)).cut_points)


def step(trained: Network, x: Tensor, *, optimizer: torch.optim.Optimizer | None = None) -> None:
    """Take one training step and check that every trainable weight got a finite gradient."""
    parameters = [parameter for parameter in trained.parameters() if parameter.requires_grad]
    optimizer = optimizer or torch.optim.SGD(parameters, lr=0.1)
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(trained(x), torch.arange(len(x)) % 3)
    loss.backward()
    for name, parameter in trained.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
    optimizer.step()
