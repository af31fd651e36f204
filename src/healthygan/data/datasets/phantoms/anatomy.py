"""Healthy anatomy of the phantoms: a chest as an X-ray sees it, a head as one T1-weighted MR slice sees it.

Everything is drawn in the subject's own coordinates: x to the right and y down the image, -1 and 1 at the
edges of an unmoved image. Fields are (side, side) float64 arrays at rendering resolution. Only elementwise
arithmetic and ``scipy.ndimage`` are used, so that a seed gives the same image on every machine.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Field: TypeAlias = NDArray[np.float64]
Generator: TypeAlias = np.random.Generator


@dataclass(frozen=True)
class Frame:
    """Where each pixel lies in the subject, who is turned by ``angle``, scaled, shifted and bent a little."""

    x: Field
    y: Field
    angle: float
    scale: float
    shift: tuple[float, float]

    @property
    def side(self) -> int:
        """Pixels along one side of the rendering."""
        return len(self.x)

    def pixels(self, x: Field, y: Field) -> tuple[Field, Field]:
        """Row and column of points of the subject, the bending left out."""
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        across = self.scale * (cosine * x - sine * y) + self.shift[0]
        down = self.scale * (sine * x + cosine * y) + self.shift[1]
        return (down + 1) * self.side / 2 - 0.5, (across + 1) * self.side / 2 - 0.5


@dataclass(frozen=True)
class Chest:
    """A healthy chest: attenuation along each ray, and where each lung shows beside the heart, in [0, 1]."""

    frame: Frame
    field: Field
    lungs: tuple[Field, Field]  # left and right in the image
    vessels: Field  # their part of the attenuation


@dataclass(frozen=True)
class Brain:
    """A healthy head: signal in [0, 1], and where the brain and its white matter are, in [0, 1]."""

    frame: Frame
    field: Field
    brain: Field
    white: Field


def rise(distance: Field, width: float) -> Field:
    """A smooth step from 0 to 1 over ``width``, centred where ``distance`` is 0."""
    t = np.clip(distance / width + 0.5, 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def ellipse(frame: Frame, x: float, y: float, across: float, along: float, angle: float = 0.0) -> Field:
    """1 at the centre, 0 on the outline, negative outside."""
    cosine, sine = np.cos(angle), np.sin(angle)
    u, v = frame.x - x, frame.y - y
    radius = np.sqrt(((cosine * u + sine * v) / across) ** 2 + ((cosine * v - sine * u) / along) ** 2)
    return np.asarray(1 - radius)


def segment(frame: Frame, start: tuple[float, float], end: tuple[float, float]) -> Field:
    """Distance to a straight segment."""
    (x, y), along, down = start, end[0] - start[0], end[1] - start[1]
    u, v = frame.x - x, frame.y - y
    nearest = np.clip((u * along + v * down) / (along * along + down * down), 0, 1)
    return np.sqrt((u - nearest * along) ** 2 + (v - nearest * down) ** 2)


def noise(generator: Generator, side: int, cells: int) -> Field:
    """Cubic B-spline noise of about unit variance over ``cells`` x ``cells``, the same for every ``side``."""
    knots = 2 * generator.normal(size=(cells + 3, cells + 3))
    whole, t = np.divmod((np.arange(side) + 0.5) * cells / side, 1)
    first = whole.astype(np.int64)
    weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 3 * (t**2 + t - t**3) + 1, t**3)
    rows = sum(weight[:, None] / 6 * knots[first + k] for k, weight in enumerate(weights))
    return np.asarray(sum(weight / 6 * np.take(rows, first + k, axis=1) for k, weight in enumerate(weights)))


def place(generator: Generator, side: int, degrees: float, scales: tuple[float, float]) -> Frame:
    """Draw a position: turned by up to ``degrees``, scaled, shifted by a few hundredths, softly bent."""
    angle = float(np.radians(generator.uniform(-degrees, degrees)))
    scale = float(generator.uniform(*scales))
    shift = (float(generator.uniform(-0.06, 0.06)), float(generator.uniform(-0.06, 0.06)))
    ticks = (np.arange(side) + 0.5) * 2 / side - 1
    u, v = np.broadcast_to(ticks - shift[0], (side, side)), (ticks - shift[1])[:, None]
    cosine, sine = np.cos(angle) / scale, np.sin(angle) / scale
    return Frame(
        cosine * u + sine * v + 0.015 * noise(generator, side, 4),
        cosine * v - sine * u + 0.015 * noise(generator, side, 4),
        angle,
        scale,
        shift,
    )


def chest(generator: Generator, side: int) -> Chest:
    """Draw a chest, rendered at ``side`` x ``side``."""
    frame = place(generator, side, 5, (1.02, 1.18))
    draw = generator.uniform
    half_width, apex, base = draw(0.66, 0.76), draw(-0.78, -0.68), draw(0.46, 0.68)
    left, left_cage = _lung(frame, generator, -1, half_width, apex, base - 0.04)
    right, right_cage = _lung(frame, generator, 1, half_width, apex, base)
    air = left + right
    tissue = _soft_tissue(frame, generator, base)
    vessels = _vessels(frame, generator) * air * draw(0.7, 1.2)
    mottle = 0.015 * noise(generator, side, 24) + 0.03 * noise(generator, side, 8)
    centre, heart = _mediastinum(frame, generator, base)
    lucency = draw(0.7, 0.78) * air * (1 - 0.35 * heart)
    cage = np.maximum(left_cage, right_cage) * (0.35 + 0.65 * np.minimum(2 * air, 1))
    bones = _bones(frame, generator, cage)
    body = rise(tissue - 0.08, 0.16)
    markings = vessels * (1 - 0.6 * heart) * body
    attenuation = (tissue * (1 - lucency) + air * mottle + centre + bones) * body + markings
    clear = 1 - heart
    return Chest(frame, np.maximum(attenuation, 0), (left * clear, right * clear), markings)


def _lung(
    frame: Frame, generator: Generator, sign: int, half_width: float, apex: float, base: float
) -> tuple[Field, Field]:
    """The air of one lung and the inside of its half of the rib cage; ``sign`` -1 is left in the image."""
    draw = generator.uniform
    x, y = sign * frame.x, frame.y
    middle, medial = 0.31, draw(0.07, 0.11)
    reach = np.where(x > middle, half_width - middle, 0.33)
    across = np.abs(x - middle) / reach
    up = np.maximum(base - y, 0) / (base - apex)
    wall = (1 - across**2.3 - up ** draw(2.1, 2.6)) * 0.16
    arch = draw(0.16, 0.26) * (1 - ((x - middle) / 0.44) ** 2)
    above_diaphragm = base - arch - y
    inside = np.minimum(np.minimum(wall, above_diaphragm), x - medial)
    thickness = 0.6 * rise(inside, 0.035) + 0.4 * np.clip(inside / 0.12, 0, 1)
    return thickness, rise(wall + 0.03, 0.05) * (x > 0)


def _soft_tissue(frame: Frame, generator: Generator, base: float) -> Field:
    draw = generator.uniform
    x, y = frame.x, frame.y
    away = np.abs(x)
    half_width = draw(0.84, 0.98) + 0.4 * rise(-0.3 - y, 0.6)
    slope = draw(0.22, 0.4)
    shoulder = -0.66 - slope * np.clip(1 - away, 0, 1) - 0.6 * rise(draw(0.2, 0.27) - away, 0.3)
    inside = np.minimum(half_width - away, 1.3 * (y - shoulder))
    thickness = np.sqrt(np.clip(inside / 0.5, 0, 1))
    abdomen = draw(0.45, 0.75) * rise(y - base + 0.12, 0.5)
    tissue = draw(0.9, 1.15) * thickness * (1 + abdomen)
    if draw() < 0.5:
        size, height, fullness = draw(0.26, 0.34), draw(0.2, 0.36), draw(0.12, 0.32)
        for sign in (-1, 1):
            shape = ellipse(frame, sign * draw(0.38, 0.46), height, size, size * 1.1)
            tissue = tissue + fullness * np.sqrt(np.maximum(shape, 0)) * thickness
    if draw() < 0.6:
        bubble = ellipse(frame, draw(0.26, 0.4), base + draw(0.0, 0.1), draw(0.08, 0.15), draw(0.04, 0.08))
        tissue = tissue * (1 - draw(0.15, 0.4) * rise(bubble, 0.6))
    return np.asarray(tissue)


def _mediastinum(frame: Frame, generator: Generator, base: float) -> tuple[Field, Field]:
    """Heart, great vessels and spine, less the air of the windpipe; and the heart's outline in [0, 1]."""
    draw = generator.uniform
    x, y = frame.x, frame.y
    size, tilt = draw(0.85, 1.15), draw(0.5, 0.85)
    centre, height = draw(0.07, 0.13), draw(0.16, 0.24)
    ventricle = ellipse(frame, centre + 0.06, height, 0.4 * size, 0.25 * size, tilt)
    atrium = ellipse(frame, centre - 0.15, height + 0.01, 0.17 * size, 0.27 * size, 0.2)
    trunk = ellipse(frame, centre + 0.01, height - 0.3, 0.13, 0.2, 0.25)
    heart = rise(np.maximum(np.maximum(ventricle, atrium), 0.7 * trunk), 0.14)
    heart = heart * (1 - 0.9 * rise(y - base + 0.14, 0.2))
    knob = ellipse(frame, draw(0.05, 0.08), draw(-0.36, -0.26), draw(0.09, 0.13), 0.11)
    middle = draw(0.09, 0.13) + 0.05 * np.clip(y, 0, 1)
    column = rise(middle - np.abs(x - 0.01), 0.07) * rise(y + 0.8, 0.6) * (1 - 0.5 * rise(y - base + 0.1, 0.3))
    body = 0.75 + 0.25 * np.sqrt(np.maximum(ventricle, 0))
    dense = 1 - (1 - 0.75 * heart * body) * (1 - 0.4 * rise(knob, 0.3)) * (1 - 0.5 * column)
    disc = np.cos(2 * np.pi * (y * (1 - 0.15 * y) / draw(0.115, 0.135) + draw()))
    spine = rise(0.07 - np.abs(x), 0.08) * (0.16 + 0.05 * disc)
    lean = draw(-0.03, 0.02)
    carina = (lean, draw(-0.24, -0.16))
    windpipe = rise(0.035 - segment(frame, (0.0, -1.1), carina), 0.04)
    for end in ((-0.15, 0.12), (0.17, 0.13)):
        tube = rise(0.02 - segment(frame, carina, (lean + end[0], carina[1] + end[1])), 0.03)
        windpipe = np.maximum(windpipe, 0.5 * tube)
    return 1.15 * dense + spine - 0.33 * windpipe, heart


