"""The cache: decoded once, checked on every read, whole or not at all."""

import errno
import multiprocessing
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from transfusion_lib.data.dataset import Dataset, Split
from transfusion_lib.data.reading import cache
from transfusion_lib.data.reading.cache import Shelf, StoredDigests, content_key, keep
from transfusion_lib.errors import DataError

SHAPE = (3, 8, 8)


def picture(key: int) -> NDArray[np.uint8]:
    """Return the image that belongs to a key."""
    return np.random.default_rng(key).integers(0, 256, SHAPE, np.uint8)


def pairs(keys: list[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield keys with their images."""
    return ((key, picture(key)) for key in keys)


def add(shelf: Shelf, *values: int) -> None:
    """Put the images of keys on a shelf."""
    shelf.fill(keys(*values), lambda missing: pairs([key for key, lacks in zip(values, missing, strict=True) if lacks]))


def keys(*values: int) -> NDArray[np.uint64]:
    """Return keys as an array."""
    return np.array(values, np.uint64)


def read(shelf: Shelf, *values: int, out: Path | None = None) -> list[list[int]] | None:
    """Return the images of keys as plain lists."""
    images = shelf.read(keys(*values), out=out)
    return None if images is None else images.flatten(1).tolist()


def expected(*values: int) -> list[list[int]]:
    """Return the images that belong to keys as plain lists."""
    return [picture(value).ravel().tolist() for value in values]


@pytest.mark.parametrize("mapped", [False, True])
def test_images_come_back_in_any_order(tmp_path: Path, mapped: bool) -> None:
    """Also repeated, in parts, from another object, and memory-mapped."""
    add(Shelf(tmp_path / "s", shape=SHAPE), 5, 2**64 - 1, 7)
    shelf = Shelf(tmp_path / "s", shape=SHAPE)
    add(shelf, 1, 9)
    asked = (9, 2**64 - 1, 5, 5, 1)
    for _ in range(2):
        out = tmp_path / "s" / "mapped.bin" if mapped else None
        assert read(shelf, *asked, out=out) == expected(*asked)
    assert shelf.missing(keys(1, 2, 7, 8)).tolist() == [False, True, False, True]
    assert read(shelf, 1, 2) is None
    assert read(shelf) == []
    assert read(Shelf(tmp_path / "empty", shape=SHAPE), 1) is None


def test_an_interrupted_writer_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was committed stays; the rest is written again over the remains."""
    monkeypatch.setattr(cache, "BATCH", 2 * 3 * 8 * 8)
    shelf = Shelf(tmp_path, shape=SHAPE)

    def interrupted() -> Iterator[tuple[int, NDArray[np.uint8]]]:
        yield from pairs([1, 2, 3])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shelf.fill(keys(1, 2, 3), lambda _: interrupted())
    assert shelf.missing(keys(1, 2, 3)).tolist() == [False, False, True]
    add(shelf, 4, 3)
    assert read(shelf, 1, 2, 3, 4) == expected(1, 2, 3, 4)
    assert (tmp_path / "images.bin").stat().st_size == 4 * 3 * 8 * 8


@pytest.mark.parametrize("damage", ["flip", "cut", "index", "no index", "foreign index"])
@pytest.mark.parametrize("mapped", [False, True])
def test_damage_is_noticed(tmp_path: Path, damage: str, mapped: bool) -> None:
    """A flipped bit, a short file, a broken index: nothing wrong is ever returned."""
    shelf = Shelf(tmp_path, shape=SHAPE)
    add(shelf, 1, 2, 3)
    images, index = tmp_path / "images.bin", tmp_path / "index.npy"
    content = bytearray(images.read_bytes())
    if damage == "flip":
        content[250] ^= 1
        images.write_bytes(content)
    elif damage == "cut":
        images.write_bytes(content[:-1])
    elif damage == "index":
        index.write_bytes(index.read_bytes()[:-5])
    elif damage == "no index":
        index.unlink()
    else:
        np.save(index, np.zeros(3))
    out = tmp_path / "m.bin" if mapped else None
    assert read(shelf, 1, 2, 3, out=out) is None
    shelf.clear()
    add(shelf, 1, 2, 3)
    assert read(shelf, 1, 2, 3, out=out) == expected(1, 2, 3)


def test_a_damaged_map_is_made_again(tmp_path: Path) -> None:
    """The memory-mapped copy is checked too."""
    shelf = Shelf(tmp_path, shape=SHAPE)
    add(shelf, 1, 2)
    out = tmp_path / "m.bin"
    assert read(shelf, 2, 1, out=out) == expected(2, 1)
    content = bytearray(out.read_bytes())
    content[0] ^= 255
    out.write_bytes(content)
    assert read(shelf, 2, 1, out=out) == expected(2, 1)


def fill(folder: Path, first: int) -> None:
    """Add 40 images, some of which another process adds too."""
    add(Shelf(folder, shape=SHAPE), *range(first, first + 40))


def test_writers_at_once(tmp_path: Path) -> None:
    """Several processes that fill one shelf wait for each other."""
    context = multiprocessing.get_context("fork")
    started = [context.Process(target=fill, args=(tmp_path, first)) for first in (0, 20, 40)]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
    assert [process.exitcode for process in started] == [0, 0, 0]
    everything = tuple(range(80))
    assert read(Shelf(tmp_path, shape=SHAPE), *everything) == expected(*everything)


def test_no_space_left(tmp_path: Path) -> None:
    """A disk that takes no more is one line with the place and the repair; later the cache is whole again."""
    shelf = Shelf(tmp_path, shape=SHAPE)
    add(shelf, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        with pytest.raises(
            DataError, match=r"the data cache cannot be written \(.*\); free space there, or set"
        ) as caught:
            add(shelf, *range(2, 50))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.exit_status == 2
    assert str(tmp_path) in str(caught.value)
    assert read(shelf, 1) == expected(1)
    add(shelf, 2, 3)
    assert read(shelf, 1, 2, 3) == expected(1, 2, 3)
    with pytest.raises(DataError, match=r"No space left on device"), cache.disk_errors(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_content_keys() -> None:
    """Parts do not run together, and surrogates of odd file names are fine."""
    assert content_key("a", "bc") != content_key("ab", "c")
    assert content_key("caf\udce9", 1, 2) == content_key("caf\udce9", 1, 2)
    assert 0 <= content_key() < 2**64


def computed() -> Dataset:
    """Return a data set with everything that one can have."""

    def split(n: int) -> Split:
        return Split(
            images=torch.arange(n * 12, dtype=torch.uint8).reshape(n, 3, 2, 2),
            labels=torch.tensor([[1.0, float("nan")]]).repeat(n, 1),
            ids=tuple(f"{n}-{k}" for k in range(n)),
            units=("u",) * n,
            masks=torch.ones(n, 1, 2, 2, dtype=torch.uint8),
        )

    return Dataset(
        name="made",
        task="t",
        kind="multilabel",
        classes=("a", "b"),
        train=split(3),
        val=split(2),
        test=split(1),
        fingerprint="f",
        positive=(1,),
        regions=("r",),
        synthetic=True,
        notes={"source": "here"},
    )


def same(one: Dataset, two: Dataset) -> bool:
    """Tell whether two data sets are equal in every field."""
    plain = ("name", "task", "kind", "classes", "fingerprint", "positive", "regions", "left_out", "synthetic", "notes")
    tensors = [
        torch.equal(getattr(a, part).nan_to_num(9), getattr(b, part).nan_to_num(9))
        for a, b in zip(one.splits().values(), two.splits().values(), strict=True)
        for part in ("images", "labels", "masks")
    ]
    names = [
        (a.ids, a.units) == (b.ids, b.units) for a, b in zip(one.splits().values(), two.splits().values(), strict=True)
    ]
    return all(tensors) and all(names) and all(getattr(one, name) == getattr(two, name) for name in plain)


def test_computed_sets_are_kept(tmp_path: Path) -> None:
    """Made once, read the second time, made again after damage."""
    made = []

    def make() -> Dataset:
        made.append(1)
        return computed()

    for _ in range(3):
        assert same(keep(tmp_path / "c" / "set", make), computed())
    assert len(made) == 1
    file = tmp_path / "c" / "set" / "train_images.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert same(keep(tmp_path / "c" / "set", make), computed())
    (tmp_path / "c" / "set" / "dataset.json").write_text("{}")
    assert same(keep(tmp_path / "c" / "set", make), computed())
    assert len(made) == 3


def test_nothing_is_kept_of_a_failed_computation(tmp_path: Path) -> None:
    """The error passes through and the next attempt starts afresh."""

    def fail() -> Dataset:
        raise DataError("no")

    with pytest.raises(DataError, match=r"^no$"):
        keep(tmp_path / "set", fail)
    assert same(keep(tmp_path / "set", computed), computed())


def test_digests_outlive_the_process(tmp_path: Path) -> None:
    """What is stored is read back; a broken file counts as nothing known."""
    first = StoredDigests(tmp_path, root=tmp_path / "r")
    first.put(("a", 1, 2, 3), "3")
    first.save()
    assert StoredDigests(tmp_path, root=tmp_path / "r").get(("a", 1, 2, 3)) == "3"
    assert StoredDigests(tmp_path, root=tmp_path / "other").get(("a", 1, 2, 3)) is None
    first.path.write_text("[1,")
    assert StoredDigests(tmp_path, root=tmp_path / "r").get(("a", 1, 2, 3)) is None


def test_a_flipped_bit_in_a_description_is_noticed(tmp_path: Path) -> None:
    """Whichever bit of the text it is: the set is made again, the digests count as unknown."""
    keep(tmp_path / "set", computed)
    description = tmp_path / "set" / "dataset.json"
    whole = description.read_bytes()
    stored = StoredDigests(tmp_path, root=tmp_path / "r")
    stored.put(("a", 1, 2, 3), "abc")
    stored.save()
    digests = stored.path.read_bytes()
    for place in range(0, len(whole), 5):
        description.write_bytes(flipped(whole, place))
        assert same(keep(tmp_path / "set", computed), computed())
        assert description.read_bytes() == whole  # made again
    for place in range(len(digests)):
        stored.path.write_bytes(flipped(digests, place))
        assert not StoredDigests(tmp_path, root=tmp_path / "r").known


def flipped(content: bytes, place: int) -> bytes:
    """Return ``content`` with one bit of one byte changed."""
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
