"""What detectors with a masked translation to healthy share: how they score, and the frame of their training."""

import copy
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from healthygan.detectors.base import NetworkDetector, Prediction, difference_map
from healthygan.nn import losses
from healthygan.nn.networks import Discriminator, follow
from healthygan.training.recipe import Recipe

if TYPE_CHECKING:
    from lightning import Fabric


class Settings(Protocol):
    """What the shared part of training needs of a detector's settings."""

    @property
    def learning_rate(self) -> float:
        """Adam, both networks."""

    @property
    def betas(self) -> tuple[float, float]:
        """Adam's averaging of gradients and their squares."""

    @property
    def ema_decay(self) -> float:
        """Averaging of the generator used to score; 0 = off."""


Config = TypeVar("Config", bound=Settings)


class TranslationDetector(NetworkDetector):
    """Scores with a generator (``networks``), by the mean over pixels of the difference map |x - x'| / 2.

    It learns from B and A; the generator that scores is the averaged one where ``ema_decay`` is above 0.
    """

    @torch.no_grad()
    def predict(self, x: Tensor) -> Prediction:
        """Score = mean over pixels of the difference map |x - x'| / 2 (channels averaged)."""
        return Prediction(*self.scorer()(x))

    def scorer(self) -> nn.Module:
        """Score, difference map, x' and M of x."""
        return TranslationScorer(self.networks)


class TranslationScorer(nn.Module):
    """Scores with a generator, by the mean over pixels of the difference map |x - x'| / 2 (channels averaged).

    Args:
        generator: gives B_int and M of x.
    """

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Score, difference map, x' and M of x, as in ``Prediction``."""
        intermediate, mask = self.generator(x)
        healthy = losses.translated(x, intermediate, mask)
        difference = difference_map(x, healthy)
        return difference.mean(dim=(1, 2, 3)), difference, healthy, mask


class TranslationRecipe(Recipe, Generic[Config]):
    """A generator and a critic that take turns, an Adam each, and a running average of the generator."""

    critic_name: ClassVar[str] = "discriminator"
    """What checkpoints and the log call the critic."""

    def __init__(self, config: Config, generator: nn.Module, discriminator: Discriminator, fabric: "Fabric") -> None:
        self.config = config
        self.fabric = fabric
        self.averaged = copy.deepcopy(generator).requires_grad_(False)
        self.averaged.to(fabric.device)
        self.generator, self.discriminator = generator, discriminator
        # Fused: one pass over the critic's 44 million weights instead of ten.
        fused = fabric.device.type in ("cpu", "cuda")
        self.generator_optimiser = Adam(generator.parameters(), config.learning_rate, config.betas, fused=fused)
        self.critic_optimiser = Adam(discriminator.parameters(), config.learning_rate, config.betas, fused=fused)
        # The wrapped networks average gradients over devices and pick the precision; the bare ones hold the weights.
        self._generator, self._generator_optimiser = fabric.setup(generator, self.generator_optimiser)
        self._critic, self._critic_optimiser = fabric.setup(discriminator, self.critic_optimiser)

    def modules(self) -> dict[str, nn.Module]:
        """All that a checkpoint keeps of the networks."""
        networks: dict[str, nn.Module] = {"generator": self.generator, self.critic_name: self.discriminator}
        return networks | ({"averaged": self.averaged} if self.config.ema_decay else {})

    def optimisers(self) -> dict[str, Optimizer]:
        """Both Adams."""
        return {"generator": self.generator_optimiser, self.critic_name: self.critic_optimiser}

    def weights(self) -> dict[str, Tensor]:
        """The generator that scores."""
        return self._scoring.state_dict()

    @torch.no_grad()
    def sample(self, x: Tensor) -> dict[str, Tensor]:
        """The pictures of one row of a sample grid, N x C x H x W in [-1, 1] each."""
        intermediate, mask = self._scoring(x)
        healthy = losses.translated(x, intermediate, mask)
        difference = (x - healthy).abs() - 1
        return {"x": x, "B_int": intermediate, "M": 2 * mask - 1, "x'": healthy, "|x - x'|": difference}

    @property
    def _scoring(self) -> nn.Module:
        return self.averaged if self.config.ema_decay else self.generator

    def _learn_critic(self, loss: Tensor) -> None:
        self._critic_optimiser.zero_grad()
        self.fabric.backward(loss)
        self._critic_optimiser.step()

    def _learn_generator(self, loss: Tensor, update: int) -> None:
        """One step, counted from 1 by ``update``, which the average follows."""
        self._generator_optimiser.zero_grad()
        self.fabric.backward(loss)
        self._generator_optimiser.step()
        if self.config.ema_decay:
            follow(self.averaged, self.generator, self.config.ema_decay, update)
