"""Whether difference maps point at the disease, against masks where there are any and by themselves where not.

Maps are (H, W) floats in [0, 1]; masks are (H, W) booleans, True = lesion. Measures over masks round maps to
65,536 levels and count image by image: memory does not grow with the images, and results are exact for the
rounded maps.
"""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label

from healthygan.stats.arrays import Booleans, Floats

Weigh: TypeAlias = Callable[[Booleans], NDArray[np.float64]]

LEVELS = 65536
LIMIT = 0.3
"""Share of normal pixels called lesion up to which overlap is integrated, as in MVTec AD."""
TOUCHING = np.ones((3, 3))
"""Pixels that touch at a corner belong together, as in MVTec AD's regions."""


class Region(NamedTuple):
    """A connected part of a difference map that lies above a cut (see ``regions``)."""

    score: float
    """Its part of the mean of the map: the sum of its differences over all pixels of the map."""
    area: int
    """Pixels."""
    peak: float
    """Its greatest difference, in [0, 1]."""
    top: int
    left: int
    height: int
    width: int


def pixel_auroc(differences: Iterable[Floats], masks: Iterable[Booleans]) -> float:
    """AUC of the difference map as a score of each pixel, over all pixels of all images together.

    Args:
        differences: (H, W) maps in [0, 1], or one (N, H, W) array.
        masks: as many (H, W) lesion masks, True = lesion; all False for a healthy image.

    Returns:
        The AUC; nan if no pixel (or every pixel) is lesion.

    Raises:
        ValueError: numbers or shapes differ, or a map leaves [0, 1].
    """
    (lesion,), normal = _counts(differences, masks, _each_pixel)
    return _auroc(lesion, normal)


def best_dice(differences: Iterable[Floats], masks: Iterable[Booleans]) -> float:
    """Highest Dice overlap of thresholded difference maps with the lesions, one threshold for all images.

    The threshold is chosen on the test masks, so this is an upper bound rather than a forecast. Arguments and
    errors as ``pixel_auroc``; nan if no pixel is lesion.
    """
    (lesion,), normal = _counts(differences, masks, _each_pixel)
    return _dice(lesion, normal)


def aupro(differences: Iterable[Floats], masks: Iterable[Booleans], limit: float = LIMIT) -> float:
    """Area under the per-region overlap (Bergmann et al., CVPR 2020), from 0 to 1.

    At each threshold the overlap is the share of a lesion region that is found, averaged over all connected
    regions of all masks, so that small lesions count as much as large ones. It is integrated over the share of
    normal pixels called lesion from 0 to ``limit``, linearly between thresholds, and divided by ``limit``.

    Returns:
        The area; nan if no pixel (or every pixel) is lesion.

    Raises:
        ValueError: as ``pixel_auroc``, or ``limit`` is not in (0, 1].
    """
    if not 0 < limit <= 1:
        raise ValueError(f"limit {limit} must lie in (0, 1], for instance 0.3")
    (lesion,), normal = _counts(differences, masks, _each_region)
    return _overlap_area(lesion, normal, limit)


def localised(differences: Iterable[Floats], masks: Iterable[Booleans]) -> dict[str, float]:
    """``pixel_auroc``, ``best_dice`` and ``aupro`` by name, from one look at each map and mask; errors as theirs."""
    (pixels, parts), normal = _counts(differences, masks, _each_pixel, _each_region)
    return {
        "pixel_auroc": _auroc(pixels, normal),
        "best_dice": _dice(pixels, normal),
        "aupro": _overlap_area(parts, normal, LIMIT),
    }


def regions(difference: Floats, cut: float) -> list[Region]:
    """The connected parts of a difference map at or above ``cut``, the highest score first.

    Args:
        difference: (H, W) in [0, 1].
        cut: above 0; such as a high percentile of the pixels of healthy images' maps.

    Raises:
        ValueError: not (H, W), outside [0, 1], or no positive cut.
    """
    if difference.ndim != 2 or not ((difference >= 0) & (difference <= 1)).all():
        raise ValueError(f"a difference map {difference.shape} must be (H, W) in [0, 1]; give |x - x'| / 2")
    if not cut > 0:
        raise ValueError(f"a cut of {cut} would make the whole image one region; give a positive difference")
    numbered, _ = label(difference >= cut, TOUCHING)
    parts = []
    for number, (rows, columns) in enumerate(find_objects(numbered), start=1):
        inside = difference[rows, columns][numbered[rows, columns] == number].astype(np.float64)
        score, size = float(inside.sum() / difference.size), (rows.stop - rows.start, columns.stop - columns.start)
        parts.append(Region(score, len(inside), float(inside.max()), rows.start, columns.start, *size))
    return sorted(parts, key=lambda region: (-region.score, region.top, region.left))


