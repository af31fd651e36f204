"""Lesions of every kind, where the masks say, brighter or darker than what they lie on."""

import numpy as np

from fixtures.phantoms import LESIONS, drawn, each_kind
from healthygan.data.datasets.phantoms.generate import Kind


@each_kind
def test_every_kind_of_lesion_occurs_and_each_leaves_a_mask(kind: Kind) -> None:
    sick = [drawn(kind, seed, True) for seed in range(60)]

    assert {name for phantom in sick for name in phantom.kinds} == LESIONS[kind]
    assert {len(phantom.kinds) for phantom in sick} == {1, 2}
    assert all(0.005 < phantom.lesion.mean() < 0.3 for phantom in sick)
    severities = [phantom.severity for phantom in sick]
    assert 0 <= min(severities) < 0.3 < 0.9 < max(severities) <= 1


@each_kind
def test_twins_differ_within_the_mask_and_hardly_elsewhere(kind: Kind) -> None:
    for seed in range(25):
        sick, healthy = drawn(kind, seed, True), drawn(kind, seed, False)
        difference = np.abs(sick.image - healthy.image)

        assert difference[sick.lesion].sum() > 0.7 * difference.sum(), sick.kinds
        assert difference[sick.lesion].mean() > 20 * difference[~sick.lesion].mean(), sick.kinds


@each_kind
def test_lesions_both_brighten_and_darken(kind: Kind) -> None:
    changes = []
    for seed in range(25):
        sick, healthy = drawn(kind, seed, True), drawn(kind, seed, False)
        changes.append((sick.image - healthy.image)[sick.lesion].mean())

    assert np.sum(np.array(changes) > 0.03) >= 5
    assert np.sum(np.array(changes) < -0.03) >= 5
