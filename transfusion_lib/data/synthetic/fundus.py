"""Synthetic colour fundus photographs with diabetic retinopathy, graded 0 to 4.

A ``Scene`` holds eyes in units of the photographed field: a disc of radius 1, 45 degrees across, so that 1 is about
6.6 mm and the optic disc 0.12. A size changes the resolution and nothing else. Every eye is laid out as a right eye
(disc on the right); a left eye is painted mirrored.

Grades follow the International Clinical Diabetic Retinopathy scale (Wilkinson et al., Ophthalmology 2003): 0 none;
1 microaneurysms only; 2 more than that; 3 haemorrhages in all four quadrants and venous beading; 4 neovascularisation
or preretinal haemorrhage. Anatomy, camera and lesions come from separate random numbers: nothing but the lesions
knows the grade.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from transfusion_lib.data.synthetic.canvas import (
    REFERENCE,
    Array,
    Bytes,
    Dice,
    Frame,
    Spots,
    Static,
    Strokes,
    along,
    bell,
    blur,
    join,
    mark,
    noise,
    smoothstep,
    splat,
    spots,
    stream,
    to_bytes,
)
from transfusion_lib.data.synthetic.vessels import Roots, grow, sprout

VERSION = 3
"""Raise when any picture, mask or label changes: it enters the data set's fingerprint."""

CHANNELS = 3
GRADES = ("none", "mild", "moderate", "severe", "proliferative")
PREVALENCE = (0.45, 0.15, 0.20, 0.12, 0.08)
LESIONS = ("microaneurysms", "haemorrhages", "hard_exudates", "cotton_wool", "neovascularisation")
REGIONS = (*LESIONS, "optic_disc", "vessels")
BETWEEN_EYES = 0.85
"""Correlation of the severity of a patient's two eyes."""
_EYE, _PATIENT, _SEVERITY = range(3)

Point = tuple[Array, Array]
Colour = tuple[float, float, float]
Truth = NDArray[np.bool_]


class Label(NamedTuple):
    """Whose eye it is and how ill."""

    patient: int
    eye: Literal["right", "left"]
    grade: int
    within: float
    """Severity within the grade, from 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Camera:
    """What the labels do not know: the eyes' pigment, the photographer and the machine. Arrays are (b, 1)."""

    scale: Array
    """Radius of the field as a fraction of the picture's edge."""
    shift: Point
    """Of the field's centre, as fractions of the edge."""
    cut: Array
    """Half height of the visible field: below 1, top and bottom are cut off."""
    tint: tuple[Array, Array, Array]
    """Reflectance of the fundus in red, green and blue."""
    mottle: Array
    tessellation: Array
    """How clearly the choroid's vessels show."""
    glow: tuple[Point, Array]
    """Where and how much brighter the light is."""
    crescent: tuple[Array, Array]
    """Angle and strength of a small pupil's reflex on the field's edge."""
    haze: Array
    """Share of stray light: a cataract."""
    gamma: Array
    exposure: Array
    blur: Array
    """Standard deviation of the defocus in units of the field."""
    noise: Array
    """Standard deviation of a pixel at the reference size, where 1 is white."""
    dust: Spots


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Eyes, laid out as right eyes: x to the nose, y down. Arrays are (b, 1)."""

    labels: tuple[Label, ...]
    camera: Camera
    disc: Point
    disc_radius: Array
    cup: Array
    """Radius of the cup relative to the disc's."""
    atrophy: Array
    """Strength of the pale crescent on the disc's temporal side."""
    fovea: Point
    reflex: Array
    """Strength of the young fovea's reflex."""
    vessels: Strokes
    beads: Spots
    """Swellings of the veins: a sign of the disease, though the masks count them with the vessels."""
    drusen: Spots
    naevus: Spots
    pigment: Spots
    lesions: dict[str, Spots]
    new_vessels: Strokes


def label(seed: int, index: int) -> Label:
    """Return the label of picture ``index``: a patient's right eye (even) or left (odd), of similar severity."""
    return _label(seed, index, stream(seed, _EYE, index).random())


