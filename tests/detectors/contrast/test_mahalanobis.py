"""Distances from healthy features against Mahalanobis' own formula."""

import numpy as np

from healthygan.detectors.contrast.mahalanobis import SHRINKAGE, fit_distance, standardiser


def features(count, width=5, seed=0):
    random = np.random.default_rng(seed)
    return (random.standard_normal((count, width)) @ random.standard_normal((width, width)) * 3 + 7).astype(np.float32)


def test_the_distance_is_mahalanobis_under_the_shrunk_covariance_of_standardised_features():
    healthy, x = features(80), features(10, seed=1)
    scale = np.array([1, 1, 1, 0.5, 0.5], np.float32)
    mean, deviation = healthy.mean(0, dtype=np.float64), healthy.std(0, dtype=np.float64)
    z = lambda values: (values - mean) / deviation * scale  # noqa: E731
    covariance = np.cov(z(healthy).T, bias=True)
    shrunk = covariance + SHRINKAGE * np.trace(covariance) / 5 * np.eye(5)
    expected = [np.sqrt(row @ np.linalg.solve(shrunk, row)) for row in z(x)]
    np.testing.assert_allclose(fit_distance(healthy, scale).of(x), expected, rtol=1e-6)


def test_fewer_images_than_features_give_distances_that_grow_away_from_them():
    healthy = features(4, width=12)
    far = healthy.mean(0) + np.outer([0, 1, 2], np.ones(12)).astype(np.float32)
    found = fit_distance(healthy, np.ones(12, np.float32)).of(far)
    assert found[0] < 1e-5 and np.isfinite(found).all()
    np.testing.assert_allclose(found[2], 2 * found[1], rtol=1e-4)


def test_a_constant_feature_counts_for_nothing():
    healthy, x = features(30), features(3, seed=1)
    healthy[:, 2] = 0.7
    distance = fit_distance(healthy, np.ones(5, np.float32))
    moved = x.copy()
    moved[:, 2] += 100
    np.testing.assert_allclose(distance.of(moved), distance.of(x))
    assert standardiser(healthy, np.ones(5, np.float32))[1][2] == 0


def test_equal_healthy_images_are_at_no_distance_from_anything():
    assert fit_distance(np.ones((4, 3), np.float32), np.ones(3, np.float32)).of(features(2, width=3)).tolist() == [0, 0]
