"""Putting images through a detector, wherever it is; what comes back is on the CPU."""

from collections.abc import Iterator
from dataclasses import fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from healthygan.common.batching import in_batches
from healthygan.common.errors import Argument, InputError
from healthygan.common.progress import Advance, Progress, silent
from healthygan.data.preprocessing import to_tensor
from healthygan.data.store import ImageStore
from healthygan.detectors.base import Detector, Prediction

BATCH = 64


def best_device(name: str = "auto") -> torch.device:
    """The device called ``name``; "auto" takes CUDA, then Apple's, then the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there[name]:
        raise InputError(Argument("device", name), ": there is no such device here; use ", Argument("device", "cpu"))
    return torch.device(name)


def predict(detector: Detector, store: ImageStore, indices: NDArray[np.int64]) -> Prediction:
    """Score some of a store's frames, one batch."""
    return predict_batch(detector, to_tensor(store.read(indices)))


def predict_batch(detector: Detector, x: Tensor, precision: torch.dtype = torch.float32) -> Prediction:
    """Score x, N x C x H x W in [-1, 1], wherever the detector is; layers that bear it compute in ``precision``."""
    device = device_of(detector)
    with torch.autocast(device.type, precision, enabled=precision != torch.float32):
        prediction = detector.predict(x.to(device))
    parts = (getattr(prediction, field.name) for field in fields(prediction))
    return Prediction(*(None if part is None else part.float().cpu() for part in parts))  # type: ignore[arg-type]


def device_of(detector: Detector) -> torch.device:
    """Where the detector is."""
    return next(detector.parameters()).device


def predictions(detector: Detector, store: ImageStore, advance: Advance) -> Iterator[Prediction]:
    """A whole store, batch by batch."""
    for indices in in_batches(len(store), BATCH):
        yield predict(detector, store, indices)
        advance(len(indices))


def scores(detector: Detector, store: ImageStore, title: str, progress: Progress = silent) -> NDArray[np.float64]:
    """(frames,): anomaly scores of a whole store."""
    with progress(f"{title}: scoring", len(store)) as advance:
        return np.concatenate([part.score.double().numpy() for part in predictions(detector, store, advance)])