def _label(seed: int, index: int, own: float) -> Label:
    """Return the label of an eye whose ``own`` share of the severity is a uniform number.

    The patient's share is stratified (a golden-ratio sequence), so that a small set has a large one's prevalences.
    """
    patient, side = divmod(index, 2)
    shared = (_offset(seed) + patient * 0.6180339887498949) % 1.0
    z, w = (NormalDist().inv_cdf(min(max(u, 1e-9), 1 - 1e-9)) for u in (shared, own))
    severity = NormalDist().cdf(BETWEEN_EYES**0.5 * z + (1 - BETWEEN_EYES) ** 0.5 * w)
    grade, low = 0, 0.0
    while severity >= low + PREVALENCE[grade] and grade < 4:
        low += PREVALENCE[grade]
        grade += 1
    return Label(patient, "left" if side else "right", grade, min((severity - low) / PREVALENCE[grade], 1.0))


@lru_cache(maxsize=8)
def _offset(seed: int) -> float:
    return float(stream(seed, _SEVERITY).random())


def scene(seed: int, indices: Sequence[int]) -> tuple[Scene, Static]:
    """Return the eyes on the pictures ``indices``, and what their texture and noise are made of."""
    generators = [stream(seed, _EYE, index) for index in indices]
    labels = tuple(_label(seed, index, rng.random()) for index, rng in zip(indices, generators, strict=True))
    patients = [stream(seed, _PATIENT, label.patient) for label in labels]
    camera = _camera(Dice(generators, supply=64), Dice(patients, supply=8))
    anatomy, ill = Dice(generators, supply=4100), Dice(generators, supply=14000)
    fovea = anatomy.either(0.6, -0.05, -0.32) + anatomy.normal(0.04), anatomy.normal(0.04)
    disc = fovea[0] + 0.68 + anatomy.normal(0.03), fovea[1] - 0.06 + anatomy.normal(0.03)
    vessels = _vessels(anatomy, disc, fovea)
    count = _count(ill, labels)
    eyes = Scene(
        labels=labels,
        camera=camera,
        disc=disc,
        disc_radius=0.125 + anatomy.normal(0.008),
        cup=np.clip(0.42 + anatomy.normal(0.12), 0.2, 0.75),
        atrophy=anatomy.chance(0.25) * anatomy.uniform(0.3, 1),
        fovea=fovea,
        reflex=np.clip(anatomy.normal(0.5), 0, 1),
        vessels=vessels,
        drusen=_drusen(anatomy, fovea),
        naevus=_naevus(anatomy),
        pigment=_pigment(anatomy),
        beads=_beads(ill, count.beaded, vessels, disc),
        lesions={
            "microaneurysms": _microaneurysms(ill, count.microaneurysms, disc, fovea),
            "haemorrhages": join(_haemorrhages(ill, count.haemorrhages, disc, fovea), _boats(ill, count.boats)),
            "hard_exudates": _exudates(ill, count.exudates, fovea),
            "cotton_wool": _cotton_wool(ill, count.cotton_wool, disc, fovea),
        },
        new_vessels=_new_vessels(ill, count.tangles, disc, fovea),
    )
    return eyes, Static(generators)


# The camera and the pigment.


