"""Shallow statistics any detector must beat.

Where one of these alone tells healthy from diseased, a high AUC does not show that disease was found.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from healthygan.data.cohort import Cohort, CohortImage, Split, column_value
from healthygan.data.margins import find_margins, is_bright
from healthygan.stats.metrics import auc

UNKNOWN = "unknown"
"""Stands for an empty cell, which may give as much away as a filled one."""
UNSEEN = 0.5
"""Score of a value that is in neither training set: they teach nothing of it."""


def controls(
    images: NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32] | NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:
    """Shallow statistics any detector must beat, one value an image.

    Args:
        images: (N, H, W), in any unit.

    Returns:
        (N,) values by name, in the images' unit; gradients are mean absolute steps between neighbours, dark margins the
        share of the area in them (``find_margins``), dark being relative to the image's own range.

    Raises:
        ValueError: no image, or images that are not (N, H, W) with 2 x 2 pixels or more.
    """
    if images.ndim != 3 or images.shape[0] < 1 or min(images.shape[1:]) < 2:
        raise ValueError(f"images of shape {images.shape}; give (N, H, W), one image or more of 2 x 2 or more")
    rows = [_statistics(image.astype(np.float64)) for image in images]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def control_aucs(values: Mapping[str, NDArray[np.float64]], labels: NDArray[np.bool_]) -> dict[str, float]:
    """How well each control alone tells the classes apart: max(AUC, 1 - AUC), from 0.5 (not at all) to 1.

    Args:
        values: (N,) by name, as ``controls`` gives them.
        labels: (N,), True = diseased.

    Raises:
        ValueError: lengths differ, a value is not finite, or one class is missing.
    """
    areas = {name: auc(value, labels) for name, value in values.items()}
    return {name: max(area, 1 - area) for name, area in areas.items()}


def share_scores(healthy: Sequence[str], mixed: Sequence[str]) -> dict[str, float]:
    """What training teaches of each value: its share in the mixed set, over that plus its share in healthy.

    1 means only in the mixed set, 0 only in the healthy set, 0.5 equally common in both.
    """
    in_healthy, in_mixed = Counter(healthy), Counter(mixed)
    all_healthy, all_mixed = max(in_healthy.total(), 1), max(in_mixed.total(), 1)
    return {
        value: (share := in_mixed[value] / all_mixed) / (share + in_healthy[value] / all_healthy)
        for value in in_healthy | in_mixed
    }


def column_scores(
    healthy: Sequence[str | None], mixed: Sequence[str | None], asked: Sequence[str | None]
) -> dict[str, NDArray[np.float64]]:
    """Score images by what a column of the manifest says of them, as one who knows the training sets would.

    Three ways of guessing, fixed by the training sets alone; no label is read. By name:

    - "": the value's share of the mixed set against its share of the healthy set (``share_scores``);
    - "rare in healthy": 1 - its share of the healthy set;
    - "not VALUE": 1 unless it is the commonest value of the healthy set, for COVIDx the question whether an image
      is not from RSNA.

    Args:
        healthy: the column in the healthy set, ``None`` for an empty cell.
        mixed: in the mixed set.
        asked: (N,), of the images to score.

    Returns:
        (N,) scores by way, higher = more likely diseased; empty where the column is empty throughout ``asked``.
    """
    if not any(asked):
        return {}
    known, piled, values = ([value or UNKNOWN for value in column] for column in (healthy, mixed, asked))
    shares = share_scores(known, piled)
    guesses = {"": np.array([shares.get(value, UNSEEN) for value in values])}
    if known:
        counts = Counter(known)
        commonest = min(counts, key=lambda value: (-counts[value], value))
        guesses["rare in healthy"] = np.array([1 - counts[value] / len(known) for value in values])
        guesses[f"not {commonest}"] = np.array([float(value != commonest) for value in values])
    return guesses


def told_scores(
    cohort: Cohort, columns: Sequence[str], images: Sequence[CohortImage]
) -> dict[str, NDArray[np.float64]]:
    """What ``source``, and further columns, alone say: learned from a cohort's training sets without labels.

    Args:
        cohort: whose healthy and mixed sets are known.
        columns: beside ``source``.
        images: (N,) to score.

    Returns:
        (N,) scores by column and way of guessing, as in "source alone (not rsna)".
    """
    scores = {}
    for column in dict.fromkeys(("source", *columns)):
        healthy, mixed = (cohort.column(column, split) for split in (Split.HEALTHY, Split.MIXED))
        for way, values in column_scores(healthy, mixed, [column_value(image, column) for image in images]).items():
            scores[f"{column} alone" + (f" ({way})" if way else "")] = values
    return scores


def _statistics(image: NDArray[np.float64]) -> dict[str, float]:
    """The statistics of one (H, W) image."""
    return {
        "mean intensity": float(image.mean()),
        "standard deviation": float(image.std()),
        "median": float(np.median(image)),
        "95th percentile": float(np.percentile(image, 95)),
        "horizontal gradient": float(np.abs(np.diff(image, axis=1)).mean()),
        "vertical gradient": float(np.abs(np.diff(image, axis=0)).mean()),
        "dark margins": _in_margins(image),
    }


def _in_margins(image: NDArray[np.float64]) -> float:
    margins = find_margins(is_bright(image[None], image.min(), image.max()))
    return 1 - (1 - margins.top - margins.bottom) * (1 - margins.left - margins.right)
