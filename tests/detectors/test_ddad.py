"""DDAD's discrepancies, ensembles and passes."""

import numpy as np
import pytest
import torch

from healthygan.detectors import ddad
from healthygan.detectors.ddad import DDAD, DDADConfig, DDADRecipe
from healthygan.training.batches import Batch
from healthygan.training.config import TrainingConfig

SMALL = {"members": 2, "width": 2, "hidden": 8, "latent": 4}


def detector_of(dtype=torch.float32, **changes):
    detector = DDAD(DDADConfig(**(SMALL | changes)), 1, 16)
    detector.networks.to(dtype)
    return detector


def recipe_of(fabric, healthy=30, mixed=60, dtype=torch.float32, **changes):
    detector = detector_of(dtype, **changes)
    return DDADRecipe(detector.config, detector.networks, healthy, mixed, fabric)


def test_the_discrepancies_equal_their_formulas():
    a, b = np.random.default_rng(0).normal(0, 1, (2, 3, 5, 1, 8, 8))
    found = ddad.inter_discrepancy(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    np.testing.assert_allclose(found, np.abs(a.mean(axis=0) - b.mean(axis=0)), rtol=1e-12)
    found = ddad.intra_discrepancy(torch.from_numpy(b)).numpy()
    np.testing.assert_allclose(found, b.std(axis=0, ddof=1), rtol=1e-12)


@pytest.mark.parametrize("score", ["inter", "intra"])
def test_the_score_is_the_mean_discrepancy(score, batch_of):
    detector, x = detector_of(torch.float64, score=score), batch_of().healthy
    detector.networks.eval()
    with torch.no_grad():
        a = np.stack([member(x).numpy() for member in detector.networks.a])
        b = np.stack([member(x).numpy() for member in detector.networks.b])
    expected = np.abs(a.mean(axis=0) - b.mean(axis=0)) if score == "inter" else b.std(axis=0, ddof=1)
    found = detector.predict(x)
    np.testing.assert_allclose(found.score.numpy(), expected.mean(axis=(1, 2, 3)), rtol=1e-9)
    np.testing.assert_allclose(found.difference.numpy(), (expected / 2).clip(0, 1), rtol=1e-9)
    np.testing.assert_allclose(found.translated.numpy(), b.mean(axis=0).clip(-1, 1), rtol=1e-9)


def test_the_members_differ_from_each_other():
    networks = detector_of().networks
    firsts = [member[0].weight for member in (*networks.a, *networks.b)]
    assert all(not torch.equal(one, other) for k, one in enumerate(firsts) for other in firsts[k + 1 :])


def test_at_64_px_the_network_is_the_authors():
    member = DDAD(DDADConfig(), 1, 64).networks.a[0]
    convolutions = [layer for layer in member if isinstance(layer, torch.nn.Conv2d)]
    linears = [layer for layer in member if isinstance(layer, torch.nn.Linear)]
    assert [layer.out_channels for layer in convolutions] == [16, 32, 64, 64]
    assert [layer.out_features for layer in linears] == [2048, 16, 2048, 64 * 4 * 4]


def test_ensemble_a_sees_both_sets_as_one(fabric):
    recipe = recipe_of(fabric, healthy=30, mixed=60)
    count = 6000
    batch = Batch(
        torch.ones(count, 1, 1, 1), torch.zeros(count, 1, 1, 1), torch.rand(count, 1, 1, 1, generator=torch.Generator())
    )
    assert recipe.both(batch).mean().item() == pytest.approx(2 / 3, abs=0.02)


def test_both_ensembles_make_the_same_number_of_passes(fabric, batch_of):
    recipe, steps = recipe_of(fabric, healthy=30, mixed=60), 9
    for iteration in range(1, steps + 1):
        recipe.step(iteration, batch_of(16, dtype=torch.float32))
    taken = [
        {int(state["step"]) for state in optimiser.state.values()}
        for optimiser in (recipe.optimiser_a, recipe.optimiser_b)
    ]
    assert taken == [{9}, {3}]  # sets of 90 and 30 images


def test_each_member_learns_from_its_own_images(fabric, batch_of, monkeypatch):
    recipe, seen = recipe_of(fabric, healthy=1, mixed=0), []
    monkeypatch.setattr(recipe, "_descend", lambda optimiser, ensemble, images: seen.append(images) or torch.zeros(()))
    batch = batch_of(16, dtype=torch.float32)
    recipe.step(1, batch)
    assert torch.equal(torch.cat([*seen[0], *seen[1]]), batch.healthy)


def test_ensemble_b_never_sees_the_mixed_set(fabric, batch_of):
    recipes = [recipe_of(fabric, healthy=60, mixed=30) for _ in range(2)]
    batch = batch_of(16, dtype=torch.float32)
    other = Batch(-batch.mixed, batch.healthy, batch.mix)
    for iteration in range(1, 4):
        recipes[0].step(iteration, batch)
        recipes[1].step(iteration, other)
    one, two = (recipe.ensembles for recipe in recipes)
    assert all(map(torch.equal, one.b.state_dict().values(), two.b.state_dict().values()))
    assert not all(map(torch.equal, one.a.state_dict().values(), two.a.state_dict().values()))


def test_the_loss_is_the_squared_error_of_the_members(fabric, batch_of):
    recipe = recipe_of(fabric, dtype=torch.float64)
    images = [batch_of(4).healthy, batch_of(4).mixed]
    with torch.no_grad():
        errors = [((member(x) - x) ** 2).mean().item() for member, x in zip(recipe.ensembles.a, images, strict=True)]
    found = recipe._descend(recipe.optimiser_a, recipe.ensembles.a, images)
    assert found.item() == pytest.approx(np.mean(errors), rel=1e-12)


def test_a_batch_of_one_is_refused():
    with pytest.raises(ValueError, match=r"training.batch_size=1: detector ddad needs 2 images"):
        DDADConfig().check_training(TrainingConfig(batch_size=1))


@pytest.mark.slow
@pytest.mark.parametrize("score", ["inter", "intra"])
def test_a_bright_square_is_found(phantom_auc, score):
    config = DDADConfig(members=2, width=8, hidden=64, latent=16, learning_rate=2e-3, score=score)
    assert phantom_auc(config, 300) > 0.9
