"""Generated stand-ins for chest X-rays and brain slices, with known lesions, and cohorts of them.

They hold no patient's data, so that a demonstration can run anywhere. Healthy and diseased subjects share one
distribution of anatomy, exposure, sharpness and noise; lesions are all that differs.
"""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from healthygan.common.errors import InputError
from healthygan.common.files import atomic_path, write_json, write_text
from healthygan.common.progress import Progress, silent
from healthygan.data.cohort import Cohort, CohortImage, Label, Split
from healthygan.data.datasets.phantoms.anatomy import Field, Generator, brain, chest, noise
from healthygan.data.datasets.phantoms.lesions import add_lesions
from healthygan.data.manifest import MANIFEST_NAME

Kind: TypeAlias = Literal["chest", "brain"]
Pair: TypeAlias = tuple[int, int]

KINDS: tuple[Kind, ...] = ("chest", "brain")
MIN_SIZE = 32
SUPERSAMPLING = 2
VISIBLE = 0.012  # a mask holds the pixels its lesion changes by three grey levels of 256 or more
RECORD_NAME = "phantoms.json"
LESIONS_NAME = "lesions.csv"
FORMAT = 1  # raised when the same parameters come to mean other images


@dataclass(frozen=True)
class Phantom:
    """One generated image and what is wrong with it.

    Args:
        image: (size, size) in [0, 1].
        lesion: (size, size), True where a lesion shows; nowhere in a healthy phantom.
        kinds: the lesions' names; empty if healthy.
        severity: of the plainest lesion, from 0 (subtle) to 1 (plain); 0 if healthy.
    """

    image: NDArray[np.float32]
    lesion: NDArray[np.bool_]
    kinds: tuple[str, ...]
    severity: float


def make_phantom(kind: Kind, size: int, generator: np.random.Generator, diseased: bool) -> Phantom:
    """Draw one subject.

    Anatomy, exposure and lesions have generators of their own, spawned from ``generator``: two generators
    alike give twins, who differ by the lesions alone.

    Args:
        kind: "chest" (like a frontal X-ray) or "brain" (like a T1-weighted axial slice with contrast agent).
        size: side of the image in pixels, at least 32.

    Raises:
        ValueError: the size is too small.
    """
    if size < MIN_SIZE:
        raise ValueError(f"size {size} is too small; give at least {MIN_SIZE}")
    anatomy, exposure, lesions = generator.spawn(3)
    side = size * SUPERSAMPLING
    subject = chest(anatomy, side) if kind == "chest" else brain(anatomy, side)
    if not diseased:
        _, image = _expose(kind, subject.field[None], exposure)
        return Phantom(image, np.zeros((size, size), np.bool_), (), 0.0)
    disease = add_lesions(subject, lesions)
    clean, image = _expose(kind, np.stack([subject.field, disease.field]), exposure)
    changed = ndimage.binary_fill_holes(np.abs(clean[1] - clean[0]) >= VISIBLE)
    return Phantom(image, changed & (_shrink(disease.extent) > 0.35), disease.kinds, disease.severity)


def _expose(kind: Kind, fields: Field, generator: Generator) -> tuple[Field, NDArray[np.float32]]:
    """Take one photograph of every field, (n, side, side), under the same conditions.

    Conditions vary more between subjects than lesions change them, so that brightness, contrast, sharpness
    and noise tell nothing.

    Returns:
        The (n, size, size) images without noise, and the last one with it.
    """
    draw, side = generator.uniform, fields.shape[-1]
    if kind == "chest":
        bright = 1 - np.exp(-draw(0.85, 1.2) * fields * (1 + 0.1 * noise(generator, side, 1)))
        black, white = draw(0.0, 0.2), draw(0.68, 1.0)
    else:
        bright = fields * (1 + 0.12 * noise(generator, side, 2))
        black, white = draw(0.0, 0.05), draw(0.55, 1.0)
    small = ndimage.gaussian_filter(_shrink(bright), draw(0.0, 0.7), axes=(1, 2))
    curved = np.clip(small, 0, 1) ** draw(0.75, 1.35)
    clean = np.clip(white * curved + black, 0, 1)
    grain = generator.normal(0, draw(0.004, 0.025), clean.shape[1:])
    return clean, np.clip(clean[-1] + grain, 0, 1).astype(np.float32)


def _shrink(fields: Field) -> Field:
    """Average squares of pixels: (..., side, side) to (..., size, size)."""
    size = fields.shape[-1] // SUPERSAMPLING
    blocks = fields.reshape(*fields.shape[:-2], size, SUPERSAMPLING, size, SUPERSAMPLING)
    return np.asarray(blocks.mean(axis=(-3, -1)))