def _camera(dice: Dice, patient: Dice) -> Camera:
    dark = (patient.uniform(0, 1) + patient.uniform(0, 1)) / 2
    light, deep, spread = (0.80, 0.43, 0.24), (0.52, 0.23, 0.10), (0.05, 0.06, 0.13)
    red, green, blue = (
        (a * (1 - dark) + b * dark) * np.exp(dice.normal(s)) for a, b, s in zip(light, deep, spread, strict=True)
    )
    angle, far = dice.uniform(0, 6.2832, 3), np.sqrt(dice.uniform(0, 1, 3))
    radius, strength, exist = dice.uniform(0.01, 0.03, 3), dice.uniform(0.1, 0.35, 3), dice.uniform(0, 1, 3) < 0.2
    return Camera(
        scale=dice.uniform(0.46, 0.495),
        shift=(dice.normal(0.006), dice.normal(0.006)),
        cut=dice.either(0.3, 0.88, 1),
        tint=(red, green, blue),
        mottle=dice.uniform(0.02, 0.06),
        tessellation=np.maximum(patient.normal(0.06), 0),
        glow=((dice.normal(0.3), dice.normal(0.3)), dice.uniform(0, 0.35)),
        crescent=(dice.uniform(0, 6.2832), np.maximum(dice.normal(0.25) - 0.1, 0)),
        haze=0.4 * dice.uniform(0, 1) ** 4,
        gamma=dice.uniform(0.85, 1.2),
        exposure=np.exp(dice.normal(0.12)),
        blur=0.0085 * dice.uniform(0, 1) ** 3,
        noise=dice.uniform(0.015, 0.045),
        dust=spots(far * np.cos(angle), far * np.sin(angle), radius, soft=0.02, strength=strength, exist=exist),
    )


# The healthy eye.

# Trunks: heading at the disc and far away in degrees (0 towards the nose, -90 up), the length over which they turn,
# their length, and the radius relative to the largest.
_TRUNKS = np.array(
    [
        (-98, -188, 0.55, 2.0, 1.0),
        (98, 188, 0.55, 2.0, 1.0),
        (-72, -30, 0.5, 1.2, 0.75),
        (72, 30, 0.5, 1.2, 0.75),
        (-160, -182, 0.3, 0.5, 0.35),
        (158, 182, 0.3, 0.5, 0.35),
    ],
    np.float32,
)
_VEIN, _ARTERY = 0.0135, 0.0100
"""Radius of the largest at the disc: 180 and 130 micrometres across, a little more than life."""
_PALER = 0.75
"""Strength of an artery's colour relative to a vein's."""


def _vessels(dice: Dice, disc: Point, fovea: Point) -> Strokes:
    """Return the six trunks of the arteries and of the veins, their branches, and the branches of those."""
    start, far, turn, length, relative = np.concatenate([_TRUNKS, _TRUNKS]).T
    n = len(start)
    vein = np.repeat(np.array([0, 1], np.float32), len(_TRUNKS))
    apart = (6 - 12 * vein) * np.sign(start)  # veins run outside of their arteries
    roots = Roots(
        x=disc[0] + dice.normal(0.015, n),
        y=disc[1] + dice.normal(0.02, n),
        heading=np.deg2rad(start + apart + dice.normal(6, n)),
        far=np.deg2rad(far + dice.normal(7, n)),
        turn=turn * dice.uniform(0.85, 1.15, n),
        length=length,
        radius=relative * (_ARTERY + (_VEIN - _ARTERY) * vein),
        strength=_PALER + (1 - _PALER) * vein,
    )
    avoid = (*fovea, 0.1)
    trunks = grow(dice, roots, points=40, avoid=avoid)
    branches = grow(dice, sprout(dice, trunks, each=6, length=(0.35, 0.85)), points=16, avoid=avoid)
    twigs = grow(dice, sprout(dice, branches, each=4, length=(0.1, 0.35)), points=7, avoid=avoid)
    return join(trunks.strokes(), branches.strokes(), twigs.strokes())


def _drusen(dice: Dice, fovea: Point) -> Spots:
    """Return the soft yellow spots that come with age, in one eye of seven: no diabetes, but like exudates."""
    n = 20
    exist = dice.chance(0.15) & (np.arange(n) < dice.uniform(4, n))
    radius = dice.uniform(0.006, 0.016, n)
    x, y = fovea[0] + dice.normal(0.15, n), fovea[1] + dice.normal(0.12, n)
    return spots(x, y, radius, soft=radius, strength=dice.uniform(0.2, 0.45, n), exist=exist)


