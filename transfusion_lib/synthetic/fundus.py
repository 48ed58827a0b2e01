"""Synthetic colour fundus photographs with diabetic retinopathy, graded 0 to 4.

A ``Scene`` holds one eye in units of the photographed field (a disc of radius 1, 45 degrees across; 1 unit is about
6.6 mm), so a size changes the resolution and nothing else. Grades follow the International Clinical Diabetic
Retinopathy scale (Wilkinson et al. 2003): 0 none; 1 microaneurysms only; 2 more than that; 3 many haemorrhages in all
four quadrants, venous beading or IRMA; 4 neovascularisation or preretinal haemorrhage.

Anatomy, camera and lesions come from three separate random streams: nothing but the lesions (venous beading is one)
knows the grade.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from transfusion_lib.synthetic.canvas import (
    NO_SPOTS,
    NORMAL,
    Array,
    Frame,
    Spots,
    Strokes,
    bell,
    blur,
    grain,
    noise,
    smoothstep,
    splat,
    stream,
    to_bytes,
)

VERSION = 1
"""Raise when any picture, mask or label changes: it enters the data set's fingerprint."""

CHANNELS = 3
GRADES = ("none", "mild", "moderate", "severe", "proliferative")
PREVALENCE = (0.45, 0.15, 0.20, 0.12, 0.08)
LESIONS = ("microaneurysms", "haemorrhages", "hard_exudates", "cotton_wool", "neovascularisation")
REGIONS = (*LESIONS, "optic_disc", "vessels")
BETWEEN_EYES = 0.85
"""Correlation of the severity of a patient's two eyes."""
_ANATOMY, _CAMERA, _LESIONS, _PIXELS, _SEVERITY = range(5)


class Label(NamedTuple):
    """Whose eye it is and how ill."""

    patient: int
    eye: str
    grade: int
    within: float
    """Severity within the grade, from 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Camera:
    """What the label does not know: the eye's pigment, the photographer and the machine."""

    scale: float
    """Radius of the field as a fraction of the picture's edge."""
    shift: tuple[float, float]
    tint: Array
    """Reflectance of the fundus in red, green and blue."""
    mottle: float
    tessellation: float
    gamma: float
    exposure: float
    haze: float
    glow: tuple[float, float, float]
    """Centre and strength of the uneven illumination."""
    crescent: tuple[float, float]
    """Angle and strength of the reflex of a small pupil."""
    blur: float
    """Standard deviation of the defocus in units of the field."""
    noise: float
    cut: float
    """Half height of the visible field: below 1, top and bottom are cut off."""
    dust: Spots


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One eye: where its parts lie, in units of the field, x to the right and y down."""

    label: Label
    camera: Camera
    disc: tuple[float, float]
    disc_radius: float
    cup: float
    crescent: float
    fovea: tuple[float, float]
    reflex: float
    """Strength of the young eye's foveal reflex."""
    arteries: Strokes
    veins: Strokes
    beads: Spots
    drusen: Spots
    naevus: Spots
    lesions: dict[str, Spots]
    new_vessels: Strokes


def label(seed: int, index: int) -> Label:
    """Return the label of picture ``index``: patients have two eyes, right (even) and left (odd), of similar severity.

    Severity is stratified over patients (a golden-ratio sequence), so that a small set has the prevalences of a large one.
    """
    patient, side = divmod(index, 2)
    offset = stream(seed, _SEVERITY).random()
    shared = NORMAL.inv_cdf((0.5 + (offset + patient * 0.6180339887498949) % 1.0 * 1e6) / (1e6 + 1))
    own = stream(seed, _SEVERITY, patient, side).standard_normal()
    severity = NORMAL.cdf(BETWEEN_EYES**0.5 * shared + (1 - BETWEEN_EYES) ** 0.5 * float(own))
    edges = np.cumsum((0.0, *PREVALENCE))
    grade = int(np.searchsorted(edges[1:-1], severity, side="right"))
    within = float((severity - edges[grade]) / PREVALENCE[grade])
    return Label(patient, ("right", "left")[side], grade, within)


