"""What every detector offers, whatever its method."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from healthygan.common.errors import InputError
from healthygan.common.tensors import load_tensors
from healthygan.data.store import ImageStore
from healthygan.nn.first_weights import FirstWeights
from healthygan.training.config import TrainingConfig
from healthygan.training.loop import Training
from healthygan.training.recipe import Recipe

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
    evidence: Tensor | None = None
    """Where disease shows, N x 1 x H x W in [0, 1] on a scale that training fixed for all images."""

    @property
    def where(self) -> Tensor | None:
        """The map that points at disease: the evidence where there is any, else the difference map."""
        return self.difference if self.evidence is None else self.evidence


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


class Detector(nn.Module, ABC):
    """Learns from a healthy set and, where the method can use one, a mixed set; scores a batch at a time.

    Its parameters and buffers, ``state_dict``, are all that scoring needs. Networks that only training needs are made
    by ``fit`` and belong to its recipe. A detector is always in eval mode, and ``predict`` changes nothing of it: it
    may be called from several threads.

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
    config: Any

    def __init__(self, config: DetectorConfig, channels: int, size: int, seed: int = 0) -> None:
        super().__init__()
        config.check(size)
        self.config, self.channels, self.size, self.seed = config, channels, size, seed
        self.eval()

    @abstractmethod
    def fit(self, healthy: ImageStore, mixed: ImageStore, training: Training) -> None:
        """Learn, writing checkpoints and candidates through ``training``; goes on where that one was stopped."""

    @abstractmethod
    def predict(self, x: Tensor) -> Prediction:
        """Score x, N x C x H x W in [-1, 1]. Each image is scored on its own, whatever else is in the batch."""

    def scorer(self) -> nn.Module | None:
        """What turns x into the parts of a ``Prediction``, in their order; none where it cannot be exported."""
        return None

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode, all parts included: recipes train networks, detectors score."""
        return super().train(False)


def load_file(detector: Detector, path: Path) -> None:
    """Give a detector the weights in a run's file.

    Raises:
        InputError: the file is damaged, or holds the weights of another detector.
    """
    try:
        detector.load_state_dict(load_tensors(path))
    except (RuntimeError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: does not fit the run's config.yaml; copy the run folder again, or train anew if an older "
            "version of healthygan made it"
        ) from error


class NetworkDetector(Detector):
    """A detector that scores with one module, trained by a recipe."""

    networks: nn.Module
    """All that scoring needs, in eval mode but while it is trained."""
    prefix: str = ""
    """What the names of the tensors of ``networks`` begin with in ``state_dict``."""

    def __init__(self, config: DetectorConfig, channels: int, size: int, seed: int = 0) -> None:
        super().__init__(config, channels, size, seed)
        self.first_weights = FirstWeights(seed)
        with self.first_weights.drawn():
            self.networks = self._networks().eval()
        self.register_state_dict_post_hook(_shorten_names)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_lengthen_names)  # type: ignore[no-untyped-call]

    def fit(self, healthy: ImageStore, mixed: ImageStore, training: Training) -> None:
        """Train by the recipe, and keep the weights that it scores with."""
        recipe = self._recipe(healthy, mixed, training)
        training.run(recipe, healthy, mixed)
        self.load_state_dict(recipe.weights())
        self.eval()

    @abstractmethod
    def _networks(self) -> nn.Module:
        """Make the module that scores; called once, while first weights are drawn from the seed."""

    @abstractmethod
    def _recipe(self, healthy: ImageStore, mixed: ImageStore, training: Training) -> Recipe:
        """How ``networks`` are trained; makes those that only training needs, drawn from ``first_weights`` too."""


NETWORKS = "networks."
"""What torch has the names of the tensors of ``NetworkDetector.networks`` begin with."""


def _shorten_names(detector: nn.Module, state: dict[str, Any], prefix: str, _: dict[str, Any]) -> None:
    _rename(state, prefix + NETWORKS, prefix + str(detector.prefix))


def _lengthen_names(detector: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    _rename(state, prefix + str(detector.prefix), prefix + NETWORKS)


def _rename(state: dict[str, Any], old: str, new: str) -> None:
    """Let ``new`` begin the names that began with ``old``, in place."""
    for name in [name for name in state if name.startswith(old)]:
        state[new + name.removeprefix(old)] = state.pop(name)
