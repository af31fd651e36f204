"""FID agrees with scipy's matrix square root, with closed forms, and bears few images."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from healthygan.stats.fid import frechet_distance, images_needed


def features(seed: int, count: int, width: int, rank: int | None = None) -> np.ndarray:
    """Correlated features with a mean, of any rank."""
    random = np.random.default_rng(seed)
    rank = rank or width
    return random.normal(size=(count, rank)) @ random.normal(size=(rank, width)) + random.normal(size=width)


def by_definition(first: np.ndarray, second: np.ndarray) -> float:
    """Heusel et al.'s formula with scipy's square root, in float64."""
    root = sqrtm(np.cov(first, rowvar=False) @ np.cov(second, rowvar=False)).real
    shift = first.mean(axis=0) - second.mean(axis=0)
    return float(shift @ shift + np.trace(np.cov(first, rowvar=False) + np.cov(second, rowvar=False) - 2 * root))


@pytest.mark.parametrize(("count", "other", "width"), [(100, 80, 5), (400, 300, 64), (300, 129, 128)])
def test_agrees_with_scipys_square_root(count: int, other: int, width: int) -> None:
    first, second = features(1, count, width), features(2, other, width)
    assert frechet_distance(first, second) == pytest.approx(by_definition(first, second), rel=1e-6)


@pytest.mark.parametrize(("count", "other"), [(2, 2), (10, 300), (30, 20)])
def test_fewer_images_than_features_agree_with_a_symmetric_root(count: int, other: int) -> None:
    """S1 S2 is singular; tr (S1 S2)^(1/2) from the symmetric S1^(1/2) S2 S1^(1/2), eigenvalue by eigenvalue."""
    first, second = features(3, count, 64), features(4, other, 64)
    one, two = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    values, vectors = np.linalg.eigh(one)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    common = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ two @ root), 0)).sum()
    shift = first.mean(axis=0) - second.mean(axis=0)
    expected = shift @ shift + np.trace(one) + np.trace(two) - 2 * common
    # The reference takes roots of rounding errors; ours must lie within what that costs it.
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-4)


def test_features_that_never_vary_change_nothing() -> None:
    first, second = features(5, 60, 8), features(6, 50, 8)
    padded = [np.hstack([part, np.full((len(part), 40), 3.0)]) for part in (first, second)]
    assert frechet_distance(*padded) == pytest.approx(frechet_distance(first, second), rel=1e-10)
    assert frechet_distance(first, second) == pytest.approx(by_definition(first, second), rel=1e-8)


@pytest.mark.parametrize("count", [5, 40, 500])
def test_a_set_has_no_distance_from_itself_and_a_shift_its_square(count: int) -> None:
    first = features(7, count, 32)
    shift = np.linspace(-1, 1, 32)
    assert frechet_distance(first, first[::-1]) == pytest.approx(0, abs=1e-8 * (first**2).sum() / count)
    assert frechet_distance(first, first + shift) == pytest.approx(float(shift @ shift), rel=1e-8)
    assert frechet_distance(10 * first, 10 * first + shift) == pytest.approx(float(shift @ shift), rel=1e-6)


def test_commuting_covariances_have_a_closed_form() -> None:
    """Scaled copies: S2 = c^2 S1 gives |m|^2 (1 - c)^2 + (1 - c)^2 tr S1, also where S1 is singular."""
    first = features(8, 20, 64, rank=6)
    expected = 0.25 * (first.mean(axis=0) @ first.mean(axis=0) + np.trace(np.cov(first, rowvar=False)))
    assert frechet_distance(first, 0.5 * first) == pytest.approx(expected, rel=1e-9)


def test_the_order_of_sets_and_of_images_does_not_matter() -> None:
    first, second = features(9, 30, 50), features(10, 200, 50)
    found = frechet_distance(first, second)
    assert frechet_distance(second, first) == pytest.approx(found, rel=1e-10)
    assert frechet_distance(first[::-1], second[::-1]) == pytest.approx(found, rel=1e-10)


def test_single_precision_features_are_worked_on_in_double() -> None:
    first, second = features(11, 90, 16) + 1000, features(12, 90, 16) + 1000
    single = frechet_distance(first.astype(np.float32), second.astype(np.float32))
    assert single == pytest.approx(frechet_distance(first, second), rel=1e-3)


def test_needs_one_more_image_than_features() -> None:
    assert images_needed(4) == 5
    random = np.random.default_rng(0)
    assert np.linalg.matrix_rank(np.cov(random.normal(size=(5, 4)), rowvar=False)) == 4
    assert np.linalg.matrix_rank(np.cov(random.normal(size=(4, 4)), rowvar=False)) == 3


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (np.zeros((1, 3)), np.zeros((4, 3)), "two images or more"),
        (np.zeros((4, 3)), np.zeros((4, 2)), "same extractor"),
        (np.full((4, 3), np.nan), np.zeros((4, 3)), "not finite"),
        (np.zeros(4), np.zeros((4, 1)), "shape"),
    ],
)
def test_malformed_features_are_refused(first: np.ndarray, second: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frechet_distance(first, second)
