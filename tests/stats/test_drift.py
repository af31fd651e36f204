"""A changed pile is noticed as often as it should be; brains are unlike chests, diseased chests are not."""

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from healthygan.data.datasets.phantoms.generate import Kind, make_phantom
from healthygan.stats.drift import Appearance, describe, drift


def test_drift_is_wrong_as_often_as_its_level_says_and_finds_a_shift() -> None:
    random = np.random.default_rng(0)
    same = [drift(random.normal(size=80), random.normal(size=120)).p_value for _ in range(400)]
    assert (np.array(same) < 0.05).mean() == pytest.approx(0.045, abs=0.03)
    assert drift(random.normal(size=80), random.normal(size=120) + 1).p_value < 1e-4


def patients_of(count: int, images: int, random: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """Scores of patients whose images are as unlike each other as patients are; and each image's patient."""
    scores = random.normal(size=(count, 1)) + random.normal(size=(count, images))
    return scores.ravel(), [str(number) for number in np.repeat(np.arange(count), images)]


@pytest.mark.parametrize(("before", "after"), [((12, 60), (40, 60)), ((12, 1), (40, 60)), ((40, 20), (12, 60))])
def test_many_images_of_few_patients_alarm_no_oftener_than_the_level_says(
    before: tuple[int, int], after: tuple[int, int]
) -> None:
    random = np.random.default_rng(1)
    alarms = 0
    for _ in range(100):
        (earlier, theirs), (new, others) = (patients_of(*size, random) for size in (before, after))
        alarms += drift(earlier, new, (theirs, others)).p_value < 0.05
    assert alarms <= 12  # 5 of 100, and what chance adds (0.4 %)


def test_a_shift_of_patients_with_many_images_is_noticed() -> None:
    random = np.random.default_rng(2)
    noticed = 0
    for _ in range(20):
        (earlier, theirs), (new, others) = (patients_of(count, 60, random) for count in (12, 40))
        noticed += drift(earlier, new + 2, (theirs, others)).p_value < 0.01
    assert noticed >= 18


def test_with_an_image_a_patient_it_is_the_two_sample_test() -> None:
    random = np.random.default_rng(3)
    before, after = random.normal(size=40), random.normal(size=60)
    names = ([str(n) for n in range(40)], [str(n) for n in range(60)])
    expected = ks_2samp(before, after)
    for found in (drift(before, after), drift(before, after, names)):
        assert found == (expected.statistic, expected.pvalue)


def test_a_patient_too_few_is_refused() -> None:
    with pytest.raises(ValueError, match="2 patients for 3 scores"):
        drift(np.arange(3.0), np.arange(2.0), (["a", "b"], ["c", "d"]))


def test_drift_distance_is_the_gap_of_the_distributions() -> None:
    assert drift(np.array([1.0, 2.0, 3.0, 4.0]), np.array([3.5, 4.5, 5.0, 6.0])).distance == 0.75
    with pytest.raises(ValueError, match="no new scores"):
        drift(np.ones(3), np.array([]))


def pictures(kind: Kind, count: int, seed: int, *, diseased: bool = False) -> torch.Tensor:
    """Phantoms, N x 1 x 32 x 32 in [-1, 1]."""
    random = np.random.default_rng(seed)
    images = [make_phantom(kind, 32, random, diseased).image for _ in range(count)]
    return torch.from_numpy(np.stack(images))[:, None] * 2 - 1


@pytest.fixture(scope="module")
def chests() -> Appearance:
    """What a training set of 90 healthy and 60 diseased phantoms looks like."""
    seen = [pictures("chest", 90, seed=0), pictures("chest", 60, seed=7, diseased=True)]
    return Appearance.learn(describe(torch.cat(seen)[torch.randperm(150, generator=torch.Generator().manual_seed(0))]))


def test_images_of_another_kind_are_unlike_anything_seen(chests: Appearance) -> None:
    assert chests.unlike(describe(pictures("brain", 30, seed=1))).all()
    chest = pictures("chest", 10, seed=2)
    for strange in (-chest, chest.flip(2), torch.rand(10, 1, 32, 32) * 2 - 1, torch.full((3, 1, 32, 32), -1.0)):
        assert chests.unlike(describe(strange)).all()


def test_new_healthy_and_diseased_images_of_the_same_kind_are_not(chests: Appearance) -> None:
    new = torch.cat([pictures("chest", 60, seed=3), pictures("chest", 60, seed=4, diseased=True)])
    assert chests.unlike(describe(new)).mean() < 0.03


def test_a_few_odd_training_images_do_not_move_the_limit(chests: Appearance) -> None:
    odd = torch.cat([pictures("chest", 90, seed=0), pictures("brain", 4, seed=5)])
    found = Appearance.learn(describe(odd))
    assert found.limit < 1.5 * chests.limit
    assert found.unlike(describe(pictures("brain", 10, seed=8))).all()


def test_a_descriptor_that_never_varies_makes_no_image_infinitely_far() -> None:
    random = np.random.default_rng(0)
    descriptors = np.hstack([random.normal(size=(100, 5)), np.zeros((100, 3))])
    found = Appearance.learn(descriptors)
    new = np.hstack([random.normal(size=(100, 5)), np.full((100, 3), 1e-9)])
    assert np.isfinite(found.distance(new)).all() and found.unlike(new).mean() < 0.05


def test_a_description_belongs_to_its_image_alone() -> None:
    images = pictures("chest", 6, seed=6)
    together = describe(images)
    assert together.shape == (6, 71)
    np.testing.assert_allclose(np.concatenate([describe(images[i : i + 1]) for i in range(6)]), together, atol=1e-6)
    np.testing.assert_allclose(describe(images.expand(-1, 3, -1, -1)), together, atol=1e-6)


def test_few_images_do_not_show_what_is_usual() -> None:
    with pytest.raises(ValueError, match="9 images; 10 or more"):
        Appearance.learn(np.zeros((9, 4)))
