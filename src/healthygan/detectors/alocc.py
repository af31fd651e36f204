"""ALOCC: a refiner R and a discriminator D of refined images (Sabokrou et al., CVPR 2018).

The losses and the score are the paper's; the authors' code differs from it (a sigmoid cross-entropy on a tanh output,
and D(x) as score). Sizes, rates, noise and two steps of R for each of D are the code's. The paper stops once R
reproduces normal images well enough, since an overtrained R reproduces anything: here the reconstruction of held-out
healthy images stops and chooses.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import Optimizer, RMSprop

from healthygan.data.store import ImageStore
from healthygan.detectors.base import (
    SEVERAL_DEVICES,
    DetectorConfig,
    EarlyStoppingConfig,
    NetworkDetector,
    Prediction,
    difference_map,
)
from healthygan.nn.networks import frozen, initialise
from healthygan.training.batches import Batch
from healthygan.training.loop import Training
from healthygan.training.recipe import EarlyStoppingRecipe, descend

if TYPE_CHECKING:
    from lightning import Fabric

SLOPE = 0.2
DEVIATION = 0.02
"""Of the first weights."""
HALVINGS = 4
"""Of the discriminator; the refiner has three."""


class ALOCCConfig(EarlyStoppingConfig):
    """Networks, losses and stopping."""

    name: Literal["alocc"] = "alocc"
    unused: ClassVar[frozenset[str]] = SEVERAL_DEVICES
    width: int = Field(16, ge=1, description="channels of D's first convolution; R's first has twice as many")
    noise: float = Field(
        0.31, ge=0, description="standard deviation added to R's input; 0.155 of the range, which is 2 wide here"
    )
    reconstruction: float = Field(0.4, ge=0, description="lambda, weight of |x - R(x + noise)|^2")
    refiner_steps: int = Field(2, ge=1, description="steps of R for each of D; the paper has 1")
    learning_rate: float = Field(2e-3, gt=0, description="RMSprop, both networks")
    rho: float = Field(
        0.0, ge=0, description="training ends once the held-out reconstruction error is below; 0 = never"
    )

    def check(self, size: int) -> None:
        """Refuse what cannot be halved four times."""
        if size % 2**HALVINGS:
            raise ValueError(
                f"preprocessing.size={size}: detector alocc needs a multiple of {2**HALVINGS}; "
                f"take {max(1, size >> HALVINGS) << HALVINGS}"
            )


class Refiner(nn.Sequential):
    """R: three strided convolutions and their mirror; N x C x H x W in [-1, 1] in and out."""

    def __init__(self, channels: int, width: int) -> None:
        layers: list[nn.Module] = []
        for narrow, wide in pairwise([channels, 2 * width, 4 * width, 8 * width]):
            layers += [nn.Conv2d(narrow, wide, 5, 2, 2), nn.BatchNorm2d(wide), nn.LeakyReLU(SLOPE)]
        for wide, narrow in pairwise([8 * width, 2 * width, width]):
            layers += [nn.ConvTranspose2d(wide, narrow, 5, 2, 2, 1), nn.BatchNorm2d(narrow), nn.ReLU()]
        super().__init__(*layers, nn.ConvTranspose2d(width, channels, 5, 2, 2, 1), nn.Tanh())
        initialise(self, DEVIATION)


class Discriminator(nn.Sequential):
    """D: N x C x H x W to N x 1 logits; higher = more normal."""

    def __init__(self, channels: int, size: int, width: int) -> None:
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 5, 2, 2), nn.LeakyReLU(SLOPE)]
        for narrow, wide in pairwise(width << place for place in range(HALVINGS)):
            layers += [nn.Conv2d(narrow, wide, 5, 2, 2), nn.BatchNorm2d(wide), nn.LeakyReLU(SLOPE)]
        features = (width << (HALVINGS - 1)) * (size >> HALVINGS) ** 2
        super().__init__(*layers, nn.Flatten(), nn.Linear(features, 1))
        initialise(self, DEVIATION)


def discriminator_loss(real: Tensor, refined: Tensor) -> Tensor:
    """- E[log D(x)] - E[log(1 - D(R(x + noise)))] of logits (the paper's equation 2, which D maximises)."""
    return binary_cross_entropy_with_logits(real, torch.ones_like(real)) + binary_cross_entropy_with_logits(
        refined, torch.zeros_like(refined)
    )


def adversarial_loss(refined: Tensor) -> Tensor:
    """- E[log D(R(x + noise))] of logits: R's part, in the form that does not saturate."""
    return binary_cross_entropy_with_logits(refined, torch.ones_like(refined))


def reconstruction_error(x: Tensor, refined: Tensor) -> Tensor:
    """(N,): (x - R(.))^2, averaged over each image's pixels."""
    return ((x - refined) ** 2).flatten(1).mean(dim=1)


class ALOCC(NetworkDetector):
    """Scores an image by what D makes of its refinement.

    The difference map is |x - R(x)| / 2, channels averaged.
    """

    name: ClassVar[str] = "alocc"
    Config: ClassVar[type[DetectorConfig]] = ALOCCConfig
    config: ALOCCConfig
    networks: nn.ModuleDict

    def _networks(self) -> nn.ModuleDict:
        width = self.config.width
        refiner, discriminator = Refiner(self.channels, width), Discriminator(self.channels, self.size, width)
        return nn.ModuleDict({"refiner": refiner, "discriminator": discriminator})

    def _recipe(self, healthy: ImageStore, mixed: ImageStore, training: Training) -> "ALOCCRecipe":
        """Learns from the healthy set alone."""
        return ALOCCRecipe(self.config, self.networks, training.fabric)

    @torch.no_grad()
    def predict(self, x: Tensor) -> Prediction:
        """Score = minus the logit of D(R(x)): the order of - D(R(x)), which in 32 bits would tie at 0 and 1."""
        refined = self.networks["refiner"](x)
        difference = difference_map(x, refined)
        return Prediction(-self.networks["discriminator"](refined).flatten(), difference, refined)


class ALOCCRecipe(EarlyStoppingRecipe):
    """One iteration: a step of D, then ``refiner_steps`` of R on the same noisy images."""

    uses_mixed: ClassVar[bool] = False

    def __init__(self, config: ALOCCConfig, networks: nn.ModuleDict, fabric: "Fabric") -> None:
        self.config = config
        self.fabric = fabric
        self.networks = networks.to(fabric.device)
        self.refiner, self.discriminator = networks["refiner"], networks["discriminator"]
        # 0.9 and 1e-10 are TensorFlow's defaults, which the authors' code runs with.
        self.refiner_optimiser, self.discriminator_optimiser = (
            RMSprop(network.parameters(), config.learning_rate, alpha=0.9, eps=1e-10)
            for network in (self.refiner, self.discriminator)
        )

    def modules(self) -> dict[str, nn.Module]:
        """R and D."""
        return {"refiner": self.refiner, "discriminator": self.discriminator}

    def optimisers(self) -> dict[str, Optimizer]:
        """Both RMSprops."""
        return {"refiner": self.refiner_optimiser, "discriminator": self.discriminator_optimiser}

    def weights(self) -> dict[str, Tensor]:
        """R and D."""
        return cast(dict[str, Tensor], self.networks.state_dict())

    def step(self, iteration: int, batch: Batch) -> dict[str, Tensor]:
        """One iteration; gives the losses by name, detached."""
        self.networks.train()
        x = batch.healthy
        noisy = (x + self.config.noise * torch.randn_like(x)).clamp(-1, 1)
        parts = self._discriminator_step(x, noisy)
        for _ in range(self.config.refiner_steps):
            parts |= self._refiner_step(x, noisy)
        return parts

    def _discriminator_step(self, x: Tensor, noisy: Tensor) -> dict[str, Tensor]:
        with self.fabric.autocast():
            with torch.no_grad():
                refined = self.refiner(noisy)
            loss = discriminator_loss(self.discriminator(x), self.discriminator(refined))
        descend(self.discriminator_optimiser, loss)
        return {"discriminator": loss.detach()}

    def _refiner_step(self, x: Tensor, noisy: Tensor) -> dict[str, Tensor]:
        with frozen(self.discriminator), self.fabric.autocast():
            refined = self.refiner(noisy)
            adversarial = adversarial_loss(self.discriminator(refined))
            reconstruction = reconstruction_error(x, refined).mean()
        descend(self.refiner_optimiser, adversarial + self.config.reconstruction * reconstruction)
        return {"adversarial": adversarial.detach(), "reconstruction": reconstruction.detach()}

    @torch.no_grad()
    def early_stopping_metric(self, x: Tensor) -> Tensor:
        """The reconstruction error without noise."""
        self.networks.eval()
        return reconstruction_error(x, self.refiner(x))

    def finished(self, metrics: Mapping[int, float]) -> bool:
        """Whether the figure fell below rho."""
        return any(value < self.config.rho for value in metrics.values())

    @torch.no_grad()
    def sample(self, x: Tensor) -> dict[str, Tensor]:
        """Images, refinements, differences."""
        self.networks.eval()
        refined = self.refiner(x)
        return {"x": x, "R(x)": refined, "|x - R(x)|": (x - refined).abs() - 1}