def _bones(frame: Frame, generator: Generator, cage: Field) -> Field:
    draw = generator.uniform
    x, y = np.abs(frame.x), frame.y
    spacing, first, fall = draw(0.135, 0.165), draw(-0.74, -0.66), draw(0.3, 0.45)
    back = _ribs(y - fall * x * x + 0.06 * x, first, spacing, 0.3)
    front = _ribs(y + draw(0.5, 0.7) * x - 0.3, first - 0.02, spacing * 1.12, 0.33) * rise(x - 0.34, 0.2)
    strength = draw(0.7, 1.2)
    bones = strength * cage * (0.16 * back * rise(x - 0.06, 0.06) + 0.09 * front * rise(0.3 - y, 0.3))
    height, slope = draw(-0.64, -0.54), draw(0.1, 0.26)
    for sign in (-1, 1):
        along = np.clip((sign * frame.x - 0.07) / 0.78, 0, 1)
        curve = height - slope * along + 0.045 * np.sin(2 * np.pi * along) + draw(-0.02, 0.02)
        ends = rise(sign * frame.x - 0.07, 0.04) * rise(0.9 - sign * frame.x, 0.1)
        bones = bones + strength * 0.26 * ends * _tube(np.abs(y - curve), 0.03)
        blade = segment(frame, (sign * 0.78, -0.62), (sign * draw(0.66, 0.76), draw(-0.2, -0.08)))
        bones = bones + strength * 0.14 * rise(draw(0.07, 0.11) - blade, 0.05)
    return bones


