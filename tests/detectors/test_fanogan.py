"""f-AnoGAN's networks, losses, stages and score."""

import numpy as np
import pytest
import torch

from healthygan.detectors import fanogan
from healthygan.detectors.fanogan import FAnoGAN, FAnoGANConfig, FAnoGANRecipe, Networks, ResidualBlock
from healthygan.training.config import TrainingConfig

SMALL = {"width": 4, "latent": 8, "encoder_iterations": 4}


def detector_of(dtype=torch.float32, **changes):
    detector = FAnoGAN(FAnoGANConfig(**(SMALL | changes)), 1, 16)
    detector.networks.to(dtype)
    return detector


def recipe_of(fabric, dtype=torch.float32, gan_iterations=4, **changes):
    detector = detector_of(dtype, **changes)
    return FAnoGANRecipe(detector.config, detector.networks, gan_iterations, fabric)


def weights_of(recipe):
    return {name: [w.detach().clone() for w in module.parameters()] for name, module in recipe.modules().items()}


def moved(recipe, before):
    return {
        name
        for name, module in recipe.modules().items()
        if not all(map(torch.equal, module.parameters(), before[name]))
    }


def test_at_64_px_the_widths_are_the_authors():
    networks = Networks(FAnoGANConfig(), 1, 64)
    blocks = [block for block in networks.critic.features if isinstance(block, ResidualBlock)]
    assert [block.shortcut.out_channels for block in blocks] == [128, 256, 512, 512]
    blocks = [block for block in networks.generator if isinstance(block, ResidualBlock)]
    assert [(block.shortcut.in_channels, block.shortcut.out_channels) for block in blocks] == [
        (512, 512), (512, 256), (256, 128), (128, 64),
    ]  # fmt: skip
    assert networks.critic.features(torch.zeros(1, 1, 64, 64)).shape == (1, 8192)


def test_the_critic_has_layer_norm_and_the_others_batch_norm():
    networks = Networks(FAnoGANConfig(**SMALL), 1, 16)
    norms = {
        name: {type(layer) for layer in part.modules() if isinstance(layer, torch.nn.GroupNorm | torch.nn.BatchNorm2d)}
        for name, part in networks.named_children()
    }
    batch, layer = {torch.nn.BatchNorm2d}, {torch.nn.GroupNorm}
    assert norms == {"generator": batch, "critic": layer, "encoder": batch}


def test_the_layer_norm_runs_over_channels_and_pixels():
    x = np.random.default_rng(0).normal(2, 3, (4, 6, 5, 5))
    expected = (x - x.mean(axis=(1, 2, 3), keepdims=True)) / np.sqrt(x.var(axis=(1, 2, 3), keepdims=True) + 1e-5)
    found = fanogan._layer_norm(6).double()(torch.from_numpy(x))
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-9)


def test_the_shortcut_equals_convolving_after_doubling(batch_of):
    """The authors double first; a 1 x 1 convolution makes no difference to that."""
    block = ResidualBlock(1, 3, torch.nn.BatchNorm2d, up=True).double()
    x = batch_of().healthy
    torch.nn.init.zeros_(block.second_convolution.weight)
    doubled = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(block(x), block.shortcut(doubled))


def test_the_critic_step_is_wasserstein_with_the_penalty_between_real_and_fake(fabric, batch_of, monkeypatch):
    recipe, batch = recipe_of(fabric, torch.float64, gradient_penalty=3.0), batch_of()
    fakes = torch.rand(4, 1, 16, 16, dtype=torch.float64)
    monkeypatch.setattr(recipe, "_fakes", lambda count: fakes)
    monkeypatch.setattr(torch.Tensor, "float", lambda tensor: tensor)
    followed = []
    monkeypatch.setattr(fanogan, "descend", lambda optimiser, loss: followed.append(loss.item()))
    found = recipe._critic_step(batch)
    with torch.no_grad():
        wasserstein = recipe.critic(fakes).mean() - recipe.critic(batch.healthy).mean()
    between = (batch.mix * batch.healthy + (1 - batch.mix) * fakes).requires_grad_(True)
    (gradient,) = torch.autograd.grad(recipe.critic(between).sum(), between)
    penalty = ((np.sqrt((gradient.numpy() ** 2).sum(axis=(1, 2, 3))) - 1) ** 2).mean()
    assert found["critic"].item() == pytest.approx(wasserstein.item(), rel=1e-9)
    assert found["gradient_penalty"].item() == pytest.approx(penalty, rel=1e-9)
    assert followed == [pytest.approx(wasserstein.item() + 3 * penalty, rel=1e-9)]


