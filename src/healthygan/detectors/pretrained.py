"""What the detectors on frozen pretrained features share: backbone, passes over the images, saving and loading."""

import math
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, pad

from healthygan.common.errors import InputError
from healthygan.common.progress import Progress
from healthygan.data.preprocessing import to_tensor
from healthygan.data.store import ImageStore
from healthygan.detectors.base import Detector, DetectorConfig, load_file
from healthygan.nn.backbones import EMBEDDED, Backbone, load_backbone
from healthygan.training.config import TrainingConfig
from healthygan.training.loop import Training

BATCH = 32
SMALLEST = 32
SECONDS_BETWEEN_SAVES = 30.0
ITERATION = 1
"""What the only candidate is called: nothing here goes by iterations."""


class PretrainedConfig(DetectorConfig):
    """Which features."""

    unused: ClassVar[frozenset[str]] = frozenset(TrainingConfig.model_fields) - {"seed", "device", "members"}
    translates: ClassVar[bool] = False
    backbone: str = Field(EMBEDDED, description="a model of timm's")
    weights: Path | None = Field(None, description="file of its weights (.safetensors, .pth); the default needs none")
    download: bool = Field(False, description="fetch the weights from the network where no file is given")
    layers: tuple[int, ...] = Field((1, 2, 3), min_length=1, description="feature levels of the backbone, from 0")

    def check(self, size: int) -> None:
        """Refuse images too small for the levels to have any extent."""
        if size < SMALLEST:
            raise ValueError(f"preprocessing.size={size}: backbones need {SMALLEST} pixels; choose a larger one")


class PretrainedDetector(Detector):
    """Learns in passes over the images instead of iterations; a finished fit is kept as the run's one candidate."""

    learned: tuple[str, ...] = ()
    """Names of the buffers that ``_learn`` fills; their sizes follow from the images."""

    def __init__(self, config: PretrainedConfig, channels: int, size: int, seed: int = 0) -> None:
        super().__init__(config, channels, size, seed)
        self.backbone = Backbone(config.backbone, size)
        self.backbone.check_layers(config.layers)
        self.register_load_state_dict_pre_hook(_make_room)  # type: ignore[no-untyped-call]

    def _register_learned(self, unlearned: Mapping[str, Tensor]) -> None:
        """Make the buffers that ``_learn`` fills, with what they hold before."""
        self.learned = (*unlearned,)
        for name, tensor in unlearned.items():
            self.register_buffer(name, tensor)

    def fit(self, healthy: ImageStore, mixed: ImageStore, training: Training) -> None:
        """Learn, and leave one candidate; a run that has it already keeps it."""
        kept = training.folder.candidates()
        training.fabric.barrier()  # nobody has written it before everybody has looked
        if ITERATION in kept:
            load_file(self, kept[ITERATION])
            return
        settings = self.config
        self.backbone = load_backbone(settings.backbone, settings.weights, size=self.size, download=settings.download)
        self.to(training.fabric.device)
        self._learn(healthy, mixed, training)
        self._keep({name: getattr(self, name).contiguous() for name in self.learned})
        if training.fabric.is_global_zero:
            training.folder.save_candidate(ITERATION, self.state_dict())
        training.fabric.barrier()

    @abstractmethod
    def _learn(self, healthy: ImageStore, mixed: ImageStore, training: Training) -> None:
        """Find all that scoring needs beside the backbone, and ``_keep`` it."""

    def _keep(self, learned: Mapping[str, Tensor]) -> None:
        """Put what was learned into the buffers of these names."""
        for name, tensor in learned.items():
            setattr(self, name, tensor)

    @property
    def device(self) -> torch.device:
        """Where the backbone is."""
        return next(self.backbone.parameters()).device


def _make_room(detector: nn.Module, state: Mapping[str, Any], prefix: str, *_: Any) -> None:
    """Give the learned buffers the sizes of those that are loaded next."""
    for name in cast(PretrainedDetector, detector).learned:
        if isinstance(given := state.get(prefix + name), Tensor):
            setattr(detector, name, getattr(detector, name).new_empty(given.shape, dtype=given.dtype))


def batches(
    store: ImageStore,
    device: torch.device,
    title: str,
    progress: Progress,
    *,
    places: NDArray[np.int64] | None = None,
    done: int = 0,
) -> Iterator[Tensor]:
    """A store's frames in order, N x C x H x W in [-1, 1], with progress.

    Args:
        places: only these, in their order.
        done: how many of the first to leave out.
    """
    places = np.arange(len(store)) if places is None else places
    with progress(title, len(places), done) as advance:
        for start in range(done, len(places), BATCH):
            part = places[start : start + BATCH]
            yield to_tensor(store.read(part)).to(device)
            advance(len(part))


def resumable(training: Training, name: str, make: Callable[[int], Iterator[Tensor]]) -> Tensor:
    """Rows that take long to make; the run's checkpoint keeps them as they come, and a second call goes on there.

    Args:
        name: of these rows in the checkpoint.
        make: gives the rows behind the first so many, in parts.

    Raises:
        InputError: the checkpoint is damaged.
    """
    state = training.folder.load_checkpoint() or {}
    kept = state.get(name)
    if kept is not None and not isinstance(kept, Tensor):
        raise InputError(f"{training.folder.checkpoint}: damaged; remove it and train again")
    rows = [] if kept is None else [kept]
    saved = time.monotonic()

    def save() -> None:
        if training.fabric.is_global_zero:
            training.folder.save_checkpoint(state | {name: torch.cat(rows)})

    for part in make(0 if kept is None else len(kept)):
        rows.append(part)
        if time.monotonic() - saved > SECONDS_BETWEEN_SAVES:
            save()
            saved = time.monotonic()
    save()
    return torch.cat(rows)


def finest_maps(maps: Sequence[Tensor], mode: str) -> Tensor:
    """All maps side by side in the finest one's resolution: N x C_1 + ... + C_L x h x w."""
    size = max((part.shape[-2:] for part in maps), key=math.prod)
    return torch.cat([part if part.shape[-2:] == size else interpolate(part, size, mode=mode) for part in maps], dim=1)


def smooth_map(distances: Tensor, size: torch.Size, sigma: float) -> Tensor:
    """Distances, N x 1 x h x w, brought to the images' ``size`` and smoothed by a Gaussian of ``sigma`` pixels."""
    fine = interpolate(distances, size, mode="bilinear")
    if not sigma:
        return fine
    reach = min(int(4 * sigma + 0.5), *(side - 1 for side in size))
    kernel = torch.exp(torch.arange(-reach, reach + 1, device=fine.device).square() / (-2 * sigma**2)).to(fine)
    kernel /= kernel.sum()
    padded = pad(fine, [reach] * 4, mode="reflect")
    # Along rows, then along columns: a tenth of the products of both at once.
    return conv2d(conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))


def bounded(distances: Tensor, unusual: float | Tensor) -> Tensor:
    """Distances from 0 as a map in [0, 1]: one half where they are ``unusual``, a seventeenth at half of that."""
    power = (distances / unusual) ** 4
    return 1 - 1 / (1 + power)