def _ribs(height: Field, first: float, spacing: float, share: float) -> Field:
    """Parallel ribs where ``height`` is a rib's; they lie further apart lower down."""
    steps = (height - first) / spacing * (1 - 0.06 * (height - first))
    return _tube(np.abs(steps - np.round(steps)), share) * (steps > -0.5) * (steps < 9.5)


def _tube(distance: Field, radius: float) -> Field:
    """A hollow bone: its walls are denser than its marrow."""
    inside = rise(radius - distance, radius * 0.5)
    return inside * (0.7 + 0.5 * np.clip(distance / radius, 0, 1) ** 2)


def _vessels(frame: Frame, generator: Generator) -> Field:
    """Two trees that leave the hila and fork twice, thinner and fainter each time."""
    count = 11
    sign, fan = np.repeat((-1.0, 1.0), count), np.tile(np.linspace(-1.35, 1.45, count), 2)
    direction = fan + generator.normal(0, 0.12, 2 * count)
    x, y = 0.17 * sign, 0.1 * np.sin(direction) - 0.08 - 0.02 * sign
    total = np.zeros_like(frame.x)
    for length, strength, width in ((0.2, 0.24, 0.015), (0.16, 0.17, 0.011), (0.16, 0.11, 0.008)):
        reach = length * generator.uniform(0.75, 1.3, len(x))
        bend = direction + generator.normal(0, 0.25, len(x))
        across, down = sign * np.cos(bend) * reach, np.sin(bend) * reach
        total += strength * _lines(frame, x, y, across, down, width)
        fork = generator.uniform(0.2, 0.55, len(x))
        x, y, sign = np.tile(x + across, 2), np.tile(y + down, 2), np.tile(sign, 2)
        direction = np.concatenate([bend - fork, bend + fork])
    hila = np.maximum(ellipse(frame, -0.17, -0.05, 0.1, 0.17, -0.3), ellipse(frame, 0.17, -0.1, 0.1, 0.17, 0.3))
    return np.asarray(total + 0.3 * np.maximum(hila, 0))


