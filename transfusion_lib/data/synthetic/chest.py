"""Synthetic frontal chest x-rays with the five pathologies of CheXpert.

A ``Scene`` holds chests in units of half the picture's edge: x and y from -1 to 1, x to the viewer's right (the
patient's left), y down. A picture is the sum of what the layers absorb, so that lungs are dark and bones white.

Each pathology has a severity, normal and correlated through three hidden causes (heart failure, infection, poor
breathing), and is present above a threshold. The picture shows the severity; the report, which gives the label, is
uncertain for some of those near the threshold. Cardiomegaly is what radiologists call it: a heart wider than half the
thorax.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

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
    blur,
    join,
    noise,
    smoothstep,
    splat,
    spots,
    stream,
    strokes,
    to_bytes,
)
from transfusion_lib.data.synthetic.vessels import Roots, grow, sprout

VERSION = 2
"""Raise when any picture, mask or label changes: it enters the data set's fingerprint."""

CHANNELS = 1
PATHOLOGIES = ("atelectasis", "cardiomegaly", "consolidation", "edema", "pleural effusion")
PREVALENCE = (0.25, 0.25, 0.15, 0.25, 0.35)
UNCERTAIN = (0.5, 0.2, 0.6, 0.25, 0.25)
"""Half width of the band of severity around the threshold in which a report may be uncertain."""
REGIONS = ("right_lung", "left_lung", "heart", "atelectasis", "consolidation", "edema", "pleural_effusion")
CAUSES = np.array(
    [
        # heart failure, infection, poor breathing
        (0.10, 0.15, 0.60),
        (0.65, 0.00, 0.00),
        (0.00, 0.65, 0.15),
        (0.75, 0.10, 0.00),
        (0.50, 0.35, 0.30),
    ]
)
"""How much of each pathology's severity a hidden cause explains: the loadings of a factor model of unit variance."""
BETWEEN_STUDIES = 0.6
"""Correlation of the severities of a patient's studies."""
_STUDIES = (1, 1, 2, 1, 3)
"""Number of studies of five patients in a row, over and over."""
_STUDY, _PATIENT = range(2)
_THRESHOLDS = tuple(NormalDist().inv_cdf(1 - p) for p in PREVALENCE)

Truth = NDArray[np.bool_]


_FALL = 0.19
"""How far below its dome the diaphragm meets the chest wall."""


class Label(NamedTuple):
    """Whose chest it is, what it has, and what the report says."""

    patient: int
    study: int
    """From 1."""
    truth: tuple[int, ...]
    """0 or 1 per pathology."""
    reported: tuple[int, ...]
    """0, 1, or -1 for uncertain."""
    excess: tuple[float, ...]
    """Severity above the threshold, in standard deviations."""


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """How the picture was taken; arrays are (b, 1)."""

    zoom: Array
    shift: tuple[Array, Array]
    contrast: Array
    brightness: Array
    gamma: Array
    slope: tuple[Array, Array]
    """Of the brightness over the picture: an uneven beam."""
    blur: Array
    """In units of the scene."""
    noise: Array
    """Standard deviation of a pixel at the reference size, where 1 is white."""
    marker: Strokes
    """The side's letter, of lead."""
    wires: Strokes
    electrodes: Spots


@dataclass(frozen=True, kw_only=True)
class Lung:
    """One side of the thorax: arrays (b, 1), u is the distance from the midline."""

    side: int
    """-1 is the patient's right, on the viewer's left."""
    dome: Array
    """y of the top of the diaphragm."""
    fluid: Array
    """Height of an effusion; 0 is none."""
    blunt: Array
    """Height of a scar in the angle between ribs and diaphragm."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Chests; arrays are (b, 1)."""

    labels: tuple[Label, ...]
    exposure: Exposure
    width: Array
    """Half of the thorax, where it is widest."""
    apex: Array
    """y of the lungs' top."""
    body: Array
    """Half width of the trunk."""
    breasts: Array
    """Strength of their shadows."""
    heart: Array
    """Width relative to the thorax."""
    lungs: tuple[Lung, Lung]
    ribs: Strokes
    clavicles: Strokes
    vessels: Strokes
    congestion: Array
    """Of edema: 0 is none, 1 the worst."""
    kerley: Strokes
    """The fine lines of edema."""
    plates: Strokes
    """The bands of atelectasis."""
    patch: tuple[Array, Array, Array, Array]
    """A consolidation's x, y, radius and density."""
    haze: Array
    """Density of the lungs that means nothing: a thick chest wall, a shallow breath."""
    bubble: Array
    """Strength of the air in the stomach."""


