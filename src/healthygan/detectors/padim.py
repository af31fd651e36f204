"""PaDiM: a Gaussian of pretrained features at each place of the healthy images (Defard et al., 2021).

An image is as anomalous as its most unusual place. It assumes that images are registered: a place is the same
anatomy in each.
"""

from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from healthygan.common.errors import InputError
from healthygan.data.store import ImageStore
from healthygan.detectors.base import DetectorConfig, Prediction
from healthygan.detectors.pretrained import (
    PretrainedConfig,
    PretrainedDetector,
    batches,
    bounded,
    finest_maps,
    smooth_map,
)
from healthygan.training.loop import Training

PLACES = {"cpu": 8, "cuda": 512, "mps": 512}
"""Whose statistics are computed at a time: in float64 all would take twice the memory, and few stay in the cache."""


class PaDiMConfig(PretrainedConfig):
    """The paper's values, but for the backbone (paper: resnet18 or wide_resnet50_2)."""

    name: Literal["padim"] = "padim"
    channels: int = Field(100, ge=1, description="feature channels kept, drawn at random (paper: 100, or 550 of 1,792)")
    regularisation: float = Field(0.01, gt=0, description="added to the diagonal of each covariance")
    smoothing: float = Field(4.0, ge=0, description="standard deviation of the map's smoothing, in pixels")


class PaDiM(PretrainedDetector):
    """Mean and covariance at each place; score = the greatest smoothed Mahalanobis distance.

    Args:
        config: features and how many of their channels are kept.
        channels: image channels C.
        size: side of the images in pixels.
        seed: of the channels kept.

    Raises:
        InputError: more channels are to be kept than the layers have.
    """

    name: ClassVar[str] = "padim"
    Config: ClassVar[type[DetectorConfig]] = PaDiMConfig
    config: PaDiMConfig
    kept: Tensor
    """Places of the channels kept, among those of all layers."""
    mean: Tensor
    """P x d: of the kept channels at each of P places."""
    cholesky: Tensor
    """P x d x d: factors of their covariances."""

    def __init__(self, config: PaDiMConfig, channels: int, size: int, seed: int = 0) -> None:
        super().__init__(config, channels, size, seed)
        there = sum(self.backbone.channels[layer] for layer in config.layers)
        if config.channels > there:
            raise InputError(
                f"detector.channels={config.channels}: the layers have {there}; keep fewer or name more layers"
            )
        random = torch.Generator().manual_seed(seed)
        self.register_buffer("kept", torch.randperm(there, generator=random)[: config.channels])
        self._register_learned({"mean": torch.empty(0), "cholesky": torch.empty(0)})

    def _learn(self, healthy: ImageStore, mixed: ImageStore, training: Training) -> None:
        """The healthy set alone, in one pass."""
        images = batches(healthy, self.device, "healthy set: features", training.progress)
        mean, covariance = gaussians(self._embedded(x).flatten(2).permute(2, 0, 1) for x in images)
        covariance.diagonal(dim1=1, dim2=2).add_(self.config.regularisation)
        self._keep({"mean": mean, "cholesky": factorise(covariance)})

    @torch.no_grad()
    def predict(self, x: Tensor) -> Prediction:
        """Score = maximum over the image of the smoothed distances; map = distances, ``bounded``.

        Unusual is twice the square root of the number of channels, which a Gaussian's squared distances average to.
        """
        embedded = self._embedded(x)
        distances = mahalanobis(embedded.flatten(2).permute(2, 1, 0), self.mean, self.cholesky)
        smooth = smooth_map(distances.T.reshape(len(x), 1, *embedded.shape[-2:]), x.shape[-2:], self.config.smoothing)
        return Prediction(smooth.amax(dim=(1, 2, 3)), bounded(smooth, 2 * self.config.channels**0.5))

    def _embedded(self, x: Tensor) -> Tensor:
        """N x d x h x w: the kept channels at each place."""
        maps = finest_maps(self.backbone.features(x, self.config.layers), "nearest")
        return maps.index_select(1, self.kept)


def gaussians(parts: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and covariance of each place from parts of the images, in the memory of one covariance a place.

    Each part is merged by its own mean and scatter (Chan, Golub and LeVeque 1979), so that nothing cancels; what is
    added up is computed in float64, some places at a time.

    Args:
        parts: P x n x d each, any n of 1 and more.

    Returns:
        Mean, P x d, and covariance with n - 1 in the denominator, P x d x d, of the parts' type.

    Raises:
        InputError: there are fewer than two images.
    """
    count, mean, scatter = 0, torch.zeros(()), torch.zeros(())
    for part in parts:
        if not count:
            mean = part.new_zeros(part.shape[0], part.shape[2], dtype=_precise(part))
            scatter = part.new_zeros(part.shape[0], part.shape[2], part.shape[2])
        size = PLACES[part.device.type]
        for start in range(0, len(part), size):
            places = slice(start, start + size)
            _merge(part[places], mean[places], scatter[places], count)
        count += part.shape[1]
    if count < 2:
        raise InputError(f"padim: a covariance needs two healthy images or more, here are {count}; add images")
    return mean.to(scatter.dtype), scatter.div_(count - 1)


def _merge(part: Tensor, mean: Tensor, scatter: Tensor, count: int) -> None:
    """Take a part, P x n x d, into the mean and scatter of the ``count`` images before it, in place."""
    new = part.shape[1]
    x = part.to(mean.dtype)
    own = x.mean(dim=1)
    # The step between the two means is one more centred observation.
    step = (own - mean)[:, None] * (count * new / (count + new)) ** 0.5
    centred = torch.cat([x - own[:, None], step], dim=1)
    scatter += centred.mT @ centred
    mean += (own - mean) * (new / (count + new))


def factorise(covariance: Tensor) -> Tensor:
    """Cholesky factors of covariances, P x d x d, in their place; computed in float64."""
    for places in torch.split(covariance, PLACES[covariance.device.type]):
        places.copy_(torch.linalg.cholesky(places.to(_precise(places))))
    return covariance


def _precise(x: Tensor) -> torch.dtype:
    """What sums are computed in: Apple's graphics processors have no float64."""
    return torch.float32 if x.device.type == "mps" else torch.float64


def mahalanobis(x: Tensor, mean: Tensor, cholesky: Tensor) -> Tensor:
    """Distances of x, P x d x n, from Gaussians by their means, P x d, and Cholesky factors, P x d x d: P x n."""
    whitened: Tensor = torch.linalg.solve_triangular(cholesky, x - mean[..., None], upper=False)
    distances: Tensor = torch.linalg.vector_norm(whitened, dim=1)
    return distances
