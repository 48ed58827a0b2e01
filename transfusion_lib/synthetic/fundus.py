"""Synthetic colour fundus photographs with diabetic retinopathy, graded 0 to 4.

A ``Scene`` holds one eye in units of the photographed field: a disc of radius 1, 45 degrees across, so that 1 is about
6.6 mm and the optic disc 0.12. A size changes the resolution and nothing else. Every eye is laid out as a right eye (disc
on the right) and a left eye is painted mirrored.

Grades follow the International Clinical Diabetic Retinopathy scale (Wilkinson et al., Ophthalmology 2003): 0 none;
1 microaneurysms only; 2 more than that; 3 haemorrhages in all four quadrants and venous beading; 4 neovascularisation
or preretinal haemorrhage. Anatomy, camera and lesions come from separate random streams: nothing but the lesions
knows the grade.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import cos, sin
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from transfusion_lib.synthetic.canvas import (
    NO_SPOTS,
    Array,
    Frame,
    Spots,
    Strokes,
    along,
    bell,
    blur,
    grain,
    join,
    mark,
    noise,
    normal,
    smoothstep,
    splat,
    spots,
    stream,
    to_bytes,
    uniform,
)
from transfusion_lib.synthetic.vessels import Paths, Roots, grow, sprout

VERSION = 2
"""Raise when any picture, mask or label changes: it enters the data set's fingerprint."""

CHANNELS = 3
GRADES = ("none", "mild", "moderate", "severe", "proliferative")
PREVALENCE = (0.45, 0.15, 0.20, 0.12, 0.08)
LESIONS = ("microaneurysms", "haemorrhages", "hard_exudates", "cotton_wool", "neovascularisation")
REGIONS = (*LESIONS, "optic_disc", "vessels")
BETWEEN_EYES = 0.85
"""Correlation of the severity of a patient's two eyes."""
_SEVERITY, _PATIENT, _CAMERA, _ANATOMY, _LESIONS, _PIXELS = range(6)

Point = tuple[float, float]
Colour = tuple[float, float, float]


class Label(NamedTuple):
    """Whose eye it is and how ill."""

    patient: int
    eye: Literal["right", "left"]
    grade: int
    within: float
    """Severity within the grade, from 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Camera:
    """What the label does not know: the eye's pigment, the photographer and the machine."""

    scale: float
    """Radius of the field as a fraction of the picture's edge."""
    shift: Point
    """Of the field's centre, as fractions of the edge."""
    cut: float
    """Half height of the visible field: below 1, top and bottom are cut off."""
    tint: Colour
    """Reflectance of the fundus in red, green and blue."""
    mottle: float
    tessellation: float
    """How clearly the choroid's vessels show."""
    glow: tuple[Point, float]
    """Where and how much brighter the light is."""
    crescent: tuple[float, float]
    """Angle and strength of a small pupil's reflex on the field's edge."""
    haze: float
    """Share of stray light: a cataract."""
    gamma: float
    exposure: float
    blur: float
    """Standard deviation of the defocus in units of the field."""
    noise: float
    dust: Spots


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One eye, laid out as a right eye: x to the nose, y down."""

    label: Label
    camera: Camera
    disc: Point
    disc_radius: float
    cup: float
    """Radius of the cup relative to the disc's."""
    atrophy: float
    """Strength of the pale crescent on the disc's temporal side."""
    fovea: Point
    reflex: float
    """Strength of the young fovea's reflex."""
    arteries: Strokes
    veins: Strokes
    beads: Spots
    """Swellings of the veins: they belong to the lesions, but the masks count them with the vessels."""
    drusen: Spots
    naevus: Spots
    lesions: dict[str, Spots]
    new_vessels: Strokes


