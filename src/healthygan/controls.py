"""Shallow statistics any detector must beat.

Where one of these alone tells healthy from diseased, a high AUC does not show that disease was found.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from healthygan.metrics import auc


def controls(
    images: NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32] | NDArray[np.float64],
    file_sizes: Sequence[int] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Shallow statistics any detector must beat, one value an image.

    Args:
        images: (N, H, W), in any unit.
        file_sizes: bytes of each image's file, if known.

    Returns:
        (N,) values by name, in the images' unit; gradients are mean absolute steps between neighbours.

    Raises:
        ValueError: no image, images that are not (N, H, W) with 2 x 2 pixels or more, or file sizes not N.
    """
    if images.ndim != 3 or images.shape[0] < 1 or min(images.shape[1:]) < 2:
        raise ValueError(f"images of shape {images.shape}; give (N, H, W), one image or more of 2 x 2 or more")
    rows = [_statistics(image.astype(np.float64)) for image in images]
    values = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    if file_sizes is not None:
        if len(file_sizes) != len(images):
            raise ValueError(f"{len(file_sizes)} file sizes for {len(images)} images; give one an image")
        values["file size"] = np.asarray(file_sizes, dtype=np.float64)
    return values


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


def _statistics(image: NDArray[np.float64]) -> dict[str, float]:
    """The statistics of one (H, W) image."""
    return {
        "mean intensity": float(image.mean()),
        "standard deviation": float(image.std()),
        "median": float(np.median(image)),
        "95th percentile": float(np.percentile(image, 95)),
        "horizontal gradient": float(np.abs(np.diff(image, axis=1)).mean()),
        "vertical gradient": float(np.abs(np.diff(image, axis=0)).mean()),
    }
