"""Every equation against NumPy in 64 bits."""

import numpy as np
import pytest
import torch

from healthygan.nn import losses


@pytest.fixture
def batch():
    generator = np.random.default_rng(0)
    x, b_int = generator.uniform(-1, 1, (2, 4, 3, 8, 8))
    return x, b_int, generator.uniform(0, 1, (4, 1, 8, 8))


def tensors(*arrays):
    return [torch.from_numpy(array) for array in arrays]


def test_equation_1_replaces_where_the_mask_says(batch):
    x, b_int, mask = batch
    expected = b_int * mask + x * (1 - mask)
    np.testing.assert_allclose(losses.translated(*tensors(x, b_int, mask)).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(("value", "kept"), [(0.0, "x"), (1.0, "b_int")])
def test_equations_1_and_2_at_the_mask_s_ends(batch, value, kept):
    x, b_int = tensors(*batch[:2])
    mask = torch.full((4, 1, 8, 8), value, dtype=torch.float64)
    first, second = (x, b_int) if kept == "x" else (b_int, x)
    assert torch.equal(losses.translated(x, b_int, mask), first)
    assert torch.equal(losses.reconstructed(x, b_int, mask), second)


def test_equation_2_keeps_what_the_mask_covers(batch):
    x, b_int, mask = batch
    expected = x * mask + b_int * (1 - mask)
    np.testing.assert_allclose(losses.reconstructed(*tensors(x, b_int, mask)).numpy(), expected, rtol=1e-12)


def test_equations_3_and_4_are_differences_of_means():
    fake, real = tensors(np.array([1.0, 4.0]), np.array([10.0, 2.0]))
    assert losses.critic_loss(fake, real).item() == pytest.approx(2.5 - 6.0)
    assert losses.adversarial_loss(fake, real).item() == pytest.approx(-2.5 - 6.0)


def test_the_penalty_of_a_linear_critic_is_that_of_its_weights():
    weights = torch.randn(3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    real, fake = torch.zeros(4, 3, 8, 8, dtype=torch.float64), torch.ones(4, 3, 8, 8, dtype=torch.float64)
    mix = torch.rand(4, 1, 1, 1, dtype=torch.float64)
    found = losses.gradient_penalty(lambda x: (x * weights).sum(dim=(1, 2, 3)), real, fake, mix)
    assert found.item() == pytest.approx((np.linalg.norm(weights.numpy()) - 1) ** 2, rel=1e-12)


def test_the_penalty_is_taken_between_real_and_fake():
    seen = []

    def critic(x):
        seen.append(x.detach().clone())
        return x.pow(2).sum(dim=(1, 2, 3)) / 2

    real, fake = torch.full((1, 1, 2, 2), 4.0), torch.zeros(1, 1, 2, 2)
    found = losses.gradient_penalty(critic, real, fake, torch.full((1, 1, 1, 1), 0.25))
    assert torch.equal(seen[0], torch.ones(1, 1, 2, 2))
    assert found.item() == pytest.approx((2 - 1) ** 2)  # the gradient of |x|^2 / 2 is x, of norm 2


def test_the_penalty_s_gradient_reaches_the_critic():
    critic = torch.nn.Conv2d(1, 1, 3).double()
    images = torch.rand(2, 2, 1, 8, 8, dtype=torch.float64)
    losses.gradient_penalty(critic, *images, torch.rand(2, 1, 1, 1, dtype=torch.float64)).backward()
    assert critic.weight.grad is not None and critic.weight.grad.abs().sum() > 0


def test_equations_5_and_6_are_mean_absolute_differences(batch):
    x, b_int, _ = batch
    expected = np.abs(x - b_int).mean()
    assert losses.identity_loss(*tensors(x, b_int)).item() == pytest.approx(expected, rel=1e-12)
    assert losses.reconstruction_loss(*tensors(x, b_int)).item() == pytest.approx(expected, rel=1e-12)


def test_equation_7_equals_its_formula(batch):
    mask = batch[2]
    n = 64
    expected = np.mean(
        [0.7 * (m.sum() / n) ** 2 + 0.3 * ((1 / (np.abs(m - 0.5) + 0.01)).sum() / n - 1 / 0.51) for m in mask]
    )
    assert losses.focus_loss(*tensors(mask), 0.7, 0.3).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("value", "expected"), [(0.0, 0.0), (1.0, 1.0), (0.5, 0.25 + 100 - 1 / 0.51)])
def test_equation_7_at_known_masks(value, expected):
    mask = torch.full((2, 1, 4, 4), value, dtype=torch.float64)
    assert losses.focus_loss(mask, 1.0, 1.0).item() == pytest.approx(expected, abs=1e-12)
