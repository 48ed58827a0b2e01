"""Images that are copies of each other: the same content, or the same picture flipped, turned, cropped or packed anew.

Pictures are compared small and grey. Two are near copies if one, or a crop of most of it, correlates with the other
under one of the eight symmetries of the square, as a whole and in its fine detail, which different pictures of one
kind (two chests, two skins) do not share.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transfusion_lib.data.reading.archive import Files
from transfusion_lib.data.reading.cache import atomic, content_key, disk_errors, sealed, unsealed
from transfusion_lib.data.reading.catalogue import Catalogue, Item, SplitName, counted
from transfusion_lib.data.reading.loading import FilePictures, readable
from transfusion_lib.errors import DataError

VERSION = 2  # raise when other images would now count as near copies
SIZE, MEDIUM, COARSE = 64, 16, 8  # pixels
LARGEST = 10_000  # images; the comparison of all pairs takes six minutes on a core
ALIKE, WHOLE, DETAIL = 0.95, 0.9, 0.9  # least correlations: of coarse pictures, of small ones, of their fine detail
LIKELY = 0.75  # least correlation of medium detail, which is compared first
SMOOTH = 0.1  # share of fine detail in a small picture below which it tells nothing
CROP = 0.95  # edge of the crops that are looked for
OFFSETS = (1 / 6, 1 / 2, 5 / 6)  # where they lie, along each axis, in parts of what is cut away
MARGIN = 1  # pixels by which two pictures are moved against each other
BLOCK = 1024

Array = NDArray[np.float32]


def near(pictures: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Return the pairs of near copies among ``pictures``, uint8 (n, 1, 64, 64)."""
    if len(pictures) < 2:
        return []
    whole = pictures[:, 0].astype(np.float32)
    turned = [_turned(whole, turn) for turn in range(8)]
    others = [(_unit(_pooled(each, COARSE)), _unit(_pooled(_detail(each), MEDIUM))) for each in turned]
    found: set[tuple[int, int]] = set()
    for crop in (None, *((down, across) for down in OFFSETS for across in OFFSETS)):
        mine = whole if crop is None else np.asarray(_part(crop[0]) @ whole @ _part(crop[1]).T, np.float32)
        coarse, medium = _unit(_pooled(mine, COARSE)), _unit(_pooled(_detail(mine), MEDIUM))
        for each, (coarse_other, medium_other) in zip(turned, others, strict=True):
            for start in range(0, len(mine), BLOCK):
                rows, columns = np.nonzero(coarse[start : start + BLOCK] @ coarse_other.T >= ALIKE)
                pairs = np.stack([rows + start, columns], 1)
                pairs = pairs[pairs[:, 0] < pairs[:, 1] if crop is None else pairs[:, 0] != pairs[:, 1]]
                for part in range(0, len(pairs), BLOCK):
                    some = pairs[part : part + BLOCK]
                    near = (medium[some[:, 0]] * medium_other[some[:, 1]]).sum(1) >= LIKELY
                    some = some[near | (medium[some[:, 0]] == 0).all(1)]
                    if not len(some):
                        continue
                    same = _same(mine[some[:, 0]], each[some[:, 1]], exact=crop is None)
                    found |= {(min(pair), max(pair)) for pair in some[same].tolist()}
    return sorted(found)


def _same(one: Array, other: Array, *, exact: bool) -> NDArray[np.bool_]:
    """Tell of each pair of pictures, (n, 64, 64), whether both whole and detail correlate where they fit best.

    Pictures without detail are the same only if ``exact`` and as good as equal.
    """
    fine, fine_other = _detail(one), _detail(other)
    share = fine.std((1, 2)) / (one.std((1, 2)) + 1e-6)
    smooth = exact & ((_unit(one) * _unit(other)).sum(1) >= 1 - 1e-4)
    return np.asarray(
        np.where(share < SMOOTH, smooth, (_best(fine, fine_other) >= DETAIL) & (_best(one, other) >= WHOLE))
    )


def _best(one: Array, other: Array) -> Array:
    """Return the best correlation of each pair over moves of up to ``MARGIN`` pixels along each axis."""
    inner = SIZE - 2 * MARGIN
    fixed = _unit(one[:, MARGIN:-MARGIN, MARGIN:-MARGIN])
    moves = range(2 * MARGIN + 1)
    each = [(fixed * _unit(other[:, y : y + inner, x : x + inner])).sum(1) for y in moves for x in moves]
    return np.asarray(np.max(each, axis=0))


def _part(offset: float) -> Array:
    """Return the matrix (64, 64) that enlarges the part of an axis of pixels at ``offset`` to all of it."""
    places = (np.arange(SIZE) + 0.5) * CROP + offset * (1 - CROP) * SIZE - 0.5
    return np.asarray(np.maximum(0, 1 - np.abs(places.clip(0, SIZE - 1)[:, None] - np.arange(SIZE))), np.float32)


def _detail(pictures: Array) -> Array:
    """Return pictures (n, 64, 64), a little softened, less their mean over the 9 x 9 pixels around each."""
    soft = _softening(1)
    around = _softening(4) @ soft
    return np.asarray(soft @ pictures @ soft.T - around @ pictures @ around.T, np.float32)


def _softening(reach: int) -> Array:
    """Return the matrix (64, 64) that averages an axis over ``reach`` pixels on both sides, fewer at its ends."""
    near = np.abs(np.subtract.outer(np.arange(SIZE), np.arange(SIZE)))
    weights = (near <= reach) * (1.0 if reach > 1 else 1 / (1 + near))
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)


