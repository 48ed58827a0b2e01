"""What a network costs to use: parameters, multiply-adds, latency, memory."""

import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from transfusion_lib import networks as models
from transfusion_lib.networks import Network
from transfusion_lib.spec import ModelSpec
from transfusion_lib.training import device as devices

WARM_UP = 3  # calls before the clock counts: memory is allocated, kernels are chosen


@dataclass(frozen=True, kw_only=True)
class Costs:
    """One network's costs for images of one size, float32."""

    parameters: int
    macs: int
    """Multiply-adds of convolutions and linear layers for one image."""
    memory: int
    """Bytes of all tensors alive at the worst moment of one forward pass: weights, input, intermediate results."""
    latency_ms: dict[int, tuple[float, ...]]
    """By batch size, milliseconds of each timed forward pass on the device at hand; read their median."""


def measure(
    specs: Mapping[str, ModelSpec],
    *,
    num_outputs: int,
    size: int,
    batches: tuple[int, ...] = (1, 32),
    rounds: int = 15,
    device: torch.device | None = None,
) -> dict[str, Costs]:
    """Return the costs of each named network on images of edge ``size`` in pixels, memory for the largest batch.

    Networks take turns, so that another program on this machine slows all of them alike: differences within a
    round are paired.
    """
    device = device or devices.resources().device
    networks = {name: _ready(spec, num_outputs=num_outputs, size=size, device=device) for name, spec in specs.items()}
    found = {name: models.describe(spec, num_outputs=num_outputs, size=size) for name, spec in specs.items()}
    times: dict[int, dict[str, tuple[float, ...]]] = {}
    for batch in batches:
        inputs = {name: _input(network, batch, size) for name, network in networks.items()}
        times[batch] = latencies(networks, inputs, rounds=rounds)
    return {
        name: Costs(
            parameters=found[name].parameters,
            macs=found[name].macs,
            memory=peak_memory(network, _input(network, max(batches), size)),
            latency_ms={batch: times[batch][name] for batch in batches},
        )
        for name, network in networks.items()
    }


def others_at_work(*, looks: int = 20) -> float | None:
    """Return how many other threads want the processor on average over a fifth of a second; None where nobody says."""
    found = []
    for _ in range(looks):
        try:
            running = Path("/proc/loadavg").read_text(encoding="utf-8").split()[3].partition("/")[0]
        except (OSError, IndexError):
            return None
        found.append(int(running) - 1)
        time.sleep(0.01)
    return sum(found) / looks


@torch.no_grad()
def latencies(
    networks: Mapping[str, nn.Module], inputs: Mapping[str, torch.Tensor], *, rounds: int
) -> dict[str, tuple[float, ...]]:
    """Return the milliseconds of ``rounds`` forward passes of each network on its input, taken in turns."""
    times: dict[str, list[float]] = {name: [] for name in networks}
    for number in range(-WARM_UP, rounds):
        for name, network in networks.items():
            x = inputs[name]
            devices.synchronise(x.device)
            began = time.perf_counter()
            network(x)
            devices.synchronise(x.device)
            if number >= 0:
                times[name].append(1000 * (time.perf_counter() - began))
    return {name: tuple(values) for name, values in times.items()}


@torch.no_grad()
def peak_memory(network: nn.Module, x: torch.Tensor) -> int:
    """Return the bytes of all tensors alive at the worst moment of ``network(x)``, weights and input included.

    Counted from the tensors themselves, so that it is the same on every machine; a convolution's scratch space, which
    depends on the device, is not in it.
    """
    kept = [*network.parameters(), *network.buffers(), x]
    with _Alive() as alive:
        network(x)
    return int(sum(tensor.untyped_storage().nbytes() for tensor in kept) + alive.peak)


class _Alive(TorchDispatchMode):
    """Counts the bytes of what operations put out for as long as it lives; views share their storage."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {
            leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)
        }
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, torch.Tensor) and leaf.untyped_storage()._cdata not in given:
                self._count(leaf.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, size)

    def _gone(self, size: int) -> None:
        self.now -= size


def _ready(spec: ModelSpec, *, num_outputs: int, size: int, device: torch.device) -> Network:
    """Return a network as it is used: evaluation mode, channels last; its weights do not matter here."""
    network = models.build(spec, num_outputs=num_outputs, size=size, generator=torch.Generator().manual_seed(0)).eval()
    layout = devices.memory_format(models.first_convolution(network).weight.ndim - 2)
    return network.to(device, memory_format=layout)  # type: ignore[call-overload,no-any-return]


def _input(network: Network, batch: int, size: int) -> torch.Tensor:
    """Return an input of ``network``: images, or volumes for one that takes volumes."""
    weight = models.first_convolution(network).weight
    axes = weight.ndim - 2
    x = torch.zeros((batch, weight.shape[1], *(size,) * axes), device=weight.device)
    return x.contiguous(memory_format=devices.memory_format(axes))
