"""A healthy set that spreads wider than the pile is noticed, one that does not is left in peace."""

import numpy as np
import pytest

from healthygan.detectors.contrast.spread import spread_difference
from healthygan.stats.intervals import Interval

SCALE = np.ones(8, np.float32)


def difference(healthy: np.ndarray, mixed: np.ndarray, images: int = 1, seed: int = 0) -> Interval | None:
    patients = [
        [f"{place}-{number // images}" for number in range(len(part))] for place, part in enumerate((healthy, mixed))
    ]
    generator = np.random.default_rng(seed)
    return spread_difference(healthy, mixed, SCALE, (patients[0], patients[1]), generator)


def sets(random: np.random.Generator, share: float, count: int = 150) -> tuple[np.ndarray, np.ndarray]:
    """Features of healthy images, and of a pile of which a share is diseased: moved, each by another length."""
    healthy, mixed = random.normal(size=(2, count, 8)).astype(np.float32)
    ill = int(count * share)
    mixed[:ill] += random.normal(1.5, 1.5, size=(ill, 1)).astype(np.float32)
    return healthy, mixed


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_pile_with_disease_spreads_wider_and_swapped_sets_turn_the_sign(share: float) -> None:
    healthy, mixed = sets(np.random.default_rng(0), share)
    right, swapped = difference(healthy, mixed), difference(mixed, healthy)
    assert right is not None and right.low > 0
    assert swapped is not None and swapped.high < 0


def test_sets_that_are_alike_are_seldom_told_apart() -> None:
    random = np.random.default_rng(1)
    intervals = [difference(*sets(random, 0.0, count=60), seed=seed) for seed in range(40)]
    assert sum(interval is not None and interval.high < 0 for interval in intervals) <= 4


def test_images_of_few_patients_are_counted_as_patients() -> None:
    random = np.random.default_rng(2)
    warned = 0
    for seed in range(30):
        healthy, mixed = (np.repeat(part, 10, axis=0) for part in sets(random, 0.0, count=15))
        noise = 0.1 * random.normal(size=(2, 150, 8)).astype(np.float32)
        interval = difference(healthy + noise[0], mixed + noise[1], images=10, seed=seed)
        warned += interval is not None and interval.high < 0
    assert warned <= 3


def test_too_few_patients_tell_nothing() -> None:
    healthy, mixed = sets(np.random.default_rng(3), 0.5, count=8)
    assert difference(healthy, mixed, images=2) is None
