"""Splits and subsets: by unit, stratified, nested, a function of the seed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transfusion_lib.data.reading import splits
from transfusion_lib.data.reading.catalogue import Catalogue, Item, SplitName
from transfusion_lib.errors import DataError
from transfusion_lib.spec import DataSpec

SPEC = DataSpec(name="made")


def items(labels: Sequence[int], *, per_unit: int = 1) -> list[Item]:
    """Return items with ``labels``, ``per_unit`` neighbours in each unit."""
    return [Item(id=f"i{k:05d}", file="f", label=label, unit=f"u{k // per_unit}") for k, label in enumerate(labels)]


def catalogue(made: Sequence[Item], **fields: object) -> Catalogue:
    """Return a catalogue of ``made``."""
    plain = Catalogue(task="t", kind="multiclass", classes=("a", "b", "c"), items=tuple(made), channels=3)
    return replace(plain, **fields)  # type: ignore[arg-type]  # the tests give the right ones


@given(seed=st.integers(0, 2**31 - 1), sizes=st.lists(st.integers(1, 9), min_size=40, max_size=120))
def test_every_image_is_in_one_split_and_every_unit_too(seed: int, sizes: list[int]) -> None:
    """Whatever the sizes of the units; the fractions are met to within half a unit, and one for a second label."""
    made = [
        Item(id=f"{unit}-{k}", file="f", label=unit % 3, unit=f"u{unit}")
        for unit, n in enumerate(sizes)
        for k in range(n)
    ]
    parts = splits.assign(catalogue(made), SPEC.replace(seed=seed))
    assert sorted(item.id for part in parts.values() for item in part) == sorted(item.id for item in made)
    units = [{item.unit for item in part} for part in parts.values()]
    assert not units[0] & units[1]
    assert not units[0] & units[2]
    assert not units[1] & units[2]
    left = len(made)
    for part, fraction in ((parts["test"], 0.2), (parts["val"], 0.1)):
        of_unit = Counter(item.unit for item in part)
        only_label = any(
            len({item.label for item in part if item.unit != unit}) == 1 for unit in of_unit
        )  # without that unit there is nothing to tell apart: it may have been added for its label
        slack = max(sizes) / 2 + 0.5 + (max(sizes) if only_label else 0)
        assert abs(len(part) - fraction * left) <= slack
        left -= len(part)


def test_a_split_is_a_function_of_the_seed() -> None:
    """The same seed the same split, whatever the order of the items; another seed another."""
    made = items([0, 1, 2] * 60)
    first = splits.assign(catalogue(made), SPEC)
    again = splits.assign(catalogue(made[::-1]), SPEC)
    other = splits.assign(catalogue(made), SPEC.replace(seed=1))
    assert {item.id for item in first["test"]} == {item.id for item in again["test"]}
    assert {item.id for item in first["test"]} != {item.id for item in other["test"]}


def test_splits_are_pinned() -> None:
    """A changed split would change every run under the same key: raise splits.VERSION when it must."""
    parts = splits.assign(catalogue(items([0, 0, 1] * 10, per_unit=2)), SPEC.replace(train=5))
    assert [item.id for item in parts["test"]] == ["i00012", "i00013", "i00026", "i00027", "i00028", "i00029"]
    assert [item.id for item in parts["val"]] == ["i00004", "i00005"]
    assert [item.id for item in parts["train"]] == ["i00000", "i00008", "i00009", "i00016", "i00017"]


def test_splits_are_stratified() -> None:
    """A class of 5 % keeps its share in every split, over many seeds."""
    made = items([0] * 950 + [1] * 50, per_unit=2)
    for seed in range(20):
        parts = splits.assign(catalogue(made), SPEC.replace(seed=seed))
        for part in parts.values():
            share = Counter(item.label for item in part)[1] / len(part)
            assert share == pytest.approx(0.05, abs=0.016)


def test_every_unit_is_equally_likely_to_be_tested() -> None:
    """Large units are not preferred, nor are the first."""
    made = [Item(id=f"{u}-{k}", file="f", label=u % 2, unit=f"u{u:02d}") for u in range(40) for k in range(1 + u % 4)]
    counts: Counter[str] = Counter()
    for seed in range(400):
        counts.update({item.unit for item in splits.assign(catalogue(made), SPEC.replace(seed=seed))["test"]})
    shares = np.array([counts[f"u{u:02d}"] for u in range(40)]) / 400
    assert shares.min() > 0.1  # 0.2 expected, standard deviation 0.02, and units are few in a stratum
    assert shares.max() < 0.3


def test_subsets_are_exact_stratified_and_nested() -> None:
    """50 images lie within 100; each class has its share within one image; other splits do not move."""
    made = items([0] * 600 + [1] * 300 + [2] * 100)
    whole = splits.assign(catalogue(made), SPEC)
    chosen: set[str] = set()
    for n in (20, 50, 100, 400):
        parts = splits.assign(catalogue(made), SPEC.replace(train=n))
        assert len(parts["train"]) == n
        counts = Counter(item.label for item in parts["train"])
        total = Counter(item.label for item in whole["train"])
        for label in range(3):
            assert abs(counts[label] - n * total[label] / len(whole["train"])) <= 1
        assert chosen <= {item.id for item in parts["train"]}
        chosen = {item.id for item in parts["train"]}
        assert parts["test"] == whole["test"]
        assert parts["val"] == whole["val"]


def test_subsets_come_by_unit() -> None:
    """A subset of patients rather than of images: half of the images from about half of the patients."""
    made = items([k // 4 % 2 for k in range(2000)], per_unit=4)
    part = splits.assign(catalogue(made), SPEC.replace(train=400))["train"]
    sizes = Counter(Counter(item.unit for item in part).values())
    assert sizes[4] >= 98
    assert sum(sizes.values()) <= 102


def test_more_than_there_is() -> None:
    """The error says how many there are: an official split does not grow."""
    made = [replace(item, split="val" if k < 8 else "train") for k, item in enumerate(items([0, 1] * 50))]
    with pytest.raises(DataError, match=r"made: val has 8 images, 9 were asked for; ask for at most 8"):
        splits.assign(catalogue(made), SPEC.replace(val=9))


def official(labels: Sequence[int]) -> list[Item]:
    """Return pairs of images with official splits: of 20 units 13 train, 2 val, 5 test."""
    names: dict[int, SplitName] = {**dict.fromkeys(range(5), "test"), **dict.fromkeys((5, 6), "val")}
    return [replace(item, split=names.get(k // 2 % 20, "train")) for k, item in enumerate(items(labels, per_unit=2))]


def places(parts: splits.Parts) -> dict[str, str]:
    """Return the split of each image."""
    return {item.id: split for split, part in parts.items() for item in part}


@given(
    seed=st.integers(0, 2**31 - 1),
    test=st.integers(1, 200),
    val=st.integers(1, 150),
    mode=st.sampled_from(["drawn", "official"]),
    sizes=st.lists(st.integers(1, 4), min_size=200, max_size=240),
)
def test_a_drawn_split_has_the_asked_size(seed: int, test: int, val: int, mode: str, sizes: list[int]) -> None:
    """Exactly so many images, units and families whole in one split, and every image at most once."""
    made = [
        Item(id=f"{u}-{k}", file="f", label=u % 3, unit=f"u{u}", family=f"f{u // 2}")
        for u, n in enumerate(sizes)
        for k in range(n)
    ]
    asked = SPEC.replace(seed=seed, test=test, val=val, split=mode)
    if len(made) < test + val + 30:
        return
    parts = splits.assign(catalogue(made), asked)
    assert (len(parts["test"]), len(parts["val"])) == (test, val)
    assert parts["train"]
    families = [{item.family for item in part} for part in parts.values()]
    assert sum(map(len, families)) == len(set.union(*families))
    assert sum(map(len, parts.values())) == len(places(parts))


def test_a_drawn_split_takes_no_more_than_it_needs() -> None:
    """With a test set far above a fifth, at most one family is lost to exactness, and the strata keep their shares."""
    made = items([0] * 900 + [1] * 100, per_unit=2)
    for seed in range(20):
        parts = splits.assign(catalogue(made), SPEC.replace(split="drawn", test=501, val=200, seed=seed))
        assert {name: len(part) for name, part in parts.items()} == {"train": 298, "val": 200, "test": 501}
        assert sum(item.label == 1 for item in parts["test"]) == pytest.approx(50, abs=2)


def test_drawn_ignores_what_is_official() -> None:
    """It is the split of the same images without official splits; official respects each of them."""
    made = official([0, 0, 1, 1] * 200)
    plain = [replace(item, split=None) for item in made]
    for seed in range(10):
        kept = places(splits.assign(catalogue(made), SPEC.replace(seed=seed)))
        assert kept == {item.id: item.split for item in made}
        asked = SPEC.replace(seed=seed, split="drawn")
        drawn = places(splits.assign(catalogue(made, top_up_val=True), asked))
        assert drawn == places(splits.assign(catalogue(plain), SPEC.replace(seed=seed)))
        assert drawn != kept
        assert {kept[name] for name, split in drawn.items() if split == "test"} == {"train", "val", "test"}


def test_a_smaller_number_leaves_the_split_alone() -> None:
    """What is asked below the fraction is a subset of the whole split, and train does not gain what is left over."""
    made = items([0, 1, 1] * 200, per_unit=2)
    whole = splits.assign(catalogue(made), SPEC.replace(split="drawn"))
    parts = splits.assign(catalogue(made), SPEC.replace(split="drawn", test=50, val=20))
    assert parts["train"] == whole["train"]
    asked: dict[SplitName, int] = {"test": 50, "val": 20}
    for split, n in asked.items():
        assert len(parts[split]) == n
        assert {item.id for item in parts[split]} < {item.id for item in whole[split]}


def test_a_topped_up_val_grows_too() -> None:
    """Its official part stays, and the rest comes from train."""
    made = [replace(item, split="val" if k < 4 else "train") for k, item in enumerate(items([0, 1] * 100, per_unit=2))]
    made += [replace(item, id=f"t{item.id}", unit=f"t{item.unit}", split="test") for item in made[:20]]
    parts = splits.assign(catalogue(made, top_up_val=True), SPEC.replace(val=60))
    assert len(parts["val"]) == 60
    assert len(parts["train"]) == 140
    assert len(parts["test"]) == 20


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"test": 200},
            r"made: test of 200 images leaves none to train: 200 images of 100 units are there to split; ask",
        ),
        ({"test": 900}, r"made: test of 900 images leaves none to train: 200 images of 100 units"),
        (
            {"test": 150, "val": 50},
            r"made: val of 50 images leaves none to train: 50 images of 25 units .* took 150; ask",
        ),
        ({"test": 150, "val": 20, "train": 31}, r"made: train has 30 images, 31 were asked for; ask for at most 30"),
    ],
)
def test_a_demand_that_leaves_nothing_to_train(fields: dict[str, int], message: str) -> None:
    """The error says how many images and units there are."""
    made = items([0, 0, 1, 1] * 50, per_unit=2)
    with pytest.raises(DataError, match=message):
        splits.assign(catalogue(made), SPEC.replace(split="drawn", **fields))


def test_the_seed_moves_the_subsets_of_official_splits() -> None:
    """Each of train, val and test, while whole official splits stand still."""
    made = official([0, 0, 1, 1] * 200)
    first, other = (
        splits.assign(catalogue(made), SPEC.replace(train=100, val=40, test=50, seed=seed)) for seed in (0, 1)
    )
    asked: dict[SplitName, int] = {"train": 100, "val": 40, "test": 50}
    for split, n in asked.items():
        chosen = [{item.id for item in parts[split]} for parts in (first, other)]
        assert [len(ids) for ids in chosen] == [n, n]
        assert chosen[0] != chosen[1]
    assert splits.assign(catalogue(made), SPEC) == splits.assign(catalogue(made), SPEC.replace(seed=1))


def test_official_splits_are_kept() -> None:
    """What is official stays; only what is missing is drawn, from train."""
    made = [replace(item, split="test" if k < 30 else "train") for k, item in enumerate(items([0, 1] * 100))]
    parts = splits.assign(catalogue(made), SPEC)
    assert parts["test"] == made[:30]
    assert len(parts["val"]) == 17
    complete = [replace(item, split="val" if 30 <= k < 35 else item.split) for k, item in enumerate(made)]
    parts = splits.assign(catalogue(complete), SPEC)
    assert parts["val"] == complete[30:35]
    topped = splits.assign(catalogue(complete, top_up_val=True), SPEC)["val"]
    assert topped[:5] == complete[30:35]
    assert len(topped) == 17


def test_families_stay_together_where_a_split_is_drawn() -> None:
    """Two units that may be one patient are never in train and val."""
    made = [
        Item(id=f"{k}", file="f", label=k % 2, unit=f"u{k}", family=f"f{k // 2}", split="test" if k < 20 else "train")
        for k in range(200)
    ]
    parts = splits.assign(catalogue(made), SPEC)
    assert not {item.family for item in parts["train"]} & {item.family for item in parts["val"]}


def test_multilabel_splits_keep_the_share_of_each_label() -> None:
    """Also with ignored labels."""
    rng = np.random.default_rng(0)
    labels = rng.random((3000, 3)) < [0.5, 0.2, 0.05]
    values = np.where(rng.random((3000, 3)) < 0.1, np.nan, labels)
    made = [Item(id=f"{k}", file="f", label=tuple(row), unit=f"{k}") for k, row in enumerate(values.tolist())]
    parts = splits.assign(catalogue(made, kind="multilabel"), SPEC)
    shares = {name: np.nanmean([item.label for item in part], axis=0) for name, part in parts.items()}
    np.testing.assert_allclose(shares["test"], shares["train"], atol=0.035)
    np.testing.assert_allclose(shares["val"], shares["train"], atol=0.05)


@given(seed=st.integers(0, 2**31 - 1), per_unit=st.integers(1, 2))
def test_a_rare_class_reaches_every_split(seed: int, per_unit: int) -> None:
    """Four units in thirty-four: a tenth of the rest holds none, and one of them is moved there, whole."""
    made = items([0] * 30 * per_unit + [1] * 4 * per_unit, per_unit=per_unit)
    parts = splits.assign(catalogue(made), SPEC.replace(seed=seed))
    splits.check_classes(parts, catalogue(made), name="made")
    assert sorted(item.id for part in parts.values() for item in part) == sorted(item.id for item in made)
    assert sum(len({item.unit for item in part}) for part in parts.values()) == 34
    again = splits.assign(catalogue(made[::-1]), SPEC.replace(seed=seed))
    assert {item.id for item in parts["val"]} == {item.id for item in again["val"]}


def test_too_rare_a_class_is_left_where_it_is() -> None:
    """Train keeps the last of a class; the check then says that there is too little of it."""
    made = items([0] * 30 + [1] * 2)
    parts = splits.assign(catalogue(made), SPEC)
    assert {item.label for item in parts["train"]} == {0, 1}
    with pytest.raises(DataError, match="of val have the same label"):
        splits.check_classes(parts, catalogue(made), name="made")


def test_a_split_with_one_class_is_an_error() -> None:
    """No AUROC exists there; with a headline of several classes, it is their sum that must vary."""
    made = items([0, 1, 2, 2])
    parts: splits.Parts = {"train": made, "val": made, "test": made[2:]}
    with pytest.raises(DataError, match=r"made: all 2 images of test have the same label; ask for more images"):
        splits.check_classes(parts, catalogue(made), name="made")
    splits.check_classes(parts | {"test": made[:2]}, catalogue(made), name="made")
    with pytest.raises(DataError, match="all 2 images of test"):
        splits.check_classes(parts | {"test": made[:2]}, catalogue(made, positive=(0, 1)), name="made")
    both = [replace(item, label=(1.0, float(k))) for k, item in enumerate(made[:2])]
    constant = [replace(item, label=(1.0, float("nan"))) for item in made]
    multi = catalogue(made, kind="multilabel", classes=("a", "b"))
    splits.check_classes({"train": both, "val": both, "test": both}, multi, name="made")
    with pytest.raises(DataError, match="all 4 images of val"):
        splits.check_classes({"train": both, "val": constant, "test": both}, multi, name="made")
