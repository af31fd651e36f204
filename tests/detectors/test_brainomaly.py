"""Brainomaly's output, losses and steps."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from healthygan.detectors import brainomaly
from healthygan.detectors.brainomaly import Brainomaly, BrainomalyConfig

SMALL = {"width": 4, "generator_blocks": 1, "discriminator_blocks": 2}


def detector_of(dtype=torch.float32, channels=1, **changes):
    detector = Brainomaly(BrainomalyConfig(**(SMALL | changes)), channels, 16)
    detector.networks.to(dtype)
    return detector


def recipe_of(fabric, dtype=torch.float32, **changes):
    recipe = detector_of(dtype, **changes)._recipe(None, None, SimpleNamespace(fabric=fabric))
    recipe.discriminator.to(dtype)
    return recipe


def test_a_map_of_zeros_is_the_identity_for_clamp_alone():
    x = torch.linspace(-1, 1, 64, dtype=torch.float64).reshape(1, 1, 8, 8)
    zeros = torch.zeros_like(x)
    assert torch.equal(brainomaly.added(x, zeros, "clamp"), x)
    np.testing.assert_allclose(brainomaly.added(x, zeros, "tanh").numpy(), np.tanh(x.numpy()), rtol=1e-12)
    assert brainomaly.added(torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1), "tanh").item() == pytest.approx(
        0.7616, abs=1e-4
    )


@pytest.mark.parametrize(("output", "expected"), [("tanh", np.tanh), ("clamp", lambda x: np.clip(x, -1, 1))])
def test_one_map_is_added_to_every_channel(output, expected):
    detector = detector_of(torch.float64, 3, output=output)
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64) * 2 - 1
    with torch.no_grad():
        difference = detector.networks.map(x)
    assert difference.shape == (2, 1, 16, 16)
    found = detector.predict(x)
    np.testing.assert_allclose(found.translated.numpy(), expected((x + difference).numpy()), rtol=1e-9)
    torch.testing.assert_close(found.score, (x - found.translated).abs().mean(dim=(1, 2, 3)) / 2)


def test_the_critic_s_loss_takes_its_fakes_from_the_mixed_set(fabric, batch_of, monkeypatch):
    recipe, batch = recipe_of(fabric, torch.float64, gradient_penalty=3.0), batch_of()
    monkeypatch.setattr(torch.Tensor, "float", lambda tensor: tensor)
    followed = []
    monkeypatch.setattr(brainomaly, "descend", lambda optimiser, loss: followed.append(loss.item()))
    found = recipe._critic_step(batch)
    with torch.no_grad():
        fake = recipe.generator(batch.mixed)
        wasserstein = recipe.discriminator(fake).mean() - recipe.discriminator(batch.healthy).mean()
    between = (batch.mix * batch.healthy + (1 - batch.mix) * fake).requires_grad_(True)
    (gradient,) = torch.autograd.grad(recipe.discriminator(between).sum(), between)
    penalty = ((np.sqrt((gradient.numpy() ** 2).sum(axis=(1, 2, 3))) - 1) ** 2).mean()
    assert found["critic"].item() == pytest.approx(wasserstein.item(), rel=1e-9)
    assert found["gradient_penalty"].item() == pytest.approx(penalty, rel=1e-9)
    assert followed == [pytest.approx(wasserstein.item() + 3 * penalty, rel=1e-9)]


def test_the_generator_s_loss_is_adversarial_on_mixed_and_identity_on_healthy(fabric, batch_of, monkeypatch):
    recipe, batch = recipe_of(fabric, torch.float64, identity=4.0), batch_of()
    followed = []
    monkeypatch.setattr(brainomaly, "descend", lambda optimiser, loss: followed.append(loss.item()))
    found = recipe._generator_step(batch)
    with torch.no_grad():
        adversarial = -recipe.discriminator(recipe.generator(batch.mixed)).mean()
        identity = (recipe.generator(batch.healthy) - batch.healthy).abs().mean()
    torch.testing.assert_close(found["adversarial"], adversarial)
    torch.testing.assert_close(found["identity"], identity)
    assert followed == [pytest.approx((adversarial + 4 * identity).item(), rel=1e-9)]


def test_the_generator_steps_every_second_time_and_leaves_no_gradient_in_the_critic(fabric, batch_of):
    recipe, batch = recipe_of(fabric), batch_of(dtype=torch.float32)
    before = [weight.detach().clone() for weight in recipe.generator.parameters()]
    recipe.step(1, batch)
    assert all(map(torch.equal, recipe.generator.parameters(), before))
    assert all(weight.grad is None for weight in recipe.generator.parameters())
    recipe.step(2, batch)
    assert not all(map(torch.equal, recipe.generator.parameters(), before))
    recipe.discriminator.zero_grad()
    recipe._generator_step(batch)
    assert all(weight.grad is None for weight in recipe.discriminator.parameters())


def test_too_many_halvings_are_refused():
    with pytest.raises(ValueError, match=r"discriminator_blocks=7 .* take fewer blocks"):
        BrainomalyConfig(discriminator_blocks=7).check(64)


@pytest.mark.slow
@pytest.mark.parametrize("output", ["tanh", "clamp"])
def test_a_bright_square_is_found(phantom_auc, output):
    config = BrainomalyConfig(
        width=8, generator_blocks=1, discriminator_blocks=3, learning_rate=1e-3, identity=10, output=output
    )
    assert phantom_auc(config, 120, batch_size=8) > 0.9
