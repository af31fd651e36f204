"""Metrics agree with scikit-learn, with counting by hand, and with trying every threshold."""

import math

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score

from healthygan.metrics import (
    Rates,
    auc,
    best_dice,
    bootstrap_interval,
    called_diseased,
    healthy_needed,
    measure,
    patient_scores,
    pixel_auroc,
    rates_at,
    roc,
    threshold_equal_rates,
    threshold_for_specificity,
    threshold_youden,
)

SCORES = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
LABELS = np.array([False, False, True, False, True, True])


def noisy(seed: int = 0, count: int = 400, shift: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.random(count) < 0.3
    return random.normal(size=count) + shift * labels, labels


def test_auc_counts_ordered_pairs_and_ties_as_half() -> None:
    assert auc(SCORES, LABELS) == pytest.approx(8 / 9)
    assert auc(np.array([1.0, 1.0]), np.array([True, False])) == 0.5


def test_auc_refuses_a_single_class() -> None:
    with pytest.raises(ValueError, match="0 diseased and 6 healthy images; both classes are needed"):
        auc(SCORES, np.zeros(6, dtype=bool))


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (SCORES, LABELS[:5], "6 scores"),
        (SCORES, LABELS.astype(int), "boolean"),
        (np.where(LABELS, np.nan, SCORES), LABELS, "3 of 6 scores are not finite"),
        (SCORES.reshape(2, 3), LABELS, "shape"),
    ],
)
def test_malformed_scores_and_labels_are_refused(scores: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rates_at(scores, labels, 0.5)


def test_roc_keeps_every_distinct_score_as_a_point() -> None:
    curve = roc(SCORES, LABELS)
    assert curve.thresholds.tolist() == [math.inf, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    assert curve.true_positive_rate == pytest.approx([0, 1 / 3, 2 / 3, 2 / 3, 1, 1, 1])
    assert curve.false_positive_rate == pytest.approx([0, 0, 0, 1 / 3, 1 / 3, 2 / 3, 1])


def test_rates_agree_with_scikit_learn() -> None:
    scores, labels = noisy()
    called = scores >= 0.7
    rates = rates_at(scores, labels, 0.7)
    assert rates.precision == pytest.approx(precision_score(labels, called))
    assert rates.recall == pytest.approx(recall_score(labels, called))
    assert rates.specificity == pytest.approx(recall_score(~labels, ~called))
    assert rates.f1 == pytest.approx(f1_score(labels, called))
    assert rates.tp + rates.fp + rates.tn + rates.fn == len(scores)


def test_a_score_equal_to_the_threshold_is_called_diseased() -> None:
    assert rates_at(SCORES, LABELS, 0.4) == Rates(threshold=0.4, tp=2, fp=1, tn=2, fn=1)


def test_precision_is_nan_and_f1_zero_when_nothing_is_called() -> None:
    rates = rates_at(SCORES, LABELS, math.inf)
    assert math.isnan(rates.precision)
    assert (rates.recall, rates.specificity, rates.f1) == (0, 1, 0)


def test_recall_is_nan_without_diseased_images() -> None:
    rates = rates_at(SCORES, np.zeros(6, dtype=bool), 0.35)
    assert math.isnan(rates.recall)
    assert rates.specificity == 0.5


def test_a_nan_threshold_is_refused() -> None:
    with pytest.raises(ValueError, match="nan"):
        rates_at(SCORES, LABELS, math.nan)


def test_equal_rates_threshold_has_the_smallest_gap_of_all_cuts() -> None:
    for seed in range(5):
        scores, labels = noisy(seed, count=101)
        chosen = rates_at(scores, labels, threshold_equal_rates(scores, labels))
        gaps = [abs(r.recall - r.specificity) for r in (rates_at(scores, labels, t) for t in scores)]
        assert abs(chosen.recall - chosen.specificity) == pytest.approx(min(gaps))


def test_equal_rates_threshold_prefers_the_better_of_equally_good_cuts() -> None:
    # Cutting at 0.5 gives recall 2/3 and specificity 1, at 0.3 the reverse; 0.4 gives 2/3 twice, no gap.
    assert threshold_equal_rates(SCORES, LABELS) == 0.4
    # 3 and 2 both have a gap of 1/2; at 2 recall + specificity is 3/2, at 3 it is 1/2.
    assert threshold_equal_rates(np.array([3.0, 2.0, 1.0]), np.array([False, True, False])) == 2.0


def test_youden_threshold_has_the_greatest_sum_of_recall_and_specificity() -> None:
    scores, labels = noisy(3)
    chosen = rates_at(scores, labels, threshold_youden(scores, labels))
    sums = [r.recall + r.specificity for r in (rates_at(scores, labels, t) for t in scores)]
    assert chosen.recall + chosen.specificity == pytest.approx(max(sums))


def test_youden_threshold_stays_finite_for_scores_that_point_the_wrong_way() -> None:
    assert math.isfinite(threshold_youden(-SCORES, LABELS))


def test_conformal_threshold_lies_just_above_the_kth_smallest_score() -> None:
    healthy = np.array([5.0, 1.0, 4.0, 2.0, 3.0, 9.0, 8.0, 7.0, 6.0])
    assert threshold_for_specificity(healthy, 0.5) == np.nextafter(5.0, math.inf)
    assert threshold_for_specificity(healthy, 0.9) == np.nextafter(9.0, math.inf)
    assert threshold_for_specificity(healthy[:8], 0.9) == math.inf
    assert threshold_for_specificity(np.array([]), 0.5) == math.inf


def test_conformal_threshold_does_not_call_scores_equal_to_the_kth() -> None:
    """In float32 the threshold would round back onto the score itself."""
    healthy = np.full(20, 0.3, dtype=np.float32)
    assert not called_diseased(healthy, threshold_for_specificity(healthy, 0.9)).any()


@pytest.mark.parametrize(("specificity", "needed"), [(0.5, 1), (0.9, 9), (0.95, 19), (0.99, 99), (0.999, 999)])
def test_healthy_needed_is_the_least_number_with_a_finite_threshold(specificity: float, needed: int) -> None:
    scores = np.arange(needed, dtype=float)
    assert healthy_needed(specificity) == needed
    assert threshold_for_specificity(scores, specificity) < math.inf
    assert threshold_for_specificity(scores[:-1], specificity) == math.inf


@pytest.mark.parametrize("specificity", [0.0, 1.0, -0.1, math.nan])
def test_an_impossible_specificity_is_refused(specificity: float) -> None:
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        threshold_for_specificity(SCORES, specificity)


@pytest.mark.parametrize(("count", "specificity"), [(9, 0.9), (25, 0.8), (90, 0.9)])
def test_conformal_threshold_keeps_its_promise_on_new_healthy_images(count: int, specificity: float) -> None:
    """Coverage is Beta distributed: on average k / (n + 1), between the promise and 1 / (n + 1) above it."""
    random = np.random.default_rng(7)
    kept = [
        # For exponential scores the share below a threshold is known without drawing any new image.
        1 - math.exp(-threshold_for_specificity(random.exponential(size=count), specificity))
        for _ in range(4000)
    ]
    error = 4 * np.std(kept) / math.sqrt(len(kept))
    assert specificity - error <= np.mean(kept) <= specificity + 1 / (count + 1) + error


def test_bootstrap_interval_covers_the_truth_about_as_often_as_promised() -> None:
    def gap(scores: np.ndarray, labels: np.ndarray) -> float:
        return float(scores[labels].mean() - scores[~labels].mean())

    covered = 0
    for seed in range(100):
        scores, labels = noisy(seed, count=120, shift=1.0)
        low, high, _ = bootstrap_interval(
            gap, scores, labels, resamples=80, level=0.9, generator=np.random.default_rng(seed)
        )
        covered += low <= 1.0 <= high
    assert 80 <= covered <= 97


def test_bootstrap_by_patient_is_wider_on_clustered_images() -> None:
    random = np.random.default_rng(1)
    diseased = np.arange(30) < 15
    per_patient = random.normal(size=30) + diseased
    scores, labels = np.repeat(per_patient, 10), np.repeat(diseased, 10)
    patients = [f"patient {number}" for number in np.repeat(np.arange(30), 10)]
    single = bootstrap_interval(auc, scores, labels, resamples=200, generator=np.random.default_rng(2))
    grouped = bootstrap_interval(auc, scores, labels, patients, resamples=200, generator=np.random.default_rng(2))
    assert grouped.high - grouped.low > 2 * (single.high - single.low)


def test_bootstrap_draws_whole_patients() -> None:
    patients = ["a", "b", "a", "c", "b", "a"]
    seen = []

    def record(scores: np.ndarray, labels: np.ndarray) -> float:
        seen.append(scores)
        return 0.0

    bootstrap_interval(record, SCORES, LABELS, patients, resamples=50, generator=np.random.default_rng(0))
    for drawn in seen:
        counts = [int((drawn == score).sum()) for score in SCORES]
        assert counts[0] == counts[2] == counts[5]  # a
        assert counts[1] == counts[4]  # b
        assert counts[0] + counts[1] + counts[3] == 3


def test_bootstrap_redraws_resamples_of_one_class() -> None:
    labels = np.array([True] + [False] * 3)

    def both(scores: np.ndarray, labels: np.ndarray) -> float:
        assert labels.any()
        assert not labels.all()
        return 1.0

    interval = bootstrap_interval(both, SCORES[:4], labels, generator=np.random.default_rng(0), resamples=200)
    assert (interval.low, interval.high) == (1, 1)


def test_bootstrap_repeats_with_the_same_seed() -> None:
    scores, labels = noisy()
    first, second = (
        bootstrap_interval(auc, scores, labels, resamples=20, generator=np.random.default_rng(5)) for _ in range(2)
    )
    assert first == second


def test_bootstrap_refuses_a_wrong_number_of_patients_and_senseless_levels() -> None:
    generator = np.random.default_rng(0)
    with pytest.raises(ValueError, match="1 patients for 6 scores"):
        bootstrap_interval(auc, SCORES, LABELS, ["a"], generator=generator)
    with pytest.raises(ValueError, match="level 95"):
        bootstrap_interval(auc, SCORES, LABELS, level=95, generator=generator)


def test_patient_scores_come_in_alphabetical_order() -> None:
    names, means = patient_scores(np.array([1.0, 2.0, 3.0, 10.0]), ["b", "a", "b", "a"])
    assert names == ["a", "b"]
    assert means.tolist() == [6.0, 2.0]


def maps_and_masks() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    masks = random.random((5, 16, 16)) < 0.1
    masks[3:] = False
    # Values on a grid of 1/255 fall on exact levels, so that nothing is lost to rounding.
    differences = np.clip(np.rint(random.normal(60, 30, masks.shape) + 40 * masks), 0, 255) / 255
    return differences, masks


def test_pixel_auroc_agrees_with_scikit_learn_over_all_pixels() -> None:
    differences, masks = maps_and_masks()
    expected = roc_auc_score(masks.ravel(), differences.ravel())
    assert pixel_auroc(differences, masks) == pytest.approx(expected, abs=1e-12)
    assert pixel_auroc(iter(differences.astype(np.float32)), iter(masks)) == pytest.approx(expected, abs=1e-12)


def test_best_dice_agrees_with_trying_every_threshold() -> None:
    differences, masks = maps_and_masks()
    tried = [f1_score(masks.ravel(), (differences >= t).ravel()) for t in np.unique(differences)]
    assert best_dice(differences, masks) == pytest.approx(max(tried), abs=1e-12)


def test_pixel_metrics_are_nan_without_a_lesion() -> None:
    differences, masks = np.full((2, 4, 4), 0.5), np.zeros((2, 4, 4), dtype=bool)
    assert math.isnan(pixel_auroc(differences, masks))
    assert math.isnan(best_dice(differences, masks))
    assert math.isnan(pixel_auroc(differences, ~masks))


@pytest.mark.parametrize(
    ("differences", "masks", "message"),
    [
        (np.full((1, 2, 2), 1.5), np.ones((1, 2, 2), dtype=bool), r"leaves \[0, 1\]"),
        (np.full((1, 2, 2), np.nan), np.ones((1, 2, 2), dtype=bool), r"leaves \[0, 1\]"),
        (np.zeros((1, 2, 2)), np.ones((1, 3, 2), dtype=bool), "same shape"),
        (np.zeros((1, 2, 2)), np.ones((1, 2, 2)), "boolean"),
        (np.zeros((2, 2, 2)), np.ones((1, 2, 2), dtype=bool), "shorter"),
    ],
)
def test_malformed_maps_are_refused(differences: np.ndarray, masks: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pixel_auroc(differences, masks)


def test_measure_gathers_the_single_metrics() -> None:
    scores, labels = noisy(count=100)
    result = measure(scores, labels, honest_threshold=0.8, resamples=10, generator=np.random.default_rng(0))
    assert result.auc == auc(scores, labels)
    assert result.auc_interval.low <= result.auc <= result.auc_interval.high
    assert result.paper_rates == rates_at(scores, labels, threshold_equal_rates(scores, labels))
    assert result.honest_rates == rates_at(scores, labels, 0.8)
    assert result.auc_by_patient is None


def test_measure_by_patient_takes_a_patient_with_any_diseased_image_as_diseased() -> None:
    patients = ["a", "a", "b", "b", "c", "c"]
    result = measure(
        SCORES,
        LABELS,
        honest_threshold=None,
        patients=patients,
        resamples=10,
        generator=np.random.default_rng(0),
    )
    # Means 0.15, 0.35 and 0.55 of a healthy and two diseased patients are in perfect order.
    assert result.auc_by_patient == 1.0
    assert result.honest_rates is None


def test_measure_gives_no_auc_by_patient_when_every_patient_is_diseased() -> None:
    result = measure(
        SCORES,
        LABELS,
        honest_threshold=None,
        patients=["a", "b", "a", "b", "b", "a"],
        resamples=10,
        generator=np.random.default_rng(0),
    )
    assert result.auc_by_patient is None
