"""Brainomaly: a map added to any image makes it healthy (Rahman Siddiquee et al., WACV 2024).

HealthyGAN's networks and critic without mask, reconstruction and focus: one map of one channel is added to all
channels. As published x' = tanh(x + map), so that a map of zeros is not the identity (1 becomes 0.76); the variant
x' = clamp(x + map) mends that.
"""

from typing import TYPE_CHECKING, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from healthygan.data.store import ImageStore
from healthygan.detectors.base import SEVERAL_DEVICES, DetectorConfig, NetworkDetector, Prediction, difference_map
from healthygan.nn import losses
from healthygan.nn.networks import Discriminator, check_depth, frozen, translation_layers
from healthygan.training.batches import Batch
from healthygan.training.loop import Training
from healthygan.training.recipe import Recipe, descend

if TYPE_CHECKING:
    from lightning import Fabric


class BrainomalyConfig(DetectorConfig):
    """Networks and losses; the defaults are the authors'."""

    name: Literal["brainomaly"] = "brainomaly"
    unused: ClassVar[frozenset[str]] = SEVERAL_DEVICES
    width: int = Field(64, ge=1, description="channels of the first convolution of either network")
    generator_blocks: int = Field(6, ge=0, description="residual blocks")
    discriminator_blocks: int = Field(6, ge=1, description="strided convolutions, each of which halves the image")
    learning_rate: float = Field(1e-4, gt=0, description="Adam, both networks")
    betas: tuple[float, float] = Field((0.5, 0.999), description="Adam's averaging of gradients and their squares")
    generator_every: int = Field(2, ge=1, description="critic steps for each generator step")
    gradient_penalty: float = Field(10.0, ge=0, description="lambda_gp")
    identity: float = Field(1.0, ge=0, description="lambda_id")
    output: Literal["tanh", "clamp"] = Field(
        "tanh", description="x' of x + map: tanh as published, or clamp, for which a map of zeros is the identity"
    )

    def check(self, size: int) -> None:
        """Refuse more halvings than the image has."""
        check_depth("discriminator_blocks", self.discriminator_blocks, size)


class Generator(nn.Module):
    """Table 2's network with one output, the map, and what it makes of an image."""

    def __init__(self, config: BrainomalyConfig, channels: int) -> None:
        super().__init__()
        self.output = config.output
        self.map = nn.Sequential(*translation_layers(channels, 1, config.width, config.generator_blocks))

    def forward(self, x: Tensor) -> Tensor:
        """x', N x C x H x W in [-1, 1]."""
        return added(x, self.map(x), self.output)


def added(x: Tensor, difference: Tensor, output: str) -> Tensor:
    """x' = tanh(x + map), or clamp(x + map) to [-1, 1]; the map is N x 1 x H x W."""
    total = x + difference
    return total.tanh() if output == "tanh" else total.clamp(-1, 1)


class Brainomaly(NetworkDetector):
    """Score = mean over pixels of the difference map |x - x'| / 2 (channels averaged)."""

    name: ClassVar[str] = "brainomaly"
    Config: ClassVar[type[DetectorConfig]] = BrainomalyConfig

    config: BrainomalyConfig

    def _networks(self) -> nn.Module:
        return Generator(self.config, self.channels)

    def _recipe(self, healthy: ImageStore, mixed: ImageStore, training: Training) -> "BrainomalyRecipe":
        """Learns from B and A."""
        with self.first_weights.drawn():
            discriminator = Discriminator(self.channels, self.config.width, self.config.discriminator_blocks)
        return BrainomalyRecipe(self.config, self.networks, discriminator, training.fabric)

    @torch.no_grad()
    def predict(self, x: Tensor) -> Prediction:
        """Score x and show what was changed."""
        healthy = self.networks(x)
        difference = difference_map(x, healthy)
        return Prediction(difference.mean(dim=(1, 2, 3)), difference, healthy)


class BrainomalyRecipe(Recipe):
    """One iteration: a critic step, and every second time a generator step."""

    def __init__(
        self, config: BrainomalyConfig, generator: nn.Module, discriminator: Discriminator, fabric: "Fabric"
    ) -> None:
        self.config = config
        self.fabric = fabric
        self.generator, self.discriminator = generator.to(fabric.device), discriminator.to(fabric.device)
        self.generator_optimiser = Adam(generator.parameters(), config.learning_rate, config.betas)
        self.critic_optimiser = Adam(discriminator.parameters(), config.learning_rate, config.betas)

    def modules(self) -> dict[str, nn.Module]:
        """Both networks."""
        return {"generator": self.generator, "discriminator": self.discriminator}

    def optimisers(self) -> dict[str, Optimizer]:
        """Both Adams."""
        return {"generator": self.generator_optimiser, "discriminator": self.critic_optimiser}

    def weights(self) -> dict[str, Tensor]:
        """The generator."""
        return cast(dict[str, Tensor], self.generator.state_dict())

    def step(self, iteration: int, batch: Batch) -> dict[str, Tensor]:
        """One iteration; gives the losses by name, detached."""
        critic = self._critic_step(batch)
        return critic if iteration % self.config.generator_every else critic | self._generator_step(batch)

    def _critic_step(self, batch: Batch) -> dict[str, Tensor]:
        with self.fabric.autocast():
            with torch.no_grad():
                fake = self.generator(batch.mixed).float()
            wasserstein = losses.critic_loss(self.discriminator(fake), self.discriminator(batch.healthy))
        # In full precision: a norm's gradient does not bear bfloat16.
        penalty = losses.gradient_penalty(self.discriminator, batch.healthy, fake, batch.mix)
        descend(self.critic_optimiser, wasserstein + self.config.gradient_penalty * penalty)
        return {"critic": wasserstein.detach(), "gradient_penalty": penalty.detach()}

    def _generator_step(self, batch: Batch) -> dict[str, Tensor]:
        """- E_A[D(x')] + lambda_id E_B[|x - x'|]."""
        with frozen(self.discriminator), self.fabric.autocast():
            adversarial = -self.discriminator(self.generator(batch.mixed)).mean()
            identity = losses.identity_loss(batch.healthy, self.generator(batch.healthy))
        descend(self.generator_optimiser, adversarial + self.config.identity * identity)
        return {"adversarial": adversarial.detach(), "identity": identity.detach()}

    @torch.no_grad()
    def sample(self, x: Tensor) -> dict[str, Tensor]:
        """Images, translations, differences."""
        healthy = self.generator(x)
        return {"x": x, "x'": healthy, "|x - x'|": (x - healthy).abs() - 1}
