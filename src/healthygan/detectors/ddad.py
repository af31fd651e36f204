"""DDAD: two ensembles of autoencoders, one of which has seen the mixed set (Cai et al., MICCAI 2022, MedIA 2023).

Ensemble A learns from the healthy and the mixed set together, B from the healthy set alone. Where they disagree
(A_inter), or where B's members do (A_intra), something is that healthy images do not have. Networks and rates are
those of the authors' code (autoencoder.py, cfgs/RSNA_AE.yaml); their refinement network, which learns from synthetic
anomalies, is no part of this.
"""

from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import Adam, Optimizer

from healthygan.data.store import ImageStore
from healthygan.detectors.base import SEVERAL_DEVICES, DetectorConfig, NetworkDetector, Prediction
from healthygan.training.batches import Batch
from healthygan.training.config import TrainingConfig
from healthygan.training.loop import Training
from healthygan.training.recipe import Recipe, descend

if TYPE_CHECKING:
    from lightning import Fabric

HALVINGS = 4


class DDADConfig(DetectorConfig):
    """Ensembles and score; the defaults are the authors' for chest X-rays."""

    name: Literal["ddad"] = "ddad"
    unused: ClassVar[frozenset[str]] = SEVERAL_DEVICES
    members: int = Field(3, ge=2, description="K, autoencoders of each ensemble")
    width: int = Field(16, ge=1, description="channels of the first convolution")
    hidden: int = Field(2048, ge=1, description="units of the linear layers around the code")
    latent: int = Field(16, ge=1, description="dimensions of the code")
    learning_rate: float = Field(5e-4, gt=0, description="Adam, all members")
    betas: tuple[float, float] = Field((0.5, 0.999), description="Adam's averaging of gradients and their squares")
    score: Literal["inter", "intra"] = Field(
        "inter", description="inter: |mean of A - mean of B|; intra: standard deviation of B"
    )

    def check(self, size: int) -> None:
        """Refuse what cannot be halved four times."""
        if size % 2**HALVINGS:
            raise ValueError(
                f"preprocessing.size={size}: detector ddad needs a multiple of {2**HALVINGS}; "
                f"take {max(1, size >> HALVINGS) << HALVINGS}"
            )

    def check_training(self, training: TrainingConfig) -> None:
        """Refuse batches of one image, which batch norm on vectors cannot normalise."""
        super().check_training(training)
        if training.batch_size < 2:
            raise ValueError("training.batch_size=1: detector ddad needs 2 images or more to normalise; raise it")