def _pigment(dice: Dice) -> Spots:
    """Return clumps of pigment, in one eye of five: small and dark, but brown where blood is red."""
    n = 8
    exist = dice.chance(0.2) & (np.arange(n) < dice.uniform(1, n))
    angle, far = dice.uniform(0, 6.2832, n), 0.93 * np.sqrt(dice.uniform(0, 1, n))
    radius, strength = dice.uniform(0.006, 0.022, n), dice.uniform(0.4, 0.9, n)
    return spots(far * np.cos(angle), far * np.sin(angle), radius, soft=0.4 * radius, strength=strength, exist=exist)


def _naevus(dice: Dice) -> Spots:
    """Return a grey mole of the choroid, in one eye of 16."""
    angle, far = dice.uniform(0, 6.2832), dice.uniform(0.4, 0.9)
    x, y = far * np.cos(angle) + dice.normal(0.025, 8), far * np.sin(angle) + dice.normal(0.025, 8)
    return spots(x, y, 0.045, soft=0.04, strength=0.5, exist=dice.chance(0.06))


# The ill eye. Every eye is dealt as many lesions as the worst can have; those beyond its count do not exist.


class _Count(NamedTuple):
    """How many of each lesion the eyes have, (b, 1)."""

    microaneurysms: Array
    haemorrhages: Array
    exudates: Array
    """Clusters."""
    cotton_wool: Array
    tangles: Array
    boats: Truth
    """A preretinal haemorrhage."""
    beaded: Truth
    """Venous beading."""


# Mean numbers by grade: at severity 0 within the grade, and what severity 1 adds. The first of each that defines a
# grade is certain, and counted in _count.
_MICROANEURYSMS = np.array([(0, 0), (2, 5), (7, 12), (20, 8), (10, 14)], np.float32)
_HAEMORRHAGES = np.array([(0, 0), (0, 0), (0.5, 9.5), (20, 20), (5, 27)], np.float32)
_EXUDATES = np.array([(0, 0), (0, 0), (0.2, 1.5), (1.6, 1), (0.4, 2.2)], np.float32)
_COTTON_WOOL = np.array([(0, 0), (0, 0), (0.1, 0.8), (1.6, 1), (0.4, 2.2)], np.float32)


def _count(dice: Dice, labels: Sequence[Label]) -> _Count:
    """Return the international scale in numbers; severity within the grade moves them."""
    grade = np.array([label.grade for label in labels])[:, None]
    within = np.array([label.within for label in labels], np.float32)[:, None]
    other = np.where(grade == 4, dice.uniform(0, 1), within)  # new vessels come with few or many other lesions

    def count(table: Array) -> Array:
        low, more = table[grade].transpose(2, 0, 1)
        return dice.count(low + more * other)

    return _Count(
        microaneurysms=(grade >= 1) + count(_MICROANEURYSMS),
        haemorrhages=(grade >= 2) + count(_HAEMORRHAGES),
        exudates=count(_EXUDATES),
        cotton_wool=count(_COTTON_WOOL),
        tangles=(grade == 4) * (1 + dice.count(1.2 * within)),
        boats=(grade == 4) & dice.chance(0.35),
        beaded=dice.chance(np.array([0, 0, 0, 1, 0.35], np.float32)[grade]),
    )


def _places(dice: Dice, count: Array, disc: Point, fovea: Point, *, most: int) -> tuple[Array, Array, Truth]:
    """Return x, y and existence, (b, most), of places on the posterior pole, off the disc and the fovea's centre."""
    angle = dice.uniform(0, 6.2832) + 2.4 * np.arange(most, dtype=np.float32) + dice.uniform(0, 0.6, most)
    far = 0.93 * dice.uniform(0, 1, most) ** 0.6  # golden angles: in no direction are there none
    x, y = far * np.cos(angle), far * np.sin(angle)
    free = ((x - disc[0]) ** 2 + (y - disc[1]) ** 2 > 0.04) & ((x - fovea[0]) ** 2 + (y - fovea[1]) ** 2 > 0.004)
    return x, y, free & (np.cumsum(free, axis=1) <= count)


