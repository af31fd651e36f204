"""HealthyGAN+: the paper's one-directional translation against a logistic critic, and evidence beside it.

What differs from the paper, and why (measured in benchmarks/README.md):

- The mask has a bias, which starts it near 0 (x' = x): it learns to be sparse by one number.
- The critic learns A against B alone for ``warm_up`` iterations; a generator that follows an ignorant one is lost.
- One logit an image (the mean over patches) under the logistic loss with a rare gradient penalty on its input [1]
  learns in hundreds of iterations where the Wasserstein critic of equation 3 needs tens of thousands.
- The decoder resizes and convolves: transposed convolutions draw a chequered pattern into x'.
- Two penalties on the change |x' - x| replace equations 5 to 7: strong on B, which must stay as it is, weak on A.
- The critic sees shifted images [2], so that small sets are not learnt by heart.
- Large images are translated at a smaller size and only the change is enlarged: x' keeps the detail of x, and the
  translation costs no more than that of a small image.
- The score adds what the contrast detector sees in pretrained features to the change in pixels: either finds diseases
  that the other overlooks. The translation does not learn from it: that draws noise to please it. Where the contrast
  detector finds that the pile tells nothing, the change counts for nothing: it was learned from the same pile.

[1] Mescheder et al., Which Training Methods for GANs do actually Converge?, ICML 2018 (R1).
[2] Zhao et al., Differentiable Augmentation for Data-Efficient GAN Training, NeurIPS 2020.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pad, softplus

from healthygan.common.batching import evenly_spaced
from healthygan.data.preprocessing import to_tensor
from healthygan.data.store import ImageStore
from healthygan.detectors.base import DetectorConfig
from healthygan.detectors.contrast import Contrast, ContrastConfig
from healthygan.detectors.translation import TranslationDetector, TranslationRecipe, TranslationScorer
from healthygan.nn import losses
from healthygan.nn.networks import Discriminator, Generator, Translation, check_depth, frozen
from healthygan.training.batches import Batch
from healthygan.training.config import TrainingConfig
from healthygan.training.loop import Training

if TYPE_CHECKING:
    from lightning import Fabric

TYPICAL = 256
"""Healthy training images that tell how far healthy scores lie apart."""
BATCH = 32
SMALLEST_SAY = 1e-6


class HealthyGANPlusConfig(DetectorConfig):
    """Networks and losses."""

    name: Literal["healthygan+"] = "healthygan+"
    resolution: int = Field(
        64,
        ge=8,
        multiple_of=4,
        description="side in pixels of what is translated; larger images are shrunk to it",
    )
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
    shift: float = Field(0.06, ge=0, lt=0.5, description="largest shift of what the critic sees, share of the side")
    mask_start: float = Field(-1.0, description="what is added to the mask before its tanh at first; -1: M = 0.12")
    ema_decay: float = Field(0.0, ge=0, lt=1, description="averaging of the generator used to score; 0 = off")
    evidence: float = Field(
        3.0, ge=0, description="weight of the evidence in pretrained features beside the change in pixels; 0 = without"
    )
    contrast: ContrastConfig = Field(ContrastConfig(), description="how that evidence is learned")

    def check(self, size: int) -> None:
        """Refuse more halvings than the image has, images too small for pretrained features, and uneven shrinking."""
        if size > self.resolution and size % self.resolution:
            raise ValueError(
                f"preprocessing.size={size} is no multiple of detector.resolution={self.resolution}; take "
                f"{size - size % self.resolution}, or another resolution"
            )
        check_depth("critic_blocks", self.critic_blocks, min(size, self.resolution))
        if self.evidence:
            try:
                self.contrast.check(size)
            except ValueError as error:
                raise ValueError(f"{error}; or do without them: detector.evidence=0") from None

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


class CoarseGenerator(Generator):
    """The paper's generator but for its way up and a bias on its outputs; it translates large images at a smaller size.

    Args:
        mask_start: first bias of the mask's output; that of the image's is 0.
        resolution: side in pixels of the largest images that are translated as they are.
    """

    def __init__(self, channels: int, width: int, blocks: int, mask_start: float, resolution: int) -> None:
        super().__init__(channels, width, blocks, ResizeConvolution)
        self.resolution = resolution
        self.bias = nn.Parameter(torch.zeros(1, channels + 1, 1, 1))
        with torch.no_grad():
            self.bias[:, channels] = mask_start

    def forward(self, x: Tensor) -> Translation:
        """Translate x, N x C x S x S in [-1, 1]; S is a multiple of 4, and above the resolution one of that too."""
        small = shrunk(x, self.resolution)
        intermediate, mask = self.outputs(self.body(small) + self.bias)
        if small.shape == x.shape:
            return Translation(intermediate, mask)
        change, mask = (interpolate(part, x.shape[-2:], mode="bilinear") for part in (intermediate - small, mask))
        return Translation((x + change).clamp(-1, 1), mask)


def shrunk(x: Tensor, resolution: int) -> Tensor:
    """x, N x C x S x S, with means over squares of its pixels for pixels where S is above ``resolution``."""
    return avg_pool2d(x, x.shape[-1] // resolution) if x.shape[-1] > resolution else x


class HealthyGANPlus(TranslationDetector):
    """The trained generator, and the contrast detector beside it.

    The map that points at disease is the evidence's; |x - x'| tells what the translation changed.

    Score = change + weight * evidence: the mean of the difference map |x - x'| / 2 and the contrast's log odds,
    each in standard deviations of healthy images from their mean; the change counts as far as the pile tells anything
    (``Contrast.contrast_weight``). Without evidence, that mean alone.
    """

    name: ClassVar[str] = "healthygan+"
    Config: ClassVar[type[DetectorConfig]] = HealthyGANPlusConfig
    config: HealthyGANPlusConfig
    contrast: Contrast | None
    healthy: Tensor
    """(2, 2): mean and deviation of healthy images' change, and of their evidence; only with evidence."""

    def __init__(self, config: HealthyGANPlusConfig, channels: int, size: int, seed: int = 0) -> None:
        super().__init__(config, channels, size, seed)
        self.contrast = Contrast(config.contrast, channels, size, seed) if config.evidence else None
        if config.evidence:
            self.prefix = "generator."
            self.register_buffer("healthy", torch.tensor([[0.0, 1.0], [0.0, 1.0]]))

    def fit(self, healthy: ImageStore, mixed: ImageStore, training: Training) -> None:
        """Train on B and A: first the contrast detector, in a folder of its own, then the translation."""
        if self.contrast:
            self.contrast.fit(healthy, mixed, training.part(training.folder.part(self.contrast.name)))
        super().fit(healthy, mixed, training)

    def scorer(self) -> nn.Module:
        """Score, difference map, x', M and, with evidence, its map of x."""
        change = TranslationScorer(self.networks)
        return JoinedScorer(change, self.contrast, self.healthy, self.config.evidence) if self.contrast else change

    def _networks(self) -> nn.Module:
        config = self.config
        return CoarseGenerator(
            self.channels, config.width, config.generator_blocks, config.mask_start, config.resolution
        )

    def _recipe(self, healthy: ImageStore, mixed: ImageStore, training: Training) -> "HealthyGANPlusRecipe":
        with self.first_weights.drawn():
            discriminator = Discriminator(self.channels, self.config.critic_width, self.config.critic_blocks)
        weights_of: Callable[[nn.Module], dict[str, Tensor]] = nn.Module.state_dict
        if self.contrast:
            chosen = to_tensor(healthy.read(evenly_spaced(len(healthy), TYPICAL))).to(self.contrast.device)
            weights_of = partial(_weights_with, self, self.contrast, chosen)
        return HealthyGANPlusRecipe(self.config, self.networks, discriminator, training.fabric, weights_of)


