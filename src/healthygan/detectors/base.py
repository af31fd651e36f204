"""What every detector offers, whatever its method."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from healthygan.common.errors import InputError
from healthygan.common.tensors import load_tensors
from healthygan.data.store import ImageStore
from healthygan.training.config import TrainingConfig
from healthygan.training.loop import Training

SEVERAL_DEVICES = frozenset({"devices", "nodes"})
"""Fields of ``TrainingConfig`` that a kind trained on one device has no use for."""


@dataclass(frozen=True)
class Prediction:
    """What a detector says of a batch of N images x, N x C x H x W in [-1, 1]."""

    score: Tensor
    """(N,), float32; higher is more anomalous."""
    difference: Tensor | None = None
    """Difference map, N x 1 x H x W in [0, 1]."""
    translated: Tensor | None = None
    """x', N x C x H x W in [-1, 1]."""
    mask: Tensor | None = None
    """M, N x 1 x H x W in [0, 1]; 1 = replaced by the generator."""


def difference_map(x: Tensor, healthy: Tensor) -> Tensor:
    """|x - x'| / 2, channels averaged: N x 1 x H x W in [0, 1] of images N x C x H x W in [-1, 1]."""
    return (x - healthy).abs().mean(dim=1, keepdim=True) / 2


class DetectorConfig(BaseModel):
    """A detector's own settings; each kind narrows ``name`` to its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    unused: ClassVar[frozenset[str]] = frozenset()
    """Fields of ``TrainingConfig`` that this kind has no use for; they must keep their defaults."""
    translates: ClassVar[bool] = True
    """Whether its predictions hold x', which FID looks at."""

    def check(self, size: int) -> None:
        """Refuse what images of ``size`` x ``size`` pixels cannot bear.

        Raises:
            ValueError: names the setting and the remedy.
        """

    def check_training(self, training: TrainingConfig) -> None:
        """Refuse what this kind would ignore or cannot follow.

        Raises:
            ValueError: names the setting and the remedy.
        """
        for field in sorted(self.unused):
            given, default = getattr(training, field), TrainingConfig.model_fields[field].default
            if given != default:
                raise ValueError(
                    f"training.{field}={given}: detector {self.name} has no use for it; leave it at {default}"
                )


class EarlyStoppingConfig(DetectorConfig):
    """Settings of a kind whose training is watched on healthy images held out of it (``EarlyStoppingRecipe``)."""

    early_stopping_healthy: float = Field(
        0.1,
        gt=0,
        le=0.5,
        description="share of the healthy set kept out of training; its metric says when to stop and what to keep",
    )


class Detector(ABC):
    """Learns from a healthy set and, where the method can use one, a mixed set; scores a batch at a time.

    Args:
        config: of this kind's own ``Config``.
        channels: image channels C.
        size: side of the square images in pixels.
        seed: of the first weights and of whatever else is drawn.

    Raises:
        ValueError: the settings do not suit such images.
    """

    name: ClassVar[str]
    Config: ClassVar[type[DetectorConfig]]

    @abstractmethod
    def __init__(self, config: Any, channels: int, size: int, seed: int = 0) -> None: ...

    @abstractmethod
    def fit(self, healthy: ImageStore, mixed: ImageStore, training: Training) -> None:
        """Learn, writing checkpoints and candidates through ``training``; goes on where that one was stopped."""

    @abstractmethod
    def predict(self, x: Tensor) -> Prediction:
        """Score x, N x C x H x W in [-1, 1]. Each image is scored on its own, whatever else is in the batch."""

    def scorer(self) -> nn.Module | None:
        """What turns x into (score, difference map, x', M) as ``predict`` does; none where it cannot be exported."""
        return None

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """All that scoring needs, by name."""

    @abstractmethod
    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Take what ``weights`` gave.

        Raises:
            RuntimeError: names or shapes do not fit this detector's configuration.
        """

    @abstractmethod
    def to(self, device: torch.device) -> Self:
        """Move to ``device``."""


def load_file(detector: Detector, path: Path) -> None:
    """Give a detector the weights in a run's file.

    Raises:
        InputError: the file is damaged, or holds the weights of another detector.
    """
    try:
        detector.load_weights(load_tensors(path))
    except (RuntimeError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: does not fit the run's config.yaml; copy the run folder again, or train anew if an older "
            "version of healthygan made it"
        ) from error


class NetworkDetector(Detector):
    """A detector that scores with one module."""

    networks: nn.Module
    """All that scoring needs."""

    def weights(self) -> dict[str, Tensor]:
        """The weights and running averages of ``networks``."""
        return cast(dict[str, Tensor], self.networks.state_dict())

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Take what ``weights`` gave."""
        self.networks.load_state_dict(weights)

    def to(self, device: torch.device) -> Self:
        """Move ``networks`` to ``device``."""
        self.networks.to(device)
        return self
