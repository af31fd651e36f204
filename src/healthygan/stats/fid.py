"""Frechet inception distance (FID): how unlike two sets of images are, seen through features.

The number belongs to the features it was computed from, so the extractor's name is part of its name. It is
biased upwards by few images (Chong and Forsyth, CVPR 2020): compare only distances of equally many.
"""

import numpy as np
from numpy.typing import NDArray

from healthygan.stats.arrays import Floats


def frechet_distance(first: Floats, second: Floats) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) of two sets of features (Heusel et al., 2017).

    With centred features X and Y, S1 = X'X and S2 = Y'Y, so that tr((S1 S2)^(1/2)) is the sum of the singular
    values of X Y'. No covariance is formed and no square root of a matrix taken: it is as exact with fewer
    images than features, where S1 S2 is singular and its square root is not.

    Args:
        first: (N, D) features, one row an image; N of two or more.
        second: (M, D) likewise.

    Returns:
        At least 0, in squared units of the features.

    Raises:
        ValueError: shapes do not fit, too few rows, or a feature is not finite.
    """
    (mean, x), (other_mean, y) = _centred(first), _centred(second)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"{x.shape[1]} and {y.shape[1]} features; both sets need the same extractor")
    common = np.linalg.svd(_small(x) @ _small(y).T, compute_uv=False).sum()
    spread = (x**2).sum() + (y**2).sum() - 2 * common
    return max(float(((mean - other_mean) ** 2).sum() + spread), 0.0)


def images_needed(features: int) -> int:
    """Images of either set without which a covariance of ``features`` features is singular."""
    return features + 1


def _centred(features: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean, and rows X such that X'X is the covariance."""
    values = np.asarray(features, dtype=np.float64)
    if values.ndim != 2 or len(values) < 2:
        raise ValueError(f"features of shape {values.shape}; give (N, D) with two images or more")
    if not np.isfinite(values).all():
        raise ValueError("a feature is not finite")
    mean = values.mean(axis=0)
    return mean, (values - mean) / np.sqrt(len(values) - 1)


def _small(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """R with R'R = X'X and at most D rows, so that many images cost no more memory than features."""
    return np.asarray(np.linalg.qr(rows, mode="r")) if len(rows) > rows.shape[1] else rows
