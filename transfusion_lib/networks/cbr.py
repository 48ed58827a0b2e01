"""The paper's small networks: convolution, batch norm, ReLU, max pooling, and again (Transfusion, section 3)."""

from collections import OrderedDict

from torch import nn

from transfusion_lib.networks.stages import Head, Network

# Kernel size, channels of each layer, whether the last layer is pooled too. The appendix, as others quote it, gives
# CBR-Tiny 64-128-256-512; only these widths give Table 1's parameter counts (see the deviations page).
WIDTHS: dict[str, tuple[int, tuple[int, ...], bool]] = {
    "cbr_large_t": (7, (32, 64, 128, 256, 512), False),
    "cbr_large_w": (7, (64, 128, 256, 512), True),
    "cbr_small": (7, (32, 64, 128, 256), True),
    "cbr_tiny": (5, (32, 64, 128, 256), True),
}


def cbr(name: str, *, num_outputs: int, mean: tuple[float, ...], std: tuple[float, ...]) -> Network:
    """Return a CBR network for 3-channel images; its stages ``pool1`` ... end after the pooling, as in the paper's CCA.

    The paper states no padding: convolution and pooling are "same" here, so any image size works.
    """
    kernel, widths, pool_last = WIDTHS[name]
    stages = {}
    for number, (inside, outside) in enumerate(zip((3, *widths), widths, strict=False), start=1):
        layer: OrderedDict[str, nn.Module] = OrderedDict(
            conv=nn.Conv2d(inside, outside, kernel, padding=kernel // 2, bias=False),
            bn=nn.BatchNorm2d(outside),
            relu=nn.ReLU(inplace=True),
        )
        if pool_last or number < len(widths):
            layer["pool"] = nn.MaxPool2d(3, stride=2, padding=1)
        stages[f"pool{number}"] = [nn.Sequential(layer)]
    return Network(name, stages, Head(nn.Linear(widths[-1], num_outputs)), mean=mean, std=std)
