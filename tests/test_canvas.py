from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest

from transfusion_lib.data.synthetic import chest, fundus
from transfusion_lib.data.synthetic.canvas import (
    Dice,
    Frame,
    Static,
    along,
    blur,
    join,
    mark,
    noise,
    refine,
    smoothstep,
    splat,
    spots,
    stream,
    stretch,
    strokes,
)


def frame(size: int, *, b: int = 1) -> Frame:
    """Return a frame on which one unit is the picture's edge and the origin its upper left corner."""
    one = np.ones((b, 1), np.float32)
    return Frame(size=size, scale=size * one, x0=-0.5 * one, y0=-0.5 * one, flip=one)


def one(value: float) -> np.ndarray:
    return np.full((1, 1), value, np.float32)


@pytest.mark.parametrize("size", [32, 200])
@pytest.mark.parametrize("radius", [0.004, 0.02, 0.11])
def test_a_spot_covers_its_area_at_any_size(size: int, radius: float) -> None:
    cover = splat(spots(one(0.43), one(0.61), radius), frame(size))
    if radius * size < 0.5:  # smaller than a pixel: covers little, more than nothing
        assert 0 < cover.sum() < 1.2
    else:
        assert cover.sum() / size**2 == pytest.approx(np.pi * radius**2, rel=0.2)
    row, column = np.unravel_index(cover[0].argmax(), (size, size))
    assert abs((column + 0.5) / size - 0.43) < radius + 1 / size
    assert abs((row + 0.5) / size - 0.61) < radius + 1 / size


def test_spots_unite_and_fall_on_their_own_picture() -> None:
    x, y = np.array([[0.5], [0.5]], np.float32), np.array([[0.25], [0.75]], np.float32)
    both = spots(x, y, 0.1, strength=0.7)
    cover = splat(join(both, both), frame(40, b=2))
    assert np.array_equal(cover, splat(both, frame(40, b=2)))
    assert cover.max() == pytest.approx(0.7)
    assert cover[0, 20:].max() == cover[1, :20].max() == 0
    assert splat(both[:, :0], frame(40, b=2)).max() == 0


def test_spots_over_the_edge_are_cut_and_beyond_it_ignored() -> None:
    cover = splat(spots(np.array([[0.0, 3.0]], np.float32), np.array([[0.5, 0.5]], np.float32), 0.2), frame(50))
    assert cover.sum() / 2500 == pytest.approx(np.pi * 0.04 / 2, rel=0.1)


@pytest.mark.parametrize("size", [32, 128, 300])
def test_a_stroke_is_as_dark_as_it_is_wide(size: int) -> None:
    ends = np.array([0.2, 0.8], np.float32)[:, None, None]
    line = strokes(ends, ends * 0.5, np.full((2, 1, 1), 0.005, np.float32), one(1)[None])
    cover = splat(along(line, frame(size)), frame(size))
    assert cover.sum() / size**2 == pytest.approx(0.01 * np.hypot(0.6, 0.3), rel=0.15)


def test_a_mask_holds_every_spot_however_small() -> None:
    tiny = spots(np.array([[0.3, 0.9]], np.float32), np.array([[0.3, 0.5]], np.float32), 0.0001)
    assert mark(tiny, splat(tiny, frame(20)), frame(20)).sum() == 2


def test_noise_has_the_deviation_asked_for_and_leaves_out_what_is_too_fine() -> None:
    layers, variance = noise(Static([stream(k) for k in range(40)]), 64, coarsest=16, octaves=(0.3, 0.4, 5.0))
    assert variance == pytest.approx(0.25)
    assert layers.std() == pytest.approx(0.5, rel=0.1)
    assert abs(layers.mean()) < 0.05


def test_refined_knots_span_the_same_surface() -> None:
    knots = Static([stream(3)]).take(9, 9)
    assert np.allclose(stretch(knots, 50), stretch(refine(knots), 50), atol=1e-5)


def test_noise_is_the_same_field_at_another_size() -> None:
    small, large = (noise(Static([stream(1)]), size, coarsest=4, octaves=(1.0, 1.0))[0][0] for size in (32, 96))
    assert np.abs(large[1::3, 1::3] - small).max() < 1e-5


def test_static_is_white_and_normal() -> None:
    numbers = Static([stream(5)]).take(200, 200)
    assert abs(numbers.mean()) < 0.02
    assert numbers.std() == pytest.approx(1, abs=0.02)
    assert abs((numbers[0, 1:] * numbers[0, :-1]).mean()) < 0.02
    assert (np.abs(numbers) < 1.96).mean() == pytest.approx(0.95, abs=0.02)


def test_dice_are_fair_and_run_out_loudly() -> None:
    dice = Dice([stream(1), stream(2)], supply=30_000)
    assert dice.uniform(2, 4, 5000).mean() == pytest.approx(3, abs=0.03)
    assert dice.normal(0.5, 5000).std() == pytest.approx(0.5, abs=0.02)
    with pytest.raises(IndexError, match="supply is 30000"):
        dice.uniform(0, 1, 20_000)


def test_blur_keeps_the_mean_and_spreads_by_sigma() -> None:
    point = np.zeros((1, 41, 41), np.float32)
    point[0, 20, 20] = 1
    spread = blur(point, 2.0)
    assert spread.sum() == pytest.approx(1, abs=1e-5)
    steps = np.arange(41) - 20
    assert (spread[0].sum(0) * steps**2).sum() == pytest.approx(4.0, rel=0.15)
    assert np.allclose(blur(np.full((2, 9, 9), 0.3, np.float32), 1.5), 0.3)


def test_smoothstep_rises_from_0_to_1() -> None:
    assert smoothstep(1, 3, np.array([0, 1, 2, 3, 4], np.float32)).tolist() == [0, 0, 0.5, 1, 1]


@pytest.mark.parametrize("painter", [fundus, chest])
def test_all_is_float32_from_the_scene_to_the_bytes(painter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One float64 makes np.maximum.at, and with it the whole picture, several times slower."""
    scene, _ = painter.scene(0, range(6))
    assert {array.dtype for array in arrays(scene)} == {np.dtype(np.float32)}
    layers: list[np.ndarray] = []
    for name in ("splat", "smoothstep", "to_bytes"):
        keep = getattr(painter, name)
        monkeypatch.setattr(painter, name, lambda *parts, keep=keep: (layers.extend(parts), keep(*parts))[1])  # type: ignore[func-returns-value]
    painter.draw(0, range(6), size=32)
    assert {layer.dtype for layer in layers if isinstance(layer, np.ndarray)} == {np.dtype(np.float32)}


def arrays(thing: Any) -> list[np.ndarray]:
    if isinstance(thing, np.ndarray):
        return [thing]
    if is_dataclass(thing):
        return [array for field in fields(thing) for array in arrays(getattr(thing, field.name))]
    parts = thing.values() if isinstance(thing, dict) else thing if isinstance(thing, tuple | list) else ()
    return [array for part in parts for array in arrays(part)]
