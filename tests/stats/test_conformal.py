"""Promises from healthy scores alone hold over many draws, within the exact bounds of their distributions."""

import math

import numpy as np
import pytest
from scipy.stats import beta, kstest

from healthygan.stats.conformal import (
    healthy_needed,
    healthy_needed_for_worklist,
    p_values,
    realised_interval,
    threshold_for_specificity,
    worklist,
)
from healthygan.stats.metrics import called_diseased

SCORES = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])


def test_conformal_threshold_lies_just_above_the_kth_smallest_score() -> None:
    healthy = np.array([5.0, 1.0, 4.0, 2.0, 3.0, 9.0, 8.0, 7.0, 6.0])
    assert threshold_for_specificity(healthy, 0.5) == np.nextafter(5.0, math.inf)
    assert threshold_for_specificity(healthy, 0.9) == np.nextafter(9.0, math.inf)


@pytest.mark.parametrize(("count", "specificity"), [(8, 0.9), (0, 0.5)])
def test_too_few_healthy_scores_set_no_threshold(count: int, specificity: float) -> None:
    with pytest.raises(ValueError, match=rf"{count} held-out healthy images promise no specificity {specificity}"):
        threshold_for_specificity(np.arange(count, dtype=float), specificity)


def test_conformal_threshold_does_not_call_scores_equal_to_the_kth() -> None:
    """In float32 the threshold would round back onto the score itself."""
    healthy = np.full(20, 0.3, dtype=np.float32)
    assert not called_diseased(healthy, threshold_for_specificity(healthy, 0.9)).any()


@pytest.mark.parametrize(("specificity", "needed"), [(0.5, 1), (0.9, 9), (0.95, 19), (0.99, 99), (0.999, 999)])
def test_healthy_needed_is_the_least_number_with_a_finite_threshold(specificity: float, needed: int) -> None:
    scores = np.arange(needed, dtype=float)
    assert healthy_needed(specificity) == needed
    assert math.isfinite(threshold_for_specificity(scores, specificity))
    with pytest.raises(ValueError, match=f"{needed} are needed"):
        threshold_for_specificity(scores[:-1], specificity)


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


def thresholds(count: int, specificity: float, draws: int, seed: int) -> np.ndarray:
    """True specificities of conformal thresholds: for exponential scores they are known without new images."""
    random = np.random.default_rng(seed)
    healthy = random.exponential(size=(draws, count))
    return 1 - np.exp([-threshold_for_specificity(row, specificity) for row in healthy])


@pytest.mark.parametrize(("count", "specificity"), [(9, 0.9), (40, 0.9), (200, 0.95)])
def test_coverage_over_1000_draws_is_the_exact_beta(count: int, specificity: float) -> None:
    kept = thresholds(count, specificity, 1000, seed=count)
    k = math.ceil(round((count + 1) * specificity, 9))
    assert kstest(kept, beta(k, count + 1 - k).cdf).pvalue > 0.01


def test_realised_specificity_lies_within_its_interval_as_often_as_said() -> None:
    random = np.random.default_rng(3)
    low, high, _ = realised_interval(60, 80, 0.9, 0.9)
    kept = thresholds(60, 0.9, 2000, seed=5)
    counted = random.binomial(80, kept) / 80
    inside = float(((counted >= low) & (counted <= high)).mean())
    assert 0.88 < inside < 0.96  # counts are whole: a little more than 0.90
    wide, narrow = realised_interval(60, 80, 0.9), realised_interval(60, 100_000, 0.9)
    exact = beta(55, 6).ppf([0.025, 0.975])  # of the true specificity, which endless counting comes to
    assert (narrow.low, narrow.high) == pytest.approx(exact, abs=1e-3)
    assert wide.low < exact[0] and wide.high >= exact[1]


def test_intervals_of_a_coverage_that_cannot_be_promised_are_refused() -> None:
    with pytest.raises(ValueError, match=r"8 held-out healthy images promise no specificity 0\.9; 9 are needed"):
        realised_interval(8, 100, 0.9)
    with pytest.raises(ValueError, match="no healthy image was tested"):
        realised_interval(20, 0, 0.9)
    with pytest.raises(ValueError, match="level 95"):
        realised_interval(20, 100, 0.9, 95)


