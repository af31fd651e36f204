"""Which of two sets spreads wider: the healthy set should not spread wider than the pile, which holds the diseased too.

Where the folders were swapped, or the healthy set is a mixed one, it does. No label is needed to see that.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from healthygan.detectors.contrast.mahalanobis import fit_distance
from healthygan.stats.arrays import Floats, group_numbers
from healthygan.stats.intervals import Interval
from healthygan.stats.resampling import Resampler, tails

FOLDS = 5
RESAMPLES = 200


def spread_difference(
    healthy: NDArray[np.float32],
    mixed: NDArray[np.float32],
    scale: NDArray[np.float32],
    groups: tuple[Sequence[str], Sequence[str]],
    generator: np.random.Generator,
    level: float = 0.95,
) -> Interval | None:
    """How much farther the pile lies from the healthy set than the healthy set from the pile: bootstrap interval.

    Either is an AUC of the Mahalanobis distance from one set, of the other set's images against the set's own, which
    are measured by models that never saw their patient. Their difference is above 0 where the pile spreads wider, near
    0 where both are alike, and changes its sign where the sets are swapped (benchmarks/swapped_sets.py).

    Args:
        healthy, mixed: features, (N, D) and (M, D).
        scale: (D,), factor of each standardised feature.
        groups: patients of either; they are drawn with all their images.
        level: of the percentile interval.

    Returns:
        The interval, within -1 to 1; none where a set has fewer than five patients.
    """
    numbers = [group_numbers(names, len(part)) for names, part in zip(groups, (healthy, mixed), strict=True)]
    if min(len(np.unique(one)) for one in numbers) < FOLDS:
        return None
    pile_from_healthy = _distances(healthy, numbers[0], mixed, scale)
    healthy_from_pile = _distances(mixed, numbers[1], healthy, scale)[::-1]
    draws = [Resampler(one) for one in numbers]
    differences = []
    for _ in range(RESAMPLES):
        drawn = [draw(generator) for draw in draws]
        one, other = (
            _auc(distances[0][drawn[0]], distances[1][drawn[1]]) for distances in (pile_from_healthy, healthy_from_pile)
        )
        # The second was of the pile against the healthy set, too: turned round.
        differences.append(one - (1 - other))
    low, high = np.quantile(differences, tails(level))
    return Interval(float(low), float(high), level)


def _distances(
    own: NDArray[np.float32], numbers: NDArray[np.int64], others: NDArray[np.float32], scale: NDArray[np.float32]
) -> tuple[Floats, Floats]:
    """From ``own``: of itself, each by a model without its patient, and of the others, by all those models."""
    of_own, of_others = np.empty(len(own)), np.zeros(len(others))
    fold = np.random.default_rng(0).permutation(numbers.max() + 1)[numbers] % FOLDS
    for number in range(FOLDS):
        distance = fit_distance(own[fold != number], scale)
        of_own[fold == number] = distance.of(own[fold == number])
        of_others += distance.of(others) / FOLDS
    return of_own, of_others


def _auc(healthy: Floats, mixed: Floats) -> float:
    """As ``metrics.auc``, by rank sums: it is taken hundreds of times."""
    ranks = rankdata(np.concatenate([healthy, mixed]))[len(healthy) :]
    return float((ranks.mean() - (len(mixed) + 1) / 2) / len(healthy))