def scene(seed: int, index: int) -> Scene:
    """Return the eye on picture ``index``."""
    who = label(seed, index)
    side = index % 2
    anatomy = stream(seed, _ANATOMY, who.patient, side)
    centred = anatomy.random() < 0.6  # on the fovea, or between fovea and disc
    fovea = (-0.05 if centred else -0.32) + anatomy.normal(0, 0.04), anatomy.normal(0, 0.04)
    disc = fovea[0] + anatomy.normal(0.68, 0.03), fovea[1] + anatomy.normal(-0.06, 0.03)
    arteries, veins = _vessels(anatomy, disc=disc, fovea=fovea)
    ill = stream(seed, _LESIONS, who.patient, side)
    eye = Scene(
        label=who,
        camera=_camera(stream(seed, _CAMERA, who.patient, side), stream(seed, _CAMERA, who.patient)),
        disc=disc,
        disc_radius=float(anatomy.normal(0.125, 0.008)),
        cup=float(np.clip(anatomy.normal(0.42, 0.12), 0.15, 0.75)),
        crescent=float(anatomy.random() < 0.25) * float(anatomy.uniform(0.3, 1)),
        fovea=fovea,
        reflex=float(max(0.0, anatomy.normal(0.0, 0.5))),
        arteries=arteries,
        veins=veins,
        drusen=_drusen(anatomy, fovea),
        naevus=_naevus(anatomy),
        beads=_beads(ill, who, veins),
        lesions=_lesions(ill, who, disc=disc, fovea=fovea),
        new_vessels=_new_vessels(ill, who, disc=disc, fovea=fovea),
    )
    return eye if side == 0 else _mirrored(eye)


# Trunks of a right eye: heading at the disc and far away in degrees (0 is nasal, -90 up), the length over which it
# turns, the length, and the radius relative to the largest.
_TRUNKS = np.array(
    [
        (-98, -188, 0.55, 2.0, 1.0),
        (98, 188, 0.55, 2.0, 1.0),
        (-72, -30, 0.5, 1.2, 0.75),
        (72, 30, 0.5, 1.2, 0.75),
        (-160, -182, 0.3, 0.5, 0.35),
        (158, 182, 0.3, 0.5, 0.35),
    ]
)
_VEIN, _ARTERY = 0.0135, 0.0100
"""Radius of the largest at the disc: about 180 and 130 micrometres across, a little more than life."""


def _vessels(rng: np.random.Generator, *, disc: tuple[float, float], fovea: tuple[float, float]) -> tuple[Strokes, Strokes]:
    """Return the arteries and the veins: trunks from the disc, branches, and branches of branches."""
    trees = []
    for radius, side in ((_ARTERY, -1), (_VEIN, 1)):
        start, far, turn, length, relative = _TRUNKS.T
        m = len(_TRUNKS)
        heading = np.deg2rad(start + side * np.sign(start) * -6 + rng.normal(0, 6, m))
        x, y = disc[0] + rng.normal(0, 0.015, m), disc[1] + rng.normal(0, 0.02, m)
        trunk = _Paths.grow(rng, x, y, heading, np.deg2rad(far + rng.normal(0, 7, m)), turn * rng.uniform(0.85, 1.15, m),
                            length, radius * relative, points=40, fovea=fovea)
        branch = trunk.branches(rng, each=7, length=(0.3, 0.75), points=14, fovea=fovea)
        twig = branch.branches(rng, each=3, length=(0.1, 0.3), points=7, fovea=fovea)
        trees.append(Strokes.join([trunk.strokes(), branch.strokes(), twig.strokes()]))
    return trees[0], trees[1]


