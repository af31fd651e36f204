"""Phantoms held in memory and a short training on them: what every trained detector is tried on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Fabric
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from healthygan.common.run_folder import Run
from healthygan.data.preprocessing import to_tensor
from healthygan.detectors import registry
from healthygan.stats import metrics
from healthygan.training.batches import Batch
from healthygan.training.config import TrainingConfig
from healthygan.training.loop import Training

SIDE = 32
SQUARE = 7


class Phantoms:
    """Stands in for an image store: one bright blob on a dim smooth ground, and a white square if diseased."""

    def __init__(self, seed: int, healthy: int, diseased: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.images = np.stack([_phantom(random, diseased=number >= healthy) for number in range(healthy + diseased)])
        self.diseased = np.arange(healthy + diseased) >= healthy

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.uint16]:
        return self.images[indices]


def _phantom(random: np.random.Generator, *, diseased: bool) -> NDArray[np.uint16]:
    ground = gaussian_filter(random.standard_normal((SIDE, SIDE)), 4)
    blob = np.zeros((SIDE, SIDE))
    blob[tuple(random.integers(12, 20, 2))] = 1
    blob = gaussian_filter(blob, random.uniform(4, 5))
    image = 0.15 + 0.02 * ground / ground.std() + 0.35 * blob / blob.max()
    if diseased:
        top, left = random.integers(4, SIDE - SQUARE - 4, 2)
        image[top : top + SQUARE, left : left + SQUARE] = 0.95
    return (image.clip(0, 1) * 65535).astype(np.uint16)[None]


def _training(folder: Path, early_stopping_healthy: Phantoms | None = None, **settings) -> Training:
    """A training in a new run folder, on one thread of the CPU."""
    given = {"decay_iterations": 0, "batch_size": 16, "device": "cpu", "log_every": 50, "sample_every": 10_000}
    config = TrainingConfig(**(given | {"checkpoint_every": settings["iterations"]} | settings))
    return Training(config, Run(folder), Fabric(accelerator="cpu", devices=1), early_stopping_healthy)


@pytest.fixture
def phantom_auc(tmp_path) -> Callable[..., float]:
    """Trains a detector on the phantoms and gives its AUC on others; the mixed set is half diseased."""

    def measure(config, iterations: int, **settings) -> float:
        detector = registry.build(config, 1, SIDE, 0)
        training = _training(tmp_path / "run", iterations=iterations, **settings)
        detector.fit(Phantoms(0, 200), Phantoms(1, 60, 60), training)
        test = Phantoms(2, 60, 60)
        score = detector.predict(to_tensor(test.read(np.arange(len(test))))).score
        assert torch.isfinite(score).all()
        return metrics.auc(score.double().numpy(), test.diseased)

    return measure


@pytest.fixture
def fabric() -> Fabric:
    """One CPU in full precision."""
    return Fabric(accelerator="cpu", devices=1)


@pytest.fixture
def batch_of() -> Callable[..., Batch]:
    """Makes a batch of random 16 px images, in 64 bits for comparison with a reference."""

    def make(count: int = 4, size: int = 16, dtype: torch.dtype = torch.float64) -> Batch:
        random = torch.Generator().manual_seed(1)
        mixed, healthy = torch.rand(2, count, 1, size, size, generator=random, dtype=dtype) * 2 - 1
        return Batch(mixed, healthy, torch.rand(count, 1, 1, 1, generator=random, dtype=dtype))

    return make