def test_the_generator_follows_the_critic(fabric, monkeypatch):
    recipe = recipe_of(fabric, torch.float64)
    fakes = torch.rand(4, 1, 16, 16, dtype=torch.float64, requires_grad=True)
    monkeypatch.setattr(recipe, "_fakes", lambda count: fakes)
    found = recipe._generator_step(4)
    assert found["adversarial"].item() == pytest.approx(-recipe.critic(fakes).mean().item(), rel=1e-9)
    assert all(weight.grad is None for weight in recipe.critic.parameters())


def test_the_encoder_s_loss_is_izi_f_with_the_generator_s_running_averages(fabric, batch_of, monkeypatch):
    recipe, x = recipe_of(fabric, torch.float64, kappa=0.3), batch_of().healthy
    followed = []
    monkeypatch.setattr(fanogan, "descend", lambda optimiser, loss: followed.append(loss.item()))
    found = recipe._encoder_step(x)
    with torch.no_grad():
        again = recipe.generator.eval()(torch.tanh(recipe.encoder.train()(x)))
        features = recipe.critic.features(again) - recipe.critic.features(x)
    image = ((again - x).numpy() ** 2).mean()
    assert found["encoder_image"].item() == pytest.approx(image, rel=1e-9)
    assert found["encoder_features"].item() == pytest.approx((features.numpy() ** 2).mean(), rel=1e-9)
    assert followed == [pytest.approx(image + 0.3 * (features.numpy() ** 2).mean(), rel=1e-9)]


def test_stages_move_the_networks_they_should(fabric, batch_of):
    recipe, batch = recipe_of(fabric, gan_iterations=2, generator_every=2), batch_of(dtype=torch.float32)
    for iteration, expected in ((1, {"critic"}), (2, {"critic", "generator"}), (3, {"encoder"})):
        before = weights_of(recipe)
        recipe.step(iteration, batch)
        assert moved(recipe, before) == expected
        assert recipe.can_score(iteration) is (iteration == 3)


def test_the_second_stage_leaves_the_generator_s_averages_alone(fabric, batch_of):
    recipe = recipe_of(fabric, gan_iterations=0)
    before = [buffer.clone() for buffer in recipe.generator.buffers()]
    recipe.step(1, batch_of(dtype=torch.float32))
    assert all(map(torch.equal, recipe.generator.buffers(), before))


def test_the_score_is_the_encoder_s_loss_of_each_image(batch_of):
    detector, x = detector_of(torch.float64, kappa=0.3), batch_of().healthy
    networks = detector.networks.eval()
    with torch.no_grad():
        again = networks.generator(torch.tanh(networks.encoder(x)))
        features = (networks.critic.features(x) - networks.critic.features(again)).numpy()
    expected = ((x - again).numpy() ** 2).mean(axis=(1, 2, 3)) + 0.3 * (features**2).mean(axis=1)
    found = detector.predict(x)
    np.testing.assert_allclose(found.score.numpy(), expected, rtol=1e-9)
    torch.testing.assert_close(found.difference, (x - again).abs() / 2)


def test_a_budget_without_a_gan_is_refused():
    with pytest.raises(
        ValueError, match=r"detector.encoder_iterations=4: leaves the GAN none of training.iterations=4"
    ):
        FAnoGANConfig(**SMALL).check_training(TrainingConfig(iterations=4))


@pytest.mark.slow
def test_a_bright_square_is_found(phantom_auc):
    config = FAnoGANConfig(width=4, latent=8, encoder_iterations=100, learning_rate=1e-3, encoder_learning_rate=1e-3)
    assert phantom_auc(config, 200) > 0.9