@dataclass(frozen=True, kw_only=True)
class _Paths:
    """Winding lines, arrays (paths, points); ``alive`` ends where a line meets the fovea's avascular zone."""

    x: Array
    y: Array
    heading: Array
    radius: Array
    alive: NDArray[np.bool_]

    @classmethod
    def grow(cls, rng, x, y, heading, far, turn, length, radius, *, points, fovea, alive=None):
        s = np.linspace(0, 1, points, dtype=np.float32) * np.asarray(length, np.float32)[:, None]
        m = len(s)
        phase, rate = rng.uniform(0, 6.28, (2, m, 1)).astype(np.float32), rng.uniform((5, 14), (9, 25), (m, 2)).astype(np.float32).T[..., None]
        winding = 0.16 * np.sin(rate[0] * s + phase[0]) + 0.12 * np.sin(rate[1] * s + phase[1])
        angle = far[:, None] + (heading - far)[:, None] * np.exp(-s / np.asarray(turn)[:, None]) + winding
        step = (s[:, 1] - s[:, 0])[:, None]
        px = x[:, None] + np.cumsum(np.cos(angle) * step, axis=1) - np.cos(angle[:, :1]) * step
        py = y[:, None] + np.cumsum(np.sin(angle) * step, axis=1) - np.sin(angle[:, :1]) * step
        far_from_fovea = np.hypot(px - fovea[0], py - fovea[1]) > 0.1
        if alive is not None:
            far_from_fovea[:, 0] &= alive
        taper = 1 - 0.55 * np.linspace(0, 1, points)
        return cls(x=px, y=py, heading=angle, radius=np.asarray(radius)[:, None] * taper, alive=np.logical_and.accumulate(far_from_fovea, axis=1))

    def branches(self, rng, *, each, length, points, fovea):
        paths, n = self.x.shape
        at = ((np.arange(each) + rng.uniform(0.3, 1.1, (paths, each))) / (each + 0.3) * n).astype(np.intp).clip(1, n - 1)
        row = np.arange(paths)[:, None]
        side = np.where((np.arange(each) + rng.integers(0, 2, (paths, 1))) % 2 == 0, 1.0, -1.0)
        heading = self.heading[row, at]
        sprout, later = np.deg2rad(rng.uniform(35, 65, (paths, each))), np.deg2rad(rng.uniform(5, 50, (paths, each)))
        longer = rng.uniform(*length, (paths, each)) * (1 - 0.4 * at / n)
        thinner = self.radius[row, at] * rng.uniform(0.45, 0.75, (paths, each))
        return type(self).grow(
            rng, self.x[row, at].ravel(), self.y[row, at].ravel(), (heading + side * sprout).ravel(), (heading + side * later).ravel(),
            np.full(paths * each, 0.15), longer.ravel(), thinner.ravel(), points=points, fovea=fovea, alive=self.alive[row, at].ravel(),
        )

    def strokes(self) -> Strokes:
        pieces = dict(x0=self.x[:, :-1], y0=self.y[:, :-1], x1=self.x[:, 1:], y1=self.y[:, 1:], r0=self.radius[:, :-1], r1=self.radius[:, 1:])
        seen = (np.hypot(self.x[:, :-1], self.y[:, :-1]) < 1.1) & self.alive[:, 1:]
        return Strokes(**{name: value[seen].astype(np.float32) for name, value in pieces.items()})


def _camera(rng: np.random.Generator, patient: np.random.Generator) -> Camera:
    dark = patient.beta(1.6, 1.6)
    tint = np.array([0.80, 0.43, 0.24]) * (1 - dark) + np.array([0.52, 0.23, 0.10]) * dark
    tint = tint * np.exp(rng.normal(0, (0.06, 0.07, 0.14)))
    n = rng.poisson(0.6)
    angle, radius = rng.uniform(0, 6.28, n), np.sqrt(rng.random(n))
    return Camera(
        scale=rng.uniform(0.46, 0.495),
        shift=(rng.normal(0, 0.006), rng.normal(0, 0.006)),
        tint=tint.astype(np.float32),
        mottle=rng.uniform(0.02, 0.06),
        tessellation=max(0.0, float(patient.normal(0.0, 0.08))),
        gamma=rng.uniform(0.85, 1.2),
        exposure=float(np.exp(rng.normal(0, 0.12))),
        haze=float(rng.beta(1.2, 8)) * 0.5,
        glow=(rng.normal(0, 0.3), rng.normal(0, 0.3), rng.uniform(0.0, 0.35)),
        crescent=(rng.uniform(0, 6.28), max(0.0, float(rng.normal(-0.1, 0.25)))),
        blur=float(rng.gamma(2.0, 0.0018)),
        noise=rng.uniform(0.02, 0.06),
        cut=float(rng.choice([1.0, 0.88], p=[0.7, 0.3])),
        dust=Spots.of(radius * np.cos(angle), radius * np.sin(angle), rng.uniform(0.01, 0.03, n), soft=0.02, strength=rng.uniform(0.1, 0.35, n)),
    )


