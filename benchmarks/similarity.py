"""What the similarity measures cost: ``transfusion bench similarity``.

1. Streaming the moments of two layers, n = 200,000, d = 1,024, against the three products alone. At most 1.5 times.
2. All 45 pairs among 10 networks at 5 stages, factorised once each, against pair by pair. At least 3 times faster.
3. Why the products are float64: the error of CCA from float32 products, by the conditioning of the layers.

Each time is the best of the repeats. Activations are synthetic (normal); speed does not depend on their values.
"""

import resource
import time
from collections.abc import Callable, Iterator
from itertools import combinations

import torch
from torch import Tensor

from benchmarks.report import Report
from transfusion_lib.analysis.similarity import Moments, cca, factor
from transfusion_lib.training import device as devices

CHUNK = 8192


def measure(report: Report) -> None:
    """Measure all three and report the figures."""
    device = devices.resources().device
    with devices.threads(devices.cores()):
        streaming(report, 200_000, 1024, device=device)
        many_pairs(report, 4_000, (32, 64, 128, 256, 512), networks=10, device=device)
        accuracy(report, 20_000, 64, device=device)


def streaming(report: Report, n: int, d: int, *, device: torch.device) -> None:
    """Time ``Moments`` with CCA at the end against the bare products, chunk by chunk."""
    pool = [torch.randn(CHUNK, d, device=device) for _ in range(4)]

    def chunks() -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, n, CHUNK):
            rows, number = min(CHUNK, n - start), start // CHUNK
            yield pool[number % 2][:rows], pool[2 + number % 2][:rows]

    def products(dtype: torch.dtype) -> None:
        totals = [torch.zeros(d, d, dtype=dtype, device=device) for _ in range(3)]
        ready = [part.to(dtype) for part in pool]
        for start in range(0, n, CHUNK):
            rows = min(CHUNK, n - start)
            x, y = ready[0][:rows], ready[2][:rows]
            for total, (left, right) in zip(totals, ((x, x), (y, y), (x, y)), strict=True):
                total.addmm_(left.T, right)

    def ours() -> None:
        moments = Moments()
        for x, y in chunks():
            moments.update(x=x, y=y)
        moments.cca("x", "y")

    exact, single, full = (
        best(call, device) for call in (lambda: products(torch.float64), lambda: products(torch.float32), ours)
    )
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    report.note(f"n = {n:,}, d = {d:,}: three products alone {exact:.1f} s in float64, {single:.1f} s in float32")
    report.add(
        "moments and CCA, against the float64 products", full / exact, "times", at_most=1.5, details=f"{full:.1f} s"
    )
    whole = n * d * 16 / 2**30
    report.add("peak memory of the process", memory, "GiB", details=f"the activations in float64 are {whole:.2f} GiB")


def many_pairs(report: Report, n: int, widths: tuple[int, ...], *, networks: int, device: torch.device) -> None:
    """Time CCA of all pairs of networks at each stage, from arrays and from shared factors."""
    alone = shared = 0.0
    for d in widths:
        layers = [torch.randn(n, d, device=device) for _ in range(networks)]

        def pair_by_pair(layers: list[Tensor] = layers) -> None:
            for x, y in combinations(layers, 2):
                cca(x, y)

        def factorised_once(layers: list[Tensor] = layers) -> None:
            for x, y in combinations([factor(layer) for layer in layers], 2):
                cca(x, y)

        once, pairs = (best(call, device, repeats=2) for call in (factorised_once, pair_by_pair))
        report.note(f"{networks} networks, n = {n:,}, d = {d}: {pairs:.2f} s pair by pair, {once:.2f} s factorised")
        alone, shared = alone + pairs, shared + once
    details = f"{alone:.1f} s pair by pair, {shared:.1f} s factorised once"
    report.add(
        "all pairs at all stages from shared factors", alone / shared, "times faster", at_least=3, details=details
    )


def accuracy(report: Report, n: int, d: int, *, device: torch.device) -> None:
    """Compare CCA through float32 and float64 products with the answer from memory."""
    for decades in (0, 1, 2, 3):
        x = torch.randn(n, d, dtype=torch.float64, device=device)
        y = x + torch.randn_like(x)
        mix = torch.linalg.qr(torch.randn(d, d, dtype=torch.float64, device=device))[0]
        spectrum = torch.logspace(0, -decades, d, dtype=torch.float64, device=device)
        x, y = ((part * spectrum @ mix).float() for part in (x, y))
        truth = torch.from_numpy(cca(x, y).coefficients)
        ours = torch.from_numpy(Moments().update(x=x, y=y).cca("x", "y").coefficients)
        single = _from_float32_products(x, y)
        for name, found in (("float64", ours), ("float32", single)):
            error = float((found - truth).abs().max())
            report.add(f"largest error of CCA through {name} products, spectrum over {decades} decades", error, "")


def _from_float32_products(x: Tensor, y: Tensor) -> Tensor:
    """Return canonical correlations from products in float32, everything after them in float64."""
    totals = [(left - left.mean(0)).T @ (right - right.mean(0)) for left, right in ((x, x), (y, y), (x, y))]
    xx, yy, xy = (total.double() for total in totals)
    white = []
    for total in (xx, yy):
        values, vectors = torch.linalg.eigh(total)
        white.append(vectors / values.clamp_min(1e-300).sqrt())
    coefficients: Tensor = torch.linalg.svdvals(white[0].T @ xy @ white[1]).clamp(0, 1).cpu()
    return coefficients


def best(call: Callable[[], None], device: torch.device, *, repeats: int = 3) -> float:
    """Return the shortest of a few times in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        if device.type != "cpu":
            torch.zeros(1, device=device).item()  # waits for the device
        times.append(time.perf_counter() - start)
    return min(times)
