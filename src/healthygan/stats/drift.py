"""Whether a new pile is like what a detector was trained on: its scores, and its images themselves."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import ks_2samp
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from healthygan.stats.arrays import Floats, group_numbers, some_row

GRID = 8
"""Side of the small picture that stands for an image's composition."""
PERCENTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
PERMUTATIONS = 999
LEVELS = 64
"""Quantiles of all scores at which distribution functions are compared."""
MOST = 2_000
"""Patients of either set: more would take time, and the smaller set limits what can be noticed."""
FOLDS = 5
FEWEST = 10
TRIMMED = 0.1
FENCE = 2.0
"""Interquartile ranges above the upper quartile, between Tukey's outlying (1.5) and far out (3)."""


class Drift(NamedTuple):
    """Two sets of scores (see ``drift``)."""

    distance: float
    """The largest gap between their distribution functions, 0 to 1; every patient counts alike."""
    p_value: float


def drift(before: Floats, after: Floats, patients: tuple[Sequence[str], Sequence[str]] | None = None) -> Drift:
    """Do two sets of scores come from one distribution? Kolmogorov and Smirnov's statistic, tested by patient.

    A small p-value says that the piles differ: in how images were made, or in how many are diseased. Images of one
    patient are alike, so that patients are what is permuted between the sets; with one image each it is the usual
    two-sample test. Where one set has fewer images a patient, as many are drawn of the other's, and no more than
    ``MOST`` patients of either: patients must be exchangeable, in how much their images vary too
    (benchmarks/drift_simulation.py).

    Args:
        before: (n,) scores of images of the training pile that training did not see.
        after: (m,) scores of the new pile.
        patients: of either; by default each image is of its own.

    Raises:
        ValueError: a set is empty, a score is not finite, or there are not as many patients as scores.
    """
    values = (some_row(before, "earlier scores"), some_row(after, "new scores"))
    generator = np.random.default_rng(0)
    if patients is None:
        sets = [list(part[:, None]) for part in values]
    else:
        sets = [_by_patient(part, names, generator) for part, names in zip(values, patients, strict=True)]
    images = int(min(np.median([len(own) for own in one]) for one in sets))
    earlier, new = ([generator.permutation(own)[:images] for own in one] for one in sets)
    if images == 1:
        test = ks_2samp(np.concatenate(earlier), np.concatenate(new))
        return Drift(float(test.statistic), float(test.pvalue))
    return _permuted(earlier, new, generator)


def _by_patient(
    scores: NDArray[np.float64], patients: Sequence[str], generator: np.random.Generator
) -> list[NDArray[np.float64]]:
    """The scores of each patient, of ``MOST`` of them drawn."""
    numbers = group_numbers(patients, len(scores))
    order = np.argsort(numbers, kind="stable")
    parts = np.split(scores[order], np.cumsum(np.bincount(numbers))[:-1])
    return [parts[number] for number in generator.permutation(len(parts))[:MOST]]


def _permuted(
    earlier: Sequence[NDArray[np.float64]], new: Sequence[NDArray[np.float64]], generator: np.random.Generator
) -> Drift:
    """The gap between the sets' mean distribution functions, and how often patients dealt at random gap as much."""
    levels = (np.arange(LEVELS) + 0.5) / LEVELS
    grid = np.quantile(np.concatenate([*earlier, *new]), levels)
    functions = np.stack([np.searchsorted(np.sort(own), grid, side="right") / len(own) for own in (*earlier, *new)])
    first = np.zeros((PERMUTATIONS + 1, len(functions)))
    first[0, : len(earlier)] = 1
    for row in first[1:]:
        row[generator.permutation(len(functions))[: len(earlier)]] = 1
    sums = first @ functions
    others = functions.sum(axis=0) - sums
    gaps = np.abs(sums / len(earlier) - others / len(new)).max(axis=1)
    # A margin of rounding: the same patients in another order are as far apart.
    return Drift(float(gaps[0]), float((gaps >= gaps[0] - 1e-9).mean()))


def describe(x: Tensor) -> NDArray[np.float64]:
    """(N, 71): what a picture roughly looks like - an 8 x 8 thumbnail, grey percentiles, two roughnesses.

    Args:
        x: N x C x H x W in [-1, 1], 8 x 8 pixels or more.
    """
    grey = x.float().mean(dim=1, keepdim=True)
    thumbnail = adaptive_avg_pool2d(grey, GRID).flatten(1)
    levels = torch.quantile(grey.flatten(1), torch.tensor(PERCENTILES), dim=1).T
    steps = [(grey.diff(dim=side).abs().mean(dim=(1, 2, 3)) + 1e-4).log()[:, None] for side in (2, 3)]
    return torch.cat([thumbnail, levels, *steps], dim=1).double().numpy()


class Appearance(NamedTuple):
    """What training images look like, and how far from that is too far."""

    centre: NDArray[np.float64]
    """(D,) median descriptor."""
    whitening: NDArray[np.float64]
    """(D, D): makes descriptors' differences comparable."""
    limit: float
    """Distance above which an image is unlike anything seen."""

    @classmethod
    def learn(cls, descriptors: NDArray[np.float64]) -> "Appearance":
        """From (N, D) descriptors of training images, healthy and mixed alike; no label is used.

        The limit is a fence on the logarithm of the distances, their upper quartile plus two interquartile
        ranges, which a few odd training images cannot move. Each image's distance is measured from the others
        of a five-fold division: from a centre and spread fitted to itself it would seem too near.

        Raises:
            ValueError: fewer than ten images.
        """
        if len(descriptors) < FEWEST:
            raise ValueError(f"{len(descriptors)} images; {FEWEST} or more show what is usual")
        fold = np.arange(len(descriptors)) % FOLDS
        distances = [
            _fitted(descriptors[fold != number]).distance(descriptors[fold == number]) for number in range(FOLDS)
        ]
        low, high = np.quantile(np.log(np.concatenate(distances) + 1e-12), [0.25, 0.75])
        return _fitted(descriptors)._replace(limit=float(np.exp(high + FENCE * (high - low))))

    def distance(self, descriptors: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N,): Mahalanobis distance of (N, D) descriptors from the training images."""
        moved = (descriptors - self.centre) @ self.whitening
        distances: NDArray[np.float64] = np.sqrt((moved**2).sum(axis=1))
        return distances

    def unlike(self, descriptors: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(N,): which images are unlike anything seen in training."""
        return self.distance(descriptors) > self.limit


def _fitted(descriptors: NDArray[np.float64]) -> Appearance:
    """Centre and spread, without a limit yet; fitted twice, the second time without the farthest tenth."""
    distance = _spread(descriptors).distance(descriptors)
    return _spread(descriptors[distance <= np.quantile(distance, 1 - TRIMMED)])


def _spread(descriptors: NDArray[np.float64]) -> Appearance:
    """The covariance is shrunk (Ledoit and Wolf, 2004), so that few images do."""
    from sklearn.covariance import ledoit_wolf  # only learning needs it, and scoring should start at once

    centre = np.median(descriptors, axis=0)
    scale = descriptors.std(axis=0) + 1e-6
    values, vectors = np.linalg.eigh(ledoit_wolf((descriptors - centre) / scale)[0])
    # What never varies in training must not make every new image infinitely far.
    steady = np.maximum(values, 1e-3 * values.max() + 1e-12)
    return Appearance(centre, vectors / np.sqrt(steady) / scale[:, None], np.inf)