def _drusen(rng: np.random.Generator, fovea: tuple[float, float]) -> Spots:
    n = int(rng.poisson(10)) + 3 if rng.random() < 0.15 else 0
    radius = rng.uniform(0.006, 0.016, n)
    return Spots.of(fovea[0] + rng.normal(0, 0.15, n), fovea[1] + rng.normal(0, 0.12, n), radius, soft=radius, strength=rng.uniform(0.3, 0.7, n))


def _naevus(rng: np.random.Generator) -> Spots:
    n = 8 if rng.random() < 0.06 else 0
    angle, far = rng.uniform(0, 6.28), rng.uniform(0.4, 0.9)
    return Spots.of(far * np.cos(angle) + rng.normal(0, 0.025, n), far * np.sin(angle) + rng.normal(0, 0.025, n), 0.045, soft=0.04, strength=0.5)


def _beads(rng: np.random.Generator, who: Label, veins: Strokes) -> Spots:
    """Return the beads of grade 3 (and of some of grade 4): swellings along the large veins."""
    if who.grade < 3 or rng.random() > (0.8 if who.grade == 3 else 0.4):
        return NO_SPOTS
    large = np.flatnonzero(veins.r0 > 0.5 * _VEIN)[::2]
    return Spots.of(veins.x0[large], veins.y0[large], veins.r0[large] * 1.6)


def _places(rng: np.random.Generator, n: int, *, disc: tuple[float, float], fovea: tuple[float, float]) -> tuple[Array, Array]:
    """Return ``n`` random places of the posterior pole, off the disc and the fovea's centre."""
    angle, radius = rng.uniform(0, 2 * np.pi, 3 * n + 12), 0.93 * rng.random(3 * n + 12) ** 0.6
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    free = (np.hypot(x - disc[0], y - disc[1]) > 0.2) & (np.hypot(x - fovea[0], y - fovea[1]) > 0.06)
    x, y = x[free][:n], y[free][:n]
    return x.astype(np.float32), y.astype(np.float32)


def _heap(rng: np.random.Generator, x: Array, y: Array, radius: Array, *, pieces: int, soft: float, strength: Array | float = 1.0) -> Spots:
    """Return irregular blobs at (n,) places: each a heap of ``pieces`` discs."""
    shape = (len(x), pieces)
    far = radius[:, None] * rng.uniform(0, 0.75, shape)
    angle = rng.uniform(0, 2 * np.pi, shape)
    size = radius[:, None] * rng.uniform(0.35, 0.7, shape)
    return Spots.of(x[:, None] + far * np.cos(angle), y[:, None] + far * np.sin(angle), size, soft=soft * radius[:, None],
                    strength=np.asarray(strength)[..., None] * np.ones(shape))


def _counts(rng: np.random.Generator, who: Label) -> dict[str, int]:
    """Return how many of each lesion an eye has: the international scale, in numbers."""
    t = who.within
    if who.grade == 0:
        return dict(microaneurysms=0, haemorrhages=0, exudates=0, wool=0)
    if who.grade == 1:
        return dict(microaneurysms=1 + int(rng.poisson(2 + 5 * t)), haemorrhages=0, exudates=0, wool=0)
    if who.grade == 2:
        return dict(microaneurysms=4 + int(rng.poisson(4 + 12 * t)), haemorrhages=1 + int(rng.poisson(1 + 11 * t)),
                    exudates=int(rng.poisson(0.2 + 1.8 * t)), wool=int(rng.poisson(0.1 + 0.9 * t)))
    t = t if who.grade == 3 else rng.uniform(-0.8, 0.8)
    return dict(microaneurysms=12 + int(rng.poisson(10)), haemorrhages=6 + int(rng.poisson(20 + 20 * t)),
                exudates=int(rng.poisson(2.0 + t)), wool=int(rng.poisson(2.2 + t)))


