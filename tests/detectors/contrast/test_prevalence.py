"""The diseased share on simulated piles whose share is known."""

import numpy as np
import pytest
from scipy.special import expit

from healthygan.detectors.contrast.prevalence import DOUBTFUL, USEFUL, fit_mixture, share_interval


def pile(share, *, count=600, shift=2.0, seed=0):
    """Scores of as many healthy images as the pile has, the pile's, and which of those are diseased."""
    random = np.random.default_rng(seed)
    diseased = np.arange(count) < round(share * count)
    return random.standard_normal((count, 1)), random.standard_normal((count, 1)) + shift * diseased[:, None], diseased


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8])
def test_the_share_of_a_simulated_pile_is_found(share):
    found = [fit_mixture(*pile(share, seed=seed)[:2]).share for seed in range(4)]
    assert np.mean(found) == pytest.approx(share, abs=0.06)


def test_scores_on_any_scale_give_the_same_share():
    healthy, mixed, _ = pile(0.5)
    one, other = fit_mixture(healthy, mixed), fit_mixture(100 * healthy - 7, 100 * mixed - 7)
    assert other.share == pytest.approx(one.share, abs=1e-3)
    np.testing.assert_allclose(expit(other.log_odds(100 * mixed - 7)), expit(one.log_odds(mixed)), atol=1e-3)


def test_probabilities_are_the_true_ones_of_two_normal_groups():
    healthy, mixed, _ = pile(0.4, count=4000)
    scores = np.linspace(-1, 3, 9)[:, None]
    # Bayes: N(2, 1) against N(0, 1) at prior 0.4.
    truth = 1 / (1 + 0.6 / 0.4 * np.exp(2 - 2 * scores[:, 0]))
    np.testing.assert_allclose(expit(fit_mixture(healthy, mixed).log_odds(scores)), truth, atol=0.06)


def test_probabilities_rise_with_the_score_and_average_to_the_share():
    healthy, mixed, _ = pile(0.6)
    found = fit_mixture(healthy, mixed)
    assert (np.diff(expit(found.log_odds(np.linspace(-5, 5, 50)[:, None]))) > 0).all()
    assert expit(found.log_odds(mixed)).mean() == pytest.approx(found.share, abs=0.01)


def test_a_pile_like_the_healthy_set_holds_few_diseased_with_any_slope():
    random = np.random.default_rng(3)
    assert fit_mixture(random.standard_normal((300, 1)), random.standard_normal((300, 1))).share < 0.15


def test_chance_differences_between_healthy_people_are_no_disease():
    def fit(seed):
        random = np.random.default_rng(seed)
        return fit_mixture(random.standard_normal((300, 2)), random.standard_normal((120, 2)), (USEFUL, DOUBTFUL))

    found = [fit(seed) for seed in range(40)]
    assert max(one.share for one in found) < 0.25
    assert all(useful > doubtful for useful, doubtful in (one.slopes for one in found))


def test_the_gradient_of_the_search_is_right():
    """The optimum is stationary: no small change of the share makes the likelihood better."""
    healthy, mixed, _ = pile(0.5)
    best = fit_mixture(healthy, mixed)

    def likelihood(share):
        tilt = best.intercept + best.slopes[0] * np.concatenate([healthy, mixed])[:, 0]
        ratio = (1 - share) * (1 + np.exp(tilt))
        pile_side = ratio / (1 + ratio)
        return np.log(1 - pile_side[: len(healthy)]).sum() + np.log(pile_side[len(healthy) :]).sum()

    assert likelihood(best.share) > max(likelihood(best.share - 0.01), likelihood(best.share + 0.01))
    prior = np.log1p((best.slopes[0] * healthy.std() - 1.5) ** 2)
    assert best.misfit * (len(healthy) + len(mixed)) == pytest.approx(prior - likelihood(best.share), rel=1e-6)


def test_scores_that_tell_the_diseased_better_fit_better():
    random = np.random.default_rng(0)
    healthy, mixed, _ = pile(0.5)
    found = [
        fit_mixture(
            healthy + noise * random.standard_normal((600, 1)), mixed + noise * random.standard_normal((600, 1))
        ).misfit
        for noise in (0, 1, 3)
    ]
    assert found == sorted(found) and found[2] - found[0] > 0.02


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    held = 0
    for seed in range(12):
        healthy, mixed, _ = pile(0.5, count=200, seed=seed)
        alone = tuple([f"{side}{number}" for number in range(200)] for side in "hm")
        low, high, level = share_interval(
            fit_mixture(healthy, mixed),
            healthy,
            mixed,
            groups=alone,
            generator=np.random.default_rng(0),
            resamples=60,
            level=0.9,
        )
        assert level == 0.9
        held += low <= 0.5 <= high
    assert held >= 8


def test_fewer_patients_make_a_wider_interval():
    healthy, mixed, _ = pile(0.5, count=200)
    random = np.random.default_rng(1)
    healthy, mixed = (
        np.repeat(values[:50], 4, axis=0) + 0.01 * random.standard_normal((200, 1)) for values in (healthy, mixed)
    )

    def width(images_each):
        names = tuple([f"{side}{number // images_each}" for number in range(200)] for side in "hm")
        found = share_interval(
            fit_mixture(healthy, mixed), healthy, mixed, groups=names, generator=np.random.default_rng(0), resamples=60
        )
        return found.high - found.low

    assert width(4) > 1.3 * width(1)


@pytest.mark.parametrize("shifts", [(2.0, 0.0), (0.0, 2.0)])
def test_of_two_scores_the_one_that_tells_is_weighed(shifts):
    random = np.random.default_rng(0)
    diseased = np.arange(600) < 300
    healthy, mixed = random.standard_normal((2, 600, 2))
    found = fit_mixture(healthy, mixed + diseased[:, None] * np.array(shifts), (USEFUL, DOUBTFUL))
    assert found.share == pytest.approx(0.5, abs=0.08)
    telling = int(shifts[1] > 0)
    assert found.slopes[telling] > 1 and found.slopes[1 - telling] < 0.3


def test_where_the_pile_tells_nothing_the_useful_score_is_trusted_and_the_doubtful_is_not():
    slopes = []
    for seed in range(10):
        healthy, mixed = np.random.default_rng(seed).standard_normal((2, 300, 2))
        slopes.append(fit_mixture(healthy, mixed, (USEFUL, DOUBTFUL)).slopes)
    assert np.median(slopes, axis=0) == pytest.approx([1.3, 0], abs=0.3)


@pytest.mark.parametrize("scores", [[[1.0]], [[1.0], [np.nan]], [[1.0, 2.0]], [1.0, 2.0]])
def test_scores_that_say_nothing_are_refused(scores):
    with pytest.raises(ValueError, match=r"two images or more|not finite"):
        fit_mixture(np.array(scores), np.arange(5.0)[:, None])


def test_equal_healthy_scores_are_refused():
    with pytest.raises(ValueError, match="all equal"):
        fit_mixture(np.ones((5, 1)), np.arange(5.0)[:, None])
