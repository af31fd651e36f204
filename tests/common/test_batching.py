"""Indices of many things, some at a time."""

import numpy as np
import pytest

from healthygan.common.batching import evenly_spaced, in_batches


@pytest.mark.parametrize(
    ("count", "wanted", "expected"),
    [(10, 4, [0, 3, 6, 9]), (3, 5, [0, 1, 2]), (7, 1, [0]), (4, 0, []), (0, 3, [])],
)
def test_evenly_spaced_indices_hold_both_ends_and_no_more_than_there_are(count, wanted, expected):
    assert evenly_spaced(count, wanted).tolist() == expected


@pytest.mark.parametrize(("count", "size"), [(7, 3), (6, 3), (2, 5), (0, 4)])
def test_batches_hold_every_index_once_in_order(count, size):
    batches = list(in_batches(count, size))
    assert np.concatenate([*batches, np.empty(0, np.int64)]).tolist() == list(range(count))
    assert all(len(batch) == size for batch in batches[:-1])
    assert all(len(batch) for batch in batches)
