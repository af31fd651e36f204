"""What the training loop needs of a detector: its networks, its optimisers, and one step."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn
from torch.optim import Optimizer

from healthygan.training.batches import Batch


class Recipe(ABC):
    """What the loop needs of a detector in training.

    Stages are the recipe's own: it is told the iteration. Torch's random numbers in ``step`` are those of the seed
    and the iteration, whatever was drawn before.
    """

    uses_mixed: ClassVar[bool] = True
    """Whether it learns from the mixed set; else that set only lends the sample grids their images."""
    draws: int = 1
    """Batches of each set an iteration, given to ``step`` as one (``Batch.parts``)."""

    @abstractmethod
    def modules(self) -> dict[str, nn.Module]:
        """Everything with weights, for checkpoints."""

    @abstractmethod
    def optimisers(self) -> dict[str, Optimizer]:
        """For checkpoints and the learning-rate plan, by the name of the module each one trains."""

    @abstractmethod
    def step(self, iteration: int, batch: Batch) -> dict[str, Tensor]:
        """Do one iteration, counted from 1; give the losses by name, detached scalars."""

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """What scoring needs, as the detector's ``state_dict``."""

    @abstractmethod
    def sample(self, x: Tensor) -> dict[str, Tensor]:
        """Named pictures of a batch x, each N x C x H x W in [-1, 1]."""

    def can_score(self, iteration: int) -> bool:
        """Whether the weights after ``iteration`` are worth keeping as a candidate."""
        return True


class EarlyStoppingRecipe(Recipe):
    """A recipe that is stopped, and whose candidate is chosen, by a metric of healthy images held out of training."""

    @abstractmethod
    def early_stopping_metric(self, x: Tensor) -> Tensor:
        """(N,): the metric of x, N x C x H x W in [-1, 1]; lower is better. The loop averages over images."""

    @abstractmethod
    def finished(self, metrics: Mapping[int, float]) -> bool:
        """Whether to stop, given the averages so far by iteration, ascending."""


def descend(optimiser: Optimizer, loss: Tensor) -> None:
    """One step of ``optimiser`` down ``loss``, on one device."""
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
