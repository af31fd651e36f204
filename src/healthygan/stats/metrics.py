"""How well anomaly scores find disease: plain functions of NumPy arrays.

Throughout, ``scores`` are (N,) finite floats, higher = more anomalous, and ``labels`` are (N,) booleans,
True = diseased. An image is called diseased when ``score >= threshold`` (see ``called_diseased``).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from healthygan.stats.arrays import Booleans, Floats, both_classes, finite_row, group_numbers, labelled
from healthygan.stats.intervals import Interval, bootstrap_interval

PatientScore: TypeAlias = Literal["mean", "max", "top"]


class Roc(NamedTuple):
    """One point for every distinct score, from "nobody is called diseased" to "everybody is"."""

    false_positive_rate: NDArray[np.float64]
    true_positive_rate: NDArray[np.float64]
    thresholds: NDArray[np.float64]  # falling; the first is +inf


@dataclass(frozen=True)
class Rates:
    """What calling every image with ``score >= threshold`` diseased gets right; nan where a rate is 0 / 0."""

    threshold: float
    tp: int
    fp: int
    tn: int
    fn: int

    @property
    def precision(self) -> float:
        """Share of the called that are diseased; nan if none is called."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """Share of the diseased that are called (sensitivity)."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> float:
        """Share of the healthy that are not called."""
        return _ratio(self.tn, self.tn + self.fp)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 if no diseased image is called."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)


@dataclass(frozen=True)
class Performance:
    """A detector's numbers on one labelled test set (see ``measure``)."""

    auc: float
    auc_interval: Interval
    auc_by_patient: float | None
    paper_rates: Rates
    honest_rates: Rates | None


def auc(scores: Floats, labels: Booleans) -> float:
    """Area under the ROC curve: how often a diseased image scores above a healthy one, ties counting half.

    Raises:
        ValueError: shapes differ, a score is not finite, or one class is missing.
    """
    from sklearn.metrics import roc_auc_score  # scoring starts sooner without it

    values, truth = both_classes(scores, labels)
    return float(roc_auc_score(truth, values))


def roc(scores: Floats, labels: Booleans) -> Roc:
    """The ROC curve with no point left out.

    Raises:
        ValueError: as ``auc``.
    """
    from sklearn.metrics import roc_curve  # scoring starts sooner without it

    values, truth = both_classes(scores, labels)
    return Roc(*roc_curve(truth, values, drop_intermediate=False))


def mean_roc(curves: Sequence[Roc], false_positive_rate: NDArray[np.float64]) -> NDArray[np.float64]:
    """True positive rate at given false positive rates, (K,) and rising: linear between points, mean of the curves."""
    rates = [np.interp(false_positive_rate, curve.false_positive_rate, curve.true_positive_rate) for curve in curves]
    return np.asarray(np.mean(rates, axis=0))


