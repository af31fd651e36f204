"""Disease drawn onto healthy phantoms, some of it brighter and some darker than the tissue it displaces.

A lesion takes the anatomy, the attenuation or signal so far, a generator and its severity from 0 (subtle) to
1 (plain), and gives the changed field and its extent in [0, 1].
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np

from healthygan.data.datasets.phantoms.anatomy import Brain, Chest, Field, Frame, Generator, ellipse, noise, rise

Change: TypeAlias = tuple[Field, Field]
Subject = TypeVar("Subject", Chest, Brain)
Lesion: TypeAlias = Callable[[Subject, Field, Generator, float], Change]

TWO_LESIONS = 0.3


@dataclass(frozen=True)
class Disease:
    """What the lesions of one subject change, where, of which kinds, and how plain the plainest is."""

    field: Field
    extent: Field
    kinds: tuple[str, ...]
    severity: float


def add_lesions(subject: Chest | Brain, generator: Generator) -> Disease:
    """Give a subject one lesion, or two of different kinds."""
    if isinstance(subject, Chest):
        return _sicken(subject, CHEST_LESIONS, generator)
    return _sicken(subject, BRAIN_LESIONS, generator)


def _sicken(subject: Subject, lesions: Mapping[str, Lesion[Subject]], generator: Generator) -> Disease:
    count = 2 if generator.uniform() < TWO_LESIONS else 1
    kinds = [list(lesions)[number] for number in generator.permutation(len(lesions))[:count]]
    severities = [float(generator.uniform()) for _ in kinds]
    field, extent = subject.field, np.zeros_like(subject.field)
    for kind, severity in zip(kinds, severities, strict=True):
        field, own = lesions[kind](subject, field, generator, severity)
        extent = np.maximum(extent, own)
    return Disease(field, extent, tuple(kinds), max(severities))


def _nodules(chest: Chest, field: Field, generator: Generator, severity: float) -> Change:
    """One mass or a few smaller round opacities."""
    air, frame = chest.lungs[0] + chest.lungs[1], chest.frame
    count = int(generator.integers(1, 4))
    ball = np.zeros_like(field)
    for _ in range(count):
        radius = generator.uniform(0.18, 0.27) if count == 1 else generator.uniform(0.13, 0.19)
        inside = np.maximum(_blob(frame, generator, _site(frame, air, generator), radius, 0.08), 0)
        ball = np.maximum(ball, np.sqrt(inside * (2 - inside)))
    ball = ball * air
    return field + (0.6 + 0.5 * severity) * ball, np.minimum(1.2 * ball, 1)


def _consolidation(chest: Chest, field: Field, generator: Generator, severity: float) -> Change:
    """A lobe or part of one filled, with ragged soft edges."""
    air, frame = _one_lung(chest, generator), chest.frame
    shape = _blob(frame, generator, _site(frame, air, generator), generator.uniform(0.28, 0.45), 0.4)
    extent = rise(shape - 0.1, 0.7) * air
    patches = 1 + 0.2 * noise(generator, frame.side, 16)
    return field + (0.5 + 0.5 * severity) * extent * patches, extent


def _effusion(chest: Chest, field: Field, generator: Generator, severity: float) -> Change:
    """Fluid at the base of one lung, its surface drawn up along the walls."""
    air, frame = _one_lung(chest, generator), chest.frame
    floor = float(frame.y[air > 0.5].max())
    middle = float(frame.x[air > 0.5].mean())
    surface = floor - generator.uniform(0.34, 0.44) - 0.22 * severity
    walls = generator.uniform(0.9, 1.6) * (frame.x - 0.9 * middle) ** 2
    extent = rise(frame.y - surface + walls, 0.08) * air
    return field + (0.6 + 0.4 * severity) * extent, extent


def _bulla(chest: Chest, field: Field, generator: Generator, severity: float) -> Change:
    """A round space of air alone: darker, without vessels, with a hair-thin wall."""
    air, frame = _one_lung(chest, generator), chest.frame
    shape = _blob(frame, generator, _site(frame, air, generator), generator.uniform(0.26, 0.38), 0.1)
    extent = rise(shape, 0.12) * air
    wall = 0.12 * np.clip(1 - np.abs(shape) / 0.12, 0, 1) * air
    return _emptied(chest, field, extent, severity) + wall, extent


def _pneumothorax(chest: Chest, field: Field, generator: Generator, severity: float) -> Change:
    """Air between chest wall and a lung that has shrunk towards its root."""
    air, frame = _one_lung(chest, generator), chest.frame
    middle = float(frame.x[air > 0.5].mean())
    shrunk = generator.uniform(0.72, 0.82) - 0.14 * severity
    lung = ellipse(frame, 0.72 * middle, 0.28, 0.42 * shrunk, 0.9 * shrunk)
    extent = rise(-lung, 0.06) * air * rise(0.25 - frame.y, 0.3)
    edge = 0.16 * np.clip(1 - np.abs(lung) / 0.04, 0, 1) * air * rise(0.25 - frame.y, 0.3)
    return _emptied(chest, field, extent, severity) + edge, extent


def _emptied(chest: Chest, field: Field, extent: Field, severity: float) -> Field:
    """The field with lung markings taken out and less tissue in the way of the ray."""
    return (field - 0.9 * chest.vessels * extent) * (1 - (0.45 + 0.3 * severity) * extent)


def _bright_mass(brain: Brain, field: Field, generator: Generator, severity: float) -> Change:
    """A mass that takes up contrast agent."""
    frame = brain.frame
    shape = _blob(frame, generator, _site(frame, brain.white, generator), generator.uniform(0.19, 0.28), 0.2)
    extent = rise(shape, 0.2) * brain.brain
    tone = 0.9 + 0.04 * noise(generator, frame.side, 20)
    return field + (0.7 + 0.3 * severity) * extent * (tone - field), extent


def _rimmed_mass(brain: Brain, field: Field, generator: Generator, severity: float) -> Change:
    """A dead, dark core in a bright, uneven rim."""
    frame = brain.frame
    radius, rim = generator.uniform(0.2, 0.29), generator.uniform(0.15, 0.25)
    shape = _blob(frame, generator, _site(frame, brain.white, generator), radius, 0.15)
    extent = rise(shape, 0.15) * brain.brain
    core = rise(shape - rim, 0.15)
    tone = 0.88 + 0.06 * noise(generator, frame.side, 12)
    tone = tone + core * (generator.uniform(0.12, 0.25) - tone)
    return field + (0.7 + 0.3 * severity) * extent * (tone - field), extent


def _oedema(brain: Brain, field: Field, generator: Generator, severity: float) -> Change:
    """Water in the white matter: diffuse, dark, its fingers between the folds of the cortex."""
    frame, centre = brain.frame, _site(brain.frame, brain.white, generator)
    shape = _blob(frame, generator, centre, generator.uniform(0.33, 0.46), 0.25)
    own_half = rise(frame.x * np.sign(centre[0]) + 0.02, 0.04)
    extent = rise(shape - 0.05, 0.5) * brain.white * own_half
    return field + (0.65 + 0.35 * severity) * extent * (0.22 - field), extent


def _one_lung(chest: Chest, generator: Generator) -> Field:
    return chest.lungs[int(generator.integers(2))]


def _site(frame: Frame, within: Field, generator: Generator) -> tuple[float, float]:
    """A point drawn evenly from where ``within`` is nearly full."""
    places = np.flatnonzero(within > 0.85 * within.max())
    chosen = places[int(generator.uniform() * len(places))]
    return float(frame.x.flat[chosen]), float(frame.y.flat[chosen])


def _blob(frame: Frame, generator: Generator, centre: tuple[float, float], radius: float, lumps: float) -> Field:
    """1 at the centre, 0 on an outline that strays from the ellipse by a share of ``lumps``."""
    stretch, angle = generator.uniform(0.8, 1.25), generator.uniform(0, np.pi)
    shape = ellipse(frame, *centre, radius * stretch, radius / stretch, angle)
    return np.asarray(1 - (1 - shape) * (1 + lumps * np.clip(noise(generator, frame.side, 12), -2, 2)))


CHEST_LESIONS: dict[str, Lesion[Chest]] = {
    "nodules": _nodules,
    "consolidation": _consolidation,
    "effusion": _effusion,
    "bulla": _bulla,
    "pneumothorax": _pneumothorax,
}
BRAIN_LESIONS: dict[str, Lesion[Brain]] = {
    "bright mass": _bright_mass,
    "rimmed mass": _rimmed_mass,
    "oedema": _oedema,
}
