"""A changed pile is noticed as often as it should be; brains are unlike chests, diseased chests are not."""

import numpy as np
import pytest
import torch

from healthygan.data.datasets.phantoms.generate import Kind, make_phantom
from healthygan.stats.drift import Appearance, describe, drift


def test_drift_is_wrong_as_often_as_its_level_says_and_finds_a_shift() -> None:
    random = np.random.default_rng(0)
    same = [drift(random.normal(size=80), random.normal(size=120)).p_value for _ in range(400)]
    assert (np.array(same) < 0.05).mean() == pytest.approx(0.045, abs=0.03)
    assert drift(random.normal(size=80), random.normal(size=120) + 1).p_value < 1e-4


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