def label(seed: int, index: int) -> Label:
    """Return the label of picture ``index``: a patient's right eye (even) or left (odd), of similar severity.

    Severity is stratified over patients (a golden-ratio sequence), so that a small set has a large one's prevalences.
    """
    patient, side = divmod(index, 2)
    shared = NormalDist().inv_cdf(max((_offset(seed) + patient * 0.6180339887498949) % 1.0, 1e-9))
    own = float(stream(seed, _SEVERITY, patient, side).standard_normal())
    severity = NormalDist().cdf(BETWEEN_EYES**0.5 * shared + (1 - BETWEEN_EYES) ** 0.5 * own)
    grade, low = 0, 0.0
    while severity >= low + PREVALENCE[grade] and grade < 4:
        low += PREVALENCE[grade]
        grade += 1
    return Label(patient, "left" if side else "right", grade, min((severity - low) / PREVALENCE[grade], 1.0))


@lru_cache(maxsize=8)
def _offset(seed: int) -> float:
    return float(stream(seed, _SEVERITY).random())


def scene(seed: int, index: int) -> Scene:
    """Return the eye on picture ``index``."""
    who = label(seed, index)
    words = who.patient, index % 2
    rng = stream(seed, _ANATOMY, *words)
    x = -0.05 if rng.random() < 0.6 else -0.32  # centred on the fovea, or between fovea and disc
    fovea = x + rng.normal(0, 0.04), rng.normal(0, 0.04)
    disc = fovea[0] + rng.normal(0.68, 0.03), fovea[1] + rng.normal(-0.06, 0.03)
    arteries, veins = _vessels(rng, disc, fovea)
    ill = stream(seed, _LESIONS, *words)
    count = _count(ill, who)
    return Scene(
        label=who,
        camera=_camera(stream(seed, _CAMERA, *words), stream(seed, _PATIENT, who.patient)),
        disc=disc,
        disc_radius=rng.normal(0.125, 0.008),
        cup=min(max(rng.normal(0.42, 0.12), 0.2), 0.75),
        atrophy=rng.uniform(0.3, 1) if rng.random() < 0.25 else 0.0,
        fovea=fovea,
        reflex=max(0.0, rng.normal(0, 0.5)),
        arteries=arteries,
        veins=veins,
        beads=_beads(ill, who, veins),
        drusen=_drusen(rng, fovea),
        naevus=_naevus(rng),
        lesions={
            "microaneurysms": _microaneurysms(ill, count.microaneurysms, disc, fovea),
            "haemorrhages": _haemorrhages(ill, count, disc, fovea),
            "hard_exudates": _exudates(ill, count.exudates, fovea),
            "cotton_wool": _cotton_wool(ill, count.cotton_wool, disc, fovea),
        },
        new_vessels=_new_vessels(ill, count.tangles, disc, fovea),
    )


# The camera and the pigment.