def _heap(
    dice: Dice,
    x: Array,
    y: Array,
    radius: Array,
    exist: Truth,
    *,
    pieces: int,
    soft: float,
    strength: Array,
    streak: Array | None = None,
) -> Spots:
    """Return irregular blobs at (b, n) places: heaps of ``pieces`` discs, drawn out along the angles ``streak``."""
    shape = (pieces, x.shape[1])
    far, angle = np.sqrt(dice.uniform(0, 0.4, *shape)), dice.uniform(0, 6.2832, *shape)
    dx, dy, size = far * np.cos(angle), far * np.sin(angle), dice.uniform(0.4, 0.65, *shape)
    x, y, radius, strength = (part[:, None] for part in (x, y, radius, strength))
    if streak is not None:
        cos, sin = np.cos(streak)[:, None], np.sin(streak)[:, None]
        dx, dy, size = 2.2 * dx * cos - 0.45 * dy * sin, 2.2 * dx * sin + 0.45 * dy * cos, 0.45 * size
    return spots(
        x + radius * dx, y + radius * dy, radius * size, soft=soft * radius, strength=strength, exist=exist[:, None]
    )


def _microaneurysms(dice: Dice, count: Array, disc: Point, fovea: Point) -> Spots:
    x, y, exist = _places(dice, count, disc, fovea, most=45)
    return spots(x, y, dice.uniform(0.004, 0.008, 45), strength=dice.uniform(0.6, 1, 45), exist=exist)


def _haemorrhages(dice: Dice, count: Array, disc: Point, fovea: Point) -> Spots:
    """Return dots and blots, and flames along the nerve fibres."""
    most = 75
    x, y, exist = _places(dice, count, disc, fovea, most=most)
    radius = 0.007 - 0.008 * np.log((1 - dice.uniform(0, 1, most)) * (1 - dice.uniform(0, 1, most)))
    strength, flame = dice.uniform(0.55, 1, most), dice.uniform(0, 1, most) < 0.35
    fibres = np.arctan2(y - disc[1], x - disc[0])  # they fan out from the disc
    blots = _heap(dice, x, y, radius, exist & ~flame, pieces=8, soft=0.5, strength=strength)
    return join(blots, _heap(dice, x, y, radius, exist & flame, pieces=9, soft=0.4, strength=strength, streak=fibres))


def _boats(dice: Dice, exist: Truth) -> Spots:
    """Return preretinal haemorrhages: a level above, a bowl below."""
    angle, far, width = dice.uniform(0, 6.2832), dice.uniform(0.3, 0.65), dice.uniform(0.12, 0.25)
    across, depth = dice.uniform(-1, 1, 160), dice.uniform(0, 0.55, 160)
    down = depth * np.sqrt(1 - across * across)
    x, y = far * np.cos(angle) + width * across, far * np.sin(angle) + width * down
    return spots(x, y, 0.14 * width, soft=0.015, exist=exist)


def _exudates(dice: Dice, count: Array, fovea: Point) -> Spots:
    """Return waxy specks in rings or heaps, most of them near the macula."""
    clusters, specks = 6, 28
    shape = (clusters, specks)
    exist = (np.arange(clusters) < count)[:, :, None] & (np.arange(specks) < dice.uniform(6, specks, clusters, 1))
    angle, away = dice.uniform(0, 6.2832, clusters, 1), dice.uniform(0.12, 0.5, clusters, 1)
    spread, ring = dice.uniform(0.03, 0.1, clusters, 1), dice.uniform(0, 1, clusters, 1) < 0.4
    turn, far = dice.uniform(0, 6.2832, *shape), dice.uniform(0, 1, *shape)
    far = spread * np.where(ring, 0.8 + 0.4 * far, np.sqrt(far))
    x = fovea[0][:, None] + away * np.cos(angle) + far * np.cos(turn)
    y = fovea[1][:, None] + away * np.sin(angle) + far * np.sin(turn)
    radius = 0.0035 - 0.0028 * np.log(1 - dice.uniform(0, 1, *shape))
    x, y, radius = (part.reshape(len(x), -1) for part in (x, y, radius))
    return _heap(
        dice,
        x,
        y,
        radius,
        exist.reshape(len(x), -1),
        pieces=3,
        soft=0.3,
        strength=dice.uniform(0.5, 1, clusters * specks),
    )


