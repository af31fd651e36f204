"""Metrics agree with scikit-learn, with counting by hand, and with trying every threshold."""

import math

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from healthygan.stats.metrics import (
    PatientScore,
    Ranking,
    Rates,
    auc,
    mean_roc,
    measure,
    patient_scores,
    rates_at,
    roc,
    threshold_equal_rates,
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


@pytest.mark.parametrize(("how", "expected"), [("mean", [5.0, 2.0]), ("max", [10.0, 3.0]), ("top", [7.0, 2.0])])
def test_a_patients_score_is_the_mean_the_max_or_that_of_the_highest(how: PatientScore, expected: list[float]) -> None:
    scores = np.array([1.0, 4.0, 3.0, 10.0, 1.0])
    assert patient_scores(scores, ["b", "a", "b", "a", "a"], how, top=2)[1].tolist() == expected
    with pytest.raises(ValueError, match="top 0"):
        patient_scores(scores, ["a"] * 5, how, top=0)


def test_patient_scores_come_in_alphabetical_order() -> None:
    names, means = patient_scores(np.array([1.0, 2.0, 3.0, 10.0]), ["b", "a", "b", "a"])
    assert names == ["a", "b"]
    assert means.tolist() == [6.0, 2.0]


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


def test_the_mean_of_curves_lies_between_them_at_the_rates_asked_for() -> None:
    grid = np.linspace(0, 1, 5)
    perfect = roc(np.array([0.0, 1.0]), np.array([False, True]))
    reversed_ = roc(np.array([1.0, 0.0]), np.array([False, True]))
    assert mean_roc([perfect], grid).tolist() == [1] * 5
    assert mean_roc([perfect, reversed_], grid).tolist() == [0.5] * 4 + [1]


def test_a_ranking_counts_weighted_images_at_or_above_each_distinct_score() -> None:
    ranking = Ranking(np.array([0.2, 0.9, 0.5, 0.5]), np.array([False, True, True, False]))
    tp, fp = ranking.called(np.array([1, 2, 0, 3]))
    assert tp.tolist() == [2, 2, 2]
    assert fp.tolist() == [0, 3, 4]
