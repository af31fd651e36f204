"""GANomaly: encoder, decoder, encoder; the distance of the two codes is the score (Akcay et al., ACCV 2018).

Sizes, rates, weights and the score follow the authors' PyTorch code, which scores by the squared distance (the paper
writes the absolute one). That code scales scores by the test set's own range and keeps the weights with the best
test AUC; both would read the test set, and neither is done here.
"""

from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, instance_norm, l1_loss, mse_loss
from torch.optim import Adam, Optimizer

from healthygan.data.store import ImageStore
from healthygan.detectors.base import SEVERAL_DEVICES, DetectorConfig, NetworkDetector, Prediction, difference_map
from healthygan.nn.networks import frozen, halvings, initialise
from healthygan.training.batches import Batch
from healthygan.training.loop import Training
from healthygan.training.recipe import Recipe, descend

if TYPE_CHECKING:
    from lightning import Fabric

SLOPE = 0.2
DEVIATION = 0.02
"""Of the first weights."""
COLLAPSED = 1e-5
"""Discriminator loss below which the authors start that network anew."""


class GANomalyConfig(DetectorConfig):
    """Networks and losses; the defaults are the authors'."""

    name: Literal["ganomaly"] = "ganomaly"
    unused: ClassVar[frozenset[str]] = SEVERAL_DEVICES
    width: int = Field(64, ge=1, description="channels of the first convolution; each further one doubles them")
    latent: int = Field(100, ge=1, description="dimensions of the codes z and z^")
    learning_rate: float = Field(2e-4, gt=0, description="Adam, both networks")
    betas: tuple[float, float] = Field((0.5, 0.999), description="Adam's averaging of gradients and their squares")
    adversarial: float = Field(1.0, ge=0, description="weight of the discriminator's features")
    contextual: float = Field(50.0, ge=0, description="weight of the reconstruction")
    encoder: float = Field(1.0, ge=0, description="weight of the codes' distance")
    statistics: Literal["image", "running"] = Field(
        "image",
        description="what batch norm scores with. image: each image's own, as the authors mean it (they never call "
        "eval() and score one image at a time); running: training's averages, with which others found lower AUC",
    )

    def check(self, size: int) -> None:
        """Refuse what cannot be halved to 4 px."""
        halvings(size)


class OwnStatistics(nn.BatchNorm2d):
    """Batch norm which, in eval mode, normalises each image by its own statistics if ``own`` is set.

    That is what training mode does to a batch of one image, but for any batch.
    """

    own = False

    def forward(self, input: Tensor) -> Tensor:
        if self.training or not self.own:
            return super().forward(input)
        return instance_norm(input, weight=self.weight, bias=self.bias, eps=self.eps)


def _encoder(channels: int, size: int, width: int, outputs: int) -> nn.Sequential:
    """N x C x H x W to N x outputs x 1 x 1."""
    count = halvings(size)
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1, bias=False), nn.LeakyReLU(SLOPE)]
    for narrow, wide in pairwise(width << place for place in range(count)):
        layers += [nn.Conv2d(narrow, wide, 4, 2, 1, bias=False), OwnStatistics(wide), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers, nn.Conv2d(width << (count - 1), outputs, 4, bias=False))


def _decoder(channels: int, size: int, width: int, latent: int) -> nn.Sequential:
    """N x latent x 1 x 1 to N x C x H x W in [-1, 1]."""
    outwards = [width << place for place in reversed(range(halvings(size)))]
    layers: list[nn.Module] = [nn.ConvTranspose2d(latent, outwards[0], 4, bias=False)]
    layers += [OwnStatistics(outwards[0]), nn.ReLU()]
    for wide, narrow in pairwise(outwards):
        layers += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False), OwnStatistics(narrow), nn.ReLU()]
    return nn.Sequential(*layers, nn.ConvTranspose2d(width, channels, 4, 2, 1, bias=False), nn.Tanh())


class Generator(nn.Module):
    """Encoder, decoder, second encoder."""

    def __init__(self, config: GANomalyConfig, channels: int, size: int) -> None:
        super().__init__()
        self.encoder = _encoder(channels, size, config.width, config.latent)
        self.decoder = _decoder(channels, size, config.width, config.latent)
        self.second = _encoder(channels, size, config.width, config.latent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x^, N x C x H x W in [-1, 1], and the codes z and z^, N x latent."""
        code = self.encoder(x)
        again = self.decoder(code)
        return again, code.flatten(1), self.second(again).flatten(1)


class Discriminator(nn.Module):
    """An encoder to one logit, whose last features the generator must match."""

    def __init__(self, config: GANomalyConfig, channels: int, size: int) -> None:
        super().__init__()
        *features, logit = _encoder(channels, size, config.width, 1)
        self.features, self.logit = nn.Sequential(*features), logit

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N,) logits and features, N x F x 4 x 4."""
        features = self.features(x)
        return self.logit(features).flatten(), features


def _draw(network: nn.Module) -> None:
    """First weights: convolutions N(0, 0.02^2), batch norm's scale N(1, 0.02^2)."""
    initialise(network, DEVIATION)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, DEVIATION)
            nn.init.zeros_(layer.bias)


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Half of - E[log s(real)] - E[log(1 - s(fake))] of logits, s the sigmoid."""
    ones, zeros = torch.ones_like(real), torch.zeros_like(fake)
    return (binary_cross_entropy_with_logits(real, ones) + binary_cross_entropy_with_logits(fake, zeros)) / 2


def adversarial_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Mean squared difference of the discriminator's features (equation 1)."""
    return mse_loss(fake, real)


