"""ALAD: a bidirectional GAN whose three discriminators also hold it to its cycles (Zenati et al., ICDM 2018).

Sizes, rates and the score are those of the authors' code for 32 px images, alad/cifar10_utilities.py. Larger images
get more halvings in front, each with half the channels of the next, so that 4 x 4 x ``width`` remains the last.
Two differences: the authors score with the last weights, ten epochs after the best; here those with the lowest
figure are taken. And young averages of weights follow faster (``networks.follow``), which only short trainings feel.
"""

import copy
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, softplus
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim import Adam, Optimizer

from healthygan.data.store import ImageStore
from healthygan.detectors.base import (
    SEVERAL_DEVICES,
    DetectorConfig,
    EarlyStoppingConfig,
    NetworkDetector,
    Prediction,
    difference_map,
)
from healthygan.nn.networks import follow, frozen, halvings, initialise, widths
from healthygan.training.batches import Batch
from healthygan.training.loop import Training
from healthygan.training.recipe import EarlyStoppingRecipe, descend

if TYPE_CHECKING:
    from lightning import Fabric

SLOPE = 0.2
DEVIATION = 0.01
"""Of the first weights."""
LATENT_WIDTHS = (64, 32)
"""Channels of D_zz."""


class ALADConfig(EarlyStoppingConfig):
    """Networks, rates and score; the defaults are the authors' for CIFAR-10."""

    name: Literal["alad"] = "alad"
    unused: ClassVar[frozenset[str]] = SEVERAL_DEVICES
    width: int = Field(512, ge=8, description="channels at 4 x 4 px")
    pair_width: int = Field(64, ge=1, description="channels of D_xx's first convolution; its second has twice as many")
    latent: int = Field(100, ge=1, description="dimensions of z ~ N(0, 1)")
    dropout: float = Field(0.2, ge=0, lt=1, description="in the discriminators")
    learning_rate: float = Field(2e-4, gt=0, description="Adam, all networks")
    betas: tuple[float, float] = Field((0.5, 0.999), description="Adam's averaging of gradients and their squares")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="averaging of the weights that score; 0 = off")
    score: Literal["fm", "ch", "l1", "l2"] = Field(
        "fm", description="fm: features of D_xx, ch: its cross-entropy, l1 and l2: of the reconstruction"
    )
    patience: int = Field(10, ge=0, description="checkpoints without a lower figure before training ends; 0 = never")

    def check(self, size: int) -> None:
        """Refuse what cannot be halved to 4 px."""
        halvings(size)


class Encoder(nn.Sequential):
    """E: N x C x H x W to N x latent; spectral norm but for the last convolution."""

    def __init__(self, config: ALADConfig, channels: int, size: int) -> None:
        layers: list[nn.Module] = []
        for narrow, wide in pairwise([channels, *widths(config.width, halvings(size))]):
            layers += [nn.Conv2d(narrow, wide, 4, 2, 1), nn.BatchNorm2d(wide), nn.LeakyReLU(SLOPE)]
        super().__init__(*layers, nn.Conv2d(config.width, config.latent, 4), nn.Flatten())
        initialise(self, DEVIATION)
        for layer in layers[::3]:
            spectral_norm(layer)


class Generator(nn.Sequential):
    """G: N x latent to N x C x H x W in [-1, 1]; the encoder's mirror, without spectral norm."""

    def __init__(self, config: ALADConfig, channels: int, size: int) -> None:
        inwards = widths(config.width, halvings(size))
        layers: list[nn.Module] = [nn.Unflatten(1, (config.latent, 1, 1))]
        layers += [nn.ConvTranspose2d(config.latent, config.width, 4), nn.BatchNorm2d(config.width), nn.ReLU()]
        for wide, narrow in pairwise(reversed(inwards)):
            layers += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1), nn.BatchNorm2d(narrow), nn.ReLU()]
        super().__init__(*layers, nn.ConvTranspose2d(inwards[0], channels, 4, 2, 1), nn.Tanh())
        initialise(self, DEVIATION)


class JointDiscriminator(nn.Module):
    """D_xz: tells pairs (x, E(x)) from (G(z), z); gives N logits."""

    def __init__(self, config: ALADConfig, channels: int, size: int) -> None:
        super().__init__()
        width, joint = config.width, 2 * config.width
        image: list[nn.Module] = []
        for place, (narrow, wide) in enumerate(pairwise([channels, *widths(width, halvings(size))])):
            image += [spectral_norm(_drawn(nn.Conv2d(narrow, wide, 4, 2, 1)))]
            image += [nn.BatchNorm2d(wide), nn.LeakyReLU(SLOPE)] if place else [nn.LeakyReLU(SLOPE)]
        self.image = nn.Sequential(*image, nn.Flatten())
        self.latent = nn.Sequential(
            *_dense(config.latent, width, config.dropout), *_dense(width, width, config.dropout)
        )
        self.joint = nn.Sequential(*_dense(17 * width, joint, config.dropout), _drawn(nn.Linear(joint, 1)))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """(N,) logits of images x and codes z, N x latent."""
        return cast(Tensor, self.joint(torch.cat([self.image(x), self.latent(z)], dim=1)).flatten())


