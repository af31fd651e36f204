"""f-AnoGAN: a Wasserstein GAN of healthy images, then an encoder into its codes (Schlegl et al., MedIA 2019).

Sizes, rates and both stages follow the authors' code (wgangp_64x64.py, z_encoding_izif.py): residual blocks, batch
norm in the generator and the encoder, layer norm in the critic, and the izi_f encoder. Each image size has as many
blocks as bring it to 4 x 4 px; 64 px have the authors' four.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, mse_loss
from torch.optim import Adam, Optimizer, RMSprop

from healthygan.data.store import ImageStore
from healthygan.detectors.base import SEVERAL_DEVICES, DetectorConfig, NetworkDetector, Prediction, difference_map
from healthygan.nn import losses
from healthygan.nn.networks import frozen, halvings
from healthygan.training.batches import Batch
from healthygan.training.config import TrainingConfig
from healthygan.training.loop import Training
from healthygan.training.recipe import Recipe, descend

if TYPE_CHECKING:
    from lightning import Fabric

WIDEST = 8
"""Channels near the code, in multiples of ``width``."""
HE = math.sqrt(2)
"""Gain of convolutions that a ReLU precedes."""


class FAnoGANConfig(DetectorConfig):
    """Networks, losses and stages; the defaults are the authors'."""

    name: Literal["fanogan"] = "fanogan"
    unused: ClassVar[frozenset[str]] = SEVERAL_DEVICES
    width: int = Field(64, ge=1, description="channels at full size; doubled with each halving, up to eight times")
    latent: int = Field(128, ge=1, description="dimensions of z ~ N(0, 1)")
    learning_rate: float = Field(1e-4, gt=0, description="Adam, generator and critic")
    betas: tuple[float, float] = Field((0.0, 0.9), description="Adam's averaging of gradients and their squares")
    generator_every: int = Field(5, ge=1, description="critic steps for each generator step")
    gradient_penalty: float = Field(10.0, ge=0, description="lambda of the critic's penalty")
    encoder_iterations: int = Field(50_000, ge=1, description="last training.iterations, in which only E learns")
    encoder_learning_rate: float = Field(5e-5, gt=0, description="RMSprop")
    kappa: float = Field(1.0, ge=0, description="weight of the critic's features, in E's loss and in the score")

    def check(self, size: int) -> None:
        """Refuse what cannot be halved to 4 px."""
        halvings(size)

    def check_training(self, training: TrainingConfig) -> None:
        """Refuse a budget that leaves the GAN nothing."""
        super().check_training(training)
        if training.iterations <= self.encoder_iterations:
            raise ValueError(
                f"detector.encoder_iterations={self.encoder_iterations}: leaves the GAN none of "
                f"training.iterations={training.iterations}; lower it or raise that"
            )


class ResidualBlock(nn.Module):
    """Norm, ReLU, 3 x 3 convolution, twice, beside a 1 x 1 convolution; halves or doubles the image.

    Args:
        norm: makes the layer that normalises so many channels.
        up: double instead of halving.
    """

    def __init__(self, narrow: int, wide: int, norm: Callable[[int], nn.Module], *, up: bool) -> None:
        super().__init__()
        middle = wide if up else narrow
        self.up = up
        self.first, self.second = nn.Sequential(norm(narrow), nn.ReLU()), nn.Sequential(norm(middle), nn.ReLU())
        self.first_convolution = _convolution(narrow, middle, 3, HE, bias=False)
        self.second_convolution = _convolution(middle, wide, 3, HE)
        self.shortcut = _convolution(narrow, wide, 1)

    def forward(self, x: Tensor) -> Tensor:
        """N x narrow x H x W to N x wide at half or twice the size."""
        inner = self.first(x)
        if self.up:
            inner = self.second_convolution(self.second(self.first_convolution(interpolate(inner, scale_factor=2))))
            # A 1 x 1 convolution and the copying of pixels can change places.
            return cast(Tensor, interpolate(self.shortcut(x), scale_factor=2) + inner)
        inner = self.second_convolution(self.second(self.first_convolution(inner)))
        return cast(Tensor, self.shortcut(avg_pool2d(x, 2)) + avg_pool2d(inner, 2))