def _lines(frame: Frame, x: Field, y: Field, across: Field, down: Field, width: float) -> Field:
    """Straight lines of about unit height and the given half width, drawn as rows of blurred points."""
    steps = np.linspace(0, 1, 40)[:, None]
    row, column = (np.rint(part).astype(np.int64) for part in frame.pixels(x + steps * across, y + steps * down))
    seen = (row >= 0) & (row < frame.side) & (column >= 0) & (column < frame.side)
    spacing = np.sqrt(across**2 + down**2) * frame.scale * frame.side / 2 / len(steps)
    weight = np.broadcast_to(spacing, row.shape)[seen]
    drawn = np.bincount(row[seen] * frame.side + column[seen], weight, frame.side**2)
    blur = width * frame.side / 2
    blurred = ndimage.gaussian_filter(drawn.reshape(frame.side, frame.side), blur, truncate=3)
    return np.asarray(blurred * blur * 2.5)


def brain(generator: Generator, side: int) -> Brain:
    """Draw a head, rendered at ``side`` x ``side``, cut at basal ganglia, above the ventricles or between."""
    frame = place(generator, side, 8, (1.0, 1.1))
    draw = generator.uniform
    level = draw()
    scalp, bone, fluid = draw(0.04, 0.075), draw(0.055, 0.08), draw(0.012, 0.04)
    inner = 1 - scalp - bone
    radius = _head(frame, generator, level)
    depth = (inner - fluid - radius) * 0.75
    grey, white, liquor = draw(0.4, 0.47), draw(0.63, 0.7), draw(0.1, 0.16)
    ventricles, nuclei = _deep(frame, generator, level)
    sulci = np.minimum(_folds(frame, generator, depth), _fissure(frame, generator, level))
    nearest = np.minimum(sulci, depth + 0.01)
    cortex = rise(draw(0.05, 0.065) - nearest, 0.035)
    filled = np.maximum(rise(draw(0.006, 0.016) - nearest, 0.02), ventricles)
    tissue = white + (grey - white) * np.maximum(cortex, 0.8 * nuclei) + 0.015 * noise(generator, side, 20)
    signal = tissue + (liquor - tissue) * filled
    shell = _shell(generator, radius, inner, scalp)
    within = rise(inner - radius, 0.025)
    return Brain(
        frame,
        signal * within + shell * (1 - within),
        rise(depth, 0.02),
        (1 - np.maximum(cortex, nuclei)) * (1 - ventricles) * rise(depth, 0.02),
    )


