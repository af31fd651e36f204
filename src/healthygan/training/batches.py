"""Batches by iteration number: the same for the same seed, so that a resumed run needs only the number."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from healthygan.common.errors import InputError
from healthygan.data.preprocessing import to_tensor
from healthygan.data.store import ImageStore
from healthygan.training.config import TrainingConfig


@dataclass(frozen=True)
class Batch:
    """What one iteration sees on this device: N images of either set and the penalty's mixing coefficients."""

    mixed: Tensor
    """A, N x C x H x W in [-1, 1]; no image where the recipe does without."""
    healthy: Tensor
    """B, likewise."""
    mix: Tensor
    """N x 1 x 1 x 1, uniform in [0, 1]."""

    def parts(self, count: int) -> tuple["Batch", ...]:
        """``count`` batches of N / count images each."""
        split = (tensor.chunk(count) if len(tensor) else (tensor,) * count for tensor in vars(self).values())
        return tuple(Batch(*tensors) for tensors in zip(*split, strict=True))


class Order:
    """An endless, seeded sequence of indices below ``count``; every pass is a new permutation.

    The element at a position depends on nothing else, so a resumed run needs only the position.
    """

    def __init__(self, count: int, *seed: int) -> None:
        self.count = count
        self.seed = seed
        self._pass = -1
        self._permutation: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def take(self, start: int, length: int) -> NDArray[np.int64]:
        """Elements ``start`` to ``start + length``."""
        return np.array([self._at(position) for position in range(start, start + length)], dtype=np.int64)

    def _at(self, position: int) -> int:
        number, place = divmod(position, self.count)
        if number != self._pass:
            self._pass = number
            self._permutation = np.random.default_rng([*self.seed, number]).permutation(self.count)
        return int(self._permutation[place])


class Batches:
    """Batches by iteration number: the same for the same seed, whatever came before.

    With several devices each draws the whole batch's randomness and keeps its own share of the images.
    """

    def __init__(
        self,
        healthy: ImageStore,
        mixed: ImageStore,
        settings: TrainingConfig,
        rank: int = 0,
        ranks: int = 1,
        *,
        uses_mixed: bool = True,
        draws: int = 1,
    ) -> None:
        if settings.batch_size % ranks:
            raise InputError(
                f"training.batch_size: {settings.batch_size} cannot be shared by {ranks} devices; choose a multiple"
            )
        self.stores = {"mixed": mixed, "healthy": healthy}
        self.orders = {
            name: Order(len(store), settings.seed, number) for number, (name, store) in enumerate(self.stores.items())
        }
        self.settings = settings
        self.uses_mixed = uses_mixed
        self.size = settings.batch_size * draws
        share = self.size // ranks
        self.share = slice(rank * share, (rank + 1) * share)

    def __call__(self, iteration: int) -> Batch:
        """The batch of ``iteration``, counted from 1, on the CPU."""
        random = torch.Generator().manual_seed(_mixed_seed(self.settings.seed, iteration))
        mixed = self._images("mixed", iteration, random) if self.uses_mixed else torch.empty(0)
        healthy = self._images("healthy", iteration, random)
        mix = torch.rand(self.size, 1, 1, 1, generator=random)[self.share]
        return Batch(mixed, healthy, mix)

    def _images(self, name: str, iteration: int, random: torch.Generator) -> Tensor:
        chosen = self.orders[name].take((iteration - 1) * self.size, self.size)[self.share]
        images = to_tensor(self.stores[name].read(chosen))
        flipped = torch.rand(self.size, 1, 1, 1, generator=random)[self.share] < 0.5
        return torch.where(flipped, images.flip(3), images) if self.settings.flip else images


def _mixed_seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