@torch.no_grad()
def _weights_with(
    detector: HealthyGANPlus, contrast: Contrast, healthy: Tensor, generator: nn.Module
) -> dict[str, Tensor]:
    """The state dict that a detector would have with this generator, whose change of healthy images tells the usual."""
    change = TranslationScorer(generator)
    changes = torch.cat([change(x)[0] for x in torch.split(healthy, BATCH)])
    deviation, mean = torch.std_mean(changes.double())
    usual = torch.stack([mean, deviation.clamp_min(1e-12) / contrast.contrast_weight.clamp_min(SMALLEST_SAY)]).float()
    of_generator = {detector.prefix + name: part for name, part in generator.state_dict().items()}
    return detector.state_dict() | of_generator | {"healthy": torch.stack([usual, contrast.typical])}


class JoinedScorer(nn.Module):
    """Adds the evidence to the change, each in standard deviations of healthy images.

    Args:
        change: gives score, difference map, x' and M.
        contrast: gives the evidence.
        healthy: (2, 2), means and deviations of healthy images' change and evidence.
        weight: of the evidence.
    """

    healthy: Tensor

    def __init__(self, change: nn.Module, contrast: Contrast, healthy: Tensor, weight: float) -> None:
        super().__init__()
        self.change = change
        self.contrast = contrast
        self.weight = weight
        self.register_buffer("healthy", healthy)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Score, difference map, x', M and evidence map of x, as in ``Prediction``."""
        change, difference, healthy, mask = self.change(x)
        odds, where = self.contrast.judge(x)
        (mean, deviation), (usual, spread) = self.healthy
        score = (change - mean) / deviation + self.weight * (odds - usual) / spread
        return score, difference, healthy, mask, where

    def evidence(self, x: Tensor) -> Tensor:
        """(N,): log odds of disease by pretrained features alone."""
        return self.contrast.evidence(x)


