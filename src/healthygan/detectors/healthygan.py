"""HealthyGAN: one generator that translates any image to a healthy one (Rahman Siddiquee et al., 2022)."""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from healthygan.data.store import ImageStore
from healthygan.detectors.base import DetectorConfig
from healthygan.detectors.translation import TranslationDetector, TranslationRecipe
from healthygan.nn import losses
from healthygan.nn.networks import Discriminator, Generator, Translation, check_depth, frozen
from healthygan.training.batches import Batch
from healthygan.training.loop import Training


class HealthyGANConfig(DetectorConfig):
    """Networks and losses; the defaults are the paper's (tables 2 and 3, section 3)."""

    name: Literal["healthygan"] = "healthygan"
    width: int = Field(64, ge=1, description="channels of the first convolution of either network")
    generator_blocks: int = Field(6, ge=0, description="residual blocks")
    discriminator_blocks: int = Field(6, ge=1, description="strided convolutions, each of which halves the image")
    learning_rate: float = Field(1e-4, gt=0, description="Adam, both networks")
    betas: tuple[float, float] = Field((0.5, 0.999), description="Adam's averaging of gradients and their squares")
    generator_every: int = Field(2, ge=1, description="critic steps for each generator step")
    gradient_penalty: float = Field(10.0, ge=0, description="lambda_gp, equation 3")
    identity: float = Field(1.0, ge=0, description="lambda_id, equation 9")
    reconstruction: float = Field(1.0, ge=0, description="lambda_rec, equation 9")
    focus: float = Field(0.1, ge=0, description="lambda_f, equation 9")
    focus_size: float = Field(1.0, ge=0, description="lambda_fs, equation 7")
    focus_zero_one: float = Field(1.0, ge=0, description="lambda_fz, equation 7")
    ema_decay: float = Field(0.0, ge=0, lt=1, description="averaging of the generator used to score; 0 = off")

    def check(self, size: int) -> None:
        """Refuse more halvings than the image has."""
        check_depth("discriminator_blocks", self.discriminator_blocks, size)


class HealthyGAN(TranslationDetector):
    """The trained generator and how it scores.

    Args:
        config: sizes and weights.
        channels: image channels C.
        size: side of the images in pixels.
        seed: of the networks' first weights.
    """

    name: ClassVar[str] = "healthygan"
    Config: ClassVar[type[DetectorConfig]] = HealthyGANConfig

    config: HealthyGANConfig

    def _networks(self) -> nn.Module:
        return Generator(self.channels, self.config.width, self.config.generator_blocks)

    def _recipe(self, healthy: ImageStore, mixed: ImageStore, training: Training) -> "HealthyGANRecipe":
        with self.first_weights.drawn():
            discriminator = Discriminator(self.channels, self.config.width, self.config.discriminator_blocks)
        return HealthyGANRecipe(self.config, self.networks, discriminator, training.fabric)


class HealthyGANRecipe(TranslationRecipe[HealthyGANConfig]):
    """One iteration of training: a critic step, and every second time a generator step."""

    def step(self, iteration: int, batch: Batch) -> dict[str, Tensor]:
        """One iteration; gives the losses by name, detached."""
        if iteration % self.config.generator_every:
            with torch.no_grad():
                translation = self._generator(batch.mixed)
            return self._critic_step(batch, translation)
        mixed, healthy = self._translate_both(batch)
        critic = self._critic_step(batch, mixed)
        return critic | self._generator_step(iteration, batch, mixed, healthy)

    def _translate_both(self, batch: Batch) -> tuple[Translation, Translation]:
        """A's and B's translations in one pass: instance norm keeps the images of a batch apart."""
        intermediate, mask = self._generator(torch.cat([batch.mixed, batch.healthy]))
        count = len(batch.mixed)
        return Translation(intermediate[:count], mask[:count]), Translation(intermediate[count:], mask[count:])

    def _critic_step(self, batch: Batch, translation: Translation) -> dict[str, Tensor]:
        """Equation 3; the fakes come from A alone."""
        fake = losses.translated(batch.mixed, *translation).detach()
        scores = self._critic(torch.cat([fake, batch.healthy]))
        wasserstein = losses.critic_loss(scores[: len(fake)], scores[len(fake) :])
        # The bare critic in full precision: a norm's gradient does not bear bfloat16.
        penalty = losses.gradient_penalty(self.discriminator, batch.healthy, fake, batch.mix)
        total = wasserstein + self.config.gradient_penalty * penalty
        self._learn_critic(total)
        return {"critic": wasserstein.detach(), "gradient_penalty": penalty.detach()}

    def _generator_step(
        self, iteration: int, batch: Batch, mixed: Translation, healthy: Translation
    ) -> dict[str, Tensor]:
        """Equation 9."""
        fakes = losses.translated(torch.cat([batch.mixed, batch.healthy]), *_joined(mixed, healthy))
        with frozen(self.discriminator), self.fabric.autocast():
            scores = self.discriminator(fakes)
        count = len(batch.mixed)
        config = self.config
        parts = {
            "adversarial": losses.adversarial_loss(scores[:count], scores[count:]),
            "identity": losses.identity_loss(batch.healthy, healthy.intermediate),
            "reconstruction": losses.reconstruction_loss(batch.mixed, losses.reconstructed(batch.mixed, *mixed)),
            "focus": losses.focus_loss(torch.cat([mixed.mask, healthy.mask]), config.focus_size, config.focus_zero_one),
        }
        total = (
            parts["adversarial"]
            + config.identity * parts["identity"]
            + config.reconstruction * parts["reconstruction"]
            + config.focus * parts["focus"]
        )
        self._learn_generator(total, iteration // config.generator_every)
        return {name: part.detach() for name, part in parts.items()} | {"mask": mixed.mask.detach().mean()}


def _joined(first: Translation, second: Translation) -> Translation:
    return Translation(torch.cat([first.intermediate, second.intermediate]), torch.cat([first.mask, second.mask]))
