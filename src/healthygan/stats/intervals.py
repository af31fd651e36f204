"""How sure a number is: bootstrap by patient, DeLong's test of two detectors, several seeds."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata, t

from healthygan.stats.arrays import Booleans, Floats, both_classes, finite_row, group_numbers
from healthygan.stats.resampling import resamples_of_both_classes, tails

Statistic: TypeAlias = Callable[[NDArray[np.float64], Booleans], float]


class Interval(NamedTuple):
    """A confidence interval; ``level`` 0.95 means 95 %."""

    low: float
    high: float
    level: float


class Comparison(NamedTuple):
    """Two detectors on the same cases (see ``delong``)."""

    first: float
    """AUC of the first."""
    second: float
    standard_error: float
    """Of first - second."""
    p_value: float
    """Two-sided, of the hypothesis that both AUCs are equal; nan where the two order the cases alike."""


class Seeds(NamedTuple):
    """One number over several seeds (see ``over_seeds``)."""

    mean: float
    deviation: float
    """Sample standard deviation; nan with one seed."""
    interval: Interval
    """Of the mean over seeds, Student's t; nan with one seed."""


def bootstrap_interval(
    statistic: Statistic,
    scores: Floats,
    labels: Booleans,
    groups: Sequence[str] | None = None,
    *,
    generator: np.random.Generator,
    resamples: int = 1000,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap interval of ``statistic(scores, labels)``.

    Args:
        statistic: e.g. ``metrics.auc``; a nan from any resample makes both ends nan.
        groups: (N,) patient of each image. Patients are then drawn, each with all its images: images of one
            patient resemble each other, and drawing them singly makes the interval too narrow. None: images.
        generator: the only source of randomness.

    A resample that holds only one class is drawn again.

    Raises:
        ValueError: shapes differ, a score is not finite, one class is missing, or ``level`` or
            ``resamples`` make no sense.
    """
    values, truth = both_classes(scores, labels)
    if resamples < 1:
        raise ValueError(f"resamples {resamples} must be at least 1")
    shares = tails(level)
    numbers = np.arange(len(values)) if groups is None else group_numbers(groups, len(values))
    drawn = resamples_of_both_classes(numbers, truth, resamples, generator)
    low, high = np.quantile([statistic(values[members], truth[members]) for members in drawn], shares)
    return Interval(float(low), float(high), level)


def delong(first: Floats, second: Floats, labels: Booleans) -> Comparison:
    """DeLong's test of the AUCs of two detectors on the same cases (DeLong et al., Biometrics 1988).

    The structural components come from midranks (Sun and Xu, IEEE Signal Processing Letters 2014), so that it
    takes time as N log N. Cases count as independent: with several images a patient give one score a patient
    (``metrics.patient_scores``), else the p-value is too small.

    Args:
        first: (N,) scores of one detector.
        second: (N,) scores of the other, of the same cases in the same order.
        labels: (N,), True = diseased; two cases or more of each class.

    Raises:
        ValueError: shapes differ, a score is not finite, or a class has fewer than two cases.
    """
    pairs = [both_classes(scores, labels) for scores in (first, second)]
    truth = pairs[0][1]
    if min(truth.sum(), (~truth).sum()) < 2:
        raise ValueError("DeLong's test needs two cases or more of each class")
    diseased, healthy = (np.stack(parts) for parts in zip(*(_components(*pair) for pair in pairs), strict=True))
    covariance = np.cov(diseased) / diseased.shape[1] + np.cov(healthy) / healthy.shape[1]
    areas = diseased.mean(axis=1)
    # The variance of a difference; rounding may leave a trace below zero where both order the cases alike.
    error = math.sqrt(max(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1], 0.0))
    p_value = math.nan if error < 1e-12 else 2 * float(norm.sf(abs(areas[0] - areas[1]) / error))
    return Comparison(float(areas[0]), float(areas[1]), error, p_value)


def over_seeds(values: Sequence[float], level: float = 0.95) -> Seeds:
    """Mean, spread and t interval of one number over independent trainings.

    Raises:
        ValueError: no value, or one is not finite.
    """
    row = finite_row(np.array(values, dtype=np.float64), "values")
    if not len(row):
        raise ValueError("no value; give one for each seed")
    mean = float(row.mean())
    if len(row) == 1:
        return Seeds(mean, math.nan, Interval(math.nan, math.nan, level))
    deviation = float(row.std(ddof=1))
    reach = float(t.ppf((1 + level) / 2, len(row) - 1)) * deviation / math.sqrt(len(row))
    return Seeds(mean, deviation, Interval(mean - reach, mean + reach, level))


def _components(scores: NDArray[np.float64], truth: Booleans) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """DeLong's V10, one value a diseased case, and V01, one a healthy case: shares of the other class outranked."""
    diseased, healthy = scores[truth], scores[~truth]
    pooled = rankdata(np.concatenate([diseased, healthy]))
    above = (pooled[: len(diseased)] - rankdata(diseased)) / len(healthy)
    below = 1 - (pooled[len(diseased) :] - rankdata(healthy)) / len(diseased)
    return above, below
