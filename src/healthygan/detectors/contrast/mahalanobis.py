"""How far an image's features lie from those of healthy images: what can be said where the pile tells nothing."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from healthygan.stats.arrays import Floats

SHRINKAGE = 1.0
"""Added to the covariance's diagonal, in mean variances: healthy images are fewer than features."""
SMALLEST_VARIATION = 1e-6
"""Standard deviation, as a share of the mean, up to which a feature counts as constant."""


class Distance(NamedTuple):
    """Mahalanobis distance from the healthy mean, under a shrunk covariance."""

    centre: Floats
    """(D,)."""
    whitener: Floats
    """(D, D): turns differences from the centre into vectors whose length is the distance."""

    def of(self, features: NDArray[np.float32]) -> Floats:
        """(N,): distances of features, (N, D)."""
        distances: Floats = np.linalg.norm((features - self.centre) @ self.whitener, axis=1)
        return distances


def fit_distance(healthy: NDArray[np.float32], scale: NDArray[np.float32]) -> Distance:
    """The distance from healthy features, (N, D).

    Args:
        scale: (D,), factor of each standardised feature.
    """
    centre, factor = standardiser(healthy, scale)
    standard = (healthy - centre) * factor
    covariance = standard.T @ standard / len(standard)
    variance = max(float(np.trace(covariance)) / len(covariance), np.finfo(float).tiny)
    covariance[np.diag_indices(len(covariance))] += SHRINKAGE * variance
    root = np.linalg.cholesky(covariance)
    return Distance(centre, factor[:, None] * np.linalg.inv(root).T)


def standardiser(features: NDArray[np.float32], scale: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """(D,) means, and factors that give each feature the standard deviation ``scale``; 0 for one that is constant."""
    # In double precision: in single a constant feature would seem to vary.
    mean, deviation = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    varies = deviation > SMALLEST_VARIATION * np.maximum(np.abs(mean), 1e-6)
    return mean, np.where(varies, scale / np.where(varies, deviation, 1), 0)
