"""GANomaly's losses, steps and score."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from healthygan.detectors import ganomaly
from healthygan.detectors.ganomaly import GANomaly, GANomalyConfig

SMALL = {"width": 4, "latent": 8}


def detector_of(dtype=torch.float32, **changes):
    detector = GANomaly(GANomalyConfig(**(SMALL | changes)), 1, 16)
    detector.networks.to(dtype)
    return detector


def recipe_of(fabric, dtype=torch.float32, **changes):
    recipe = detector_of(dtype, **changes)._recipe(None, None, SimpleNamespace(fabric=fabric))
    recipe.discriminator.to(dtype)
    return recipe


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def test_each_loss_equals_its_formula():
    random = np.random.default_rng(0)
    real, fake = random.normal(0, 2, (2, 9))
    features, other = random.normal(0, 1, (2, 5, 6, 4, 4))
    x, again = random.uniform(-1, 1, (2, 5, 1, 8, 8))
    code, code_again = random.normal(0, 1, (2, 5, 8))

    def tensors(*arrays):
        return [torch.from_numpy(array) for array in arrays]

    expected = (-np.log(sigmoid(real)).mean() - np.log(1 - sigmoid(fake)).mean()) / 2
    assert ganomaly.discriminator_loss(*tensors(real, fake)).item() == pytest.approx(expected, rel=1e-12)
    expected = ((features - other) ** 2).mean()
    assert ganomaly.adversarial_loss(*tensors(features, other)).item() == pytest.approx(expected, rel=1e-12)
    assert ganomaly.contextual_loss(*tensors(x, again)).item() == pytest.approx(np.abs(x - again).mean(), rel=1e-12)
    found = ganomaly.code_distance(*tensors(code, code_again)).numpy()
    np.testing.assert_allclose(found, ((code - code_again) ** 2).mean(axis=1), rtol=1e-12)


def test_the_generator_follows_the_weighted_sum(fabric, batch_of, monkeypatch):
    recipe = recipe_of(fabric, torch.float64, adversarial=2.0, contextual=3.0, encoder=5.0)
    followed = []
    monkeypatch.setattr(ganomaly, "descend", lambda optimiser, loss: followed.append(loss.item()))
    found, _ = recipe._generator_step(batch_of().healthy)
    expected = 2 * found["adversarial"] + 3 * found["contextual"] + 5 * found["encoder"]
    assert followed == [pytest.approx(expected.item(), rel=1e-12)]


def test_the_step_s_losses_are_those_of_its_own_pass(fabric, batch_of):
    recipe, x = recipe_of(fabric, torch.float64), batch_of().healthy
    with torch.no_grad():
        again, code, code_again = recipe.generator.train()(x)
        features = [recipe.discriminator.train()(image)[1] for image in (x, again)]
    found, fake = recipe._generator_step(x)
    torch.testing.assert_close(fake, again)
    torch.testing.assert_close(found["adversarial"], ((features[0] - features[1]) ** 2).mean())
    torch.testing.assert_close(found["contextual"], (x - again).abs().mean())
    torch.testing.assert_close(found["encoder"], ((code - code_again) ** 2).mean())
    assert all(weight.grad is None for weight in recipe.discriminator.parameters())


def test_a_discriminator_that_has_won_starts_anew(fabric, batch_of, monkeypatch):
    recipe, batch = recipe_of(fabric), batch_of(dtype=torch.float32)
    drawn = []
    monkeypatch.setattr(ganomaly, "_draw", drawn.append)
    recipe.step(1, batch)
    assert not drawn
    monkeypatch.setattr(ganomaly, "discriminator_loss", lambda real, fake: (real.mean() + fake.mean()) * 0)
    recipe.step(2, batch)
    assert drawn == [recipe.discriminator]


def test_channels_double_with_every_halving():
    detector = GANomaly(GANomalyConfig(), 1, 64)
    layers = [layer for layer in detector.networks.encoder if isinstance(layer, torch.nn.Conv2d)]
    assert [layer.out_channels for layer in layers] == [64, 128, 256, 512, 100]


def test_the_score_has_no_scale_of_the_test_set(batch_of):
    detector, x = detector_of(torch.float64), batch_of().healthy
    found = detector.predict(x)
    with torch.no_grad():
        again, code, code_again = detector.networks.eval()(x)
    np.testing.assert_allclose(found.score.numpy(), ((code - code_again).numpy() ** 2).mean(axis=1), rtol=1e-12)
    torch.testing.assert_close(found.difference, (x - again).abs() / 2)


def test_own_statistics_are_those_of_training_on_one_image(batch_of):
    detector, x = detector_of(torch.float64, statistics="image"), batch_of().healthy
    found = detector.predict(x).score
    detector.networks.train()
    with torch.no_grad():
        alone = [ganomaly.code_distance(*detector.networks(image[None])[1:]) for image in x]
    torch.testing.assert_close(found, torch.cat(alone))


def test_running_statistics_are_training_s_averages(batch_of):
    one, other = detector_of(torch.float64, statistics="running"), detector_of(torch.float64, statistics="image")
    x = batch_of().healthy
    assert not torch.allclose(one.predict(x).score, other.predict(x).score)
    before = one.predict(x).score
    for name, buffer in one.networks.named_buffers():
        if name.endswith("running_mean"):
            buffer += 1
    assert not torch.allclose(one.predict(x).score, before)


@pytest.mark.slow
def test_a_bright_square_is_found(phantom_auc):
    assert phantom_auc(GANomalyConfig(width=8, latent=16), 60) > 0.9
