"""What splits share: a planted unit fails, planted copies are counted with their labels."""

import pytest
import torch

from transfusion_lib.data.dataset import Dataset, Split
from transfusion_lib.data.reading import leakage
from transfusion_lib.errors import DataError


def split(name: str, values: list[int], labels: list[int], *, units: list[str] | None = None) -> Split:
    """Return a split whose images are constant ``values``."""
    ids = tuple(f"{name}{k}" for k in range(len(values)))
    return Split(
        images=torch.tensor(values, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 4, 4).contiguous(),
        labels=torch.tensor(labels),
        ids=ids,
        units=tuple(units) if units else ids,
    )


def dataset(train: Split, val: Split, test: Split) -> Dataset:
    """Return a data set of three splits."""
    return Dataset(
        name="made", task="t", kind="multiclass", classes=("a", "b"), train=train, val=val, test=test, fingerprint=""
    )


def test_a_shared_unit_fails() -> None:
    """The error names the unit, both splits and the number of such units."""
    train = split("a", [1, 2, 3], [0, 1, 0], units=["p1", "p2", "p3"])
    clean = dataset(train, split("b", [4], [0], units=["p4"]), split("c", [5], [0], units=["p5"]))
    assert leakage.report(clean).units == 5
    leaking = dataset(train, split("b", [4], [0], units=["p4"]), split("c", [5, 6], [0, 1], units=["p3", "p2"]))
    with pytest.raises(DataError, match=r"made: 2 unit\(s\) in two splits: 'p2' is in train and in test; move all"):
        leakage.report(leaking)


def test_copies_are_counted_within_and_across_with_their_labels() -> None:
    """Three groups: inside train; across train and test with one label; across val and test with two."""
    found = leakage.report(
        dataset(split("a", [1, 1, 2], [0, 0, 1]), split("b", [3], [0]), split("c", [2, 3, 9], [1, 1, 0]))
    )
    assert [group.ids for group in found.within] == [("a0", "a1")]
    assert [(group.ids, group.conflicting) for group in found.across] == [(("a2", "c0"), False), (("b0", "c1"), True)]
    assert found.across[0].splits == ("train", "test")
    assert found.conflicting == 1


def test_ignored_labels_do_not_conflict() -> None:
    """NaN is equal to itself here."""
    labels = torch.tensor([[float("nan"), 1.0]])
    one = Split(images=torch.zeros(1, 1, 2, 2, dtype=torch.uint8), labels=labels, ids=("x",), units=("x",))
    two = Split(images=torch.zeros(1, 1, 2, 2, dtype=torch.uint8), labels=labels.clone(), ids=("y",), units=("y",))
    other = Split(images=torch.ones(1, 1, 2, 2, dtype=torch.uint8), labels=labels, ids=("z",), units=("z",))
    assert leakage.report(dataset(one, two, other)).conflicting == 0