def _convolution(narrow: int, wide: int, side: int, gain: float = 1.0, *, bias: bool = True) -> nn.Conv2d:
    layer = nn.Conv2d(narrow, wide, side, padding=side // 2, bias=bias)
    nn.init.xavier_uniform_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _layer_norm(channels: int) -> nn.Module:
    """Over channels and pixels of each image, with a scale and a shift for each channel."""
    return nn.GroupNorm(1, channels)


def _widths(width: int, size: int) -> list[int]:
    return [width * min(2**place, WIDEST) for place in range(halvings(size) + 1)]


class Inwards(nn.Module):
    """The critic's and the encoder's shape: blocks down to 4 x 4 px, then one linear layer."""

    def __init__(
        self, config: FAnoGANConfig, channels: int, size: int, norm: Callable[[int], nn.Module], outputs: int
    ) -> None:
        super().__init__()
        inwards = _widths(config.width, size)
        blocks = (ResidualBlock(narrow, wide, norm, up=False) for narrow, wide in pairwise(inwards))
        self.features = nn.Sequential(_convolution(channels, inwards[0], 3), *blocks, nn.Flatten())
        self.output = _linear(16 * inwards[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        """N x outputs."""
        return cast(Tensor, self.output(self.features(x)))


class Generator(nn.Sequential):
    """G: N x latent to N x C x H x W in [-1, 1]."""

    def __init__(self, config: FAnoGANConfig, channels: int, size: int) -> None:
        outwards = _widths(config.width, size)[::-1]
        blocks = (ResidualBlock(wide, narrow, nn.BatchNorm2d, up=True) for wide, narrow in pairwise(outwards))
        super().__init__(
            _linear(config.latent, 16 * outwards[0]),
            nn.Unflatten(1, (outwards[0], 4, 4)),
            *blocks,
            nn.BatchNorm2d(config.width),
            nn.ReLU(),
            _convolution(config.width, channels, 3, HE),
            nn.Tanh(),
        )


class Networks(nn.Module):
    """Generator, critic and encoder: the score needs all three."""

    def __init__(self, config: FAnoGANConfig, channels: int, size: int) -> None:
        super().__init__()
        self.generator = Generator(config, channels, size)
        self.critic = Inwards(config, channels, size, _layer_norm, 1)
        self.encoder = Inwards(config, channels, size, nn.BatchNorm2d, config.latent)

    def reconstruct(self, x: Tensor) -> Tensor:
        """G(E(x)); E's codes lie in [-1, 1]."""
        return cast(Tensor, self.generator(self.encoder(x).tanh()))

    def residuals(self, x: Tensor, again: Tensor) -> tuple[Tensor, Tensor]:
        """(N,) each: mean squared difference of the images, and of the critic's features."""
        features = self.critic.features(x) - self.critic.features(again)
        return ((x - again) ** 2).flatten(1).mean(dim=1), (features**2).mean(dim=1)


class FAnoGAN(NetworkDetector):
    """Scores an image by what is left between it and G(E(x)), in pixels and in the critic's features.

    The difference map is |x - G(E(x))| / 2, channels averaged.
    """

    name: ClassVar[str] = "fanogan"
    Config: ClassVar[type[DetectorConfig]] = FAnoGANConfig
    config: FAnoGANConfig
    networks: Networks

    def _networks(self) -> Networks:
        return Networks(self.config, self.channels, self.size)

    def _recipe(self, healthy: ImageStore, mixed: ImageStore, training: Training) -> "FAnoGANRecipe":
        """Learns from the healthy set alone: the GAN, then the encoder."""
        gan_iterations = training.settings.iterations - self.config.encoder_iterations
        return FAnoGANRecipe(self.config, self.networks, gan_iterations, training.fabric)

    @torch.no_grad()
    def predict(self, x: Tensor) -> Prediction:
        """Score = mean (x - G(E(x)))^2 + kappa mean (f(x) - f(G(E(x))))^2."""
        again = self.networks.reconstruct(x)
        image, features = self.networks.residuals(x, again)
        difference = difference_map(x, again)
        return Prediction(image + self.config.kappa * features, difference, again)


class FAnoGANRecipe(Recipe):
    """One iteration: a critic step and every fifth time a generator step; later, an encoder step."""

    uses_mixed: ClassVar[bool] = False

    def __init__(self, config: FAnoGANConfig, networks: Networks, gan_iterations: int, fabric: "Fabric") -> None:
        self.config = config
        self.fabric = fabric
        self.gan_iterations = gan_iterations
        self.networks = networks.to(fabric.device)
        self.generator, self.critic, self.encoder = networks.generator, networks.critic, networks.encoder
        self.generator_optimiser, self.critic_optimiser = (
            Adam(network.parameters(), config.learning_rate, config.betas) for network in (self.generator, self.critic)
        )
        # 0.9 and 1e-10 are TensorFlow's defaults, which the authors' code runs with.
        self.encoder_optimiser = RMSprop(self.encoder.parameters(), config.encoder_learning_rate, alpha=0.9, eps=1e-10)

    def modules(self) -> dict[str, nn.Module]:
        """All three networks."""
        return {"generator": self.generator, "critic": self.critic, "encoder": self.encoder}

    def optimisers(self) -> dict[str, Optimizer]:
        """Two Adams and the encoder's RMSprop."""
        return {
            "generator": self.generator_optimiser,
            "critic": self.critic_optimiser,
            "encoder": self.encoder_optimiser,
        }

    def weights(self) -> dict[str, Tensor]:
        """All three networks."""
        return cast(dict[str, Tensor], self.networks.state_dict())

    def can_score(self, iteration: int) -> bool:
        """Only once there is an encoder."""
        return iteration > self.gan_iterations

    def step(self, iteration: int, batch: Batch) -> dict[str, Tensor]:
        """One iteration; gives the losses by name, detached."""
        if iteration > self.gan_iterations:
            return self._encoder_step(batch.healthy)
        self.networks.train()
        critic = self._critic_step(batch)
        return critic if iteration % self.config.generator_every else critic | self._generator_step(len(batch.healthy))

    def _fakes(self, count: int) -> Tensor:
        return cast(Tensor, self.generator(torch.randn(count, self.config.latent, device=self.fabric.device)))

    def _critic_step(self, batch: Batch) -> dict[str, Tensor]:
        with self.fabric.autocast():
            with torch.no_grad():
                fake = self._fakes(len(batch.healthy)).float()
            wasserstein = losses.critic_loss(self.critic(fake), self.critic(batch.healthy))
        # In full precision: a norm's gradient does not bear bfloat16.
        penalty = losses.gradient_penalty(self.critic, batch.healthy, fake, batch.mix)
        descend(self.critic_optimiser, wasserstein + self.config.gradient_penalty * penalty)
        return {"critic": wasserstein.detach(), "gradient_penalty": penalty.detach()}

    def _generator_step(self, count: int) -> dict[str, Tensor]:
        with frozen(self.critic), self.fabric.autocast():
            loss = -self.critic(self._fakes(count)).mean()
        descend(self.generator_optimiser, loss)
        return {"adversarial": loss.detach()}

    def _encoder_step(self, x: Tensor) -> dict[str, Tensor]:
        """izi_f: images and features of G(E(x)) must be those of x; G by its running averages."""
        self.networks.eval()
        self.encoder.train()
        for optimiser in (self.generator_optimiser, self.critic_optimiser):
            optimiser.zero_grad()
        with frozen(self.generator), frozen(self.critic), self.fabric.autocast():
            again = self.networks.reconstruct(x)
            image = mse_loss(again, x)
            features = mse_loss(self.critic.features(again), self.critic.features(x))
        descend(self.encoder_optimiser, image + self.config.kappa * features)
        return {"encoder_image": image.detach(), "encoder_features": features.detach()}

    @torch.no_grad()
    def sample(self, x: Tensor) -> dict[str, Tensor]:
        """Images, reconstructions, their differences, and images of random codes."""
        self.networks.eval()
        again = self.networks.reconstruct(x)
        z = torch.randn(len(x), self.config.latent, generator=torch.Generator().manual_seed(0)).to(x.device)
        return {"x": x, "G(E(x))": again, "|x - G(E(x))|": (x - again).abs() - 1, "G(z)": self.generator(z)}
