"""Splits by the unit that matters, stratified, a pure function of a seed.

One idea serves splits and subsets: an order in which every prefix is stratified. A split takes whole units from such
an order, a subset of n images takes its first n, so that smaller subsets lie inside larger ones.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from transfusion_lib.data.reading.catalogue import Catalogue, Item, SplitName
from transfusion_lib.errors import DataError
from transfusion_lib.spec import DataSpec

VERSION = 1  # raise when the same items and seed would now give another split
VAL, TEST = 0.1, 0.2  # fractions of the images, where no split is official
LARGEST_VAL = 5000  # images; a larger one would cost more than it tells

Parts = dict[SplitName, list[Item]]


def assign(catalogue: Catalogue, spec: DataSpec) -> Parts:
    """Return the items of each split, limited as ``spec`` says: in the catalogue's order, drawn additions last.

    Raises ``DataError`` for more images than the splits can have.
    """
    parts: Parts = {"train": [], "val": [], "test": []}
    for item in catalogue.items:
        official = item.split if spec.split == "official" else None
        parts[official or "train"].append(item)
    if not parts["test"]:
        parts["train"], parts["test"] = _draw(parts, "test", catalogue, spec, fraction=TEST)
    if not parts["val"]:
        parts["train"], parts["val"] = _draw(parts, "val", catalogue, spec, fraction=VAL)
    elif catalogue.top_up_val:
        missing = VAL - len(parts["val"]) / max(1, len(parts["train"]) + len(parts["val"]))
        parts["train"], parts["val"] = _draw(parts, "val", catalogue, spec, fraction=max(0.0, missing))
    limits: dict[SplitName, int | None] = {"train": spec.train, "val": spec.val, "test": spec.test}
    return {
        split: _subset(items, limits[split], seed=spec.seed, draw=3 + draw, what=f"{spec.name}: {split}")
        for draw, (split, items) in enumerate(parts.items())
    }


def check_classes(parts: Parts, catalogue: Catalogue, *, name: str) -> None:
    """Raise a ``DataError`` for a split with nothing to tell apart, where no AUROC exists."""
    for split, part in parts.items():
        if not _tells_apart(part, catalogue):
            raise DataError(
                f"{name}: all {len(part):,} images of {split} have the same label; "
                "ask for more images, or add images of another class"
            )


def _tells_apart(items: Sequence[Item], catalogue: Catalogue) -> bool:
    """Tell whether any label differs between ``items``, so that an AUROC exists."""
    if catalogue.kind == "segmentation":
        return True
    columns = [[_stratum(item.label)[k] for item in items] for k in range(_outputs(catalogue))]
    if catalogue.kind == "multiclass" and catalogue.positive:
        columns = [[int(label in catalogue.positive) for label in columns[0]]]
    return any(len(set(column)) > 1 for column in columns)


def _outputs(catalogue: Catalogue) -> int:
    return 1 if catalogue.kind == "multiclass" else len(catalogue.classes)


def _draw(
    parts: Parts, split: Literal["val", "test"], catalogue: Catalogue, spec: DataSpec, *, fraction: float
) -> tuple[list[Item], list[Item]]:
    """Move images drawn from train to ``split``, ``fraction`` of train or as many as asked; return both.

    Raises ``DataError`` where nothing would be left to train.
    """
    draw, asked = (1, spec.test) if split == "test" else (2, spec.val)
    items, official = parts["train"], parts[split]

    def drawn(at_least: int | None = None) -> tuple[list[Item], list[Item]]:
        rest, carved = _carve(items, fraction, seed=spec.seed, draw=draw, at_least=at_least)
        if official:
            return rest, [*official, *carved]
        return _judgeable(rest, carved, catalogue, seed=spec.seed, draw=draw)

    rest, part = drawn()
    if asked is not None and asked > len(part):
        rest, part = drawn(asked - len(official))
        if not rest:
            test = f" after test took {len(parts['test']):,}" if split == "val" else ""
            raise DataError(
                f"{spec.name}: {split} of {asked:,} images leaves none to train: {len(items):,} images of "
                f"{len({item.unit for item in items}):,} units are there to split{test}; ask for fewer"
            )
    return rest, part


def _carve(
    items: Sequence[Item], fraction: float, *, seed: int, draw: int, at_least: int | None = None
) -> tuple[list[Item], list[Item]]:
    """Return ``items`` without and with about ``fraction`` of the images, or ``at_least`` images, in whole families."""
    wanted = min(round(fraction * len(items)), LARGEST_VAL if draw == 2 else len(items))
    taken: set[str] = set()
    count = 0
    for family, members in _stratified_families(items, seed=seed, draw=draw):
        enough = count + len(members) / 2 > wanted if at_least is None else count >= at_least
        if enough:  # a fraction is nearer without this family
            break
        taken.add(family)
        count += len(members)
    rest = [item for item in items if _family(item) not in taken]
    return rest, [item for item in items if _family(item) in taken]


def _judgeable(
    rest: list[Item], carved: list[Item], catalogue: Catalogue, *, seed: int, draw: int
) -> tuple[list[Item], list[Item]]:
    """Return ``rest`` and ``carved``, with one family more in ``carved`` where only that gives it a second label.

    A tenth of a small set may hold nothing of a rare class. A set that has too little of it is left as it is.
    """
    if not carved or _tells_apart(carved, catalogue):
        return rest, carved
    for family, members in _stratified_families(rest, seed=seed, draw=draw):
        if _tells_apart([carved[0], *members], catalogue):
            left = [item for item in rest if _family(item) != family]
            return (left, [*carved, *members]) if _tells_apart(left, catalogue) else (rest, carved)
    return rest, carved


def _subset(items: Sequence[Item], limit: int | None, *, seed: int, draw: int, what: str) -> list[Item]:
    """Return ``limit`` of ``items`` in their order, or all of them for None.

    Units are shuffled. The images of a label, in the order of their units, are spread evenly over [0, 1) from a
    random start; the first ``limit`` are the subset, so each label has its share within one image, and units
    come whole but for the last of each label.
    """
    if limit is None or limit == len(items):
        return list(items)
    if limit > len(items):
        raise DataError(f"{what} has {len(items):,} images, {limit:,} were asked for; ask for at most {len(items):,}")
    generator = np.random.default_rng([seed, draw])
    units = sorted({item.unit for item in items})
    rank = dict(zip(units, generator.permutation(len(units)).tolist(), strict=True))
    strata: dict[tuple[int, ...], list[Item]] = defaultdict(list)
    for item in sorted(items, key=lambda item: (rank[item.unit], item.id)):
        strata[_stratum(item.label)].append(item)
    places: dict[str, float] = {}
    for stratum in sorted(strata):
        members = strata[stratum]
        start = generator.random()
        places |= {item.id: (index + start) / len(members) for index, item in enumerate(members)}
    chosen = set(sorted(places, key=lambda name: (places[name], name))[:limit])
    return [item for item in items if item.id in chosen]


def _family(item: Item) -> str:
    return item.family or item.unit


def _stratified_families(items: Sequence[Item], *, seed: int, draw: int) -> Iterator[tuple[str, list[Item]]]:
    """Yield families and their items in a random order in which every prefix is stratified.

    The families of a stratum are spread evenly over [0, 1) from a random start, in random order; all are then read
    from 0 to 1. A stratum is the rarest label that a family holds, and its size.
    """
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[_family(item)].append(item)
    rarity = Counter(_stratum(item.label) for item in items)
    strata: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for group in sorted(groups):
        rarest = min((_stratum(item.label) for item in groups[group]), key=lambda stratum: (rarity[stratum], stratum))
        strata[(*rarest, len(groups[group]).bit_length())].append(group)
    generator = np.random.default_rng([seed, draw])
    places: list[tuple[float, str]] = []
    for stratum in sorted(strata):
        names = strata[stratum]
        ranks = (generator.permutation(len(names)) + generator.random()) / len(names)
        places.extend(zip(ranks.tolist(), names, strict=True))
    for _, family in sorted(places):
        yield family, groups[family]


def _stratum(label: int | tuple[float, ...]) -> tuple[int, ...]:
    """Return a label as a stratum; an ignored one counts as absent."""
    return (label,) if isinstance(label, int) else tuple(int(value == 1) for value in label)
