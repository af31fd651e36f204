"""HealthyGAN: one generator that translates any image to a healthy one (Rahman Siddiquee et al., 2022)."""

import copy
from typing import ClassVar, Literal, Self

import torch
from lightning import Fabric
from pydantic import Field
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from healthygan import losses
from healthygan.data.store import ImageStore
from healthygan.detectors.base import Detector, DetectorConfig, Prediction
from healthygan.networks import Discriminator, Generator, Translation, follow, frozen
from healthygan.training import Batch, Recipe, Training


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
        if 2**self.discriminator_blocks > size:
            raise ValueError(
                f"detector.discriminator_blocks={self.discriminator_blocks} halves an image of "
                f"preprocessing.size={size} to nothing; take fewer blocks"
            )


class HealthyGAN(Detector):
    """The trained generator and how it scores.

    Args:
        config: sizes and weights.
        channels: image channels C.
        size: side of the images in pixels.
        seed: of the networks' first weights.
    """

    name: ClassVar[str] = "healthygan"
    Config: ClassVar[type[DetectorConfig]] = HealthyGANConfig

    def __init__(self, config: HealthyGANConfig, channels: int, size: int, seed: int = 0) -> None:
        config.check(size)
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.generator = Generator(channels, config.width, config.generator_blocks)
            self._discriminator = Discriminator(channels, config.width, config.discriminator_blocks)

    def fit(self, healthy: ImageStore, mixed: ImageStore, training: Training) -> None:
        """Train on B and A; the generator that remains is the averaged one where ``ema_decay`` is above 0."""
        recipe = HealthyGANRecipe(self.config, self.generator, self._discriminator, training.fabric)
        training.run(recipe, healthy, mixed)
        self.generator.load_state_dict(recipe.weights())

    @torch.no_grad()
    def predict(self, x: Tensor) -> Prediction:
        """Score = mean over pixels of the difference map |x - x'| / 2 (channels averaged)."""
        return Prediction(*TranslationScorer(self.generator)(x))

    def scorer(self) -> nn.Module:
        """Score, difference map, x' and M of x."""
        return TranslationScorer(self.generator)

    def weights(self) -> dict[str, Tensor]:
        """The generator's weights."""
        return self.generator.state_dict()

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Take a generator's weights."""
        self.generator.load_state_dict(weights)

    def to(self, device: torch.device) -> Self:
        """Move the generator to ``device``."""
        self.generator.to(device)
        return self


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
        difference = (x - healthy).abs().mean(dim=1, keepdim=True) / 2
        return difference.mean(dim=(1, 2, 3)), difference, healthy, mask


class HealthyGANRecipe(Recipe):
    """One iteration of training: a critic step, and every second time a generator step."""

    def __init__(
        self, config: HealthyGANConfig, generator: Generator, discriminator: Discriminator, fabric: Fabric
    ) -> None:
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
        networks: dict[str, nn.Module] = {"generator": self.generator, "discriminator": self.discriminator}
        return networks | ({"averaged": self.averaged} if self.config.ema_decay else {})

    def optimisers(self) -> dict[str, Optimizer]:
        """Both Adams."""
        return {"generator": self.generator_optimiser, "discriminator": self.critic_optimiser}

    def weights(self) -> dict[str, Tensor]:
        """The generator that scores."""
        return (self.averaged if self.config.ema_decay else self.generator).state_dict()

    def step(self, iteration: int, batch: Batch) -> dict[str, Tensor]:
        """One iteration; gives the losses by name, detached."""
        if iteration % self.config.generator_every:
            with torch.no_grad():
                translation = self._generator(batch.mixed)
            return self._critic_step(batch, translation)
        mixed, healthy = self._translate_both(batch)
        found = self._critic_step(batch, mixed)
        return found | self._generator_step(iteration, batch, mixed, healthy)

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
        self._critic_optimiser.zero_grad()
        self.fabric.backward(total)
        self._critic_optimiser.step()
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
        self._generator_optimiser.zero_grad()
        self.fabric.backward(total)
        self._generator_optimiser.step()
        if config.ema_decay:
            follow(self.averaged, self.generator, config.ema_decay, iteration // config.generator_every)
        return {name: part.detach() for name, part in parts.items()} | {"mask": mixed.mask.detach().mean()}

    @torch.no_grad()
    def sample(self, x: Tensor) -> dict[str, Tensor]:
        """The pictures of one row of a sample grid, N x C x H x W in [-1, 1] each."""
        intermediate, mask = (self.averaged if self.config.ema_decay else self.generator)(x)
        healthy = losses.translated(x, intermediate, mask)
        difference = (x - healthy).abs() - 1
        return {"x": x, "B_int": intermediate, "M": 2 * mask - 1, "x'": healthy, "|x - x'|": difference}


def _joined(first: Translation, second: Translation) -> Translation:
    return Translation(torch.cat([first.intermediate, second.intermediate]), torch.cat([first.mask, second.mask]))