def _cotton_wool(dice: Dice, count: Array, disc: Point, fovea: Point) -> Spots:
    x, y, exist = _places(dice, count, disc, fovea, most=10)
    radius, strength = dice.uniform(0.028, 0.062, 10), dice.uniform(0.4, 0.85, 10)
    return _heap(dice, x, y, radius, exist, pieces=10, soft=0.9, strength=strength)


def _beads(dice: Dice, beaded: Truth, vessels: Strokes, disc: Point) -> Spots:
    """Return swellings along the large veins, in two quadrants or more."""
    x, y, radius, *_, strength, picture = vessels[:, (vessels[2] > 0.45 * _VEIN) & (vessels[6] == 1)]
    of = picture.astype(np.intp)
    clear = np.argsort(dice.uniform(0, 1, 4), axis=1) < dice.uniform(0, 3)  # up to two quadrants have none
    quadrant = 2 * (x > disc[0][of, 0]) + (y > disc[1][of, 0])
    seen = beaded[of, 0] & ~clear[of, quadrant]
    parts = (x, y, 1.55 * radius, np.full_like(x, 0.004), strength, picture)
    return np.stack([part[seen] for part in parts])


def _new_vessels(dice: Dice, tangles: Array, disc: Point, fovea: Point) -> Strokes:
    """Return fans of fine winding vessels, at the disc or elsewhere."""
    most, each = 5, 12
    x, y, exist = _places(dice, tangles, disc, fovea, most=most)
    at_disc = (np.arange(most) == np.argmax(exist, axis=1, keepdims=True)) & dice.chance(0.45)
    x, y = np.where(at_disc, disc[0], x), np.where(at_disc, disc[1], y)
    n = most * each
    fan = np.repeat(dice.uniform(0, 6.2832, most), each, axis=1) + np.tile(
        np.linspace(-1.6, 1.6, each, dtype=np.float32), most
    )
    length = np.repeat(dice.uniform(0.1, 0.26, most), each, axis=1) * dice.uniform(0.6, 1, n)
    roots = Roots(
        x=np.repeat(x, each, axis=1),
        y=np.repeat(y, each, axis=1),
        heading=fan + dice.normal(0.3, n),
        far=fan,
        turn=length,
        length=length,
        radius=dice.uniform(0.0028, 0.0045, n),
        strength=np.repeat(exist.astype(np.float32), each, axis=1),
    )
    paths = grow(dice, roots, points=24, winding=0.9, rates=(25, 70))
    loops = grow(dice, sprout(dice, paths, each=3, length=(0.04, 0.1)), points=12, winding=0.9, rates=(30, 80))
    return join(paths.strokes(), loops.strokes())


# Painting.


def draw(seed: int, indices: Sequence[int], *, size: int) -> tuple[Bytes, Bytes]:
    """Return the pictures ``indices`` as uint8 (b, 3, size, size), their masks as uint8 (b, regions, size, size)."""
    eyes, static = scene(seed, indices)
    return paint(eyes, size=size, static=static)


def paint(eyes: Scene, *, size: int, static: Static) -> tuple[Bytes, Bytes]:
    """Return the photographs of ``eyes`` and their masks in {0, 1}; ``static`` gives texture and noise."""
    middle, camera = (size - 1) / 2, eyes.camera
    frame = Frame(
        size=size,
        scale=camera.scale * size,
        x0=middle + camera.shift[0] * size,
        y0=middle + camera.shift[1] * size,
        flip=np.array([[-1 if label.eye == "left" else 1] for label in eyes.labels], np.float32),
    )
    x, y = frame.grid()
    radius = np.sqrt(x * x + y * y)
    field = _field(frame, radius, y, camera.cut)
    light = (1 - 0.3 * radius * radius) * (1 + _layer(camera.glow[1]) * bell(x, y, at=camera.glow[0], radius=0.5))
    picture = _retina(eyes, frame, static, light)
    masks = _paint_structures(eyes, frame, picture, light)
    _stray_light(camera, frame, picture, light, radius)
    _defocus(picture, camera.blur * frame.scale)
    picture **= _layer(camera.gamma)
    picture *= _layer(camera.exposure) * field
    masks *= (field > 0)[:, None]
    grain = static.take(3, size, size)
    grain *= _layer(camera.noise * min(1.0, size / REFERENCE))[:, None]
    grain += 0.02
    grain += picture.transpose(1, 0, 2, 3)
    return to_bytes(grain), masks


