"""Resamples are of whole groups, of both classes, and the generator's alone."""

import numpy as np
import pytest

from healthygan.stats.resampling import Resampler, resamples_of_both_classes, tails

NUMBERS = np.array([2, 0, 2, 1, 0, 2])


def test_as_many_groups_are_drawn_as_there_are_each_with_all_its_members() -> None:
    generator, same = np.random.default_rng(0), np.random.default_rng(0)
    draw = Resampler(NUMBERS)
    members = {0: [1, 4], 1: [3], 2: [0, 2, 5]}
    for _ in range(20):
        groups = same.integers(3, size=3)
        assert draw(generator).tolist() == [place for group in groups for place in members[group]]


def test_resamples_of_one_class_are_drawn_again() -> None:
    labels = np.array([True, False, True, False, False, True])  # a class to each group
    drawn = list(resamples_of_both_classes(NUMBERS, labels, 50, np.random.default_rng(1)))
    assert len(drawn) == 50
    assert all(0 < labels[members].sum() < len(members) for members in drawn)


def test_tails_leave_the_level_between_them() -> None:
    assert tails(0.9) == pytest.approx((0.05, 0.95))
    for level in (0.0, 1.0, 95):
        with pytest.raises(ValueError, match=f"level {level} must lie between 0 and 1"):
            tails(level)
