"""Costs of a network against what can be counted by hand."""

import pytest
import torch
from torch import Tensor, nn

from transfusion_lib.analysis import costs
from transfusion_lib.spec import ModelSpec, Truncate

MIB = 2**20


class Keeps(nn.Module):
    """Makes ``count`` tensors of 1 MiB one after another and keeps ``keep`` of them."""

    def __init__(self, *, count: int, keep: int) -> None:
        super().__init__()
        self.count, self.keep = count, keep

    def forward(self, x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        for _ in range(self.count):
            kept = [*kept, x + 1][-self.keep :]
        return kept[-1].view(-1)[:1]


@pytest.mark.parametrize(("keep", "peak"), [(1, 2), (3, 4)])
def test_peak_memory_counts_what_is_alive_at_once(keep: int, peak: int) -> None:
    x = torch.zeros(MIB // 4)
    found = costs.peak_memory(Keeps(count=8, keep=keep), x)
    assert found == (1 + peak) * MIB  # the input, what is kept, and the new one before an old one goes


def test_views_and_in_place_operations_cost_nothing() -> None:
    x = torch.zeros(1, MIB // 4)
    view = nn.Sequential(nn.Flatten(), nn.ReLU(inplace=True), nn.Unflatten(1, (2, -1)))
    assert costs.peak_memory(view, x) == MIB


def test_weights_are_counted_once() -> None:
    layer = nn.Linear(512, 512, bias=False)
    assert costs.peak_memory(nn.Sequential(layer, layer), torch.zeros(1, 512)) == MIB + 3 * 512 * 4


def test_cutting_lowers_every_cost() -> None:
    whole, cut = ModelSpec(name="cbr_tiny"), ModelSpec(name="cbr_tiny", truncate=Truncate(at="pool2"))
    found = costs.measure({"whole": whole, "cut": cut}, num_outputs=2, size=32, batches=(1, 4), rounds=3)
    assert found["cut"].parameters < found["whole"].parameters
    assert found["cut"].macs < found["whole"].macs
    assert found["cut"].memory < found["whole"].memory
    assert {batch: len(times) for batch, times in found["cut"].latency_ms.items()} == {1: 3, 4: 3}
    assert all(time > 0 for times in found["cut"].latency_ms.values() for time in times)