def _camera(rng: np.random.Generator, patient: np.random.Generator) -> Camera:
    dark = patient.beta(1.5, 1.5)
    light, deep = (0.80, 0.43, 0.24), (0.52, 0.23, 0.10)
    cast = np.exp(rng.normal(0, (0.06, 0.07, 0.14)))
    red, green, blue = (float(k) * (a * (1 - dark) + b * dark) for k, a, b in zip(cast, light, deep, strict=True))
    specks = int(rng.poisson(0.6))
    angle, far = uniform(rng, 0, 6.2832, specks), np.sqrt(uniform(rng, 0, 1, specks))
    return Camera(
        scale=rng.uniform(0.46, 0.495),
        shift=(rng.normal(0, 0.006), rng.normal(0, 0.006)),
        cut=0.88 if rng.random() < 0.3 else 1.0,
        tint=(red, green, blue),
        mottle=rng.uniform(0.02, 0.06),
        tessellation=max(0.0, patient.normal(0, 0.1)),
        glow=((rng.normal(0, 0.3), rng.normal(0, 0.3)), rng.uniform(0, 0.35)),
        crescent=(rng.uniform(0, 6.2832), max(0.0, rng.normal(-0.1, 0.25))),
        haze=0.5 * rng.beta(1.2, 8),
        gamma=rng.uniform(0.85, 1.2),
        exposure=float(np.exp(rng.normal(0, 0.12))),
        blur=rng.gamma(2.0, 0.0016),
        noise=rng.uniform(0.015, 0.045),
        dust=spots(
            far * np.cos(angle),
            far * np.sin(angle),
            uniform(rng, 0.01, 0.03, specks),
            soft=0.02,
            strength=uniform(rng, 0.1, 0.35, specks),
        ),
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


def _vessels(rng: np.random.Generator, disc: Point, fovea: Point) -> tuple[Strokes, Strokes]:
    """Return arteries and veins: six trunks each, their branches, and the branches of those."""
    start, far, turn, length, relative = np.concatenate([_TRUNKS, _TRUNKS]).T
    n, half = len(start), len(_TRUNKS)
    apart = np.repeat(np.array([6, -6], np.float32), half) * np.sign(start)  # veins run outside of their arteries
    roots = Roots(
        disc[0] + normal(rng, 0.015, n),
        disc[1] + normal(rng, 0.02, n),
        np.deg2rad(start + apart + normal(rng, 6, n)),
        np.deg2rad(far + normal(rng, 7, n)),
        turn * uniform(rng, 0.85, 1.15, n),
        length,
        relative * np.repeat(np.array([_ARTERY, _VEIN], np.float32), half),
        np.ones(n, bool),
    )
    avoid = (*fovea, 0.1)
    trunks = grow(rng, roots, points=40, avoid=avoid)
    branches = grow(rng, sprout(rng, trunks, each=6, length=(0.35, 0.85)), points=16, avoid=avoid)
    twigs = grow(rng, sprout(rng, branches, each=4, length=(0.1, 0.35)), points=7, avoid=avoid)
    arteries, veins = zip(*(_halves(level) for level in (trunks, branches, twigs)), strict=True)
    return join(*arteries), join(*veins)


def _halves(paths: Paths) -> tuple[Strokes, Strokes]:
    """Return the strokes of arteries and of veins: of every 12 paths, that many branches of one order, half each."""
    parts = [[part.reshape(len(part), -1, 2, len(_TRUNKS))[:, :, kind] for part in paths] for kind in (0, 1)]
    first, second = (Paths(*(part.reshape(len(part), -1) for part in kind)) for kind in parts)
    return first.strokes(), second.strokes()


def _drusen(rng: np.random.Generator, fovea: Point) -> Spots:
    """Return the soft yellow spots of age that every seventh eye has: no sign of diabetes, easily taken for exudates."""
    n = 3 + int(rng.poisson(10)) if rng.random() < 0.15 else 0
    radius = uniform(rng, 0.006, 0.016, n)
    x, y = fovea[0] + normal(rng, 0.15, n), fovea[1] + normal(rng, 0.12, n)
    return spots(x, y, radius, soft=radius, strength=uniform(rng, 0.2, 0.45, n))


def _naevus(rng: np.random.Generator) -> Spots:
    """Return a grey mole of the choroid, in one eye of 16."""
    n = 8 if rng.random() < 0.06 else 0
    angle, far = rng.uniform(0, 6.2832), rng.uniform(0.4, 0.9)
    x, y = far * cos(angle) + normal(rng, 0.025, n), far * sin(angle) + normal(rng, 0.025, n)
    return spots(x, y, 0.045, soft=0.04, strength=0.5)


# The ill eye.


class _Count(NamedTuple):
    """How many of each lesion an eye has."""

    microaneurysms: int = 0
    haemorrhages: int = 0
    exudates: int = 0
    """Clusters."""
    cotton_wool: int = 0
    tangles: int = 0
    boats: int = 0
    """Preretinal haemorrhages."""


def _count(rng: np.random.Generator, who: Label) -> _Count:
    """Return the international scale in numbers; severity within the grade moves them."""
    t = who.within
    if who.grade == 0:
        return _Count()
    if who.grade == 1:
        return _Count(1 + rng.poisson(2 + 5 * t))
    if who.grade == 2:
        return _Count(
            4 + rng.poisson(4 + 12 * t),
            1 + rng.poisson(1 + 11 * t),
            rng.poisson(0.2 + 1.8 * t),
            rng.poisson(0.1 + 0.9 * t),
        )
    if who.grade == 3:
        return _Count(12 + rng.poisson(10), 10 + rng.poisson(16 + 20 * t), rng.poisson(2 + t), rng.poisson(2 + t))
    s = rng.random()  # new vessels come with few or many other lesions
    tangles = 1 + rng.poisson(1.2 * t)
    return _Count(
        8 + rng.poisson(12 * s),
        4 + rng.poisson(30 * s),
        rng.poisson(3 * s),
        rng.poisson(3 * s),
        tangles,
        rng.random() < 0.35,
    )


def _places(rng: np.random.Generator, n: int, disc: Point, fovea: Point) -> tuple[Array, Array]:
    """Return ``n`` places on the posterior pole, off the disc and the centre of the fovea."""
    angle, far = uniform(rng, 0, 6.2832, 3 * n + 20), 0.93 * uniform(rng, 0, 1, 3 * n + 20) ** 0.6
    x, y = far * np.cos(angle), far * np.sin(angle)
    free = ((x - disc[0]) ** 2 + (y - disc[1]) ** 2 > 0.04) & ((x - fovea[0]) ** 2 + (y - fovea[1]) ** 2 > 0.004)
    return x[free][:n].astype(np.float32), y[free][:n].astype(np.float32)


def _heap(
    rng: np.random.Generator,
    x: Array,
    y: Array,
    radius: Array,
    *,
    pieces: int,
    soft: float,
    strength: Array,
    streak: Array | None = None,
) -> Spots:
    """Return irregular blobs at (n,) places: each a heap of ``pieces`` discs, drawn out along the angles ``streak``."""
    shape = (pieces, len(x))
    far, angle = np.sqrt(uniform(rng, 0, 0.4, shape)), uniform(rng, 0, 6.2832, shape)
    dx, dy, size = far * np.cos(angle), far * np.sin(angle), uniform(rng, 0.4, 0.65, shape)
    if streak is not None:
        dx, dy, size = 2.2 * dx, 0.45 * dy, 0.45 * size
        dx, dy = dx * np.cos(streak) - dy * np.sin(streak), dx * np.sin(streak) + dy * np.cos(streak)
    return spots(x + radius * dx, y + radius * dy, radius * size, soft=soft * radius, strength=strength)


def _microaneurysms(rng: np.random.Generator, n: int, disc: Point, fovea: Point) -> Spots:
    x, y = _places(rng, n, disc, fovea)
    return spots(x, y, uniform(rng, 0.004, 0.008, len(x)), strength=uniform(rng, 0.6, 1, len(x)))


def _haemorrhages(rng: np.random.Generator, count: _Count, disc: Point, fovea: Point) -> Spots:
    """Return dots and blots, flames along the nerve fibres, and the boat of a preretinal haemorrhage."""
    x, y = _places(rng, count.haemorrhages, disc, fovea)
    radius = rng.gamma(2.5, 0.0075, len(x)).astype(np.float32) + 0.008
    strength = uniform(rng, 0.65, 1, len(x))
    flame = rng.random(len(x)) < 0.35
    fibres = np.arctan2(y - disc[1], x - disc[0])[flame]  # they fan out from the disc
    blots = _heap(rng, x[~flame], y[~flame], radius[~flame], pieces=8, soft=0.5, strength=strength[~flame])
    flames = _heap(rng, x[flame], y[flame], radius[flame], pieces=9, soft=0.4, strength=strength[flame], streak=fibres)
    boats = []
    for _ in range(count.boats):
        angle, far, width = rng.uniform(0, 6.2832), rng.uniform(0.3, 0.65), rng.uniform(0.12, 0.25)
        across, depth = uniform(rng, -1, 1, 160), uniform(rng, 0, 1, 160)
        down = 0.55 * depth * np.sqrt(1 - across * across)  # a level above, a bowl below
        px, py = far * cos(angle) + width * across, far * sin(angle) + width * down
        boats.append(spots(px, py, 0.14 * width, soft=0.015))
    return join(blots, flames, *boats)


def _exudates(rng: np.random.Generator, clusters: int, fovea: Point) -> Spots:
    """Return waxy specks in rings or heaps, most of them near the macula."""
    parts = []
    for _ in range(clusters):
        n = 6 + int(rng.poisson(14))
        angle, away, spread = rng.uniform(0, 6.2832), rng.uniform(0.12, 0.5), rng.uniform(0.03, 0.1)
        turn = uniform(rng, 0, 6.2832, n)
        far = spread * (1 + normal(rng, 0.15, n) if rng.random() < 0.4 else np.sqrt(uniform(rng, 0, 1, n)))
        x, y = fovea[0] + away * cos(angle) + far * np.cos(turn), fovea[1] + away * sin(angle) + far * np.sin(turn)
        radius = rng.gamma(3.0, 0.0025, n).astype(np.float32) + 0.003
        parts.append(_heap(rng, x, y, radius, pieces=3, soft=0.3, strength=uniform(rng, 0.7, 1, n)))
    return join(NO_SPOTS, *parts)


def _cotton_wool(rng: np.random.Generator, n: int, disc: Point, fovea: Point) -> Spots:
    x, y = _places(rng, n, disc, fovea)
    radius, strength = uniform(rng, 0.03, 0.065, len(x)), uniform(rng, 0.5, 0.9, len(x))
    return _heap(rng, x, y, radius, pieces=10, soft=0.9, strength=strength)


def _beads(rng: np.random.Generator, who: Label, veins: Strokes) -> Spots:
    """Return the venous beading of grade 3 and some of grade 4: swellings along stretches of the large veins."""
    if rng.random() > (0, 0, 0, 0.85, 0.35)[who.grade]:
        return NO_SPOTS
    large = np.flatnonzero(veins[2] > 0.45 * _VEIN)
    stretches = rng.random(len(large) // 12 + 1) < 0.5
    x, y, radius = veins[:3, large[np.repeat(stretches, 12)[: len(large)]]]
    return spots(x, y, 1.55 * radius, soft=0.004)


def _new_vessels(rng: np.random.Generator, tangles: int, disc: Point, fovea: Point) -> Strokes:
    """Return fans of fine winding vessels, at the disc or elsewhere."""
    x, y = _places(rng, tangles, disc, fovea)
    if tangles and rng.random() < 0.45:
        x[0], y[0] = disc
    each = 12
    n = each * len(x)
    fan = np.repeat(uniform(rng, 0, 6.2832, len(x)), each) + np.tile(
        np.linspace(-1.6, 1.6, each, dtype=np.float32), len(x)
    )
    heading = fan + normal(rng, 0.3, n)
    length = np.repeat(uniform(rng, 0.1, 0.26, len(x)), each) * uniform(rng, 0.6, 1, n)
    radius = uniform(rng, 0.0028, 0.0045, n)
    roots = Roots(np.repeat(x, each), np.repeat(y, each), heading, fan, length, length, radius, np.ones(n, bool))
    paths = grow(rng, roots, points=24, winding=0.9, rates=(25, 70))
    loops = grow(rng, sprout(rng, paths, each=3, length=(0.04, 0.1)), points=12, winding=0.9, rates=(30, 80))
    return join(paths.strokes(), loops.strokes())


# Painting.


def draw(seed: int, index: int, *, size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return picture ``index`` as uint8 (3, size, size) and its masks as uint8 (regions, size, size) in {0, 1}."""
    return paint(scene(seed, index), size=size, rng=stream(seed, _PIXELS, index))


def paint(eye: Scene, *, size: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the photograph of ``eye`` and its masks; ``rng`` gives texture and noise."""
    middle, camera = (size - 1) / 2, eye.camera
    frame = Frame(
        size=size,
        scale=camera.scale * size,
        x0=middle + camera.shift[0] * size,
        y0=middle + camera.shift[1] * size,
        flip=eye.label.eye == "left",
    )
    x, y = frame.grid()
    radius = np.sqrt(x * x + y * y)
    field = _field(frame, radius, y, cut=camera.cut)
    light = (1 - 0.3 * radius * radius) * (1 + camera.glow[1] * bell(x, y, at=camera.glow[0], radius=0.5))
    picture = _retina(eye, frame, rng, light)
    masks = _paint_structures(eye, frame, picture, light)
    _stray_light(camera, frame, picture, light, radius)
    picture = blur(picture, camera.blur * frame.scale)
    np.clip(picture, 0, 1, out=picture)
    picture = picture**camera.gamma * (camera.exposure * field) + 0.02
    return to_bytes(picture + grain(rng, picture.shape, sigma=camera.noise)), masks * (field > 0.5)


def _field(frame: Frame, radius: Array, y: Array, *, cut: float) -> Array:
    """Return 1 inside the camera's field, 0 outside."""
    pixel = 1 / frame.scale
    inside = 1 - smoothstep(1 - 1.5 * pixel, 1 + 0.5 * pixel, radius)
    return inside if cut == 1 else inside * (1 - smoothstep(cut - pixel, cut + pixel, np.abs(y)))


def _retina(eye: Scene, frame: Frame, rng: np.random.Generator, light: Array) -> Array:
    """Return the (3, size, size) background: pigment, texture, macula and optic disc."""
    camera, (x, y) = eye.camera, frame.grid()
    texture = camera.mottle * noise(rng, frame.size, octaves={4: 0.6, 8: 0.6, 16: 0.5, 32: 0.4, 64: 0.3, 128: 0.3})
    if camera.tessellation:
        ridges = noise(rng, frame.size, octaves={14: 0.8, 28: 0.5})
        texture += camera.tessellation * (np.exp(-4 * ridges * ridges) - 0.33)
    picture = np.empty((3, frame.size, frame.size), np.float32)
    for c in range(3):
        np.multiply(light, camera.tint[c], out=picture[c])
        picture[c] *= 1 + texture
    _absorb(picture, bell(x, y, at=eye.fovea, radius=0.17), (0.14, 0.32, 0.36))
    if eye.reflex:
        _blend(picture, (0.9, 0.75, 0.55), light, 0.5 * min(eye.reflex, 1) * bell(x, y, at=eye.fovea, radius=0.012))
    if eye.naevus.size:
        _absorb(picture, splat(eye.naevus, frame), (0.45, 0.4, 0.3))
    _paint_disc(eye, frame, picture, light)
    return picture


def _paint_disc(eye: Scene, frame: Frame, picture: Array, light: Array) -> None:
    """Paint the optic disc: a pale crescent, the rim, the brighter cup."""
    x, y = frame.grid()
    edge = max(0.02, 1.2 / frame.scale)
    if eye.atrophy:
        outer = np.sqrt((x - eye.disc[0] + 0.035) ** 2 + (y - eye.disc[1]) ** 2, dtype=np.float32)
        pale = 1 - smoothstep(eye.disc_radius, eye.disc_radius + edge, outer)
        _blend(picture, (0.9, 0.72, 0.5), light, 0.7 * eye.atrophy * pale)
    away = _from_disc(eye, x, y)
    red, green, blue = (0.35 * t + c for t, c in zip(eye.camera.tint, (0.66, 0.48, 0.30), strict=True))
    _blend(picture, (red, green, blue), light, 1 - smoothstep(eye.disc_radius - edge, eye.disc_radius + edge, away))
    cup = eye.cup * eye.disc_radius
    _blend(picture, (1.0, 0.9, 0.7), light, 0.75 * (1 - smoothstep(cup - 2 * edge, cup + 2 * edge, away)))


def _from_disc(eye: Scene, x: Array, y: Array) -> Array:
    """Return the distance from the disc's centre; the disc is a little taller than wide."""
    return np.sqrt((1.08 * (x - eye.disc[0])) ** 2 + (y - eye.disc[1]) ** 2, dtype=np.float32)


def _paint_structures(eye: Scene, frame: Frame, picture: Array, light: Array) -> NDArray[np.uint8]:
    """Paint what lies on the retina, from the back to the front, and return the masks."""
    masks = np.zeros((len(REGIONS), frame.size, frame.size), np.uint8)
    if eye.drusen.size:
        _blend(picture, (0.92, 0.74, 0.40), light, splat(eye.drusen, frame))
    if (wool := eye.lesions["cotton_wool"]).size:
        cover = splat(wool, frame)
        masks[3] = mark(wool, cover, frame)
        _blend(picture, (0.93, 0.88, 0.76), light, 0.8 * smoothstep(0, 1, cover))
    veins = splat(join(along(eye.veins, frame), eye.beads), frame)
    arteries = splat(along(eye.arteries, frame), frame)
    _absorb(picture, veins, (0.38, 0.62, 0.55))
    _absorb(picture, arteries, (0.20, 0.48, 0.42))
    _light_reflex(eye, frame, picture, light)
    masks[5] = _from_disc(eye, *frame.grid()) < eye.disc_radius
    masks[6] = np.maximum(veins, arteries) > 0.3
    new = along(eye.new_vessels, frame)
    for k, parts, colour in (
        (4, new, (0.28, 0.56, 0.50)),
        (0, eye.lesions["microaneurysms"], (0.30, 0.62, 0.52)),
        (1, eye.lesions["haemorrhages"], (0.45, 0.74, 0.62)),
    ):
        if parts.size:
            cover = splat(parts, frame)
            masks[k] = mark(parts, cover, frame)
            _absorb(picture, cover, colour)
    if (hard := eye.lesions["hard_exudates"]).size:
        cover = splat(hard, frame)
        masks[2] = mark(hard, cover, frame)
        _blend(picture, (0.97, 0.86, 0.48), light, 0.9 * cover)
    return masks


def _light_reflex(eye: Scene, frame: Frame, picture: Array, light: Array) -> None:
    """Paint the bright line along the middle of the vessels that are wide enough to show one."""
    for vessels, colour, strength in ((eye.arteries, (0.85, 0.5, 0.35), 0.35), (eye.veins, (0.7, 0.3, 0.22), 0.2)):
        wide = vessels[:, vessels[2] * frame.scale > 1.3]
        if wide.size:
            x, y, radius, *_ = along(wide, frame)
            _blend(picture, colour, light, strength * splat(spots(x, y, 0.3 * radius), frame))


def _stray_light(camera: Camera, frame: Frame, picture: Array, light: Array, radius: Array) -> None:
    """Paint haze, the reflex of a small pupil, and dust on the lens."""
    x, y = frame.grid()
    _blend(picture, (0.62, 0.55, 0.45), light, camera.haze)
    angle, strength = camera.crescent
    if strength:
        side = np.maximum(x * cos(angle) + y * sin(angle), 0)
        _blend(picture, (0.75, 0.72, 0.62), light, strength * smoothstep(0.75, 1, radius) * side * side)
    if camera.dust.size:
        _absorb(picture, splat(camera.dust, frame), (0.6, 0.6, 0.6))


def _blend(picture: Array, colour: Colour, light: Array, alpha: Array | float) -> None:
    """Cover ``picture`` with ``colour`` under ``light`` where ``alpha`` is 1."""
    for c in range(3):
        picture[c] += alpha * (colour[c] * light - picture[c])


def _absorb(picture: Array, cover: Array, density: Colour) -> None:
    """Darken ``picture`` by the share ``density`` of each colour where ``cover`` is 1."""
    for c in range(3):
        picture[c] *= 1 - density[c] * cover