def _layer(value: Array) -> Array:
    """Return the scenes' scalar, (b, 1), in the shape of a layer, (b, 1, 1)."""
    return value[:, :, None]


def _field(frame: Frame, radius: Array, y: Array, cut: Array) -> Array:
    """Return 1 inside the camera's field, 0 outside."""
    pixel = _layer(1 / frame.scale)
    inside = 1 - smoothstep(1 - pixel, 1 + pixel, radius)
    return inside * (1 - smoothstep(_layer(cut) - pixel, _layer(cut) + pixel, np.abs(y)))


def _retina(eyes: Scene, frame: Frame, static: Static, light: Array) -> Array:
    """Return the background, (3, b, size, size): pigment, texture, macula and optic disc."""
    camera, (x, y) = eyes.camera, frame.grid()
    ridges, variance = noise(static, frame.size, coarsest=14, octaves=(0.8, 0.5))
    cloud, _ = noise(static, frame.size, coarsest=4, octaves=(0.6, 0.6, 0.5, 0.4, 0.3))
    texture = _layer(camera.tessellation) * (np.exp(-4 * ridges * ridges) - (1 + 8 * variance) ** -0.5)  # mean 0
    texture += _layer(camera.mottle) * cloud
    texture += 1
    texture *= light
    picture = np.stack([texture * _layer(tint) for tint in camera.tint])
    _absorb(picture, bell(x, y, at=eyes.fovea, radius=0.17), (0.14, 0.32, 0.36))
    _blend(picture, (0.9, 0.75, 0.55), light, _layer(0.5 * eyes.reflex) * bell(x, y, at=eyes.fovea, radius=0.012))
    if eyes.naevus.size:
        _absorb(picture, splat(eyes.naevus, frame), (0.45, 0.4, 0.3))
    _paint_disc(eyes, frame, picture, light)
    return picture


def _paint_disc(eyes: Scene, frame: Frame, picture: Array, light: Array) -> None:
    """Paint the optic disc: a pale crescent, the rim, the brighter cup."""
    (x, y), radius = frame.grid(), _layer(eyes.disc_radius)
    edge = np.maximum(0.02, 1.2 / _layer(frame.scale))
    temporal = _from_disc(eyes, x + 0.035, y)
    _blend(
        picture, (0.9, 0.72, 0.5), light, _layer(0.7 * eyes.atrophy) * (1 - smoothstep(radius, radius + edge, temporal))
    )
    away, cup = _from_disc(eyes, x, y), radius * _layer(eyes.cup)
    _blend(picture, (0.88, 0.60, 0.35), light, 1 - smoothstep(radius - edge, radius + edge, away))
    _blend(picture, (1.0, 0.9, 0.7), light, 0.75 * (1 - smoothstep(cup - 2 * edge, cup + 2 * edge, away)))


def _from_disc(eyes: Scene, x: Array, y: Array) -> Array:
    """Return the distance from the disc's centre; the disc is a little taller than wide."""
    return np.sqrt((1.08 * (x - _layer(eyes.disc[0]))) ** 2 + (y - _layer(eyes.disc[1])) ** 2)