def _lesions(rng: np.random.Generator, who: Label, *, disc: tuple[float, float], fovea: tuple[float, float]) -> dict[str, Spots]:
    n = _counts(rng, who)
    x, y = _places(rng, n["microaneurysms"], disc=disc, fovea=fovea)
    aneurysms = Spots.of(x, y, rng.uniform(0.0045, 0.0085, len(x)), strength=0.85)
    x, y = _places(rng, n["haemorrhages"], disc=disc, fovea=fovea)
    blots = _heap(rng, x, y, rng.gamma(3.0, 0.0075, len(x)) + 0.008, pieces=6, soft=0.3)
    x, y = _places(rng, n["wool"], disc=disc, fovea=fovea)
    wool = _heap(rng, x, y, rng.uniform(0.035, 0.075, len(x)), pieces=7, soft=0.9, strength=rng.uniform(0.55, 0.9, len(x)))
    return dict(microaneurysms=aneurysms, haemorrhages=Spots.join([blots, _preretinal(rng, who)]),
                hard_exudates=_exudates(rng, n["exudates"], disc=disc, fovea=fovea), cotton_wool=wool)


def _exudates(rng: np.random.Generator, clusters: int, *, disc: tuple[float, float], fovea: tuple[float, float]) -> Spots:
    """Return waxy specks in ``clusters`` rings or heaps, most of them near the macula."""
    parts = []
    for _ in range(clusters):
        n = 6 + int(rng.poisson(14))
        angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(0.12, 0.5)
        cx, cy = fovea[0] + radius * np.cos(angle), fovea[1] + radius * np.sin(angle)
        ring = rng.random() < 0.4
        spread, turn = rng.uniform(0.03, 0.1), rng.uniform(0, 2 * np.pi, n)
        far = spread * (rng.normal(1, 0.15, n) if ring else np.sqrt(rng.random(n)))
        size = rng.gamma(3.0, 0.0025, n) + 0.003
        parts.append(_heap(rng, cx + far * np.cos(turn), cy + far * np.sin(turn), size, pieces=3, soft=0.3))
    return Spots.join([NO_SPOTS, *parts])


def _preretinal(rng: np.random.Generator, who: Label) -> Spots:
    """Return the boat-shaped bleeding in front of the retina that a third of grade 4 has."""
    if who.grade < 4 or rng.random() > 0.35:
        return NO_SPOTS
    angle, far, width = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.65), rng.uniform(0.12, 0.25)
    x, depth = rng.uniform(-1, 1, 160), rng.random(160)
    y = 0.55 * depth * np.sqrt(1 - x**2)
    return Spots.of(far * np.cos(angle) + width * x, far * np.sin(angle) + width * y, 0.14 * width, soft=0.01)


def _new_vessels(rng: np.random.Generator, who: Label, *, disc: tuple[float, float], fovea: tuple[float, float]) -> Strokes:
    """Return grade 4's tangles of fine looping vessels, at the disc or elsewhere."""
    tangles = 0 if who.grade < 4 else 1 + int(rng.poisson(1.2))
    x, y = _places(rng, tangles, disc=disc, fovea=fovea)
    if tangles and rng.random() < 0.45:
        x[0], y[0] = disc
    m, points = 9 * len(x), 26
    cx, cy = np.repeat(x, 9), np.repeat(y, 9)
    s = np.linspace(0, 1, points)
    heading = rng.uniform(0, 2 * np.pi, (m, 1)) + rng.normal(0, 4, (m, 1)) * s + 1.2 * np.sin(rng.uniform(8, 20, (m, 1)) * s + rng.uniform(0, 6.28, (m, 1)))
    step = rng.uniform(0.12, 0.3, (m, 1)) / points
    px, py = cx[:, None] + np.cumsum(np.cos(heading) * step, 1), cy[:, None] + np.cumsum(np.sin(heading) * step, 1)
    paths = _Paths(x=px, y=py, heading=heading, radius=np.full((m, points), 0.0032), alive=np.ones((m, points), bool))
    return paths.strokes()