def label(seed: int, index: int) -> Label:
    """Return the label of picture ``index``."""
    patient, study = _whose(index)
    return _label(patient, study, stream(seed, _PATIENT, patient), stream(seed, _STUDY, index))


def _whose(index: int) -> tuple[int, int]:
    """Return patient and study: of every five patients, three have one study, one two, and one three."""
    block, place = divmod(index, sum(_STUDIES))
    for patient, studies in enumerate(_STUDIES):
        if place < studies:
            return block * len(_STUDIES) + patient, place + 1
        place -= studies
    raise AssertionError(index)


def _label(patient: int, study: int, lasting: np.random.Generator, passing: np.random.Generator) -> Label:
    """Return the label; ``lasting`` is the patient's generator, ``passing`` the study's."""
    n = len(PATHOLOGIES)
    normal = BETWEEN_STUDIES**0.5 * lasting.standard_normal(n + 3) + (
        1 - BETWEEN_STUDIES
    ) ** 0.5 * passing.standard_normal(n + 3)
    coins = passing.random(n)
    own = np.sqrt(1 - np.square(CAUSES).sum(axis=1))
    excess = [
        float(sum(CAUSES[k, c] * normal[c] for c in range(3)) + own[k] * normal[3 + k]) - _THRESHOLDS[k]
        for k in range(n)
    ]
    truth = tuple(int(e > 0) for e in excess)
    unsure = [abs(e) < band and coin < 0.7 for e, band, coin in zip(excess, UNCERTAIN, coins, strict=True)]
    return Label(
        patient, study, truth, tuple(-1 if u else t for u, t in zip(unsure, truth, strict=True)), tuple(excess)
    )


def scene(seed: int, indices: Sequence[int]) -> tuple[Scene, Static]:
    """Return the chests on the pictures ``indices``, and what their texture and noise are made of."""
    whose = [_whose(index) for index in indices]
    patients = [stream(seed, _PATIENT, patient) for patient, _ in whose]
    studies = [stream(seed, _STUDY, index) for index in indices]
    labels = tuple(_label(*who, p, s) for who, p, s in zip(whose, patients, studies, strict=True))
    lasting, exposed = Dice(patients, supply=1400), Dice(studies, supply=256)
    ill = Dice(studies, supply=256)
    excess = np.array([label.excess for label in labels], np.float32)
    atelectasis, _, consolidation, edema, effusion = (_seen(excess[:, k : k + 1]) for k in range(len(PATHOLOGIES)))
    width, apex = lasting.uniform(0.68, 0.80), -0.80 + lasting.normal(0.03)
    breath = 0.40 + lasting.normal(0.03) + exposed.normal(0.04)
    band_side = ill.either(0.5, -1, 1)
    bands = _plates(ill, atelectasis, band_side, breath)
    wet = ill.uniform(0, 1)  # right, left or both
    sides = []
    for side, dry in ((-1, (wet > 0.40) & (wet < 0.75)), (1, wet < 0.40)):
        raised = 0.07 * atelectasis * (band_side == side) + (0.05 if side < 0 else 0.0)
        fluid = (0.06 + 0.55 * effusion * ill.uniform(0.6, 1)) * (effusion > 0) * ~dry
        blunt = exposed.chance(0.15) * exposed.uniform(0.04, 0.12)  # an old scar: like fluid, and none
        sides.append(Lung(side=side, dome=breath - raised, fluid=fluid, blunt=blunt))
    chest = Scene(
        labels=labels,
        exposure=_exposure(exposed),
        width=width,
        apex=apex,
        body=width + lasting.uniform(0.2, 0.5),
        breasts=lasting.chance(0.5) * lasting.uniform(0.2, 1),
        heart=0.5 + 0.045 * excess[:, 1:2],
        lungs=(sides[0], sides[1]),
        ribs=_ribs(lasting, width, apex),
        clavicles=_clavicles(lasting, apex),
        vessels=_vessels(lasting, edema),
        congestion=edema,
        kerley=_kerley(ill, edema, width, breath),
        plates=bands,
        patch=_patch(ill, consolidation),
        haze=exposed.uniform(0, 0.10),
        bubble=exposed.chance(0.6) * exposed.uniform(0.3, 1),
    )
    return chest, Static(studies)


