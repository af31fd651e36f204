"""ALOCC's losses, steps, score and stopping."""

import numpy as np
import pytest
import torch

from healthygan.detectors import alocc
from healthygan.detectors.alocc import ALOCC, ALOCCConfig, ALOCCRecipe

SMALL = {"width": 2}


def detector_of(dtype=torch.float32, **changes):
    detector = ALOCC(ALOCCConfig(**(SMALL | changes)), 1, 16)
    detector.networks.to(dtype)
    return detector


def recipe_of(fabric, dtype=torch.float32, **changes):
    detector = detector_of(dtype, **changes)
    return ALOCCRecipe(detector.config, detector.networks, fabric)


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def test_the_adversarial_losses_are_the_paper_s():
    real, refined = np.random.default_rng(0).normal(0, 2, (2, 9, 1))
    tensors = torch.from_numpy(real), torch.from_numpy(refined)
    expected = -np.log(sigmoid(real)).mean() - np.log(1 - sigmoid(refined)).mean()
    assert alocc.discriminator_loss(*tensors).item() == pytest.approx(expected, rel=1e-12)
    assert alocc.adversarial_loss(tensors[1]).item() == pytest.approx(-np.log(sigmoid(refined)).mean(), rel=1e-12)


def test_the_reconstruction_error_is_a_mean_square_for_each_image():
    x, refined = np.random.default_rng(0).uniform(-1, 1, (2, 5, 1, 8, 8))
    found = alocc.reconstruction_error(torch.from_numpy(x), torch.from_numpy(refined))
    np.testing.assert_allclose(found.numpy(), ((x - refined) ** 2).mean(axis=(1, 2, 3)), rtol=1e-12)


def test_the_refiner_s_step_follows_the_weighted_sum(fabric, batch_of, monkeypatch):
    recipe = recipe_of(fabric, torch.float64, reconstruction=0.7)
    followed = []
    monkeypatch.setattr(alocc, "descend", lambda optimiser, loss: followed.append(loss.item()))
    found = recipe._refiner_step(batch_of().healthy, batch_of().mixed)
    expected = found["adversarial"].item() + 0.7 * found["reconstruction"].item()
    assert followed == [pytest.approx(expected, rel=1e-12)]


def test_an_iteration_steps_the_discriminator_once_and_the_refiner_twice(fabric, batch_of):
    recipe = recipe_of(fabric)
    recipe.step(1, batch_of(dtype=torch.float32))
    for optimiser, steps in ((recipe.refiner_optimiser, 2), (recipe.discriminator_optimiser, 1)):
        assert {int(state["step"]) for state in optimiser.state.values()} == {steps}


def test_the_refiner_s_step_leaves_no_gradient_in_the_discriminator(fabric, batch_of):
    recipe = recipe_of(fabric, torch.float64)
    recipe._refiner_step(batch_of().healthy, batch_of().mixed)
    assert all(weight.grad is None for weight in recipe.discriminator.parameters())
    assert all(weight.grad is not None for weight in recipe.refiner.parameters())


def test_the_refiner_sees_noise_of_the_given_size_and_must_give_the_clean_image(fabric, batch_of, monkeypatch):
    recipe, seen = recipe_of(fabric, noise=0.2), []
    monkeypatch.setattr(recipe, "_discriminator_step", lambda x, noisy: seen.append((x, noisy)) or {})
    monkeypatch.setattr(recipe, "_refiner_step", lambda x, noisy: {})
    batch = batch_of(64, dtype=torch.float32)
    recipe.step(1, batch)
    x, noisy = seen[0]
    assert torch.equal(x, batch.healthy)
    assert noisy.abs().max() <= 1
    inner = x.abs() < 0.2  # where four deviations fit before the range ends
    noise = (noisy - x)[inner]
    assert noise.std().item() == pytest.approx(0.2, rel=0.05) and abs(noise.mean()) < 0.02


def test_the_score_is_the_negated_logit_of_the_refined_image(batch_of):
    detector, x = detector_of(torch.float64), batch_of().healthy
    networks = detector.networks.eval()
    with torch.no_grad():
        logits = networks["discriminator"](networks["refiner"](x))
    found = detector.predict(x)
    torch.testing.assert_close(found.score, -logits[:, 0])
    order = np.argsort(-sigmoid(logits[:, 0].numpy()))  # the paper: normal where D(R(x)) is high
    assert np.array_equal(np.argsort(found.score.numpy()), order)


def test_the_early_stopping_metric_is_the_reconstruction_without_noise(fabric, batch_of):
    recipe, x = recipe_of(fabric, torch.float64), batch_of().healthy
    recipe.networks.eval()
    with torch.no_grad():
        expected = alocc.reconstruction_error(x, recipe.refiner(x))
    torch.testing.assert_close(recipe.early_stopping_metric(x), expected)


@pytest.mark.parametrize(("rho", "finished"), [(0.0, False), (0.04, False), (0.06, True)])
def test_training_ends_once_healthy_images_are_reproduced_well_enough(fabric, rho, finished):
    assert recipe_of(fabric, rho=rho).finished({10: 0.2, 20: 0.05}) is finished


@pytest.mark.slow
def test_a_bright_square_is_found(phantom_auc):
    # At the authors' pace (2e-3, two steps of R) a short training leaves D at chance, 2 ln 2: R outruns it.
    config = ALOCCConfig(width=8, refiner_steps=1, learning_rate=3e-4)
    assert phantom_auc(config, 250) > 0.9