def _mirrored(eye: Scene) -> Scene:
    def flip(part):
        names = [name for name in ("x", "x0", "x1") if hasattr(part, name)]
        return replace(part, **{name: -getattr(part, name) for name in names})

    return replace(eye, disc=(-eye.disc[0], eye.disc[1]), fovea=(-eye.fovea[0], eye.fovea[1]), arteries=flip(eye.arteries), veins=flip(eye.veins),
                   beads=flip(eye.beads), drusen=flip(eye.drusen), naevus=flip(eye.naevus), new_vessels=flip(eye.new_vessels),
                   lesions={name: flip(spots) for name, spots in eye.lesions.items()})


def draw(seed: int, index: int, *, size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return picture ``index`` as uint8 (3, size, size) and its masks as uint8 (regions, size, size) in {0, 1}."""
    eye = scene(seed, index)
    frame = frame_of(eye, size)
    return paint(eye, frame, stream(seed, _PIXELS, index)), masks(eye, frame)


def frame_of(eye: Scene, size: int) -> Frame:
    middle = (size - 1) / 2
    return Frame(size=size, scale=eye.camera.scale * size, x0=middle + eye.camera.shift[0] * size, y0=middle + eye.camera.shift[1] * size)


def masks(eye: Scene, frame: Frame) -> NDArray[np.uint8]:
    out = np.zeros((len(REGIONS), frame.size, frame.size), np.uint8)
    x, y = frame.grid()
    for k, name in enumerate(LESIONS[:-1]):
        out[k] = splat(eye.lesions[name], frame, mask=True)
    out[4] = splat(eye.new_vessels.spots(frame), frame, mask=True)
    out[5] = np.hypot(x - eye.disc[0], y - eye.disc[1]) < eye.disc_radius
    out[6] = splat(Strokes.join([eye.arteries, eye.veins]).spots(frame), frame) > 0.3
    return out * _field(eye, frame, np.hypot(x, y), y).round().astype(np.uint8)


def _field(eye: Scene, frame: Frame, radius: Array, y: Array) -> Array:
    pixel = 1 / frame.scale
    inside = 1 - smoothstep(1 - 1.5 * pixel, 1 + 0.5 * pixel, radius)
    if eye.camera.cut < 1:
        inside = inside * (1 - smoothstep(eye.camera.cut - pixel, eye.camera.cut + pixel, np.abs(y)))
    return inside


def _blend(picture: Array, colour: tuple[float, float, float], light: Array, alpha: Array) -> None:
    for c in range(3):
        picture[c] += alpha * (np.float32(colour[c]) * light - picture[c])


def _absorb(picture: Array, density: Array, strength: tuple[float, float, float]) -> None:
    for c in range(3):
        picture[c] *= 1 - np.float32(strength[c]) * density


def paint(eye: Scene, frame: Frame, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the photograph of ``eye``; ``rng`` gives texture and noise."""
    camera, size = eye.camera, frame.size
    x, y = frame.grid()
    radius = np.hypot(x, y)
    coarse = noise(rng, size, octaves={4: 0.5, 8: 0.6, 16: 0.5, 32: 0.4, 64: 0.4, 128: 0.4, 256: 0.4})
    light = (1 - np.float32(0.3) * radius * radius) * (1 + np.float32(camera.glow[2]) * bell(x, y, at=camera.glow[:2], radius=0.5))
    picture = np.empty((3, size, size), np.float32)
    for c, weight in enumerate((0.6, 1.0, 1.0)):
        picture[c] = camera.tint[c] * light * (1 + np.float32(weight * camera.mottle) * coarse)
    macula = bell(x, y, at=eye.fovea, radius=0.17)
    _absorb(picture, macula, (0.12, 0.3, 0.35))
    _absorb(picture, splat(eye.naevus, frame), (0.45, 0.4, 0.3))
    _paint_disc(eye, picture, x, y, light, frame)
    _blend(picture, (0.92, 0.74, 0.40), light, splat(eye.drusen, frame) * np.float32(0.6))
    _blend(picture, (0.93, 0.88, 0.76), light, smoothstep(0, 1, splat(eye.lesions["cotton_wool"], frame)) * np.float32(0.8))
    _absorb(picture, splat(eye.veins.spots(frame), frame), (0.38, 0.62, 0.55))
    _absorb(picture, splat(eye.beads, frame), (0.38, 0.62, 0.55))
    _absorb(picture, splat(eye.arteries.spots(frame), frame), (0.2, 0.5, 0.45))
    _absorb(picture, splat(eye.new_vessels.spots(frame), frame), (0.3, 0.55, 0.5))
    _absorb(picture, splat(eye.lesions["microaneurysms"], frame), (0.3, 0.6, 0.5))
    _absorb(picture, splat(eye.lesions["haemorrhages"], frame), (0.45, 0.72, 0.6))
    _blend(picture, (0.97, 0.86, 0.48), light, splat(eye.lesions["hard_exudates"], frame) * np.float32(0.9))
    return _photograph(eye, frame, rng, picture, light, radius, x, y)


def _paint_disc(eye: Scene, picture: Array, x: Array, y: Array, light: Array, frame: Frame) -> None:
    pixel = 1 / frame.scale
    away = np.hypot((x - eye.disc[0]) * np.float32(1.06), y - eye.disc[1])
    edge = max(0.02, 1.2 * pixel)
    if eye.crescent:
        side = -1 if eye.disc[0] > eye.fovea[0] else 1
        outer = np.hypot(x - eye.disc[0] - side * 0.035, y - eye.disc[1])
        _blend(picture, (0.9, 0.72, 0.5), light, (1 - smoothstep(eye.disc_radius, eye.disc_radius + edge, outer)) * np.float32(0.7 * eye.crescent))
    rim = 1 - smoothstep(eye.disc_radius - edge, eye.disc_radius + edge, away)
    cup = 1 - smoothstep(eye.cup * eye.disc_radius - 2 * edge, eye.cup * eye.disc_radius + 2 * edge, away)
    tint = eye.camera.tint
    colour = tuple(float(v) for v in tint * 0.35 + np.array([0.92, 0.66, 0.42]) * 0.72)
    _blend(picture, (colour[0], colour[1], colour[2]), light, rim)
    _blend(picture, (1.05, 0.92, 0.72), light, cup * np.float32(0.8))


def _photograph(eye: Scene, frame: Frame, rng: np.random.Generator, picture: Array, light: Array, radius: Array, x: Array, y: Array) -> NDArray[np.uint8]:
    camera = eye.camera
    _blend(picture, (0.62, 0.55, 0.45), light, np.full_like(light, camera.haze))
    angle, strength = camera.crescent
    if strength > 0:
        edge = smoothstep(0.75, 1.0, radius) * np.clip((x * np.cos(angle) + y * np.sin(angle)).astype(np.float32), 0, 1) ** 2
        _blend(picture, (0.75, 0.72, 0.62), light, edge * np.float32(strength))
    _absorb(picture, splat(camera.dust, frame), (0.6, 0.6, 0.6))
    picture = np.clip(picture, 0, 1) ** np.float32(camera.gamma) * np.float32(camera.exposure)
    picture = blur(picture, camera.blur * frame.scale)
    picture *= _field(eye, frame, radius, y)
    picture += np.float32(0.02)
    return to_bytes(picture + grain(rng, 3, frame.size, sigma=camera.noise))
