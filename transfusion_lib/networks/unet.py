"""U-Nets over the same table of stages: any network of the table is the encoder, the decoder is a library's.

The head is the decoder of segmentation_models_pytorch. Cutting the encoder at a stage leaves that many resolutions, and
the decoder keeps its last blocks for them: both sides are truncated symmetrically (TruncatedTL, appendix A.2).
"""

import importlib.util
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from transfusion_lib.errors import MissingExtraError, SpecError
from transfusion_lib.networks.stages import Network, first_convolution, give_storage
from transfusion_lib.spec import ModelSpec

CHANNELS = (256, 128, 64, 32, 16)  # of the decoder's blocks, the deepest first: the library's default
PROBE = 64  # edge in pixels of the image that shows where the resolution changes; of any size the same


class Decoder(nn.Module):
    """The library's decoder and its last convolution: maps from the input on to scores (n, regions, height, width)."""

    def __init__(self, channels: list[int], regions: int) -> None:
        """Build a decoder for maps of ``channels``, the first at the image's own resolution."""
        super().__init__()
        from segmentation_models_pytorch.base import SegmentationHead
        from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder

        depth = len(channels) - 1
        if not 1 <= depth <= len(CHANNELS):
            raise SpecError(f"a U-Net needs 1 to {len(CHANNELS)} halvings of the resolution, this cut leaves {depth}")
        self.decoder = UnetDecoder(channels, CHANNELS[-depth:], n_blocks=depth)
        self.last = SegmentationHead(CHANNELS[-1], regions)

    def forward(self, maps: list[Tensor]) -> Tensor:
        scores: Tensor = self.last(self.decoder(maps))
        return scores


class UNet(Network):
    """A network whose head sees the last map of every resolution and scores every pixel."""

    head: Any

    def __init__(self, encoder: Network, *, regions: int) -> None:
        """Take the encoder's units, but for a widening "top" before its classifier; ``fit_decoder`` adds the head."""
        _need_package()
        units: dict[str, list[nn.Module]] = {}
        for path, unit in zip(encoder.paths.values(), encoder.units().values(), strict=True):
            units.setdefault(path.split(".")[0], []).append(unit)
        units.pop("top", None)
        super().__init__(f"unet_{encoder.name}", units, encoder.head, mean=encoder.mean, std=encoder.std)
        self.head = nn.Identity()
        self.regions = regions
        self.taps: tuple[int, ...] = ()
        """Which of ``parts`` end a resolution, from the image's own on (None of it: the image itself)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (n, regions, height, width), before the sigmoid, of a batch (n, channels, height, width)."""
        maps = [] if self.taps[0] else [x]
        maps += [y for number, y in enumerate(self._walk(x), start=1) if number in self.taps]
        scores: Tensor = self.head(maps)
        return scores

    def parts(self) -> list[nn.Module]:
        """Return the units, those that are plain sequences taken apart: a ResNet's pooling ends its first unit."""
        found: list[nn.Module] = []
        for unit in self.units().values():
            found += list(unit.children()) if type(unit) is nn.Sequential else [unit]
        return found

    def fit_decoder(self) -> "UNet":
        """Give the body, as it is now, a decoder of its depth, with all weights zero."""
        with torch.no_grad():
            image = torch.zeros(1, self.in_channels, PROBE, PROBE, device=first_convolution(self).weight.device)
            self.eval()
            edges = {PROBE: (0, self.in_channels)}
            for number, y in enumerate(self._walk(image), start=1):
                edges[y.shape[-1]] = (number, y.shape[1])  # the last map of each resolution
        self.taps = tuple(number for number, _ in edges.values())
        with torch.device("meta"):  # the library's own random weights would use the global generator
            self.head = Decoder([channels for _, channels in edges.values()], self.regions)
        give_storage(self.head, image.device)
        return self

    def _walk(self, x: Tensor) -> Iterator[Tensor]:
        for part in self.parts():
            x = part(x)
            yield x


def check(spec: ModelSpec) -> None:
    """Raise a ``SpecError`` for surgery that a U-Net has no place for."""
    if spec.slim is not None:
        raise SpecError(f"{spec.name}: Slim is not defined for a U-Net; use truncate")
    if spec.truncate is not None and not spec.truncate.pooled:
        raise SpecError(f"{spec.name}: a U-Net has no head to pool before; leave pooled at true")


def _need_package() -> None:
    if importlib.util.find_spec("segmentation_models_pytorch") is None:
        raise MissingExtraError(
            "U-Nets need segmentation_models_pytorch; install with: pip install 'transfusion-reproduced[segmentation]'"
        )