def write_cohort(
    folder: Path,
    kind: Kind,
    size: int = 64,
    *,
    healthy: int,
    mixed: Pair,
    validation: Pair = (0, 0),
    test: Pair,
    seed: int,
    progress: Progress = silent,
) -> Path:
    """Generate a cohort of phantoms, one patient each, and return its manifest.

    Writes 8-bit grey images, lesion masks (0 and 255) of the diseased in validation and test, manifest.csv,
    lesions.csv (kinds and severity of every diseased subject) and phantoms.json (the parameters). File names
    are subject numbers in an order that tells nothing. A subject depends on ``seed``, ``kind``, ``size``, its
    number and its label alone. A folder that already holds this very cohort is left as it is.

    Args:
        folder: new, empty, or holding a cohort written by this function, which is replaced.
        kind, size: as ``make_phantom``.
        healthy: images in the healthy set.
        mixed, validation, test: how many healthy and how many diseased.

    Raises:
        InputError: the folder holds anything else or cannot be written, or a number makes no sense.
    """
    recipe = _Recipe(kind, size, healthy, mixed, validation, test, seed)
    recipe.check()
    folder = folder.absolute()
    if not _is_finished(folder, recipe):
        _clear(folder)
        write_json(folder / RECORD_NAME, recipe.record())
        _generate(folder, recipe, progress)
    return folder / MANIFEST_NAME


@dataclass(frozen=True)
class _Recipe:
    """What a cohort is made from."""

    kind: Kind
    size: int
    healthy: int
    mixed: Pair
    validation: Pair
    test: Pair
    seed: int

    def check(self) -> None:
        counts = (self.healthy, *self.mixed, *self.validation, *self.test)
        if self.kind not in KINDS or self.size < MIN_SIZE or min(*counts, self.seed) < 0:
            raise InputError(
                f"phantoms {self.record()}: cannot be generated; give the kind {' or '.join(KINDS)}, "
                f"a size of at least {MIN_SIZE}, and no negative number"
            )

    def record(self) -> dict[str, object]:
        """As it reads back from JSON."""
        pairs = {name: list(value) for name, value in vars(self).items() if isinstance(value, tuple)}
        return {"format": FORMAT, **vars(self), **pairs}

    def parts(self) -> list[tuple[Split, Label]]:
        """Split and label of each subject, shuffled."""
        pairs = ((Split.MIXED, self.mixed), (Split.VALIDATION, self.validation), (Split.TEST, self.test))
        parts = [(Split.HEALTHY, Label.HEALTHY)] * self.healthy
        for split, (healthy, diseased) in pairs:
            parts += [(split, Label.HEALTHY)] * healthy + [(split, Label.DISEASED)] * diseased
        order = np.random.default_rng((self.seed, KINDS.index(self.kind))).permutation(len(parts))
        return [parts[number] for number in order]


def _is_finished(folder: Path, recipe: _Recipe) -> bool:
    """Whether the folder holds this very cohort, every file of it."""
    if not (folder / MANIFEST_NAME).is_file() or _record(folder) != recipe.record():
        return False
    images = Cohort.from_manifest(folder / MANIFEST_NAME).images
    return all(path.is_file() for image in images for path in (image.path, image.mask) if path is not None)


def _record(folder: Path) -> object:
    try:
        return json.loads((folder / RECORD_NAME).read_bytes())
    except (OSError, ValueError):
        return None


def _clear(folder: Path) -> None:
    """Remove what an earlier call wrote, the manifest first; refuse a folder of other things."""
    if not folder.exists():
        return
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / RECORD_NAME).is_file()):
        raise InputError(f"{folder}: is not empty and holds no phantoms; give a new or an empty folder")
    for path in (folder / MANIFEST_NAME, folder / LESIONS_NAME):
        path.unlink(missing_ok=True)
    for name in ("images", "masks"):
        for path in (folder / name).glob("[0-9]*.png"):
            path.unlink()


def _generate(folder: Path, recipe: _Recipe, progress: Progress) -> None:
    parts = recipe.parts()
    images: list[CohortImage] = []
    lesions = io.StringIO(newline="")
    table = csv.writer(lesions, lineterminator="\n")
    table.writerow(("path", "kinds", "severity"))
    with progress(f"generating {recipe.kind} phantoms", len(parts)) as advance:
        for number, (split, label) in enumerate(parts):
            name = f"{number:05d}.png"
            generator = np.random.default_rng((recipe.seed, KINDS.index(recipe.kind), number))
            phantom = make_phantom(recipe.kind, recipe.size, generator, label is Label.DISEASED)
            mask = folder / "masks" / name if phantom.kinds and split in (Split.VALIDATION, Split.TEST) else None
            _save(folder / "images" / name, np.rint(phantom.image * 255))
            if mask:
                _save(mask, phantom.lesion * 255.0)
            if phantom.kinds:
                table.writerow((f"images/{name}", " + ".join(phantom.kinds), f"{phantom.severity:.3f}"))
            patient = f"{recipe.kind}-{number:05d}"
            images.append(CohortImage(folder / "images" / name, split, label, patient, f"{recipe.kind} phantoms", mask))
            advance()
    write_text(folder / LESIONS_NAME, lesions.getvalue())
    Cohort(folder.name, tuple(images)).write_manifest(folder / MANIFEST_NAME)


def _save(path: Path, grey: Field | NDArray[np.float32]) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(grey.astype(np.uint8)).save(temporary, "PNG")