def test_p_values_count_the_healthy_scores_at_or_above() -> None:
    found = p_values(np.array([0.05, 0.3, 0.6, 0.7]), SCORES)
    assert found.tolist() == pytest.approx([7 / 7, 5 / 7, 2 / 7, 1 / 7])
    assert p_values(SCORES, np.array([])).tolist() == [1] * 6


def test_p_values_of_healthy_images_are_valid_and_nearly_uniform() -> None:
    random = np.random.default_rng(0)
    found = np.concatenate([p_values(random.normal(size=20), random.normal(size=99)) for _ in range(500)])
    for level in (0.01, 0.05, 0.1, 0.5):
        assert (found <= level).mean() == pytest.approx(level, abs=0.015)


@pytest.mark.parametrize("specificity", [0.5, 0.8, 0.9, 0.95])
def test_a_p_value_of_at_most_one_minus_specificity_is_a_score_at_the_threshold(specificity: float) -> None:
    random = np.random.default_rng(1)
    for count in (9, 19, 33, 50):
        healthy, new = random.integers(0, 15, count) / 15, random.integers(0, 15, 60) / 15  # with ties
        if count < healthy_needed(specificity):
            assert (p_values(new, healthy) > 1 - specificity).all()
            continue
        called = called_diseased(new, threshold_for_specificity(healthy, specificity))
        assert called.tolist() == (p_values(new, healthy) <= 1 - specificity + 1e-12).tolist()


def by_hand(values: np.ndarray, rate: float) -> list[bool]:
    """Benjamini and Hochberg (1995), section 3.1, word for word."""
    ordered = sorted(values)
    k = max((i for i in range(1, len(ordered) + 1) if ordered[i - 1] <= i / len(ordered) * rate), default=0)
    return [k > 0 and value <= ordered[k - 1] for value in values]


def test_the_worklist_is_that_of_benjamini_and_hochberg() -> None:
    # The 15 p-values of their own example: at 0.05 the four smallest are listed.
    published = np.array(
        [
            0.0001,
            0.0004,
            0.0019,
            0.0095,
            0.0201,
            0.0278,
            0.0298,
            0.0344,
            0.0459,
            0.324,
            0.4262,
            0.5719,
            0.6528,
            0.759,
            1,
        ]
    )
    assert worklist(published, 0.05).tolist() == [True] * 4 + [False] * 11
    random = np.random.default_rng(2)
    for _ in range(50):
        values = random.integers(1, 101, 40) / 100 * random.choice([0.1, 1])
        assert worklist(values, 0.2).tolist() == by_hand(values, 0.2)


def test_the_worklist_of_nothing_is_empty() -> None:
    assert worklist(np.array([]), 0.1).tolist() == []
    assert not worklist(np.ones(5), 0.1).any()


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5])
def test_the_worklist_keeps_the_false_discovery_rate(share: float) -> None:
    random = np.random.default_rng(4)
    diseased = np.arange(100) < 100 * share
    false = []
    for _ in range(600):
        values = p_values(random.normal(size=100) + 3 * diseased, random.normal(size=200))
        chosen = worklist(values, 0.1)
        false.append((chosen & ~diseased).sum() / max(chosen.sum(), 1))
    error = float(np.std(false) / math.sqrt(len(false)))
    assert np.mean(false) <= 0.1 * (1 - share) + 3 * error
    if share:
        assert np.mean(false) > 0.02  # the promise is used, not avoided by listing nothing


@pytest.mark.parametrize(("values", "rate"), [([0.0, 0.5], 0.1), ([1.5], 0.1), ([0.5], 0.0), ([0.5], 1.0)])
def test_impossible_p_values_and_rates_are_refused(values: list[float], rate: float) -> None:
    with pytest.raises(ValueError, match=r"p-value|rate"):
        worklist(np.array(values), rate)


def test_healthy_needed_for_a_worklist_is_the_least_number_that_can_list() -> None:
    assert healthy_needed_for_worklist(100, 0.1, 1) == 999
    assert healthy_needed_for_worklist(100, 0.1, 20) == 49
    for needed, expected in ((49, 20), (48, 0)):
        values = np.ones(100)
        values[:20] = p_values(np.full(20, 2.0), np.linspace(0, 1, needed))
        assert worklist(values, 0.1).sum() == expected
    with pytest.raises(ValueError, match="0 listed of 5"):
        healthy_needed_for_worklist(5, 0.1, 0)