def _pooled(pictures: Array, edge: int) -> Array:
    """Return pictures (n, 64, 64) averaged to ``edge`` pixels."""
    size = SIZE // edge
    return np.asarray(pictures.reshape(len(pictures), edge, size, edge, size).mean((2, 4)), np.float32)


def _turned(pictures: Array, turn: int) -> Array:
    """Return the pictures under one of the eight symmetries of the square."""
    mirrored = pictures[..., ::-1] if turn >= 4 else pictures
    return np.rot90(mirrored, turn % 4, (-2, -1))


def _unit(pictures: Array) -> Array:
    """Return each picture as a vector of mean 0 and length 1; of zeros if it is all one value."""
    flat = pictures.reshape(len(pictures), -1)
    centred = flat - flat.mean(1, keepdims=True)
    return np.asarray(centred / (np.linalg.norm(centred, axis=1, keepdims=True) + 1e-3), np.float32)


def groups(files: Files, items: Sequence[Item], catalogue: Catalogue, *, cache: Path, nearly: bool) -> list[list[Item]]:
    """Return the items that show the same, in groups of two or more: identical files and, if ``nearly``, near copies.

    The comparison is remembered in ``cache`` for these contents. Near copies are not looked for among more than
    ``LARGEST`` images.
    """
    of: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        with suppress(DataError):  # a file that cannot be read will be left out
            of[files.digest(item.file)].append(item)
    stands = {digest: digest for digest in of}
    if nearly and len(of) <= LARGEST:
        for one, other in _near_files(files, of, catalogue, cache=cache):
            first, second = _root(stands, one), _root(stands, other)
            stands[max(first, second)] = min(first, second)
    found: dict[str, list[Item]] = defaultdict(list)
    for digest, same in of.items():
        found[_root(stands, digest)] += same
    return [each for each in found.values() if len(each) > 1]


def joined(catalogue: Catalogue, alike: Sequence[Sequence[Item]]) -> Catalogue | None:
    """Return the catalogue with one unit for the copies that a split drawn here could part; None if there are none."""
    if {item.split for item in catalogue.items} >= {"train", "val", "test"}:
        return None
    stands: dict[str, str] = {}
    for group in alike:
        families = sorted({_family(item) for item in group if item.split in (None, "train")})
        for family in families:
            stands.setdefault(family, family)
        for family in families[1:]:
            first, second = _root(stands, families[0]), _root(stands, family)
            stands[max(first, second)] = min(first, second)
    merged = {family: _root(stands, family) for family in stands}
    sizes = Counter(merged.values())
    merged = {family: root for family, root in merged.items() if sizes[root] > 1}
    if not merged:
        return None
    items = tuple(
        replace(item, unit=merged[_family(item)], family=merged[_family(item)])
        if item.split in (None, "train") and _family(item) in merged
        else item
        for item in catalogue.items
    )
    return replace(catalogue, items=items)


def told(alike: Sequence[Sequence[Item]], *, before: Catalogue) -> tuple[str, ...]:
    """Return a line on the copies that were of several units ``before`` and now share one."""
    family = {item.id: _family(item) for item in before.items}
    examples = [
        f"{group[0].id} = {group[1].id}"
        for group in alike
        if len({family[item.id] for item in group if item.split in (None, "train")}) > 1
    ]
    what = "group(s) of copies, of the same picture or nearly the same, each kept in one split"
    return (counted(what, examples),) if examples else ()


def across(parts: Mapping[SplitName, Sequence[Item]], alike: Sequence[Sequence[Item]]) -> tuple[str, ...]:
    """Return a line for each two splits that share pictures: how many of the later one, with examples."""
    home = {item.id: split for split, part in parts.items() for item in part}
    lines = []
    pairs: tuple[tuple[SplitName, SplitName], ...] = (("test", "train"), ("test", "val"), ("val", "train"))
    for later, earlier in pairs:
        shared = []
        for group in alike:
            known = [item.id for item in group if home[item.id] == earlier]
            shared += [f"{item.id} = {known[0]}" for item in group if known and home[item.id] == later]
        if shared:
            what = f"of {len(parts[later]):,} images of {later} are copies of images of {earlier}"
            lines.append(counted(what, shared))
    return tuple(lines)


def _near_files(
    files: Files, of: Mapping[str, Sequence[Item]], catalogue: Catalogue, *, cache: Path
) -> list[tuple[str, str]]:
    """Return the pairs of digests of near copies, from the cache where the same contents were compared before."""
    at = cache / "copies" / f"{content_key(VERSION, catalogue.white, *sorted(of)):016x}.json"
    with suppress(OSError, ValueError, TypeError):
        return [(str(one), str(other)) for one, other in unsealed(at.read_text())]
    small = FilePictures(name="small", files=files, size=SIZE, channels=1, fit="stretch", white=catalogue.white)
    items, pictures = readable(small, [same[0] for same in of.values()], cache=cache)
    digests = [files.digest(item.file) for item in items]
    found = [(digests[one], digests[other]) for one, other in near(pictures.numpy())]
    with disk_errors(at):
        at.parent.mkdir(parents=True, exist_ok=True)
        with atomic(at) as partial:
            partial.write_text(sealed(found))
    return found


def _family(item: Item) -> str:
    return item.family or item.unit


def _root(stands: dict[str, str], name: str) -> str:
    """Return what stands for the group of ``name``, with shorter ways to it from now on."""
    while stands[name] != name:
        stands[name] = stands[stands[name]]
        name = stands[name]
    return name
