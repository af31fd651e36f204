"""HealthyGAN+: the paper's one-directional translation, started at the identity and told apart by logistic critics.

What differs from the paper, and why (measured in benchmarks/README.md):

- The mask starts near 0, so x' = x at first: the critic sees A against B at once, not a generator learning to draw.
- The critic learns alone for ``warm_up`` iterations; a generator step that follows an ignorant critic is wasted.
- One logit an image (the mean over patches) under the logistic loss with a rare gradient penalty on its input [1]
  learns in hundreds of iterations where the Wasserstein critic of equation 3 needs tens of thousands.
- The decoder resizes and convolves: transposed convolutions draw a chequered pattern into x'.
- Two penalties on the change |x' - x| replace equations 5 to 7: strong on B, which must stay as it is, weak on A.
- The critic sees shifted images [2], so that small sets are not learnt by heart.

[1] Mescheder et al., Which Training Methods for GANs do actually Converge?, ICML 2018 (R1).
[2] Zhao et al., Differentiable Augmentation for Data-Efficient GAN Training, NeurIPS 2020.
"""

from typing import ClassVar, Literal

import torch
from lightning import Fabric
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pad, softplus

from healthygan import losses
from healthygan.detectors.base import DetectorConfig
from healthygan.detectors.translation import TranslationDetector, TranslationRecipe
from healthygan.networks import Discriminator, Generator, Translation, check_depth, frozen
from healthygan.training import Batch, TrainingConfig


class HealthyGANPlusConfig(DetectorConfig):
    """Networks and losses."""

    name: Literal["healthygan+"] = "healthygan+"
    width: int = Field(8, ge=1, description="channels of the generator's first convolution")
    generator_blocks: int = Field(3, ge=0, description="residual blocks")
    critic_width: int = Field(16, ge=1, description="channels of the critic's first convolution")
    critic_blocks: int = Field(5, ge=1, description="strided convolutions, each of which halves the image")
    learning_rate: float = Field(1e-3, gt=0, description="Adam, both networks")
    betas: tuple[float, float] = Field((0.5, 0.99), description="Adam's averaging of gradients and their squares")
    warm_up: int = Field(300, ge=0, description="first iterations, in which the critic learns alone")
    change_healthy: float = Field(5.0, ge=0, description="weight of the change of healthy images")
    change_mixed: float = Field(1.0, ge=0, description="weight of the change of mixed images")
    gradient_penalty: float = Field(0.1, ge=0, description="weight of the critic's squared gradient (R1)")
    penalty_every: int = Field(8, ge=1, description="iterations between two gradient penalties")
    mask_start: float = Field(-1.0, description="what is added to the mask before its tanh at first; -1: M = 0.12")
    shift: float = Field(0.06, ge=0, lt=0.5, description="largest shift of what the critic sees, share of the side")
    ema_decay: float = Field(0.995, ge=0, lt=1, description="averaging of the generator used to score; 0 = off")

    def check(self, size: int) -> None:
        """Refuse more halvings than the image has."""
        check_depth("critic_blocks", self.critic_blocks, size)

    def check_training(self, training: TrainingConfig) -> None:
        """Refuse a training that ends before the generator begins to learn."""
        super().check_training(training)
        if training.iterations <= self.warm_up:
            raise ValueError(
                f"training.iterations={training.iterations}: the first detector.warm_up={self.warm_up} only teach "
                "the critic; take more"
            )


class ResizeConvolution(nn.Sequential):
    """Bilinear to twice the height and width, then a 3 x 3 convolution."""

    def __init__(self, wide: int, narrow: int) -> None:
        super().__init__(
            nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(wide, narrow, 3, padding=1, bias=False)
        )


class IdentityGenerator(Generator):
    """The paper's generator but for its way up, with a bias on its outputs that holds the mask near 0 at first.

    Args:
        mask_start: first bias of the mask's output; that of the image's is 0.
    """

    def __init__(self, channels: int, width: int, blocks: int, mask_start: float) -> None:
        super().__init__(channels, width, blocks, ResizeConvolution)
        self.bias = nn.Parameter(torch.zeros(1, channels + 1, 1, 1))
        with torch.no_grad():
            self.bias[:, channels] = mask_start

    def forward(self, x: Tensor) -> Translation:
        """Translate x, N x C x H x W in [-1, 1]; H and W are multiples of 4."""
        return self.outputs(self.body(x) + self.bias)