def _seen(excess: Array) -> Array:
    """Return how much of a pathology shows, 0 to 1: a little already below the threshold, all 2 deviations above."""
    seen: Array = np.clip((excess + 0.35) / 2.35, 0, 1)
    return seen


def _exposure(dice: Dice) -> Exposure:
    left = dice.either(0.7, 1, -1)
    x, y = left * dice.uniform(0.78, 0.9), dice.uniform(-0.92, -0.8)
    size, shown = 0.05, dice.chance(0.6) * dice.uniform(0.6, 1)
    letter = np.array([(0, -1), (0, 1), (0.8, 1)], np.float32)[:, :, None, None]  # an L; as far as lead goes, also an R
    marker = strokes(x + size * letter[:, 0], y + size * letter[:, 1], 0.012, shown)
    t = np.linspace(0, 1, 30, dtype=np.float32)[:, None, None]
    x0, y0, x1, y1 = (
        dice.uniform(-0.8, 0.8, 3),
        dice.uniform(-0.9, -0.6, 3),
        dice.uniform(-0.7, 0.7, 3),
        dice.uniform(-0.2, 0.8, 3),
    )
    sway, wave = dice.uniform(-0.15, 0.15, 3), dice.uniform(1, 3, 3)
    wired = dice.chance(0.35) * (dice.uniform(0, 1, 3) < 0.7) * dice.uniform(0.4, 1, 3)
    wires = strokes(
        x0 + (x1 - x0) * t + sway * np.sin(3.1416 * wave * t),
        y0 + (y1 - y0) * t,
        0.006,
        wired,
    )
    return Exposure(
        zoom=dice.uniform(0.92, 1.06),
        shift=(dice.normal(0.03), dice.normal(0.03)),
        contrast=np.exp(dice.normal(0.12)),
        brightness=dice.normal(0.05),
        gamma=dice.uniform(0.8, 1.25),
        slope=(dice.normal(0.04), dice.normal(0.04)),
        blur=0.012 * dice.uniform(0, 1) ** 3,
        noise=dice.uniform(0.02, 0.07),
        marker=marker,
        wires=wires,
        electrodes=spots(x1, y1, 0.022, strength=wired, exist=wired > 0),
    )


# The bones and the vessels.


def _ribs(dice: Dice, width: Array, apex: Array) -> Strokes:
    """Return ten pairs of ribs: the backs bright and nearly level, the fronts faint and steep."""
    n = 10
    t = np.linspace(0, 1, 14, dtype=np.float32)[:, None, None]
    level = np.arange(n, dtype=np.float32)
    y0 = apex + 0.05 + 0.122 * level + dice.normal(0.006, n)
    reach = (width + 0.03) * np.sqrt(1 - np.clip(0.55 - 0.14 * level, 0, 0.75) ** 2)
    bow, fall = dice.uniform(0.04, 0.07), dice.uniform(0.22, 0.3)
    back = 0.05 + (reach - 0.05) * np.sin(1.5708 * t), y0 - bow * np.sin(3.1416 * t) + fall * t**2
    front = reach - (reach - 0.3) * t**1.3, y0 + fall + 0.30 * t * (0.5 + 0.05 * level)
    return join(*(_bone(s * x, y, 0.022, light) for (x, y), light in ((back, 0.55), (front, 0.25)) for s in (-1, 1)))


def _clavicles(dice: Dice, apex: Array) -> Strokes:
    t = np.linspace(0, 1, 16, dtype=np.float32)[:, None, None]
    x, bend = 0.06 + 0.62 * t, 0.14 - 0.12 * t + 0.035 * np.sin(6.2832 * t)
    return join(*(_bone(s * x, apex + bend + dice.normal(0.02), 0.03, 0.58) for s in (-1, 1)))


def _bone(x: Array, y: Array, half: float, light: float) -> Strokes:
    """Return tubes: a shaft, and edges that are brighter, since there the beam runs along the cortex."""
    edges = [strokes(x, y + edge, half / 5, 1.7 * light) for edge in (-half, half)]
    return join(strokes(x, y, half, light), *edges)