def _paint_structures(eyes: Scene, frame: Frame, picture: Array, light: Array) -> Bytes:
    """Paint what lies on the retina, from the back to the front, and return the masks."""
    masks = np.zeros((len(eyes.labels), len(REGIONS), frame.size, frame.size), np.uint8)

    def cover(parts: Spots, region: str | None = None) -> Array:
        layer = splat(parts, frame)
        if region is not None:
            masks[:, REGIONS.index(region)] = mark(parts, layer, frame)
        return layer

    _blend(picture, (0.92, 0.74, 0.40), light, cover(eyes.drusen))
    _absorb(picture, cover(eyes.pigment), (0.55, 0.60, 0.55))
    wool = cover(eyes.lesions["cotton_wool"], "cotton_wool")
    _blend(picture, (0.93, 0.88, 0.76), light, 0.8 * smoothstep(0, 1, wool))
    vessels = cover(join(along(eyes.vessels, frame), eyes.beads))
    masks[:, REGIONS.index("vessels")] = vessels > 0.25
    masks[:, REGIONS.index("optic_disc")] = _from_disc(eyes, *frame.grid()) < _layer(eyes.disc_radius)
    _absorb(picture, vessels, (0.36, 0.62, 0.55))
    _light_reflex(eyes.vessels, frame, picture, light)
    _absorb(picture, cover(along(eyes.new_vessels, frame), "neovascularisation"), (0.28, 0.56, 0.50))
    _absorb(picture, cover(eyes.lesions["microaneurysms"], "microaneurysms"), (0.30, 0.62, 0.52))
    _absorb(picture, cover(eyes.lesions["haemorrhages"], "haemorrhages"), (0.45, 0.74, 0.62))
    _blend(picture, (0.97, 0.86, 0.48), light, 0.9 * cover(eyes.lesions["hard_exudates"], "hard_exudates"))
    return masks


def _light_reflex(vessels: Strokes, frame: Frame, picture: Array, light: Array) -> None:
    """Paint the bright line along the middle of the vessels that are wide enough to show one."""
    wide = vessels[2] * frame.scale[vessels[7].astype(np.intp), 0] > 1.3
    if wide.any():
        line = along(vessels[:, wide], frame)
        line[2] *= 0.3
        line[4] = 0.5 - 0.3 * line[4]  # arteries shine more
        _blend(picture, (0.85, 0.45, 0.33), light, splat(line, frame))


def _stray_light(camera: Camera, frame: Frame, picture: Array, light: Array, radius: Array) -> None:
    """Paint haze, the reflex of a small pupil, and dust on the lens."""
    (x, y), (angle, strength) = frame.grid(), camera.crescent
    _blend(picture, (0.62, 0.55, 0.45), light, np.broadcast_to(_layer(camera.haze), light.shape))
    side = np.maximum(x * np.cos(_layer(angle)) + y * np.sin(_layer(angle)), 0)
    _blend(picture, (0.75, 0.72, 0.62), light, _layer(strength) * smoothstep(0.75, 1, radius) * side * side)
    if camera.dust.size:
        _absorb(picture, splat(camera.dust, frame), (0.6, 0.6, 0.6))


def _defocus(picture: Array, sigma: Array) -> None:
    """Blur each picture by its ``sigma`` in pixels; a quarter of a pixel is not worth the time."""
    for k in np.flatnonzero(sigma > 0.25):
        picture[:, k] = blur(picture[:, k], float(sigma[k, 0]))


_INVISIBLE = 1 / 512
"""Coverage that changes a picture by less than half a grey level."""


def _blend(picture: Array, colour: Colour, light: Array, alpha: Array) -> None:
    """Cover ``picture`` with ``colour`` under ``light`` where ``alpha`` is 1."""
    at = np.flatnonzero(alpha > _INVISIBLE)
    alpha, light = alpha.ravel()[at], light.ravel()[at]
    for channel, value in zip(picture.reshape(len(picture), -1), colour, strict=True):
        old = channel[at]
        channel[at] = old + alpha * (value * light - old)


def _absorb(picture: Array, cover: Array, density: Colour) -> None:
    """Darken ``picture`` by the share ``density`` of each colour where ``cover`` is 1."""
    at = np.flatnonzero(cover > _INVISIBLE)
    cover = cover.ravel()[at]
    for channel, value in zip(picture.reshape(len(picture), -1), density, strict=True):
        channel[at] *= 1 - value * cover
