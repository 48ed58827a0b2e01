"""The feed: the same batches wherever the images are, gathered ahead where they do not fit."""

import pytest
import torch

from transfusion_lib.data.dataset import Split
from transfusion_lib.training.batches import order
from transfusion_lib.training.feed import Feed, Pair

CPU = torch.device("cpu")
ALL = slice(0, 8)


def feed(*, resident: bool) -> Feed:
    """Return a feed of 20 images that are their numbers, in batches of 8."""
    images = torch.arange(20, dtype=torch.uint8).reshape(20, 1, 1, 1)
    names = tuple(map(str, range(20)))
    split = Split(images=images, labels=torch.arange(20), ids=names, units=names)
    return Feed(split, seed=3, batch_size=8, device=CPU, resident=resident)


@pytest.mark.parametrize("resident", [True, False])
def test_batches_are_a_function_of_the_step(resident: bool) -> None:
    """In any order of asking; an epoch is 2 batches, and what is left over waits for the next order."""
    one = feed(resident=resident)
    for step in (0, 1, 2, 3, 9, 2, 2):
        images, labels = one.batch(step, ALL)
        expected = order(20, seed=3, epoch=step // 2)[step % 2 * 8 :][:8]
        assert labels.tolist() == images.flatten().tolist() == expected.tolist()


@pytest.mark.parametrize("resident", [True, False])
def test_a_part_has_its_images_and_all_labels(resident: bool) -> None:
    one, whole = feed(resident=resident), feed(resident=True).batch(1, ALL)
    images, labels = one.batch(1, slice(2, 5))
    assert torch.equal(images, whole[0][2:5])
    assert torch.equal(labels, whole[1])


def test_the_next_batch_is_gathered_ahead_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    one, gathered = feed(resident=False), list[int]()
    plain = one.gathered

    def counted(step: int, part: slice) -> Pair:
        gathered.append(step)
        return plain(step, part)

    monkeypatch.setattr(one, "gathered", counted)
    for step in range(4):
        one.batch(step, ALL)
    assert one.ahead is not None
    one.ahead[2].result()
    assert gathered == [0, 1, 2, 3, 4]