def flip_stability(differences: Iterable[Floats], of_flipped: Iterable[Floats]) -> float:
    """How alike the difference maps of images and of their mirror images are: 1 = they point at the same places.

    Pearson's correlation of the two maps over the pixels of an image, averaged over the images. It says nothing
    about whether the places are right. A map without any contrast points nowhere: it counts as 0.

    Args:
        differences: (H, W) maps.
        of_flipped: as many maps of the left-right flipped images, as the detector gave them (not flipped back).

    Returns:
        From -1 to 1; nan without images.

    Raises:
        ValueError: numbers or shapes differ.
    """
    correlations = [_correlation(one, other[:, ::-1]) for one, other in zip(differences, of_flipped, strict=True)]
    return float(np.mean(correlations)) if correlations else math.nan


def _correlation(one: Floats, other: Floats) -> float:
    if one.shape != other.shape:
        raise ValueError(
            f"maps of shapes {one.shape} and {other.shape}; give those of an image and of its mirror image"
        )
    first, second = (part.astype(np.float64) - part.mean(dtype=np.float64) for part in (one, other))
    size = math.sqrt(float((first**2).sum()) * float((second**2).sum()))
    return float((first * second).sum() / size) if size > 0 else 0.0


def _auroc(lesion: NDArray[np.float64], normal: NDArray[np.float64]) -> float:
    pairs = lesion.sum() * normal.sum()
    if pairs == 0:
        return math.nan
    below = np.cumsum(normal) - normal
    return float((lesion * (below + normal / 2)).sum() / pairs)


def _dice(lesion: NDArray[np.float64], normal: NDArray[np.float64]) -> float:
    if lesion.sum() == 0:
        return math.nan
    hits = np.cumsum(lesion[::-1])
    called = hits + np.cumsum(normal[::-1])
    return float((2 * hits / (called + lesion.sum())).max())


def _overlap_area(lesion: NDArray[np.float64], normal: NDArray[np.float64], limit: float) -> float:
    if lesion.sum() == 0 or normal.sum() == 0:
        return math.nan
    overlap = np.concatenate([[0], np.cumsum(lesion[::-1])]) / lesion.sum()
    false = np.concatenate([[0], np.cumsum(normal[::-1])]) / normal.sum()
    last = int(np.searchsorted(false, limit, side="right"))
    ends = np.append(false[:last], limit), np.append(overlap[:last], np.interp(limit, false, overlap))
    return float(np.trapezoid(ends[1], ends[0]) / limit)


def _each_pixel(mask: Booleans) -> NDArray[np.float64]:
    """(lesion pixels,): every pixel counts once."""
    return np.ones(int(mask.sum()))


def _each_region(mask: Booleans) -> NDArray[np.float64]:
    """(lesion pixels,): a region's pixels together count once."""
    numbered, _ = label(mask, TOUCHING)
    inside = numbered[mask]
    shares: NDArray[np.float64] = 1 / np.bincount(inside)[inside] if len(inside) else np.empty(0)
    return shares


def _counts(
    differences: Iterable[Floats], masks: Iterable[Booleans], *weights: Weigh
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """Weight of lesion pixels, for each way to weigh them, and number of others at each of the 65,536 levels (float64:
    exact to 2**53).
    """
    lesion, normal = [np.zeros(LEVELS) for _ in weights], np.zeros(LEVELS)
    for difference, mask in zip(differences, masks, strict=True):
        if mask.dtype != np.bool_ or mask.shape != difference.shape:
            raise ValueError(
                f"a mask of {mask.dtype} {mask.shape} for a difference map {difference.shape}; "
                "give a boolean mask of the same shape"
            )
        if not ((difference >= 0) & (difference <= 1)).all():
            raise ValueError("a difference map leaves [0, 1]; give |x - x'| / 2")
        level = np.rint(difference.astype(np.float64) * (LEVELS - 1)).astype(np.int64)
        for total, weigh in zip(lesion, weights, strict=True):
            total += np.bincount(level[mask], weigh(mask), minlength=LEVELS)
        normal += np.bincount(level[~mask], minlength=LEVELS)
    return lesion, normal