def _head(frame: Frame, generator: Generator, level: float) -> Field:
    """0 in the middle of the head, 1 on the skin; broader behind, smaller near the crown."""
    draw = generator.uniform
    size = 1 - 0.12 * level**2
    across = draw(0.7, 0.78) * size * (1 + draw(0.06, 0.16) * frame.y)
    along = draw(0.84, 0.92) * size
    outline = np.sqrt((frame.x / across) ** 2 + (frame.y / along) ** 2)
    return np.asarray(outline * (1 + 0.006 * noise(generator, frame.side, 5)))


def _shell(generator: Generator, radius: Field, inner: float, scalp: float) -> Field:
    """Bright fatty scalp, dark bone with some marrow in its middle, black air."""
    draw = generator.uniform
    outer = 1 - scalp
    marrow = np.clip(1 - np.abs(radius - (inner + outer) / 2) / (0.3 * (outer - inner)), 0, 1)
    bone = 0.06 + draw(0.1, 0.35) * marrow
    fat = draw(0.72, 1.0) * (1 + 0.08 * noise(generator, len(radius), 10))
    return (bone + (fat - bone) * rise(radius - outer, 0.02)) * rise(1 - radius, 0.03)


def _folds(frame: Frame, generator: Generator, depth: Field) -> Field:
    """About the distance to the nearest sulcus; sulci wind inwards from the surface and end in the depth."""
    number, side = int(generator.integers(8, 12)), frame.side
    phase = 2.6 * noise(generator, side, 8) + 1.1 * noise(generator, side, 15)
    wave = np.sin(number * np.arctan2(frame.y, frame.x) + phase)
    down, across = np.gradient(wave, 2 / side)
    distance = np.abs(wave) / np.sqrt(down**2 + across**2 + 30)
    reach = generator.uniform(0.18, 0.25) + 0.07 * noise(generator, side, 7)
    return np.asarray(distance + np.maximum(depth - reach, 0))


def _fissure(frame: Frame, generator: Generator, level: float) -> Field:
    """About the distance to the fissure between the halves, which the corpus callosum interrupts."""
    bend = generator.uniform(-0.02, 0.02)
    callosum = generator.uniform(0.3, 0.38) * float(np.clip((0.9 - level) / 0.15, 0, 1))
    return np.abs(frame.x - bend * frame.y) + np.maximum(callosum - np.abs(frame.y + 0.02), 0)


def _deep(frame: Frame, generator: Generator, level: float) -> tuple[Field, Field]:
    """Ventricles, and the grey nuclei beside them, both in [0, 1]."""
    draw = generator.uniform
    low, high = float(np.clip(1 - level / 0.55, 0, 1)), float(np.clip((level - 0.55) / 0.25, 0, 1))
    size, spread, middle = draw(0.7, 1.5), draw(0.95, 1.1), draw(-0.02, 0.05)
    half, shown = 0.19 + 0.08 * low - 0.08 * high, 1 - high**4
    ventricles, nuclei = np.zeros_like(frame.x), np.zeros_like(frame.x)
    for sign in (-1, 1):
        width = 0.034 * size * (1 - 0.8 * high) * draw(0.85, 1.15)
        x, y = sign * frame.x, frame.y - middle
        curve = 0.05 + 0.015 * size + np.where(y < 0, 0.9, 0.9 + 0.8 * low) * spread * y * y
        swell = width * (1 + 0.35 * np.cos(9 * y))
        beyond = np.maximum(np.abs(y) - half, 0)
        ventricles = np.maximum(ventricles, rise(swell - np.sqrt((x - curve) ** 2 + beyond**2), 0.025) * shown)
        lobes = (
            ellipse(frame, sign * 0.1, 0.09, 0.085, 0.13, sign * 0.35),
            ellipse(frame, sign * 0.25 * spread, -0.04, 0.055, 0.17, -sign * 0.25),
            ellipse(frame, sign * 0.155 * spread, -0.17, 0.05, 0.1, -sign * 0.3),
        )
        nuclei = np.maximum(nuclei, rise(np.maximum.reduce(lobes), 0.35) * np.sqrt(low))
    third = rise(0.012 * size - segment(frame, (0.0, -0.04), (0.0, 0.13)), 0.02) * (low > 0.3)
    return np.maximum(ventricles, third), nuclei