class Ranking:
    """The cuts between scores, for any weights of their images (a bootstrap resample is such weights).

    Args:
        scores: (N,), finite.
        labels: (N,), True = diseased.
    """

    def __init__(self, scores: NDArray[np.float64], labels: Booleans) -> None:
        self._order = np.argsort(-scores, kind="stable")
        self._truth = labels[self._order]
        falling = scores[self._order]
        self._ends = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))

    def called(self, weights: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(K,) each: diseased and healthy images at or above each distinct score, the highest first; image i counts
        ``weights[i]`` times.
        """
        counts = weights[self._order]
        tp = np.cumsum(counts * self._truth)[self._ends]
        return tp, np.cumsum(counts)[self._ends] - tp


def called_diseased(scores: Floats, threshold: float) -> Booleans:
    """``score >= threshold`` in float64: in float32 a threshold just above a score would round onto it."""
    return np.asarray(scores, dtype=np.float64) >= threshold


def rates_at(scores: Floats, labels: Booleans, threshold: float) -> Rates:
    """Count hits and misses when ``score >= threshold`` is called diseased.

    Raises:
        ValueError: shapes differ, a score is not finite, or the threshold is nan (infinite is fine).
    """
    values, truth = labelled(scores, labels)
    if math.isnan(threshold):
        raise ValueError("the threshold is nan; give a number or infinity")
    called = called_diseased(values, threshold)
    return Rates(
        threshold=float(threshold),
        tp=int((called & truth).sum()),
        fp=int((called & ~truth).sum()),
        tn=int((~called & ~truth).sum()),
        fn=int((~called & truth).sum()),
    )


def threshold_equal_rates(scores: Floats, labels: Booleans) -> float:
    """The paper's cut: where recall and specificity are as nearly equal as the scores allow.

    It is read off the very labels it is then judged by, so rates at this threshold are optimistic. Of equally
    good cuts the one with the higher recall + specificity is taken.

    Raises:
        ValueError: as ``auc``.
    """
    curve = roc(scores, labels)
    # The first point is the empty call at +inf.
    best = most_equal_rates(curve.true_positive_rate[1:], 1 - curve.false_positive_rate[1:]) + 1
    return float(curve.thresholds[best])


def most_equal_rates(recall: NDArray[np.float64], specificity: NDArray[np.float64]) -> int:
    """Which of (K,) cuts ``threshold_equal_rates`` takes, by the recall and the specificity at each."""
    return int(np.lexsort((-(recall + specificity), np.abs(recall - specificity).round(12)))[0])


def threshold_youden(scores: Floats, labels: Booleans) -> float:
    """The cut with the greatest recall + specificity - 1 (Youden's J); of equals the highest.

    For labelled validation data; on the test labels it is as optimistic as ``threshold_equal_rates``.

    Raises:
        ValueError: as ``auc``.
    """
    curve = roc(scores, labels)
    gain = (curve.true_positive_rate - curve.false_positive_rate)[1:].round(12)
    return float(curve.thresholds[int(np.argmax(gain)) + 1])


def patient_scores(
    scores: Floats, patients: Sequence[str], how: PatientScore = "mean", top: int = 5
) -> tuple[list[str], NDArray[np.float64]]:
    """One score a patient: the mean of the images' (the paper's way for volumes), their max, or top: the mean of
    the ``top`` highest, of all where there are fewer.

    Returns:
        The patients in alphabetical order and their (P,) scores.

    Raises:
        ValueError: lengths differ, a score is not finite, or ``top`` is below 1.
    """
    values = finite_row(scores)
    numbers = group_numbers(patients, len(values))
    if top < 1:
        raise ValueError(f"top {top} must be at least 1")
    if how != "mean":
        order = np.lexsort((-values, numbers))
        sizes = np.bincount(numbers)
        place = np.arange(len(values)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        kept = order[place < (1 if how == "max" else top)]
        values, numbers = values[kept], numbers[kept]
    return sorted(set(patients)), np.bincount(numbers, weights=values) / np.bincount(numbers)


def measure(
    scores: Floats,
    labels: Booleans,
    *,
    honest_threshold: float | None,
    patients: Sequence[str] | None = None,
    generator: np.random.Generator,
    resamples: int = 1000,
    how: PatientScore = "mean",
    top: int = 5,
) -> Performance:
    """All of a detector's numbers on a labelled test set.

    Args:
        honest_threshold: from healthy or validation data alone; None if there is none.
        patients: (N,) patient of each image: the interval then draws patients, and the AUC of each patient's
            score is given too (a patient with any diseased image counts as diseased).
        how, top: a patient's score, as in ``patient_scores``.

    Raises:
        ValueError: as ``auc`` and ``bootstrap_interval``.
    """
    return Performance(
        auc=auc(scores, labels),
        auc_interval=bootstrap_interval(auc, scores, labels, patients, generator=generator, resamples=resamples),
        auc_by_patient=None if patients is None else _auc_by_patient(scores, labels, patients, how, top),
        paper_rates=rates_at(scores, labels, threshold_equal_rates(scores, labels)),
        honest_rates=None if honest_threshold is None else rates_at(scores, labels, honest_threshold),
    )


def _auc_by_patient(
    scores: Floats, labels: Booleans, patients: Sequence[str], how: PatientScore, top: int
) -> float | None:
    _, values = patient_scores(scores, patients, how, top)
    _, worst = patient_scores(labels.astype(np.float64), patients, "max")
    diseased = worst > 0
    return None if diseased.all() else auc(values, diseased)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
