"""ALAD's losses, steps, scores and stopping."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from healthygan.detectors import alad
from healthygan.detectors.alad import ALAD, ALADConfig

SMALL = {"width": 16, "pair_width": 4, "latent": 8, "dropout": 0.0, "ema_decay": 0.5}


def detector_of(dtype=torch.float32, **changes):
    detector = ALAD(ALADConfig(**(SMALL | changes)), 1, 16)
    detector.networks.to(dtype)
    return detector


def recipe_of(fabric, dtype=torch.float32, **changes):
    recipe = detector_of(dtype, **changes)._recipe(None, None, SimpleNamespace(fabric=fabric))
    recipe.discriminators.to(dtype)
    return recipe


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def test_both_losses_are_cross_entropies_of_either_labelling():
    real, fake = np.random.default_rng(0).normal(0, 2, (2, 9))
    tensors = torch.from_numpy(real), torch.from_numpy(fake)
    expected = -np.log(sigmoid(real)).mean() - np.log(1 - sigmoid(fake)).mean()
    assert alad.discriminator_loss(*tensors).item() == pytest.approx(expected, rel=1e-12)
    expected = -np.log(1 - sigmoid(real)).mean() - np.log(sigmoid(fake)).mean()
    assert alad.deceiving_loss(*tensors).item() == pytest.approx(expected, rel=1e-12)


def test_the_pairs_are_those_of_the_paper(fabric, batch_of):
    recipe = recipe_of(fabric, torch.float64)
    recipe.networks.eval()
    recipe.discriminators.eval()
    x, z = batch_of().healthy, torch.randn(4, 8, dtype=torch.float64)
    encoder, generator = recipe.translators["encoder"], recipe.translators["generator"]
    logits = recipe.logits(x, z)
    with torch.no_grad():
        expected = {
            "xz": (recipe.joint(x, encoder(x)), recipe.joint(generator(z), z)),
            "xx": (recipe.pairs(x, x)[0], recipe.pairs(x, generator(encoder(x)))[0]),
            "zz": tuple(recipe.latents(torch.cat([z, other], 1)) for other in (z, encoder(generator(z)))),
        }
    for name, pair in expected.items():
        for found, wanted in zip(logits[name], pair, strict=True):
            torch.testing.assert_close(found, wanted)


def test_the_joint_step_gives_encoder_and_generator_each_the_gradient_of_its_own_loss(fabric, batch_of):
    """The authors minimise two losses; E's leaves out G's term of D_xz and the other way round."""
    recipe = recipe_of(fabric, torch.float64)
    recipe.networks.eval()
    recipe.discriminators.eval()
    x, z = batch_of().healthy, torch.randn(4, 8, dtype=torch.float64)
    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits

    def gradients(loss, part):
        weights = list(recipe.translators[part].parameters())
        return torch.autograd.grad(loss, weights, retain_graph=True)

    logits = recipe.logits(x, z)
    total = sum(alad.deceiving_loss(*pair) for pair in logits.values())
    cycles = alad.deceiving_loss(*logits["xx"]) + alad.deceiving_loss(*logits["zz"])
    real, fake = logits["xz"]
    own = {
        "encoder": cross_entropy(real, torch.zeros_like(real)) + cycles,
        "generator": cross_entropy(fake, torch.ones_like(fake)) + cycles,
    }
    for part, loss in own.items():
        for found, expected in zip(gradients(total, part), gradients(loss, part), strict=True):
            torch.testing.assert_close(found, expected)


def test_either_step_moves_its_own_networks_alone(fabric, batch_of):
    recipe = recipe_of(fabric)
    x = batch_of(dtype=torch.float32).healthy
    for step, moved in ((recipe._discriminator_step, "discriminator"), (recipe._translator_step, "generator")):
        before = {
            name: [weight.detach().clone() for weight in module.parameters()]
            for name, module in recipe.modules().items()
        }
        step(x)
        for name, module in recipe.modules().items():
            same = all(map(torch.equal, module.parameters(), before[name]))
            assert same == (name != moved)


def test_discriminators_and_translators_see_different_images(fabric, batch_of, monkeypatch):
    recipe, seen = recipe_of(fabric), []
    monkeypatch.setattr(recipe, "_discriminator_step", lambda x: seen.append(x) or {})
    monkeypatch.setattr(recipe, "_translator_step", lambda x: seen.append(x) or {})
    batch = batch_of(8, dtype=torch.float32)
    recipe.step(1, batch)
    assert torch.equal(torch.cat(seen), batch.healthy) and len(seen[0]) == 4


def test_spectral_norm_holds_encoder_and_discriminators_but_not_the_generator(fabric):
    recipe = recipe_of(fabric, torch.float64)
    networks = recipe.networks.train()

    def normed(network):
        return [name for name, _ in network.named_parameters() if "parametrizations" in name]

    assert not normed(networks["generator"])
    assert len(normed(networks["encoder"])) == 2  # two halvings of 16 px; not the last convolution
    assert len(normed(networks["pairs"])) == 2
    assert len(normed(recipe.joint)) == 2 + 2 + 1
    assert len(normed(recipe.latents)) == 2
    first = networks["encoder"][0]
    for _ in range(50):
        first(torch.zeros(1, 1, 16, 16, dtype=torch.float64))
    assert torch.linalg.matrix_norm(first.weight.flatten(1), 2).item() == pytest.approx(1, abs=1e-3)


def test_the_scores_are_the_four_of_the_paper():
    x = torch.rand(3, 1, 16, 16, dtype=torch.float64) * 2 - 1
    detector = detector_of(torch.float64)
    with torch.no_grad():
        networks = detector.networks.eval()
        again = networks["generator"](networks["encoder"](x))
        own, other = networks["pairs"](x, x), networks["pairs"](x, again)
    residual = (x - again).numpy().reshape(3, -1)
    expected = {
        "fm": np.abs((own[1] - other[1]).numpy()).sum(axis=1),
        "ch": -np.log(sigmoid(other[0].numpy())),
        "l1": np.abs(residual).sum(axis=1),
        "l2": np.sqrt((residual**2).sum(axis=1)),
    }
    for score, values in expected.items():
        found = detector_of(torch.float64, score=score).predict(x)
        np.testing.assert_allclose(found.score.numpy(), values, rtol=1e-9)
        torch.testing.assert_close(found.difference[:, 0], (x - again)[:, 0].abs() / 2)


def test_scores_come_from_averages_between_old_and_new_weights(fabric, batch_of):
    recipe = recipe_of(fabric)
    before = [weight.detach().clone() for weight in recipe.networks.parameters()]
    recipe.step(1, batch_of(8, dtype=torch.float32))
    decay = 2 / 11  # young averages follow faster: (1 + 1) / (10 + 1)
    for old, new, average in zip(before, recipe.networks.parameters(), recipe.averaged.parameters(), strict=True):
        torch.testing.assert_close(average, decay * old + (1 - decay) * new)
    assert recipe.weights().keys() == detector_of().state_dict().keys()


def test_the_early_stopping_metric_is_the_fm_score_of_the_averages(fabric, batch_of):
    recipe = recipe_of(fabric, score="l1")
    recipe.step(1, batch_of(8, dtype=torch.float32))
    other = detector_of(score="fm")
    other.load_state_dict(recipe.weights())
    x = batch_of(dtype=torch.float32).healthy
    torch.testing.assert_close(recipe.early_stopping_metric(x), other.predict(x).score)


@pytest.mark.parametrize(
    ("metrics", "patience", "finished"),
    [
        ([], 2, False),
        ([3.0, 2.0, 2.5], 2, False),
        ([3.0, 2.0, 2.5, 2.0], 2, True),
        ([3.0, 2.0, 2.5, 2.6, 1.0], 2, False),
        ([1.0, 2.0, 2.0, 2.0], 0, False),
    ],
)
def test_training_ends_when_the_lowest_metric_is_old(fabric, metrics, patience, finished):
    recipe = recipe_of(fabric, patience=patience)
    assert recipe.finished(dict(enumerate(metrics, start=1))) is finished


@pytest.mark.slow
def test_a_bright_square_is_found(phantom_auc):
    config = ALADConfig(width=16, pair_width=8, latent=16, learning_rate=1e-3, ema_decay=0.9)
    assert phantom_auc(config, 150) > 0.9
