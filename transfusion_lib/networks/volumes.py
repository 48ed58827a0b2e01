"""Any network of the table as one for volumes: every layer gets a depth axis (I3D, Carreira and Zisserman, CVPR 2017).

Stages, cut points and names of weights stay, so flat pretrained weights are a source: ``init`` repeats each filter
along the depth and divides by their number, so that a volume that is the same at every depth gives, away from its
first and last slices, what one slice gives in the flat network.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import pad

from transfusion_lib.errors import SpecError
from transfusion_lib.networks.stages import Network


def inflate(network: Network) -> Network:
    """Give every layer of a flat network a depth axis, in place and without weights; return it, named ``..._3d``."""
    network.name = f"{network.name}_3d"
    for path, layer in list(network.body.named_modules()):
        replacement = _inflated(layer)
        if replacement is not None:
            network.body.set_submodule(path, replacement)
    return network


class SameConv3d(nn.Conv3d):
    """A convolution padded as TensorFlow does: the output is the input's edge over the stride, rounded up."""

    def forward(self, x: Tensor) -> Tensor:
        sides: list[int] = []
        for edge, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            missing = max((-(-edge // stride) - 1) * stride + kernel - edge, 0)
            sides += [missing // 2, missing - missing // 2]
        return super().forward(pad(x, sides))


class NormAct3d(nn.BatchNorm3d):
    """timm's batch norm that holds its activation, for volumes."""

    def __init__(self, channels: int, act: nn.Module, **options: Any) -> None:
        super().__init__(channels, **options)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = self.act(super().forward(x))
        return activated


def _inflated(layer: nn.Module) -> nn.Module | None:
    """Return the layer with a depth axis, None for what has no axes; a ``SpecError`` where there is no rule."""
    if isinstance(layer, nn.Conv2d):
        same = type(layer).__name__ == "Conv2dSame"
        options: dict[str, Any] = {name: _cubed(getattr(layer, name)) for name in ("kernel_size", "stride", "dilation")}
        return (SameConv3d if same else nn.Conv3d)(
            layer.in_channels,
            layer.out_channels,
            padding=0 if same else _cubed(layer.padding),
            groups=layer.groups,
            bias=layer.bias is not None,
            **options,
        )
    if isinstance(layer, nn.BatchNorm2d):
        settings: dict[str, Any] = {"eps": layer.eps, "momentum": layer.momentum}
        act = getattr(layer, "act", None)
        channels = layer.num_features
        return nn.BatchNorm3d(channels, **settings) if act is None else NormAct3d(channels, act, **settings)
    if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
        kind = nn.MaxPool3d if isinstance(layer, nn.MaxPool2d) else nn.AvgPool3d
        return kind(_cubed(layer.kernel_size), _cubed(layer.stride), _cubed(layer.padding))
    if "2d" in type(layer).__name__.lower() and not list(layer.children()):
        raise SpecError(f"no rule to give {type(layer).__name__} a depth; use a ResNet, a CBR or efficientnet_lite0")
    return None


def _cubed(value: Any) -> Any:
    """Return a setting of height and width for depth, height and width; the two must be alike."""
    if isinstance(value, tuple):
        if len(set(value)) > 1:
            raise SpecError(f"no rule to give a layer with unlike sides {value} a depth")
        return value[0]
    return value