def _vessels(dice: Dice, edema: Array) -> Strokes:
    """Return the lungs' vessels, fanning out from the hila; congestion widens them."""
    n = 9
    fan = np.tile(np.linspace(-1.35, 1.35, n, dtype=np.float32), 2)
    side = np.repeat(np.array([-1, 1], np.float32), n)
    heading = fan + dice.normal(0.08, 2 * n)
    heading = np.where(side > 0, heading, np.float32(np.pi) - heading)
    roots = Roots(
        x=side * 0.15 + dice.normal(0.02, 2 * n),
        y=-0.04 + 0.05 * np.sin(fan) + dice.normal(0.02, 2 * n),
        heading=heading,
        far=heading + dice.normal(0.2, 2 * n),
        turn=np.full(2 * n, 0.3, np.float32),
        length=dice.uniform(0.4, 0.62, 2 * n),
        radius=dice.uniform(0.010, 0.017, 2 * n) * (dice.uniform(0.85, 1.2) + 0.35 * edema),
        strength=np.ones(2 * n, np.float32),
    )
    trunks = grow(dice, roots, points=14, winding=0.12)
    branches = grow(dice, sprout(dice, trunks, each=5, length=(0.15, 0.4)), points=8, winding=0.12)
    return join(trunks.strokes(), branches.strokes())


# The pathologies.


def _plates(dice: Dice, seen: Array, side: Array, dome: Array) -> Strokes:
    """Return the bands of atelectasis: up to three, nearly level, above the diaphragm."""
    n = 3
    t = np.linspace(-0.5, 0.5, 9, dtype=np.float32)[:, None, None]
    exist = np.arange(n) < 1 + 2.5 * seen * dice.uniform(0.5, 1)
    length, tilt = dice.uniform(0.12, 0.3, n) * (0.6 + 0.6 * seen), dice.normal(0.25, n)
    x = side * dice.uniform(0.3, 0.55, n) + length * np.cos(tilt) * t
    y = dome - dice.uniform(0.03, 0.32, n) + length * np.sin(tilt) * t
    radius = (0.006 + 0.018 * seen) * dice.uniform(0.6, 1, n) * (1 - 3 * t * t)
    return strokes(x, y, radius, (seen > 0) * exist * (0.35 + 0.65 * seen))