def contextual_loss(x: Tensor, again: Tensor) -> Tensor:
    """Mean absolute difference of x and x^ (equation 2)."""
    return l1_loss(again, x)


def code_distance(code: Tensor, again: Tensor) -> Tensor:
    """(N,): mean squared difference of z and z^; its mean is the encoder loss (equation 3), itself the score."""
    return ((code - again) ** 2).mean(dim=1)


class GANomaly(NetworkDetector):
    """Scores an image by the distance of its code and its reconstruction's.

    The difference map is |x - x^| / 2, channels averaged.
    """

    name: ClassVar[str] = "ganomaly"
    Config: ClassVar[type[DetectorConfig]] = GANomalyConfig

    config: GANomalyConfig

    def _networks(self) -> nn.Module:
        generator = Generator(self.config, self.channels, self.size)
        Discriminator(self.config, self.channels, self.size)  # torch's own first weights of both come first
        _draw(generator)
        for layer in generator.modules():
            if isinstance(layer, OwnStatistics):
                layer.own = self.config.statistics == "image"
        return generator

    def _recipe(self, healthy: ImageStore, mixed: ImageStore, training: Training) -> "GANomalyRecipe":
        """Learns from the healthy set alone."""
        with torch.random.fork_rng(devices=[]):
            discriminator = Discriminator(self.config, self.channels, self.size)
        with self.first_weights.drawn():
            _draw(discriminator)
        return GANomalyRecipe(self.config, self.networks, discriminator, training.fabric)

    @torch.no_grad()
    def predict(self, x: Tensor) -> Prediction:
        """Score = mean of (z - z^)^2."""
        again, code, code_again = self.networks(x)
        difference = difference_map(x, again)
        return Prediction(code_distance(code, code_again), difference, again)


class GANomalyRecipe(Recipe):
    """One iteration: a step of the generator and one of the discriminator, on the same images."""

    uses_mixed: ClassVar[bool] = False

    def __init__(
        self, config: GANomalyConfig, generator: nn.Module, discriminator: Discriminator, fabric: "Fabric"
    ) -> None:
        self.config = config
        self.fabric = fabric
        self.generator, self.discriminator = generator.to(fabric.device), discriminator.to(fabric.device)
        self.generator_optimiser = Adam(generator.parameters(), config.learning_rate, config.betas)
        self.discriminator_optimiser = Adam(discriminator.parameters(), config.learning_rate, config.betas)

    def modules(self) -> dict[str, nn.Module]:
        """Both networks."""
        return {"generator": self.generator, "discriminator": self.discriminator}

    def optimisers(self) -> dict[str, Optimizer]:
        """Both Adams."""
        return {"generator": self.generator_optimiser, "discriminator": self.discriminator_optimiser}

    def weights(self) -> dict[str, Tensor]:
        """The generator."""
        return cast(dict[str, Tensor], self.generator.state_dict())

    def step(self, iteration: int, batch: Batch) -> dict[str, Tensor]:
        """One iteration; gives the losses by name, detached."""
        self.generator.train()
        self.discriminator.train()
        parts, again = self._generator_step(batch.healthy)
        with self.fabric.autocast():
            loss = discriminator_loss(self.discriminator(batch.healthy)[0], self.discriminator(again)[0])
        descend(self.discriminator_optimiser, loss)
        if loss < COLLAPSED:
            _draw(self.discriminator)
        return parts | {"discriminator": loss.detach()}

    def _generator_step(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        with frozen(self.discriminator), self.fabric.autocast():
            again, code, code_again = self.generator(x)
            parts = {
                "adversarial": adversarial_loss(self.discriminator(x)[1], self.discriminator(again)[1]),
                "contextual": contextual_loss(x, again),
                "encoder": code_distance(code, code_again).mean(),
            }
        config = self.config
        total = (
            config.adversarial * parts["adversarial"]
            + config.contextual * parts["contextual"]
            + config.encoder * parts["encoder"]
        )
        descend(self.generator_optimiser, total)
        return {name: part.detach() for name, part in parts.items()}, again.detach()

    @torch.no_grad()
    def sample(self, x: Tensor) -> dict[str, Tensor]:
        """Images, reconstructions, differences."""
        self.generator.eval()
        again = self.generator(x)[0]
        return {"x": x, "x^": again, "|x - x^|": (x - again).abs() - 1}
