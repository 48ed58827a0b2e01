"""The first paper's own numbers, as data: what figures show as quiet marks and tables beside ours.

All are from Raghu, Zhang, Kleinberg and Bengio, NeurIPS 2019 (arXiv 1902.07208), in the units printed there: AUC and
accuracy in per cent. Nothing is ever judged by them.
"""

from dataclasses import dataclass

SOURCE = "Raghu et al. 2019"
RETINA_IMAGES = 250_000
"""Training images of RETINA, "about" in section 2."""
SMALL_IMAGES = 5_000
"""Training images of Table 3."""
THRESHOLD = 0.91
"""Test AUC whose first crossing Figures 7 and 8 report."""


@dataclass(frozen=True)
class Measured:
    """Mean and deviation over three repetitions, as the paper prints them; it does not say which deviation."""

    mean: float
    deviation: float | None = None


@dataclass(frozen=True, kw_only=True)
class Row1:
    """A row of Table 1: RETINA."""

    random: Measured
    transfer: Measured
    parameters: int
    imagenet_top5: float


TABLE_1: dict[str, Row1] = {
    "ResNet-50": Row1(
        random=Measured(96.4, 0.05), transfer=Measured(96.7, 0.04), parameters=23_570_408, imagenet_top5=92.0
    ),
    "Inception-v3": Row1(
        random=Measured(96.6, 0.13), transfer=Measured(96.7, 0.05), parameters=22_881_424, imagenet_top5=93.9
    ),
    "CBR-LargeT": Row1(
        random=Measured(96.2, 0.04), transfer=Measured(96.2, 0.04), parameters=8_532_480, imagenet_top5=77.5
    ),
    "CBR-LargeW": Row1(
        random=Measured(95.8, 0.04), transfer=Measured(95.8, 0.05), parameters=8_432_128, imagenet_top5=75.1
    ),
    "CBR-Small": Row1(
        random=Measured(95.7, 0.04), transfer=Measured(95.8, 0.01), parameters=2_108_672, imagenet_top5=67.6
    ),
    "CBR-Tiny": Row1(
        random=Measured(95.8, 0.03), transfer=Measured(95.8, 0.01), parameters=1_076_480, imagenet_top5=73.5
    ),
}
"""Table 1."""

PATHOLOGIES = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")

TABLE_2: dict[tuple[str, str], tuple[Measured, ...]] = {
    (network, start): tuple(Measured(mean, deviation) for mean, deviation in row)
    for network, start, *row in (
        ("ResNet-50", "random", (79.52, 0.31), (75.23, 0.35), (85.49, 1.32), (88.34, 1.17), (88.70, 0.13)),
        ("ResNet-50", "transfer", (79.76, 0.47), (74.93, 1.41), (84.42, 0.65), (88.89, 1.66), (88.07, 1.23)),
        ("CBR-LargeT", "random", (81.52, 0.25), (74.83, 1.66), (88.12, 0.25), (87.97, 1.40), (88.37, 0.01)),
        ("CBR-LargeT", "transfer", (80.89, 1.68), (76.84, 0.87), (86.15, 0.71), (89.03, 0.74), (88.44, 0.84)),
        ("CBR-LargeW", "random", (79.79, 0.79), (74.63, 0.69), (86.71, 1.45), (84.80, 0.77), (86.53, 0.54)),
        ("CBR-LargeW", "transfer", (80.70, 0.31), (77.23, 0.84), (86.87, 0.33), (89.57, 0.34), (87.29, 0.69)),
        ("CBR-Small", "random", (80.43, 0.72), (74.36, 1.06), (88.07, 0.60), (86.20, 1.35), (86.14, 1.78)),
        ("CBR-Small", "transfer", (80.18, 0.85), (75.24, 1.43), (86.48, 1.13), (89.09, 1.04), (87.88, 1.01)),
        ("CBR-Tiny", "random", (80.81, 0.55), (75.17, 0.73), (85.31, 0.82), (84.87, 1.13), (85.56, 0.89)),
        ("CBR-Tiny", "transfer", (80.02, 1.06), (75.74, 0.71), (84.28, 0.82), (89.81, 1.08), (87.69, 0.75)),
    )
}
"""Table 2, CheXpert: by network and start ("random" or "transfer"), one entry per pathology."""

TABLE_3: dict[str, tuple[float, float]] = {
    "ResNet-50": (92.2, 94.6),
    "CBR-LargeT": (93.6, 93.9),
    "CBR-LargeW": (93.6, 93.7),
}
"""Table 3, RETINA with 5,000 images: random, pretrained."""

FIGURE_7: dict[str, int] = {
    "random": 69_069,
    "conv1": 31_031,
    "block1": 15_215,
    "block2": 8_608,
    "block3": 8_208,
    "block4": 7_407,
    "pretrained": 8_008,
}
"""Figure 7, ResNet-50: first step above the threshold by the stage that pretrained weights reach."""

FIGURE_8: dict[str, dict[str, int]] = {
    "ResNet-50": {"random": 69_069, "Gabor conv1": 25_425, "conv1": 31_031, "Slim": 8_208, "pretrained": 8_008},
    "CBR-LargeW": {"random": 104_104, "Gabor conv1": 82_082, "pretrained": 19_419},
}
"""Figure 8: first step above the threshold of each hybrid; conv1 of ResNet-50 is Figure 7's."""

PUBLISHED_TOP5: dict[str, float] = {
    "ResNet-18": 89.078,
    "ResNet-34": 91.420,
    "ResNet-50": 92.862,
    "Inception-v3": 93.450,
    "DenseNet-121": 91.972,
    "EfficientNet-B0": 93.532,
    "EfficientNet-Lite0": 92.17,
}
"""ImageNet top-5 accuracy in per cent as the publishers of the weights state it, not the paper's: torchvision's table
of models, and timm's for EfficientNet-Lite0."""
