"""Batches: orders, inputs and augmentation with known answers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from transfusion_lib.spec import Augment
from transfusion_lib.training.batches import augment, match_channels, order, to_input


def drawn(seed: int = 0) -> torch.Generator:
    """Return a generator in a known state."""
    return torch.Generator().manual_seed(seed)


@given(n=st.integers(1, 200), seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 10**6))
def test_order_is_a_permutation_and_pure(n: int, seed: int, epoch: int) -> None:
    """Every image once, and the same whenever it is asked."""
    first = order(n, seed=seed, epoch=epoch)
    torch.rand(3)
    assert sorted(first.tolist()) == list(range(n))
    assert torch.equal(first, order(n, seed=seed, epoch=epoch))


def test_orders_differ_and_do_not_echo() -> None:
    """Neighbouring seeds and epochs give unrelated orders: (1, 0) is not (0, 1)."""
    orders = {tuple(order(50, seed=seed, epoch=epoch).tolist()) for seed in range(10) for epoch in range(10)}
    assert len(orders) == 100
    first_places = torch.stack([order(10, seed=0, epoch=epoch) for epoch in range(2000)])[:, 0]
    assert torch.bincount(first_places, minlength=10).min() > 140  # 200 expected, standard deviation 13


def test_order_is_pinned() -> None:
    """A changed order would change every run under the same key."""
    assert order(8, seed=0, epoch=0).tolist() == [4, 1, 3, 5, 0, 2, 6, 7]


def test_to_input_normalises() -> None:
    """(x / 255 - mean) / std, by channel."""
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 3, 1, 1).expand(2, 3, 4, 4)
    made = to_input(images, channels=3, mean=(0.5, 0.2, 0.0), std=(0.5, 1.0, 0.25))
    assert made.dtype == torch.float32
    assert made[0, :, 0, 0].tolist() == pytest.approx([-1.0, 0.0, 4.0], abs=1e-6)


def test_channels_match() -> None:
    """Grey feeds all channels; colour becomes the luma that Pillow computes; anything else is refused."""
    grey = torch.rand(2, 1, 5, 5)
    assert torch.equal(match_channels(grey, channels=3), grey.repeat(1, 3, 1, 1))
    volume = torch.rand(2, 1, 3, 5, 5)
    assert match_channels(volume, channels=3).shape == (2, 3, 3, 5, 5)
    colour = torch.tensor([1.0, 0.5, 0.25]).reshape(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert match_channels(colour, channels=1)[0, 0, 0, 0].item() == pytest.approx(0.299 + 0.587 / 2 + 0.114 / 4)
    with pytest.raises(ValueError, match="2 channels cannot feed a network of 3"):
        match_channels(torch.rand(1, 2, 4, 4), channels=3)


def test_nothing_asked_changes_nothing() -> None:
    """The default draws no random number and returns the images."""
    images, generator = torch.rand(4, 3, 8, 8), drawn()
    before = generator.get_state()
    assert torch.equal(augment(images, Augment(), generator), images)
    assert torch.equal(generator.get_state(), before)


def test_augmentation_is_a_function_of_the_generator() -> None:
    """The same state gives the same batch, another state another."""
    images = torch.rand(8, 3, 16, 16)
    everything = Augment(flip=True, rotation=20, crop=0.7, brightness=0.3)
    assert torch.equal(augment(images, everything, drawn(1)), augment(images, everything, drawn(1)))
    assert not torch.equal(augment(images, everything, drawn(1)), augment(images, everything, drawn(2)))
    assert 0 <= augment(images, everything, drawn(1)).min() <= augment(images, everything, drawn(1)).max() <= 1


def test_grey_changes_as_colour_to_the_bit() -> None:
    """Grey is repeated after the changes, and nothing shows it."""
    grey = torch.randint(0, 256, (16, 1, 24, 24), generator=drawn(), dtype=torch.uint8)
    everything = Augment(flip=True, rotation=20, crop=0.7, brightness=0.3)
    first, second = (
        to_input(
            images, channels=3, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), augmentation=everything, generator=drawn(5)
        )
        for images in (grey, grey.expand(-1, 3, -1, -1))
    )
    assert torch.equal(first, second)


def test_flip_mirrors_half_of_the_images() -> None:
    """Each image is itself or its mirror image, about equally often."""
    images = torch.rand(1000, 1, 4, 6)
    changed = augment(images, Augment(flip=True), drawn())
    same = (changed == images).flatten(1).all(1)
    mirrored = (changed == images.flip(-1)).flatten(1).all(1)
    assert (same | mirrored).all()
    assert 430 < int(mirrored.sum()) < 570


def test_rotation_by_a_known_angle() -> None:
    """A bright spot moves on a circle around the centre, and black comes in from outside."""
    images = torch.zeros(64, 1, 41, 41)
    images[:, :, 20, 36] = 1
    turned = augment(images, Augment(rotation=90), drawn())
    rows, columns = np.indices((41, 41)) - 20
    for image in turned[:, 0].numpy():
        weight = image.sum()
        y, x = (image * rows).sum() / weight, (image * columns).sum() / weight
        assert np.hypot(x, y) == pytest.approx(16, abs=0.3)
    assert augment(torch.ones(64, 1, 41, 41), Augment(rotation=90), drawn())[:, 0, 0, 0].min() == 0


def test_rotation_keeps_shapes_in_oblong_images() -> None:
    """Angles are those of pixels, not of a stretched square."""
    images = torch.zeros(200, 1, 21, 61)
    images[:, :, 10, 38] = 1
    turned = augment(images, Augment(rotation=180), drawn())[:, 0].numpy()
    rows, columns = np.indices((21, 61))
    for image in turned[turned.sum((1, 2)) > 0.9]:
        y, x = (image * (rows - 10)).sum() / image.sum(), (image * (columns - 30)).sum() / image.sum()
        assert np.hypot(x, y) == pytest.approx(8, abs=0.3)


def test_crop_enlarges_a_part() -> None:
    """A ramp stays a ramp whose slope is the relative size of the crop, inside the image."""
    ramp = torch.linspace(0, 1, 101).expand(200, 1, 101, 101)
    cropped = augment(ramp, Augment(crop=0.5), drawn())[:, 0, 50]
    slope = (cropped[:, 80] - cropped[:, 20]) / (ramp[0, 0, 0, 80] - ramp[0, 0, 0, 20])
    assert 0.5 <= slope.min() < 0.53
    assert 0.97 < slope.max() <= 1.001
    assert cropped[:, 1:-1].min() >= 0
    assert cropped[:, 1:-1].max() <= 1


def test_brightness_is_a_factor_before_normalisation() -> None:
    """Every pixel of an image is multiplied by one factor in [0.8, 1.2]."""
    images = torch.full((300, 3, 4, 4), 102, dtype=torch.uint8)
    made = to_input(
        images, channels=3, mean=(0.4,) * 3, std=(1.0,) * 3, augmentation=Augment(brightness=0.2), generator=drawn()
    )
    factor = (made + 0.4) / 0.4
    assert factor.flatten(1).std(1).max() < 1e-5
    assert 0.8 <= factor.min() < 0.81
    assert 1.19 < factor.max() <= 1.2001
    with pytest.raises(ValueError, match="needs a generator"):
        to_input(images, channels=3, mean=(0.4,) * 3, std=(1.0,) * 3, augmentation=Augment(flip=True))


def test_volumes_change_slice_by_slice_alike() -> None:
    """A volume of equal slices stays one of equal slices."""
    volume = torch.rand(6, 1, 1, 12, 12).expand(6, 1, 5, 12, 12)
    changed = augment(volume, Augment(flip=True, rotation=30, crop=0.8), drawn())
    assert changed.shape == volume.shape
    assert torch.allclose(changed, changed[:, :, :1].expand_as(changed))