class PairDiscriminator(nn.Module):
    """D_xx: tells pairs (x, x) from (x, G(E(x))), one image below the other as the authors' code has them."""

    def __init__(self, config: ALADConfig, channels: int, size: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        deepest = 2 * config.pair_width
        for narrow, wide in pairwise([channels, config.pair_width, deepest]):
            layers += [spectral_norm(_drawn(nn.Conv2d(narrow, wide, 5, 2, 2)))]
            layers += [nn.LeakyReLU(SLOPE), nn.Dropout(config.dropout)]
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.logit = _drawn(nn.Linear(deepest * (size // 2) * (size // 4), 1))

    def forward(self, x: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """(N,) logits, and the features (N x F) before them."""
        features = self.features(torch.cat([x, other], dim=2))
        return self.logit(features).flatten(), features


class LatentDiscriminator(nn.Sequential):
    """D_zz: tells pairs (z, z) from (z, E(G(z))); N x 2 latent to N x 1 logits."""

    def __init__(self, config: ALADConfig) -> None:
        layers: list[nn.Module] = []
        for narrow, wide in pairwise([2 * config.latent, *LATENT_WIDTHS]):
            layers += _dense(narrow, wide, config.dropout)
        super().__init__(*layers, _drawn(nn.Linear(LATENT_WIDTHS[-1], 1)))


def _drawn(layer: nn.Module) -> nn.Module:
    initialise(layer, DEVIATION)
    return layer


def _dense(narrow: int, wide: int, dropout: float) -> list[nn.Module]:
    return [spectral_norm(_drawn(nn.Linear(narrow, wide))), nn.LeakyReLU(SLOPE), nn.Dropout(dropout)]


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """- E[log s(real)] - E[log(1 - s(fake))] of logits, s the sigmoid."""
    return _cross_entropy(real, 1.0) + _cross_entropy(fake, 0.0)


def deceiving_loss(real: Tensor, fake: Tensor) -> Tensor:
    """The same with both labels changed over, which E and G learn from."""
    return discriminator_loss(fake, real)


def _cross_entropy(logits: Tensor, label: float) -> Tensor:
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def feature_score(own: Tensor, other: Tensor) -> Tensor:
    """fm: sum of |f(x, x) - f(x, G(E(x)))| over D_xx's features, N x F; (N,)."""
    return (own - other).abs().sum(dim=1)


class ALAD(NetworkDetector):
    """Scores an image by what D_xx makes of it and its reconstruction.

    The difference map is |x - G(E(x))| / 2, channels averaged, whatever the score.
    """

    name: ClassVar[str] = "alad"
    Config: ClassVar[type[DetectorConfig]] = ALADConfig
    config: ALADConfig
    networks: nn.ModuleDict

    def _networks(self) -> nn.ModuleDict:
        made = {"encoder": Encoder, "generator": Generator, "pairs": PairDiscriminator}
        return nn.ModuleDict({name: kind(self.config, self.channels, self.size) for name, kind in made.items()})

    def _recipe(self, healthy: ImageStore, mixed: ImageStore, training: Training) -> "ALADRecipe":
        """Learns from the healthy set alone."""
        with self.first_weights.drawn():
            joint = JointDiscriminator(self.config, self.channels, self.size)
            latents = LatentDiscriminator(self.config)
        return ALADRecipe(self.config, self.networks, joint, latents, training.fabric)

    @torch.no_grad()
    def predict(self, x: Tensor) -> Prediction:
        """Score x by ``config.score``."""
        again = reconstruct(self.networks, x)
        difference = difference_map(x, again)
        return Prediction(SCORES[self.config.score](self.networks, x, again), difference, again)


def reconstruct(networks: nn.ModuleDict, x: Tensor) -> Tensor:
    """G(E(x)); of networks in eval mode by running averages."""
    return cast(Tensor, networks["generator"](networks["encoder"](x)))


def _fm(networks: nn.ModuleDict, x: Tensor, again: Tensor) -> Tensor:
    return feature_score(networks["pairs"](x, x)[1], networks["pairs"](x, again)[1])


def _ch(networks: nn.ModuleDict, x: Tensor, again: Tensor) -> Tensor:
    return softplus(-cast(Tensor, networks["pairs"](x, again)[0]))


def _l1(networks: nn.ModuleDict, x: Tensor, again: Tensor) -> Tensor:
    return torch.as_tensor(torch.linalg.vector_norm((x - again).flatten(1), 1, dim=1))


def _l2(networks: nn.ModuleDict, x: Tensor, again: Tensor) -> Tensor:
    return torch.as_tensor(torch.linalg.vector_norm((x - again).flatten(1), 2, dim=1))


SCORES: dict[str, Callable[[nn.ModuleDict, Tensor, Tensor], Tensor]] = {"fm": _fm, "ch": _ch, "l1": _l1, "l2": _l2}
"""The four scores of the authors' code, (N,) each; ch is - log s(D_xx(x, G(E(x))))."""


class ALADRecipe(EarlyStoppingRecipe):
    """One iteration: a step of the three discriminators and, on other images, one of E and G."""

    uses_mixed: ClassVar[bool] = False
    draws = 2

    def __init__(
        self,
        config: ALADConfig,
        networks: nn.ModuleDict,
        joint: JointDiscriminator,
        latents: LatentDiscriminator,
        fabric: "Fabric",
    ) -> None:
        self.config = config
        self.fabric = fabric
        self.averaged = copy.deepcopy(networks).requires_grad_(False).eval().to(fabric.device)
        self.networks = networks.to(fabric.device)
        self.pairs = cast(PairDiscriminator, networks["pairs"])
        self.joint, self.latents = joint.to(fabric.device), latents.to(fabric.device)
        self.translators = nn.ModuleDict({"encoder": networks["encoder"], "generator": networks["generator"]})
        self.discriminators = nn.ModuleList([self.joint, self.pairs, self.latents])
        self.translator_optimiser = Adam(self.translators.parameters(), config.learning_rate, config.betas)
        self.discriminator_optimiser = Adam(self.discriminators.parameters(), config.learning_rate, config.betas)

    def modules(self) -> dict[str, nn.Module]:
        """E and G, the three discriminators, and the averages that score."""
        return {"generator": self.translators, "discriminator": self.discriminators, "averaged": self.averaged}

    def optimisers(self) -> dict[str, Optimizer]:
        """One Adam for E and G, whose gradients are apart whatever the sum they come from; one for the rest."""
        return {"generator": self.translator_optimiser, "discriminator": self.discriminator_optimiser}

    def weights(self) -> dict[str, Tensor]:
        """The averages of E, G and D_xx."""
        return cast(dict[str, Tensor], self.averaged.state_dict())

    def step(self, iteration: int, batch: Batch) -> dict[str, Tensor]:
        """One iteration; gives the losses by name, detached."""
        self.networks.train()
        self.discriminators.train()
        first, second = batch.parts(self.draws)
        parts = self._discriminator_step(first.healthy) | self._translator_step(second.healthy)
        follow(self.averaged, self.networks, self.config.ema_decay, iteration)
        return parts

    def logits(self, x: Tensor, z: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Of real and fake pairs, by discriminator: (x, E(x)) and (G(z), z); (x, x) and (x, G(E(x))); (z, z) and
        (z, E(G(z)))."""
        encoder, generator = self.translators["encoder"], self.translators["generator"]
        code, image = encoder(x), generator(z)
        again, code_again = generator(code), encoder(image)
        return {
            "xz": (self.joint(x, code), self.joint(image, z)),
            "xx": (self.pairs(x, x)[0], self.pairs(x, again)[0]),
            "zz": (self.latents(torch.cat([z, z], 1)), self.latents(torch.cat([z, code_again], 1))),
        }

    def _noise(self, x: Tensor) -> Tensor:
        return torch.randn(len(x), self.config.latent, device=x.device)

    def _discriminator_step(self, x: Tensor) -> dict[str, Tensor]:
        with frozen(self.translators), self.fabric.autocast():
            logits = self.logits(x, self._noise(x))
        parts = {f"discriminator_{name}": discriminator_loss(*pair) for name, pair in logits.items()}
        descend(self.discriminator_optimiser, torch.stack(list(parts.values())).sum())
        return {name: part.detach() for name, part in parts.items()}

    def _translator_step(self, x: Tensor) -> dict[str, Tensor]:
        """Each of E and G gets the gradient of its own loss: its term of D_xz plus both cycles."""
        with frozen(self.discriminators), self.fabric.autocast():
            logits = self.logits(x, self._noise(x))
        parts = {f"deceiving_{name}": deceiving_loss(*pair) for name, pair in logits.items()}
        descend(self.translator_optimiser, torch.stack(list(parts.values())).sum())
        return {name: part.detach() for name, part in parts.items()}

    @torch.no_grad()
    def early_stopping_metric(self, x: Tensor) -> Tensor:
        """The fm score, whatever ``config.score``."""
        return _fm(self.averaged, x, reconstruct(self.averaged, x))

    def finished(self, metrics: Mapping[int, float]) -> bool:
        """Whether the lowest figure is ``patience`` checkpoints old."""
        if not self.config.patience or not metrics:
            return False
        values = list(metrics.values())
        return len(values) - 1 - values.index(min(values)) >= self.config.patience

    @torch.no_grad()
    def sample(self, x: Tensor) -> dict[str, Tensor]:
        """Images, reconstructions, their differences, and images of random codes."""
        again = reconstruct(self.averaged, x)
        drawn = torch.randn(len(x), self.config.latent, generator=torch.Generator().manual_seed(0)).to(x.device)
        return {"x": x, "G(E(x))": again, "|x - G(E(x))|": (x - again).abs() - 1, "G(z)": self._drawn_images(drawn)}

    def _drawn_images(self, z: Tensor) -> Tensor:
        return cast(Tensor, self.averaged["generator"](z))
