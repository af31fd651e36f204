"""The training step and the score."""

import pytest
import torch
from lightning import Fabric

from healthygan.detectors.healthygan import HealthyGAN, HealthyGANConfig, HealthyGANRecipe
from healthygan.nn import losses
from healthygan.nn.networks import Discriminator, Generator
from healthygan.training.batches import Batch

SMALL = {"width": 4, "generator_blocks": 1, "discriminator_blocks": 2}


def recipe_of(**changes):
    torch.manual_seed(0)
    config = HealthyGANConfig(**SMALL, **changes)
    fabric = Fabric(accelerator="cpu", devices=1)
    return HealthyGANRecipe(config, Generator(1, 4, 1), Discriminator(1, 4, 2), fabric)


def batch_of(count=2):
    generator = torch.Generator().manual_seed(1)
    mixed, healthy = torch.rand(2, count, 1, 16, 16, generator=generator) * 2 - 1
    return Batch(mixed, healthy, torch.rand(count, 1, 1, 1, generator=generator))


def weights_of(module):
    return [weight.detach().clone() for weight in module.parameters()]


def same(module, weights):
    return all(torch.equal(now, then) for now, then in zip(module.parameters(), weights, strict=True))


def test_two_iterations_make_two_critic_updates_and_one_generator_update():
    recipe = recipe_of()
    generator, discriminator = weights_of(recipe.generator), weights_of(recipe.discriminator)
    recipe.step(1, batch_of())
    assert same(recipe.generator, generator)
    assert not same(recipe.discriminator, discriminator)
    discriminator = weights_of(recipe.discriminator)
    recipe.step(2, batch_of())
    assert not same(recipe.generator, generator)
    assert not same(recipe.discriminator, discriminator)
    steps = {int(state["step"]) for state in recipe.generator_optimiser.state.values()}
    assert steps == {1}


def test_the_critic_step_leaves_no_gradient_in_the_generator():
    recipe = recipe_of()
    recipe.step(1, batch_of())
    assert all(weight.grad is None for weight in recipe.generator.parameters())


def test_the_generator_step_leaves_no_gradient_in_the_critic():
    recipe = recipe_of()
    batch = batch_of()
    recipe.discriminator.zero_grad()
    recipe._generator_step(2, batch, *recipe._translate_both(batch))
    assert all(weight.grad is None for weight in recipe.discriminator.parameters())
    assert all(weight.grad is not None for weight in recipe.generator.parameters())
    assert all(weight.requires_grad for weight in recipe.discriminator.parameters())


def test_the_step_s_losses_are_the_paper_s_equations():
    recipe, batch = recipe_of(), batch_of()
    with torch.no_grad():
        mixed, healthy = recipe.generator(batch.mixed), recipe.generator(batch.healthy)
        fake = losses.translated(batch.mixed, *mixed)
        critic = losses.critic_loss(recipe.discriminator(fake), recipe.discriminator(batch.healthy))
        identity = losses.identity_loss(batch.healthy, healthy.intermediate)
        back = losses.reconstructed(batch.mixed, *mixed)
        reconstruction = losses.reconstruction_loss(batch.mixed, back)
        focus = losses.focus_loss(torch.cat([mixed.mask, healthy.mask]), 1, 1)
    found = recipe.step(2, batch)
    for name, expected in {
        "critic": critic,
        "identity": identity,
        "reconstruction": reconstruction,
        "focus": focus,
    }.items():
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-5)


def test_the_averaged_generator_lies_between_old_and_new_weights():
    recipe = recipe_of(ema_decay=0.5)
    before = weights_of(recipe.generator)
    recipe.step(2, batch_of())
    for old, new, average in zip(before, recipe.generator.parameters(), recipe.averaged.parameters(), strict=True):
        decay = 2 / 11  # the first update's, (1 + 1) / (10 + 1)
        torch.testing.assert_close(average, decay * old + (1 - decay) * new)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_score_is_the_mean_of_the_difference_map(channels):
    detector = HealthyGAN(HealthyGANConfig(**SMALL), channels, 16)
    x = torch.rand(3, channels, 16, 16) * 2 - 1
    found = detector.predict(x)
    expected = (x - found.translated).abs().mean(dim=(1, 2, 3)) / 2
    torch.testing.assert_close(found.score, expected)
    assert found.difference.shape == (3, 1, 16, 16)
    assert 0 <= found.difference.min() <= found.difference.max() <= 1


def test_the_same_seed_gives_the_same_first_weights_and_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, other = (HealthyGAN(HealthyGANConfig(**SMALL), 1, 16, seed=3) for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, other.state_dict()[name])


def test_weights_survive_saving_and_loading():
    one, other = HealthyGAN(HealthyGANConfig(**SMALL), 1, 16, 0), HealthyGAN(HealthyGANConfig(**SMALL), 1, 16, 1)
    x = torch.rand(1, 1, 16, 16)
    assert not torch.equal(one.predict(x).score, other.predict(x).score)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.predict(x).score, other.predict(x).score)