class HealthyGANPlusRecipe(TranslationRecipe[HealthyGANPlusConfig]):
    """One iteration: a critic step and, after the warm-up, a generator step on the same images."""

    critic_name: ClassVar[str] = "critic"

    def __init__(
        self,
        config: HealthyGANPlusConfig,
        generator: nn.Module,
        discriminator: Discriminator,
        fabric: "Fabric",
        weights_of: Callable[[nn.Module], dict[str, Tensor]],
    ) -> None:
        super().__init__(config, generator, discriminator, fabric)
        self._weights_of = weights_of

    def weights(self) -> dict[str, Tensor]:
        """Those of the detector with the generator that scores."""
        return self._weights_of(self._scoring)

    def can_score(self, iteration: int) -> bool:
        """Only once the generator has begun to learn."""
        return iteration > self.config.warm_up

    def step(self, iteration: int, batch: Batch) -> dict[str, Tensor]:
        """One iteration; gives the losses by name, detached."""
        mixed, healthy = (shrunk(x, self.config.resolution) for x in (batch.mixed, batch.healthy))
        if iteration <= self.config.warm_up:
            return self._critic_step(iteration, mixed, healthy)
        both = torch.cat([mixed, healthy])
        translation = self._generator(both)
        translated = losses.translated(both, *translation)
        critic = self._critic_step(iteration, translated[: len(mixed)].detach(), healthy)
        return critic | self._generator_step(iteration, both, translated, translation.mask)

    def _critic_step(self, iteration: int, fake: Tensor, real: Tensor) -> dict[str, Tensor]:
        """Tell the translated mixed images (``fake``) from the healthy ones (``real``)."""
        seen = self._augmented(torch.cat([fake, real]))
        logits = _pooled(self._critic(seen))
        loss = losses.logistic_critic_loss(logits[: len(fake)], logits[len(fake) :])
        parts = {"critic": loss.detach()}
        if self.config.gradient_penalty and iteration % self.config.penalty_every == 0:
            # The bare critic in full precision: a norm's gradient does not bear bfloat16.
            penalty = losses.squared_gradient(lambda x: _pooled(self.discriminator(x)), seen)
            # As often rarer, so much stronger: on average the same.
            loss = loss + self.config.gradient_penalty / 2 * self.config.penalty_every * penalty
            parts["gradient_penalty"] = penalty.detach()
        self._learn_critic(loss)
        return parts

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
