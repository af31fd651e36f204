"""AUCp and the mixture's share on simulated scores of which the truth is known."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from healthygan.stats.aucp import aucp, healthy_share


def simulate(
    random: np.random.Generator, share: float, shift: float, count: int = 500
) -> tuple[np.ndarray, np.ndarray]:
    """``count`` healthy scores, and as many mixed ones of which ``share`` are healthy and the others shifted."""
    healthy = round(share * count)
    mixed = np.concatenate([random.normal(size=healthy), random.normal(size=count - healthy) + shift])
    return random.normal(size=count), mixed


def test_aucp_is_the_auc_of_known_healthy_against_every_unlabelled_image() -> None:
    healthy, mixed = simulate(np.random.default_rng(0), 0.4, 1.5)
    expected = roc_auc_score([0] * 500 + [1] * 500, np.concatenate([healthy, mixed]))
    assert aucp(healthy, mixed) == pytest.approx(expected, abs=1e-12)
    assert aucp(np.array([1.0, 2.0]), np.array([2.0, 3.0])) == pytest.approx((1 + 1 + 0.5 + 1) / 4)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_the_share_is_found_where_the_scores_tell_disease(share: float) -> None:
    random = np.random.default_rng(2)
    found = [healthy_share(*simulate(random, share, 4.0)) for _ in range(60)]
    assert np.mean(found) == pytest.approx(share, abs=0.025)
    assert np.sqrt(np.mean((np.array(found) - share) ** 2)) < 0.045


def test_without_telling_scores_the_whole_pile_counts_as_healthy() -> None:
    random = np.random.default_rng(4)
    found = [healthy_share(*simulate(random, 0.5, 0.0)) for _ in range(40)]
    assert np.mean(found) > 0.95 and max(found) <= 1
    # Disease that overlaps is counted in part: the share is too high, never far too low.
    overlapping = [healthy_share(*simulate(random, 0.5, 1.0)) for _ in range(40)]
    assert 0.5 < np.mean(overlapping) < 0.8


def test_a_pile_of_diseased_images_alone_has_no_healthy_share() -> None:
    assert healthy_share(np.linspace(0, 1, 200), np.linspace(2, 3, 200)) == 0
    assert aucp(np.linspace(0, 1, 200), np.linspace(2, 3, 200)) == 1


def test_empty_sets_are_refused() -> None:
    with pytest.raises(ValueError, match="there are no healthy scores"):
        aucp(np.array([]), np.ones(3))
    with pytest.raises(ValueError, match="there are no mixed scores"):
        healthy_share(np.ones(3), np.array([]))