class Autoencoder(nn.Sequential):
    """N x C x H x W in and out; the output is not bounded."""

    def __init__(self, config: DDADConfig, channels: int, size: int) -> None:
        inwards = [config.width, 2 * config.width, 4 * config.width, 4 * config.width]
        side = size >> HALVINGS
        layers: list[nn.Module] = []
        for narrow, wide in pairwise([channels, *inwards]):
            layers += [nn.Conv2d(narrow, wide, 4, 2, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
        vector = inwards[-1] * side**2
        layers += [nn.Flatten(), *_dense(vector, config.hidden), nn.Linear(config.hidden, config.latent)]
        layers += [*_dense(config.latent, config.hidden), nn.Linear(config.hidden, vector)]
        layers += [nn.Unflatten(1, (inwards[-1], side, side))]
        for wide, narrow in pairwise(reversed(inwards)):
            layers += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU()]
        super().__init__(*layers, nn.ConvTranspose2d(inwards[0], channels, 4, 2, 1, bias=False))


def _dense(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]


class Ensembles(nn.Module):
    """K autoencoders each of A and B."""

    def __init__(self, config: DDADConfig, channels: int, size: int) -> None:
        super().__init__()
        self.a, self.b = (
            nn.ModuleList(Autoencoder(config, channels, size) for _ in range(config.members)) for _ in range(2)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What A's and B's members make of x: K x N x C x H x W each."""
        return torch.stack([member(x) for member in self.a]), torch.stack([member(x) for member in self.b])


def inter_discrepancy(a: Tensor, b: Tensor) -> Tensor:
    """A_inter = |mean of A's members - mean of B's|, of K x N x C x H x W; N x C x H x W."""
    return (a.mean(dim=0) - b.mean(dim=0)).abs()


def intra_discrepancy(b: Tensor) -> Tensor:
    """A_intra = standard deviation of B's members (K - 1 in the denominator); N x C x H x W."""
    return b.std(dim=0)


class DDAD(NetworkDetector):
    """Score = mean over pixels of the discrepancy.

    The difference map is half the discrepancy, channels averaged, cut to [0, 1]; x' is B's mean, cut to [-1, 1].
    """

    name: ClassVar[str] = "ddad"
    Config: ClassVar[type[DetectorConfig]] = DDADConfig

    config: DDADConfig
    networks: Ensembles

    def _networks(self) -> Ensembles:
        return Ensembles(self.config, self.channels, self.size)

    def _recipe(self, healthy: ImageStore, mixed: ImageStore, training: Training) -> "DDADRecipe":
        """A learns from both sets together, B from the healthy set; both see their images equally often."""
        return DDADRecipe(self.config, self.networks, len(healthy), len(mixed), training.fabric)

    @torch.no_grad()
    def predict(self, x: Tensor) -> Prediction:
        """Score x by ``config.score``."""
        a, b = self.networks(x)
        discrepancy = inter_discrepancy(a, b) if self.config.score == "inter" else intra_discrepancy(b)
        difference = discrepancy.mean(dim=1, keepdim=True)
        return Prediction(difference.mean(dim=(1, 2, 3)), (difference / 2).clamp(0, 1), b.mean(dim=0).clamp(-1, 1))


class DDADRecipe(Recipe):
    """One iteration: a step of every member of A and, as often as its smaller set asks, of every member of B.

    Each member has its own batches, as the authors train each alone.
    """

    def __init__(self, config: DDADConfig, ensembles: Ensembles, healthy: int, mixed: int, fabric: "Fabric") -> None:
        self.draws = 2 * config.members
        self.fabric = fabric
        self.healthy, self.total = healthy, healthy + mixed
        self.ensembles = ensembles.to(fabric.device)
        self.optimiser_a, self.optimiser_b = (
            Adam(ensemble.parameters(), config.learning_rate, config.betas) for ensemble in (ensembles.a, ensembles.b)
        )

    def modules(self) -> dict[str, nn.Module]:
        """Both ensembles."""
        return {"ensemble_a": self.ensembles.a, "ensemble_b": self.ensembles.b}

    def optimisers(self) -> dict[str, Optimizer]:
        """One Adam each, which is the same as one for each member."""
        return {"ensemble_a": self.optimiser_a, "ensemble_b": self.optimiser_b}

    def weights(self) -> dict[str, Tensor]:
        """Both ensembles."""
        return cast(dict[str, Tensor], self.ensembles.state_dict())

    def step(self, iteration: int, batch: Batch) -> dict[str, Tensor]:
        """One iteration; gives the losses by name, detached."""
        self.ensembles.train()
        parts = batch.parts(self.draws)
        members = len(self.ensembles.a)
        errors = {"ensemble_a": self._descend(self.optimiser_a, self.ensembles.a, [*map(self.both, parts[:members])])}
        if iteration * self.healthy // self.total > (iteration - 1) * self.healthy // self.total:
            healthy = [part.healthy for part in parts[members:]]
            errors["ensemble_b"] = self._descend(self.optimiser_b, self.ensembles.b, healthy)
        return errors

    def both(self, batch: Batch) -> Tensor:
        """N images of the two sets as if they were one: each is of the mixed set by that set's share."""
        return torch.where(batch.mix < 1 - self.healthy / self.total, batch.mixed, batch.healthy)

    def _descend(self, optimiser: Optimizer, ensemble: nn.ModuleList, images: list[Tensor]) -> Tensor:
        """One step of each member on its own images; their mean loss, the squared error averaged over pixels."""
        with self.fabric.autocast():
            errors = torch.stack([mse_loss(member(x), x) for member, x in zip(ensemble, images, strict=True)])
        descend(optimiser, errors.sum())
        return errors.detach().mean()

    @torch.no_grad()
    def sample(self, x: Tensor) -> dict[str, Tensor]:
        """Images, both ensembles' means, and their discrepancy."""
        self.ensembles.eval()
        a, b = self.ensembles(x)
        means = {"x": x, "mean of A": a.mean(dim=0).clamp(-1, 1), "mean of B": b.mean(dim=0).clamp(-1, 1)}
        return means | {"A_inter": inter_discrepancy(a, b).clamp(0, 2) - 1}
