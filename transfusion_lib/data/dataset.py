"""What a loaded data set is: three splits of uint8 images with labels, ids and units.

Every source makes one of these, and training, analysis and figures know nothing else of a source.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Split:
    """One part of a data set, all of it in memory (or memory-mapped) or on a device."""

    images: Tensor
    """uint8, (n, channels, height, width); in 3D (n, channels, depth, height, width)."""
    labels: Tensor
    """Multi-class: int64 (n,). Multi-label: float32 (n, classes) in {0, 1}, NaN where a label is to be ignored.
    Segmentation: the masks, uint8 (n, regions, height, width) in {0, 1}; the classes are the regions."""
    ids: tuple[str, ...]
    """One name per image, unique within the data set."""
    units: tuple[str, ...]
    """What must not be shared between splits: patient, lesion, or the image itself."""
    masks: Tensor | None = None
    """uint8 (n, regions, height, width) in {0, 1}, or None."""

    def __len__(self) -> int:
        return len(self.images)

    def drawn(self, count: int | None, *, seed: int = 0) -> Self:
        """Return ``count`` cases, drawn without replacement and in order; all for None or too few.

        The first cases would not do for an analysis: most sets are sorted by class.
        """
        if count is None or count >= len(self):
            return self
        chosen = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:count].sort().values
        places = chosen.tolist()
        return replace(
            self,
            images=self.images[chosen],
            labels=self.labels[chosen],
            ids=tuple(self.ids[place] for place in places),
            units=tuple(self.units[place] for place in places),
            masks=None if self.masks is None else self.masks[chosen],
        )

    def to(self, device: torch.device) -> Self:
        """Return the split with images and labels on ``device``; masks stay where they are."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set as one ``DataSpec`` describes it."""

    name: str
    task: str
    kind: Literal["multiclass", "multilabel", "segmentation"]
    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    fingerprint: str
    """Changes whenever an image, a label or a split changes."""
    positive: tuple[int, ...] | None = None
    """Multi-class: the classes whose summed probability is the headline score; None is one against the rest."""
    regions: tuple[str, ...] = ()
    """Names of the masks' regions."""
    left_out: tuple[str, ...] = ()
    """Files that ``on_bad="skip"`` left out, each with its reason."""
    remarks: tuple[str, ...] = ()
    """What of the files was left aside, merged or read otherwise than it is written; a line each, counted."""
    leaks: tuple[str, ...] = ()
    """A line for each two splits that share pictures: scores on the later one are too good."""
    decoding: dict[str, Any] = field(default_factory=dict)
    """How its image files were decoded, beyond size and channels: ``fit`` and ``white`` of ``decode.image``."""
    synthetic: bool = False
    """True where the images were computed; every page that shows them says so."""
    notes: dict[str, str] = field(default_factory=dict)
    """Source, licence, citation, unit of the split: the datasheet's lines."""

    @property
    def nbytes(self) -> int:
        """Bytes of all images and labels."""
        return sum(part.nbytes for split in self.splits().values() for part in (split.images, split.labels))

    @property
    def num_outputs(self) -> int:
        """Number of the network's outputs: one per class or label."""
        return len(self.classes)

    def splits(self) -> dict[str, Split]:
        """Return the three splits by name, in the order train, val, test."""
        return {"train": self.train, "val": self.val, "test": self.test}
