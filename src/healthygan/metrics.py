"""How well anomaly scores and difference maps find disease: plain functions of NumPy arrays.

Throughout, ``scores`` are (N,) finite floats, higher = more anomalous, and ``labels`` are (N,) booleans,
True = diseased. An image is called diseased when ``score >= threshold`` (see ``called_diseased``).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve

Floats: TypeAlias = NDArray[np.float32] | NDArray[np.float64]
Booleans: TypeAlias = NDArray[np.bool_]
Statistic: TypeAlias = Callable[[NDArray[np.float64], Booleans], float]

PatientScore: TypeAlias = Literal["mean", "max", "top"]

PIXEL_LEVELS = 65536


class Roc(NamedTuple):
    """One point for every distinct score, from "nobody is called diseased" to "everybody is"."""

    false_positive_rate: NDArray[np.float64]
    true_positive_rate: NDArray[np.float64]
    thresholds: NDArray[np.float64]  # falling; the first is +inf


class Interval(NamedTuple):
    """A confidence interval; ``level`` 0.95 means 95 %."""

    low: float
    high: float
    level: float


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
    values, truth = _both_classes(scores, labels)
    return float(roc_auc_score(truth, values))


def roc(scores: Floats, labels: Booleans) -> Roc:
    """The ROC curve with no point left out.

    Raises:
        ValueError: as ``auc``.
    """
    values, truth = _both_classes(scores, labels)
    return Roc(*roc_curve(truth, values, drop_intermediate=False))


def called_diseased(scores: Floats, threshold: float) -> Booleans:
    """``score >= threshold`` in float64: in float32 a threshold just above a score would round onto it."""
    return np.asarray(scores, dtype=np.float64) >= threshold


def rates_at(scores: Floats, labels: Booleans, threshold: float) -> Rates:
    """Count hits and misses when ``score >= threshold`` is called diseased.

    Raises:
        ValueError: shapes differ, a score is not finite, or the threshold is nan (infinite is fine).
    """
    values, truth = _checked(scores, labels)
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
    specificity = 1 - curve.false_positive_rate
    gap = np.abs(curve.true_positive_rate - specificity)
    total = curve.true_positive_rate + specificity
    best = np.lexsort((-total[1:], gap[1:].round(12)))[0] + 1  # the first point is the empty call at +inf
    return float(curve.thresholds[best])


def threshold_youden(scores: Floats, labels: Booleans) -> float:
    """The cut with the greatest recall + specificity - 1 (Youden's J); of equals the highest.

    For labelled validation data; on the test labels it is as optimistic as ``threshold_equal_rates``.

    Raises:
        ValueError: as ``auc``.
    """
    curve = roc(scores, labels)
    gain = (curve.true_positive_rate - curve.false_positive_rate)[1:].round(12)
    return float(curve.thresholds[int(np.argmax(gain)) + 1])


def threshold_for_specificity(healthy_scores: Floats, specificity: float) -> float:
    """A threshold from held-out healthy scores alone that keeps the promised specificity on new images.

    The split-conformal quantile: with k = ceil((n + 1) * specificity), the smallest float above the k-th
    smallest score. A new image exchangeable with the held-out ones then falls below it with probability at
    least ``specificity``, averaged over the draw of the held-out images. No disease label is used.

    Args:
        healthy_scores: (n,) scores of healthy images neither trained on nor tested.
        specificity: strictly between 0 and 1.

    Returns:
        The threshold, or +inf if n is below ``healthy_needed(specificity)``: then nothing can be promised.

    Raises:
        ValueError: a score is not finite, or ``specificity`` is out of range.
    """
    values = _finite_row(healthy_scores, "healthy scores")
    k = math.ceil((len(values) + 1) * _exact(specificity))
    if k > len(values):
        return math.inf
    return float(np.nextafter(np.sort(values)[k - 1], np.inf))


def healthy_needed(specificity: float) -> int:
    """How many held-out healthy images ``threshold_for_specificity`` needs (0.90: 9, 0.95: 19, 0.99: 99).

    Raises:
        ValueError: ``specificity`` is not strictly between 0 and 1.
    """
    share = _exact(specificity)
    return math.ceil(share / (1 - share))


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
        statistic: e.g. ``auc``; a nan from any resample makes both ends nan.
        groups: (N,) patient of each image. Patients are then drawn, each with all its images: images of one
            patient resemble each other, and drawing them singly makes the interval too narrow. None: images.
        generator: the only source of randomness.

    A resample that holds only one class is drawn again.

    Raises:
        ValueError: shapes differ, a score is not finite, one class is missing, or ``level`` or
            ``resamples`` make no sense.
    """
    values, truth = _both_classes(scores, labels)
    if not 0 < level < 1 or resamples < 1:
        raise ValueError(f"level {level} must lie between 0 and 1, and resamples {resamples} be at least 1")
    draw = _Resampler(np.arange(len(values)) if groups is None else _group_numbers(groups, len(values)))
    found = np.empty(resamples)
    for number in range(resamples):
        chosen = draw(generator)
        while truth[chosen].all() or not truth[chosen].any():
            chosen = draw(generator)
        found[number] = statistic(values[chosen], truth[chosen])
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level)


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
    values = _finite_row(scores, "scores")
    numbers = _group_numbers(patients, len(values))
    if top < 1:
        raise ValueError(f"top {top} must be at least 1")
    if how != "mean":
        order = np.lexsort((-values, numbers))
        sizes = np.bincount(numbers)
        place = np.arange(len(values)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        kept = order[place < (1 if how == "max" else top)]
        values, numbers = values[kept], numbers[kept]
    return sorted(set(patients)), np.bincount(numbers, weights=values) / np.bincount(numbers)


def pixel_auroc(differences: Iterable[Floats], masks: Iterable[Booleans]) -> float:
    """AUC of the difference map as a score of each pixel, over all pixels of all images together.

    Maps are rounded to 65,536 levels and counted image by image, so memory does not grow with the number of
    images and the result is exact for the rounded maps.

    Args:
        differences: (H, W) maps in [0, 1], or one (N, H, W) array.
        masks: as many (H, W) lesion masks, True = lesion; all False for a healthy image.

    Returns:
        The AUC; nan if no pixel (or every pixel) is lesion.

    Raises:
        ValueError: numbers or shapes differ, or a map leaves [0, 1].
    """
    lesion, normal = _pixel_counts(differences, masks)
    pairs = lesion.sum() * normal.sum()
    if pairs == 0:
        return math.nan
    below = np.cumsum(normal) - normal
    return float((lesion * (below + normal / 2)).sum() / pairs)


def best_dice(differences: Iterable[Floats], masks: Iterable[Booleans]) -> float:
    """Highest Dice overlap of thresholded difference maps with the lesions, one threshold for all images.

    The threshold is chosen on the test masks, so this is an upper bound rather than a forecast. Arguments and
    errors as ``pixel_auroc``; nan if no pixel is lesion.
    """
    lesion, normal = _pixel_counts(differences, masks)
    if lesion.sum() == 0:
        return math.nan
    hits = np.cumsum(lesion[::-1])
    called = hits + np.cumsum(normal[::-1])
    return float((2 * hits / (called + lesion.sum())).max())


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


class _Resampler:
    """Draws whole groups with replacement and returns the indices of their members."""

    def __init__(self, numbers: NDArray[np.int64]) -> None:
        self.order = np.argsort(numbers, kind="stable")
        self.sizes = np.bincount(numbers)
        self.starts = np.cumsum(self.sizes) - self.sizes

    def __call__(self, generator: np.random.Generator) -> NDArray[np.int64]:
        drawn = generator.integers(len(self.sizes), size=len(self.sizes))
        sizes = self.sizes[drawn]
        before = np.cumsum(sizes) - sizes
        chosen: NDArray[np.int64] = self.order[np.arange(sizes.sum()) + np.repeat(self.starts[drawn] - before, sizes)]
        return chosen


def _group_numbers(groups: Sequence[str], length: int) -> NDArray[np.int64]:
    if len(groups) != length:
        raise ValueError(f"{len(groups)} patients for {length} scores; give one patient for each image")
    numbers = {group: number for number, group in enumerate(sorted(set(groups)))}
    return np.array([numbers[group] for group in groups], dtype=np.int64)


def _pixel_counts(
    differences: Iterable[Floats], masks: Iterable[Booleans]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How many lesion and how many other pixels have each of the 65,536 levels (float64: exact to 2**53)."""
    lesion, normal = np.zeros(PIXEL_LEVELS), np.zeros(PIXEL_LEVELS)
    for difference, mask in zip(differences, masks, strict=True):
        if mask.dtype != np.bool_ or mask.shape != difference.shape:
            raise ValueError(
                f"a mask of {mask.dtype} {mask.shape} for a difference map {difference.shape}; "
                "give a boolean mask of the same shape"
            )
        if not ((difference >= 0) & (difference <= 1)).all():
            raise ValueError("a difference map leaves [0, 1]; give |x - x'| / 2")
        level = np.rint(difference.astype(np.float64) * (PIXEL_LEVELS - 1)).astype(np.int64)
        lesion += np.bincount(level[mask], minlength=PIXEL_LEVELS)
        normal += np.bincount(level[~mask], minlength=PIXEL_LEVELS)
    return lesion, normal


def _exact(specificity: float) -> Fraction:
    """The decimal the user wrote: as a binary float 0.9 / (1 - 0.9) would be a little above 9."""
    if not 0 < specificity < 1:
        raise ValueError(f"specificity {specificity} must lie strictly between 0 and 1, for instance 0.9")
    return Fraction(repr(float(specificity)))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _finite_row(scores: Floats, name: str) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"{name} have shape {values.shape}; give one number for each image")
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise ValueError(f"{bad} of {len(values)} {name} are not finite")
    return values


def _checked(scores: Floats, labels: Booleans) -> tuple[NDArray[np.float64], Booleans]:
    values, truth = _finite_row(scores, "scores"), np.asarray(labels)
    if truth.dtype != np.bool_ or truth.shape != values.shape:
        raise ValueError(
            f"labels are {truth.dtype} {truth.shape} for {len(values)} scores; give a boolean for each image"
        )
    return values, truth


def _both_classes(scores: Floats, labels: Booleans) -> tuple[NDArray[np.float64], Booleans]:
    values, truth = _checked(scores, labels)
    diseased = int(truth.sum())
    if diseased in (0, len(truth)):
        raise ValueError(f"{diseased} diseased and {len(truth) - diseased} healthy images; both classes are needed")
    return values, truth
