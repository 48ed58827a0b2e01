"""Where a chapter's pretrained weights come from: published, shipped with this package, or a run of one's own."""

from typing import Literal

from transfusion_lib import data
from transfusion_lib.errors import TransfusionError
from transfusion_lib.networks import Download, architecture, weights
from transfusion_lib.spec import DataSpec, ModelSpec, RunSpec, read_spec

Pretrained = Literal["auto", "without_download", "imagenet", "tiny_imagenet_100"]
"""A parameter of chapters: the source task, or a rule that finds it for each network."""
SHIPPED = "cbr_tiny"
"""A network whose pretrained weights ship with the spec that made them."""
OWN_STEPS = 1500
"""Steps of a source that a reader has to train before a chapter: an hour for ResNet-50 on a core, not three."""
Source = Literal["imagenet", "tiny_imagenet_100"] | RunSpec


def source_for(network: str, *, pretrained: Pretrained) -> Source | None:
    """Return the weights that a network starts from; None where nothing is at hand and nothing is published.

    "auto" takes published ImageNet weights that are on this machine; else ours that ship; else a run of our own on
    Tiny-ImageNet-100 where its images are on this machine; else published weights, to be downloaded. The others are
    the same on every machine, which recorded runs need: "without_download" takes ImageNet weights that a package
    brings, else ours, else a run of our own; "tiny_imagenet_100" takes ours, else a run of our own.
    """
    row = architecture(network)
    packaged = row.imagenet is not None and not isinstance(row.imagenet, Download)
    if pretrained == "imagenet":
        return "imagenet" if row.imagenet else None
    if pretrained != "tiny_imagenet_100" and packaged:
        return "imagenet"
    if pretrained == "auto" and row.imagenet and weights.at_hand("imagenet", network=network):
        return "imagenet"
    if row.shipped.is_file():
        return "tiny_imagenet_100"
    if pretrained != "auto" or _have_images():
        return pretraining(network)
    return "imagenet" if row.imagenet else None


def pretraining(network: str) -> RunSpec:
    """Return the run that pretrains a network on Tiny-ImageNet-100 by the recipe of our shipped weights, shortened."""
    row = architecture(network)
    recipe = read_spec(architecture(SHIPPED).shipped.with_suffix(".spec.json"))
    data = recipe.data.replace(size=max(recipe.data.size, row.minimum_size))
    train = recipe.train.replace(steps=OWN_STEPS)
    return recipe.replace(data=data, model=ModelSpec(name=network), train=train)


def _have_images() -> bool:
    """Whether the images of Tiny-ImageNet-100 are on this machine."""
    try:
        return data.TABLE["tiny_imagenet_100"].find(DataSpec(name="tiny_imagenet_100")) is not None
    except TransfusionError:
        return False