def _kerley(dice: Dice, seen: Array, width: Array, dome: Array) -> Strokes:
    """Return short level lines at the sides of the bases."""
    n = 14
    side = np.repeat(np.array([-1, 1], np.float32), n // 2)
    t = np.linspace(0, 1, 3, dtype=np.float32)[:, None, None]
    x = side * (width - 0.03 - dice.uniform(0.03, 0.08, n) * t)
    y = dome + dice.uniform(-0.25, 0.1, n) + 0.01 * t
    return strokes(x, y, 0.0035, seen * (dice.uniform(0, 1, n) < 0.8 * seen))


def _patch(dice: Dice, seen: Array) -> tuple[Array, Array, Array, Array]:
    side = dice.either(0.55, -1, 1)
    radius = dice.uniform(0.10, 0.16) + 0.1 * seen
    return side * dice.uniform(0.24, 0.46), dice.uniform(-0.45, 0.3), radius, (seen > 0) * (0.25 + 0.75 * seen)


# Painting.


def draw(seed: int, indices: Sequence[int], *, size: int) -> tuple[Bytes, Bytes]:
    """Return the pictures ``indices`` as uint8 (b, 1, size, size), their masks as uint8 (b, regions, size, size)."""
    chests, static = scene(seed, indices)
    return paint(chests, size=size, static=static)


def paint(chests: Scene, *, size: int, static: Static) -> tuple[Bytes, Bytes]:
    """Return the radiographs of ``chests`` and their masks in {0, 1}; ``static`` gives texture and noise.

    A lung's mask is its whole field, opaque parts too, without the heart; edema's is where it clouds the lungs.
    """
    exposure = chests.exposure
    scale = size / 2 * exposure.zoom
    middle = (size - 1) / 2
    frame = Frame(
        size=size,
        scale=scale,
        x0=middle + exposure.shift[0] * scale,
        y0=middle + exposure.shift[1] * scale,
        flip=np.ones_like(scale),
    )
    x, y = frame.grid()
    heart = _heart(chests, x, y)
    lungs = [_lung(chests, lung, x, y) for lung in chests.lungs]
    air = (lungs[0] + lungs[1]) * (1 - heart)
    cloud, _ = noise(static, size, coarsest=4, octaves=(0.5, 0.6, 0.5, 0.4, 0.4))
    ill = _ill(chests, frame, air, cloud)
    density = _soft_tissue(chests, frame, heart, air, cloud)
    density += _chest_wall(chests, frame, air)
    for lung in chests.lungs:
        density += 0.25 * air * _below(chests, lung, lung.blunt, x, y)
    vessels = splat(along(chests.vessels, frame), frame)
    solid, fluid = ill["consolidation"], ill["pleural_effusion"]
    central = np.exp(-(((np.abs(x) - 0.12) / 0.3) ** 2)) * (0.14 + 0.05 * _layer(chests.congestion))
    density += air * central * vessels * (1 - 2.2 * solid)  # in a solid lung only the bronchi hold air
    density += 0.30 * solid + 0.28 * ill["atelectasis"] + 0.22 * ill["edema"] + 0.34 * fluid * (1 - 0.6 * solid)
    fields = [lung * (1 - heart) > 0.5 for lung in lungs]
    signs = [(ill[name] > 0.25) & (fields[0] | fields[1]) for name in REGIONS[3:]]
    masks = np.stack([*fields, heart > 0.5, *signs], axis=1).astype(np.uint8)
    return _expose(exposure, frame, density, static), masks


def _layer(value: Array) -> Array:
    """Return the scenes' scalar, (b, 1), in the shape of a layer, (b, 1, 1)."""
    return value[:, :, None]


def _lung(chests: Scene, lung: Lung, x: Array, y: Array) -> Array:
    """Return one lung's field, 0 to 1: a rib cage outside, the mediastinum inside, a dome below."""
    u = lung.side * x
    width, apex = _layer(chests.width), _layer(chests.apex)
    up = np.clip((0.3 - y) / (0.3 - apex), 0, 1)
    lateral = width * np.sqrt(1 - up**2.6) * (1 - 0.04 * np.maximum(y, 0))
    medial = 0.11 + 0.03 * np.cos(3 * y)
    if lung.side > 0:
        medial = medial + 0.05 * np.exp(-(((y + 0.36) / 0.09) ** 2))  # the aorta's knob
    inside = smoothstep(-0.015, 0.02, u - medial) * smoothstep(-0.012, 0.012, lateral - u)
    return inside * smoothstep(-0.012, 0.012, _base(chests, lung, u) - y)


def _base(chests: Scene, lung: Lung, u: Array) -> Array:
    """Return the y of the diaphragm: a dome that falls into a sharp angle at the side."""
    off = (u - 0.4 * _layer(chests.width)) / (0.6 * _layer(chests.width))
    base: Array = _layer(lung.dome) + np.where(off > 0, _FALL * np.abs(off) ** 2.5, 0.06 * off * off)
    return base


def _heart(chests: Scene, x: Array, y: Array) -> Array:
    """Return the heart, 0 to 1: a tilted ellipse, a third of it right of the midline, as wide as the scene says."""
    across = _layer(chests.heart * chests.width)
    tall, cos, sin = 0.17 + 0.28 * across, 0.82, 0.57
    long = np.sqrt(np.maximum(across**2 - (tall * sin) ** 2, 0.01)) / cos
    dx, dy = x - 0.36 * across, y - (_layer(chests.lungs[1].dome) - 0.10)
    away = np.sqrt(((dx * cos + dy * sin) / long) ** 2 + ((dy * cos - dx * sin) / tall) ** 2)
    return 1 - smoothstep(0.92, 1.08, away)


def _soft_tissue(chests: Scene, frame: Frame, heart: Array, air: Array, cloud: Array) -> Array:
    """Return the density of trunk, mediastinum, heart and abdomen, less the lungs' air."""
    x, y = frame.grid()
    side = np.abs(x)
    shoulders = np.minimum(0.24 + 1.1 * smoothstep(-1.15, -0.5, y), _layer(chests.body))
    trunk = smoothstep(-0.02, 0.02, shoulders - side)
    density = 0.54 + 0.02 * cloud + 0.07 * (1 - smoothstep(0.05, 0.2, side))
    density += 0.03 * (1 - smoothstep(0.05, 0.08, side)) * (0.7 + 0.3 * np.cos(58 * y))  # vertebrae
    density += 0.05 * heart - (0.36 + 0.025 * cloud - _layer(chests.haze)) * air
    density -= 0.07 * (1 - smoothstep(0.015, 0.05, side)) * (1 - smoothstep(-0.35, -0.2, y))  # the trachea
    below = [
        smoothstep(-0.02, 0.02, y - _base(chests, lung, lung.side * x)) * smoothstep(-0.12, 0.12, lung.side * x)
        for lung in chests.lungs
    ]
    density += 0.09 * below[0] + 0.06 * below[1]
    bubble = np.sqrt(((x - 0.3) / 0.17) ** 2 + ((y - _layer(chests.lungs[1].dome) - 0.14) / 0.09) ** 2)
    density -= 0.16 * _layer(chests.bubble) * (1 - smoothstep(0.6, 1, bubble)) * below[1]
    for sign in (-1, 1):
        shade = np.sqrt(((x - sign * 0.42) / 0.36) ** 2 + ((y - 0.25) / 0.32) ** 2)
        density += 0.06 * _layer(chests.breasts) * (1 - smoothstep(0.7, 1, shade))
        density += 0.10 * np.exp(-(((x - sign * 0.17) / 0.05) ** 2) - ((y + 0.04) / 0.1) ** 2) * air  # hila
    density *= trunk
    return density


def _chest_wall(chests: Scene, frame: Frame, air: Array) -> Array:
    """Return the density of ribs, clavicles, lead and wires."""
    bones = 0.11 * splat(along(chests.ribs, frame), frame) * (0.35 + 0.65 * air)  # more beam, less contrast
    bones += 0.12 * splat(along(chests.clavicles, frame), frame)
    exposure = chests.exposure
    metal = splat(join(along(exposure.marker, frame), along(exposure.wires, frame), exposure.electrodes), frame)
    bones += 0.35 * metal
    return bones


def _ill(chests: Scene, frame: Frame, air: Array, cloud: Array) -> dict[str, Array]:
    """Return where and how densely each pathology but cardiomegaly shows, 0 to 1."""
    x, y = frame.grid()
    px, py, radius, dense = (_layer(part) for part in chests.patch)
    near = 1 - np.sqrt((x - px) ** 2 + (y - py) ** 2) / (1.5 * radius)
    patch = smoothstep(0.05, 0.75, near + 0.22 * cloud) * dense * air
    wings = np.exp(-(((np.abs(x) - 0.28) / 0.24) ** 2) - ((y - 0.02) / 0.38) ** 2)
    haze = _layer(chests.congestion) * air * (wings * (0.85 + 0.3 * cloud) + 0.25)
    lines = splat(along(chests.kerley, frame), frame)
    fluid = [_below(chests, lung, lung.fluid, x, y) * air for lung in chests.lungs]
    plates = splat(along(chests.plates, frame), frame) * air
    return {
        "atelectasis": plates,
        "consolidation": patch,
        "edema": np.clip(haze + 0.5 * lines * air, 0, 1),
        "pleural_effusion": fluid[0] + fluid[1],
    }


def _below(chests: Scene, lung: Lung, depth: Array, x: Array, y: Array) -> Array:
    """Return what stands in the angle between ribs and diaphragm, ``depth`` high, higher at the side than within."""
    u = lung.side * x
    level = _layer(lung.dome) + _FALL - _layer(depth) * (0.7 + 0.5 * (u / _layer(chests.width)) ** 3)
    return smoothstep(-0.03, 0.03, y - level) * (_layer(depth) > 0) * (u > 0)


def _expose(exposure: Exposure, frame: Frame, density: Array, static: Static) -> Bytes:
    """Return the pictures (b, 1, size, size) of what ``density`` absorbs."""
    x, y = frame.grid()
    for k in np.flatnonzero(exposure.blur * frame.scale > 0.25):
        density[k] = blur(density[k : k + 1], float(exposure.blur[k, 0] * frame.scale[k, 0]))[0]
    density += _layer(exposure.slope[0]) * x + _layer(exposure.slope[1]) * y
    picture = (density - 0.4) * (1.35 * _layer(exposure.contrast)) + 0.5 + _layer(exposure.brightness)
    np.clip(picture, 0, 1, out=picture)
    picture **= _layer(exposure.gamma)
    picture += static.take(frame.size, frame.size) * _layer(exposure.noise * min(1.0, frame.size / REFERENCE))
    return to_bytes(picture[:, None])
