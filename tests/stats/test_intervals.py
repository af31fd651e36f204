"""Intervals cover what they promise; DeLong's test agrees with its definition."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from healthygan.stats.intervals import bootstrap_interval, delong, over_seeds
from healthygan.stats.metrics import auc

SCORES = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
LABELS = np.array([False, False, True, False, True, True])


def noisy(seed: int = 0, count: int = 400, shift: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.random(count) < 0.3
    return random.normal(size=count) + shift * labels, labels


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


# Ovarian cancer with obstructed bowel (DeLong et al. 1988): albumin, total protein, K-G score, outcome; the 43
# complete records, as printed in the SAS/STAT User's Guide, PROC LOGISTIC, "Comparing ROC curves".
OVARIAN = np.fromstring(
    """3.0 5.8 10 0 3.2 6.3 5 1 3.9 6.8 3 1 2.8 4.8 6 0 3.2 5.8 3 1 0.9 4.0 5 0 2.5 5.7 8 0 1.6 5.6 5 1 3.8 5.7 5 1
    3.7 6.7 6 1 3.2 5.4 4 1 3.8 6.6 6 1 4.1 6.6 5 1 3.6 5.7 5 1 4.3 7.0 4 1 3.6 6.7 4 0 2.3 4.4 6 1 4.2 7.6 4 0
    4.0 6.6 6 0 3.5 5.8 6 1 3.8 6.8 7 1 3.0 4.7 8 0 4.5 7.4 5 1 3.7 7.4 5 1 3.1 6.6 6 1 4.1 8.2 6 1 4.3 7.0 5 1
    4.3 6.5 4 1 3.2 5.1 5 1 2.6 4.7 6 1 3.3 6.8 6 0 1.7 4.0 7 0 3.7 6.1 5 1 3.3 6.3 7 1 4.2 7.7 6 1 3.5 6.2 5 1
    2.9 5.7 9 0 2.1 4.8 7 1 2.8 6.2 8 0 4.0 7.0 7 1 3.3 5.7 6 1 3.7 6.9 5 1 3.6 6.6 5 1""",
    sep=" ",
).reshape(-1, 4)


def with_ties() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = random.random(70) < 0.4
    first = random.integers(0, 12, 70) / 4 + labels
    return first, 0.5 * first + random.normal(size=70), labels


def by_pairs(scores: np.ndarray, labels: np.ndarray) -> tuple[float, list[float], list[float]]:
    """AUC and the components V10 and V01 (equations 2, 4 and 5 of DeLong et al.), one pair of cases at a time."""

    def kernel(diseased: float, healthy: float) -> float:
        return 1.0 if diseased > healthy else 0.5 if diseased == healthy else 0.0

    ill, well = scores[labels], scores[~labels]
    of_diseased = [sum(kernel(x, y) for y in well) / len(well) for x in ill]
    of_healthy = [sum(kernel(x, y) for x in ill) / len(ill) for y in well]
    return sum(of_diseased) / len(ill), of_diseased, of_healthy


def variance_of_difference(first: list[float], second: list[float]) -> float:
    """Of the mean of first - second over independent cases."""
    apart = [one - other for one, other in zip(first, second, strict=True)]
    mean = sum(apart) / len(apart)
    return sum((value - mean) ** 2 for value in apart) / (len(apart) - 1) / len(apart)


@pytest.mark.parametrize(
    ("first", "second", "labels"),
    [
        with_ties(),
        (OVARIAN[:, 0], 10 - OVARIAN[:, 2], OVARIAN[:, 3] == 1),
        (OVARIAN[:, 1], 10 - OVARIAN[:, 2], OVARIAN[:, 3] == 1),
    ],
    ids=["drawn", "albumin and K-G score", "total protein and K-G score"],
)
def test_delong_agrees_with_its_definition_by_pairs(first: np.ndarray, second: np.ndarray, labels: np.ndarray) -> None:
    one, other = by_pairs(first, labels), by_pairs(second, labels)
    error = math.sqrt(variance_of_difference(one[1], other[1]) + variance_of_difference(one[2], other[2]))
    found = delong(first, second, labels)
    assert (found.first, found.second) == pytest.approx((one[0], other[0]), abs=1e-12)
    assert found.standard_error == pytest.approx(error, rel=1e-10)
    assert found.p_value == pytest.approx(math.erfc(abs(one[0] - other[0]) / error / math.sqrt(2)), rel=1e-9)


# Computed once by an independent implementation, github.com/yandexdataschool/roc_comparison at 62da5b8: AUC and its
# variance of the first, p-value against the K-G score, whose AUC is 0.7258064516.
@pytest.mark.parametrize(
    ("column", "area", "variance", "p_value"),
    [(0, 0.7365591398, 0.0085922418, 0.9102063472), (1, 0.6478494624, 0.0100094774, 0.4561397075)],
    ids=["albumin", "total protein"],
)
def test_delong_agrees_with_another_implementation(column: int, area: float, variance: float, p_value: float) -> None:
    labels = OVARIAN[:, 3] == 1
    found = delong(OVARIAN[:, column], 10 - OVARIAN[:, 2], labels)
    assert (found.first, found.second, found.p_value) == pytest.approx((area, 0.7258064516, p_value), abs=1e-9)
    # Against a test that tells nothing and never varies, the difference varies as the first AUC does.
    alone = delong(OVARIAN[:, column], np.zeros(len(labels)), labels)
    assert alone.standard_error**2 == pytest.approx(variance, abs=1e-9)


def test_delong_is_wrong_as_often_as_its_level_says_when_both_are_equally_good() -> None:
    random = np.random.default_rng(1)
    labels = np.arange(80) < 40
    found = []
    for _ in range(400):
        shared = random.normal(size=80) + labels
        found.append(delong(shared + random.normal(size=80), shared + random.normal(size=80), labels).p_value)
    assert (np.array(found) < 0.05).mean() == pytest.approx(0.05, abs=0.03)
    assert (np.array(found) < 0.5).mean() == pytest.approx(0.5, abs=0.07)


def test_delong_says_nothing_where_both_order_the_cases_alike() -> None:
    found = delong(SCORES, SCORES**3, LABELS)
    assert found.standard_error == pytest.approx(0, abs=1e-7)
    assert math.isnan(found.p_value)


def test_delong_needs_two_cases_of_each_class() -> None:
    with pytest.raises(ValueError, match="two cases or more"):
        delong(SCORES, SCORES, np.arange(6) < 1)


def test_over_seeds_is_the_t_interval() -> None:
    values = [0.91, 0.85, 0.93]
    found = over_seeds(values)
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.deviation == pytest.approx(np.std(values, ddof=1))
    assert found.interval[:2] == pytest.approx((expected.low, expected.high))


def test_one_seed_has_no_spread_and_none_is_refused() -> None:
    found = over_seeds([0.9])
    assert found.mean == 0.9 and math.isnan(found.deviation) and math.isnan(found.interval.low)
    with pytest.raises(ValueError, match="no value"):
        over_seeds([])
