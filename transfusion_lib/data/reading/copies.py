"""Images that are copies of each other: the same content, or the same picture flipped, turned, brightened, packed anew.

Pictures are compared small. Two are near copies if, under one of the eight symmetries of the square, they correlate
both as wholes and in their fine detail, which different pictures of one kind (two chests, two skins) do not share.
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

VERSION = 1  # raise when other images would now count as near copies
SIZE, COARSE = 32, 8  # pixels
LARGEST = 20_000  # images; the comparison of all pairs of more takes minutes
ALIKE, WHOLE, DETAIL = 0.96, 0.98, 0.9  # least correlations: of coarse pictures, of small ones, of their fine detail
SMOOTH = 0.1  # share of fine detail in a small picture below which it tells nothing
BLOCK = 1024


def near(pictures: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Return the pairs of near copies among ``pictures``, uint8 (n, 3, 32, 32)."""
    if len(pictures) < 2:
        return []
    values = pictures.astype(np.float32)
    coarse = values.reshape(len(values), 3, COARSE, SIZE // COARSE, COARSE, SIZE // COARSE).mean((3, 5))
    vectors = _unit(coarse)
    found = []
    for turn in range(8):
        turned = _unit(_turned(coarse, turn))
        for start in range(0, len(vectors), BLOCK):
            rows, columns = np.nonzero(vectors[start : start + BLOCK] @ turned.T >= ALIKE)
            rows += start
            pairs = np.stack([rows, columns], 1)[rows < columns]
            for part in range(0, len(pairs), BLOCK):
                one, other = pairs[part : part + BLOCK].T
                same = _same(values[one], _turned(values[other], turn))
                found += [(int(a), int(b)) for a, b in zip(one[same], other[same], strict=True)]
    return sorted(set(found))


def _same(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell of each pair of pictures, (n, 3, 32, 32), whether both whole and detail correlate."""
    whole = (_unit(one) * _unit(other)).sum(1)
    fine, fine_other = _detail(one), _detail(other)
    share = fine.std((1, 2)) / (one.mean(1).std((1, 2)) + 1e-6)
    detail = (_unit(fine) * _unit(fine_other)).sum(1)
    return np.asarray((whole >= WHOLE) & np.where(share < SMOOTH, whole >= 1 - 1e-3, detail >= DETAIL))


def _detail(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the grey pictures, (n, 32, 32), less their mean over the 5 x 5 pixels around each."""
    grey = pictures.mean(1)
    padded = np.pad(grey, ((0, 0), (2, 2), (2, 2)), mode="edge")
    around = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), (1, 2)).mean((3, 4))
    return np.asarray(grey - around, np.float32)


def _turned(pictures: NDArray[np.float32], turn: int) -> NDArray[np.float32]:
    """Return the pictures under one of the eight symmetries of the square."""
    mirrored = pictures[..., ::-1] if turn >= 4 else pictures
    return np.rot90(mirrored, turn % 4, (-2, -1))


def _unit(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
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
    small = FilePictures(name="small", files=files, size=SIZE, channels=3, fit="stretch", white=catalogue.white)
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
