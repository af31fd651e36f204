"""A subject's anatomy is its own at every size."""

import numpy as np

from fixtures.phantoms import drawn, each_kind
from healthygan.data.datasets.phantoms.generate import Kind


@each_kind
def test_a_subject_looks_the_same_at_another_size(kind: Kind) -> None:
    small, large = drawn(kind, 4, False, 64).image, drawn(kind, 4, False, 128).image
    stranger = drawn(kind, 5, False, 64).image
    halved = large.reshape(64, 2, 64, 2).mean(axis=(1, 3))

    assert np.corrcoef(small.ravel(), halved.ravel())[0, 1] > 0.97
    assert np.corrcoef(small.ravel(), stranger.ravel())[0, 1] < 0.95