class HealthyGANPlus(TranslationDetector):
    """The trained generator; scores by the mean of the difference map |x - x'| / 2."""

    name: ClassVar[str] = "healthygan+"
    Config: ClassVar[type[DetectorConfig]] = HealthyGANPlusConfig

    def __init__(self, config: HealthyGANPlusConfig, channels: int, size: int, seed: int = 0) -> None:
        config.check(size)
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.networks = IdentityGenerator(channels, config.width, config.generator_blocks, config.mask_start)
            self._discriminator = Discriminator(channels, config.critic_width, config.critic_blocks)

    def _recipe(self, fabric: Fabric) -> "HealthyGANPlusRecipe":
        return HealthyGANPlusRecipe(self.config, self.networks, self._discriminator, fabric)


class HealthyGANPlusRecipe(TranslationRecipe[HealthyGANPlusConfig]):
    """One iteration: a critic step and, after the warm-up, a generator step on the same images."""

    critic_name: ClassVar[str] = "critic"

    def can_score(self, iteration: int) -> bool:
        """Only once the generator has begun to learn."""
        return iteration > self.config.warm_up

    def step(self, iteration: int, batch: Batch) -> dict[str, Tensor]:
        """One iteration; gives the losses by name, detached."""
        if iteration <= self.config.warm_up:
            return self._critic_step(iteration, batch.mixed, batch.healthy)
        both = torch.cat([batch.mixed, batch.healthy])
        translation = self._generator(both)
        translated = losses.translated(both, *translation)
        found = self._critic_step(iteration, translated[: len(batch.mixed)].detach(), batch.healthy)
        return found | self._generator_step(iteration, both, translated, translation.mask)

    def _critic_step(self, iteration: int, fake: Tensor, real: Tensor) -> dict[str, Tensor]:
        """Tell the translated mixed images (``fake``) from the healthy ones (``real``)."""
        seen = self._augmented(torch.cat([fake, real]))
        logits = _pooled(self._critic(seen))
        loss = losses.logistic_critic_loss(logits[: len(fake)], logits[len(fake) :])
        found = {"critic": loss.detach()}
        if self.config.gradient_penalty and iteration % self.config.penalty_every == 0:
            # The bare critic in full precision: a norm's gradient does not bear bfloat16.
            penalty = losses.squared_gradient(lambda x: _pooled(self.discriminator(x)), seen)
            # As often rarer, so much stronger: on average the same.
            loss = loss + self.config.gradient_penalty / 2 * self.config.penalty_every * penalty
            found["gradient_penalty"] = penalty.detach()
        self._learn_critic(loss)
        return found

    def _generator_step(self, iteration: int, x: Tensor, translated: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Make the mixed half of x pass for healthy with little change, and the healthy half with next to none."""
        count = len(x) // 2
        with frozen(self.discriminator), self.fabric.autocast():
            logits = _pooled(self.discriminator(self._augmented(translated[:count])))
        change = (translated - x).abs()
        parts = {
            "adversarial": softplus(-logits.float()).mean(),
            "change_mixed": change[:count].mean(),
            "change_healthy": change[count:].mean(),
        }
        total = (
            parts["adversarial"]
            + self.config.change_mixed * parts["change_mixed"]
            + self.config.change_healthy * parts["change_healthy"]
        )
        self._learn_generator(total, iteration - self.config.warm_up)
        return {name: part.detach() for name, part in parts.items()} | {"mask": mask[:count].detach().mean()}

    def _augmented(self, x: Tensor) -> Tensor:
        """x as the critic sees it: all images shifted alike, their edges repeated."""
        reach = round(self.config.shift * x.shape[-1])
        down, across = torch.randint(2 * reach + 1, (2,)).tolist()
        padded = pad(x, (reach, reach, reach, reach), mode="replicate")
        return padded[..., down : down + x.shape[-2], across : across + x.shape[-1]]


def _pooled(scores: Tensor) -> Tensor:
    """(N,): one logit an image, the mean over its patches."""
    return scores.flatten(1).mean(dim=1)
