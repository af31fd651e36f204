"""Equations 1 to 9 of the HealthyGAN paper and the losses of HealthyGAN+, one plain function each.

Images are N x C x H x W in [-1, 1], masks N x 1 x H x W in [0, 1]; every loss is a scalar tensor.
A is the mixed set, B the healthy set.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import l1_loss, softplus

FOCUS_SOFTENING = 0.01
"""Keeps the second term of equation 7 finite at M = 0.5."""


def translated(x: Tensor, intermediate: Tensor, mask: Tensor) -> Tensor:
    """Equation 1: x' = B_int M + x (1 - M), the image made healthy where the mask says so."""
    return intermediate * mask + x * (1 - mask)


def reconstructed(x: Tensor, intermediate: Tensor, mask: Tensor) -> Tensor:
    """Equation 2: A' = x M + B_int (1 - M), which must give x back."""
    return x * mask + intermediate * (1 - mask)


def critic_loss(fake: Tensor, real: Tensor) -> Tensor:
    """Equation 3 without its penalty: E_A[D(G(x))] - E_B[D(x)]."""
    return fake.mean() - real.mean()


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """The penalty in equation 3: E[(|grad D(x^)| - 1)^2] at x^ = mix real + (1 - mix) fake.

    The gradient is that of D's output summed over its patches, one norm an image.

    Args:
        critic: D, which scores each image of a batch on its own.
        real, fake: N x C x H x W.
        mix: N x 1 x 1 x 1 in [0, 1], drawn uniformly.
    """
    between = (mix * real + (1 - mix) * fake).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    penalty: Tensor = ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()
    return penalty


def adversarial_loss(fake_mixed: Tensor, fake_healthy: Tensor) -> Tensor:
    """Equation 4: - E_A[D(G(x))] - E_B[D(G(x))]."""
    return -fake_mixed.mean() - fake_healthy.mean()


def identity_loss(healthy: Tensor, intermediate: Tensor) -> Tensor:
    """Equation 5: E_B[|B_int - x|_1], averaged over pixels."""
    return l1_loss(intermediate, healthy)


def reconstruction_loss(mixed: Tensor, reconstruction: Tensor) -> Tensor:
    """Equation 6: E_A[|x - A'|_1], averaged over pixels."""
    return l1_loss(reconstruction, mixed)


def focus_loss(mask: Tensor, size_weight: float, zero_one_weight: float) -> Tensor:
    """Equation 7: keeps the mask small and its values near 0 or 1.

    l_fs (sum M / n)^2 + l_fz (1 / n) sum 1 / (|M - 0.5| + 0.01) over the n pixels of each mask, averaged over
    the masks; the second term's minimum (M = 0 or 1 everywhere) is taken off, so that the least value is 0.
    """
    least = 1 / (0.5 + FOCUS_SOFTENING)
    size = mask.flatten(1).mean(dim=1) ** 2
    zero_one = (1 / ((mask - 0.5).abs() + FOCUS_SOFTENING)).flatten(1).mean(dim=1) - least
    return (size_weight * size + zero_one_weight * zero_one).mean()


def logistic_critic_loss(fake: Tensor, real: Tensor) -> Tensor:
    """E[log(1 + e^D(x'))] + E[log(1 + e^-D(x))]: the classifier of translated (0) against healthy (1) images."""
    return softplus(fake).mean() + softplus(-real).mean()


def squared_gradient(critic: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """E[|grad D(x)|^2] over the images of x, N x C x H x W; D gives one number an image.

    Mescheder et al. 2018, equation 9 (R1), taken here over healthy and translated images alike.
    """
    at = x.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(at).sum(), at, create_graph=True)
    return torch.as_tensor(gradient.square().flatten(1).sum(dim=1).mean())
