"""Units that two splits must not share, and copies that they share all the same."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from transfusion_lib.data.dataset import Dataset
from transfusion_lib.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Copies:
    """Images of a data set that are the same pixel by pixel."""

    ids: tuple[str, ...]
    splits: tuple[str, ...]
    """The split of each."""
    conflicting: bool
    """They do not all have the same label."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the splits of a data set share."""

    units: int
    """Units over all splits; a shared one is an error before any report."""
    within: tuple[Copies, ...]
    """Groups of identical images inside one split."""
    across: tuple[Copies, ...]
    """Groups of identical images in more than one split."""

    @property
    def conflicting(self) -> int:
        """Number of groups, within and across, whose labels differ."""
        return sum(group.conflicting for group in self.within + self.across)


def check_units(units: Mapping[str, Iterable[str]], *, name: str) -> None:
    """Raise a ``DataError`` that names the first unit in two splits and how many there are."""
    home: dict[str, str] = {}
    shared: dict[str, tuple[str, str]] = {}
    for split, members in units.items():
        for unit in members:
            if home.setdefault(unit, split) != split:
                shared.setdefault(unit, (home[unit], split))
    if shared:
        unit, (first, second) = min(shared.items())
        raise DataError(
            f"{name}: {len(shared)} unit(s) in two splits: {unit!r} is in {first} and in {second}; "
            f"move all its images to one of them"
        )


def report(dataset: Dataset) -> Report:
    """Return what the splits share; images are compared as loaded, at the size of the data set."""
    check_units({name: split.units for name, split in dataset.splits().items()}, name=dataset.name)
    places: dict[bytes, list[tuple[str, int]]] = defaultdict(list)
    for name, split in dataset.splits().items():
        for row in range(len(split)):
            places[hashlib.blake2b(split.images[row].numpy().tobytes(), digest_size=16).digest()].append((name, row))
    groups = [_copies(dataset, group) for group in places.values() if len(group) > 1]
    return Report(
        units=len({unit for split in dataset.splits().values() for unit in split.units}),
        within=tuple(group for group in groups if len(set(group.splits)) == 1),
        across=tuple(group for group in groups if len(set(group.splits)) > 1),
    )


def _copies(dataset: Dataset, group: list[tuple[str, int]]) -> Copies:
    splits = dataset.splits()
    labels = {_plain(splits[name].labels[row]) for name, row in group}
    return Copies(
        ids=tuple(splits[name].ids[row] for name, row in group),
        splits=tuple(name for name, _ in group),
        conflicting=len(labels) > 1,
    )


def _plain(label: Tensor) -> str:
    """Return a label as text, so that two ignored ones are the same."""
    return str(label.tolist())
