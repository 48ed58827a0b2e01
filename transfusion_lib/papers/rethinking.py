"""Numbers that TruncatedTL prints (Peng et al. 2023, arXiv 2106.05152): costs of ResNet-50 variants at 224 px.

The accuracies of its tables are pictures in the text that we have, so they are not repeated here.
"""

from dataclasses import dataclass

from transfusion_lib.spec import ModelSpec, Slim, Truncate

SOURCE = "Peng et al. 2023, Table 1 (COVID-19 x-rays, ResNet-50, 224 px; Core i9-9920X and Quadro RTX 6000)"
SIZE = 224
OUTPUTS = 2


@dataclass(frozen=True, kw_only=True)
class Cost:
    """One row of Table 1."""

    method: str
    model: ModelSpec
    """The same network here."""
    parameters_m: float
    """P, in millions."""
    macs_g: float
    """Multiply-adds in thousand millions, counted by a tool that includes normalisation and activations."""
    latency_ms: float
    """T."""


def _resnet50(**surgery: Slim | Truncate) -> ModelSpec:
    return ModelSpec(name="resnet50", **surgery)  # type: ignore[arg-type]  # validated by the spec


TABLE_1: tuple[Cost, ...] = (
    Cost(method="FTL", model=_resnet50(), parameters_m=23.5, macs_g=4.12, latency_ms=3.59),
    Cost(method="LWFT-1", model=_resnet50(), parameters_m=23.5, macs_g=4.12, latency_ms=3.59),
    Cost(method="LWFT-2", model=_resnet50(), parameters_m=23.5, macs_g=4.12, latency_ms=3.56),
    Cost(method="TF-1", model=_resnet50(slim=Slim(above="block3")), parameters_m=12.9, macs_g=3.56, latency_ms=3.55),
    Cost(
        method="TTL-1", model=_resnet50(truncate=Truncate(at="block3")), parameters_m=8.55, macs_g=3.31, latency_ms=3.19
    ),
    Cost(
        method="TTL-2",
        model=_resnet50(truncate=Truncate(at="block3.4")),
        parameters_m=6.31,
        macs_g=2.87,
        latency_ms=2.97,
    ),
)
"""TF-2 is left out: its cut point is not stated."""
