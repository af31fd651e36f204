"""Contrast: what tells the pile from the healthy set, on pretrained features.

Since the pile holds healthy images too, what tells it from the healthy set is disease: positive-unlabelled learning,
where the ranking by "pile or healthy" is the ranking by "diseased or healthy" (Elkan and Noto, KDD 2008). Where the
pile holds few diseased images that tells little, and the distance from healthy images steps in. No label of the pile is
needed for anything, the regularisation and the diseased share included.
"""

import math
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate

from healthygan.common.batching import evenly_spaced
from healthygan.data.store import ImageStore
from healthygan.detectors.base import DetectorConfig, Prediction
from healthygan.detectors.contrast.findings import PileFindings
from healthygan.detectors.contrast.positive_unlabelled import PUFit, PUProblem, drawn, learn
from healthygan.detectors.pretrained import PretrainedConfig, PretrainedDetector, batches, resumable
from healthygan.stats.arrays import Floats
from healthygan.training.loop import Training

STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Inverse regularisation to choose from, for features whose layers each have a variance of 1."""
MAP_IMAGES = 128
"""Healthy images that tell the usual evidence at each place, and images of the pile that tell its scale."""
MAP_PERCENTILE = 99.9
SMALLEST_SPREAD = 1e-6
"""Of healthy log odds: where neither score tells anything all are equal."""


class ContrastConfig(PretrainedConfig):
    """Features, and how the pile is told from the healthy set."""

    name: Literal["contrast"] = "contrast"
    layers: tuple[int, ...] = Field(
        (1, 2, 3, 4, 5), min_length=1, description="feature levels of the backbone; each has the same say"
    )
    flip: bool = Field(True, description="average the features of an image and of its mirror image")
    risk: Literal["logistic", "nnpu"] = Field(
        "logistic", description="logistic: pile against healthy | nnpu: the non-negative positive-unlabelled risk"
    )
    strengths: tuple[float, ...] = Field(
        STRENGTHS, min_length=1, description="inverse regularisation, chosen from by cross-validation"
    )
    folds: int = Field(
        20, ge=2, description="of the cross-validation; patients are kept together; fewer depend more on the seed"
    )

    most: int = Field(
        10_000, ge=2, description="images of either set to learn from, of patients drawn by the seed; all are ranked"
    )

    def check(self, size: int) -> None:
        """Refuse strengths that are none, and images that are too small."""
        super().check(size)
        if min(self.strengths) <= 0:
            raise ValueError(f"detector.strengths={self.strengths}: each must be above 0")


class Contrast(PretrainedDetector):
    """Distance and contrast of pooled features; score = log odds that an image of the pile is diseased.

    Args:
        config: features and how to fit.
        channels: image channels C.
        size: side of the images in pixels.
        seed: of the folds.
    """

    name: ClassVar[str] = "contrast"
    Config: ClassVar[type[DetectorConfig]] = ContrastConfig
    config: ContrastConfig
    weight: Tensor
    """(D,): of the pooled features in the log odds."""
    bias: Tensor
    """A scalar, added to the log odds."""
    centre: Tensor
    """(d,): mean of the measured features of healthy images."""
    whitener: Tensor
    """d x d: makes the length of a difference from the centre the distance's part in the log odds."""
    typical: Tensor
    """(2,): mean and standard deviation of ``evidence`` of healthy images that were not learned from."""
    contrast_weight: Tensor
    """A scalar in [0, 1]: how much of the score the pile tells; the rest is distance from healthy images."""
    usual: Tensor
    """1 x 1 x h x w: evidence at each place of healthy images."""
    map_scale: Tensor
    """A scalar: evidence beyond the usual that the map shows as 1."""
    _measured: Tensor

    def __init__(self, config: ContrastConfig, channels: int, size: int, seed: int = 0) -> None:
        super().__init__(config, channels, size, seed)
        is_measured = self._is_measured()
        self.register_buffer("_measured", torch.from_numpy(np.flatnonzero(is_measured)), persistent=False)
        count = len(self._measured)
        # Before anything is learned nothing is evidence.
        unlearned = {"weight": torch.zeros(len(is_measured)), "bias": torch.zeros(())}
        unlearned |= {"centre": torch.zeros(count), "whitener": torch.zeros(count, count)}
        unlearned |= {"typical": torch.tensor([0.0, 1.0]), "contrast_weight": torch.ones(())}
        unlearned |= {"usual": torch.zeros(1, 1, 1, 1), "map_scale": torch.ones(())}
        self._register_learned(unlearned)

    def _learn(self, healthy: ImageStore, mixed: ImageStore, training: Training) -> None:
        known, pile = (drawn(store.frame_groups, self.config.most, self.seed) for store in (healthy, mixed))
        features = np.concatenate(
            [
                resumable(
                    training, "healthy", lambda done: self._pooled(training, healthy, "healthy set", known, done)
                ).numpy(),
                resumable(
                    training, "mixed", lambda done: self._pooled(training, mixed, "mixed set", pile, done)
                ).numpy(),
            ]
        )
        groups = np.concatenate([np.array(healthy.frame_groups)[known], np.array(mixed.frame_groups)[pile]])
        is_mixed = np.arange(len(features)) >= len(known)
        task = PUProblem(features, is_mixed, groups, self._layer_scale(), self._is_measured(), self.seed)
        fit = learn(task, self.config, training.progress)
        self._keep(
            {
                name: torch.tensor(part, dtype=torch.float32, device=self.device)
                for name, part in _parts(fit, is_mixed).items()
            }
        )
        odds = fit.mixture.log_odds(fit.crossfitted)
        of_pile = self._rank(mixed, pile, odds[is_mixed], training)
        if training.fabric.is_global_zero:
            stores = [mixed, *([training.held_out_mixed] if training.held_out_mixed else [])]
            training.report(PileFindings.of(fit, odds[~is_mixed], of_pile, stores, len({*groups[~is_mixed]})))
        usual = self._usual(healthy, training)
        self._keep({"usual": usual, "map_scale": self._map_scale(mixed, usual, training)})

    def _rank(self, mixed: ImageStore, learned: NDArray[np.int64], odds: Floats, training: Training) -> Floats:
        """Log odds of the whole mixed set, then of what is held out of it: cross-fitted where it was learned from."""
        others = np.setdiff1d(np.arange(len(mixed)), learned)
        ranked = np.empty(len(mixed))
        ranked[learned] = odds
        if len(others):
            ranked[others] = resumable(
                training, "others", lambda done: self._odds(training, mixed, others, done)
            ).numpy()
        if not (held_out_mixed := training.held_out_mixed):
            return ranked
        every = np.arange(len(held_out_mixed))
        held_out = resumable(training, "aside", lambda done: self._odds(training, held_out_mixed, every, done)).numpy()
        return np.concatenate([ranked, held_out], dtype=np.float64)

    @torch.no_grad()
    def predict(self, x: Tensor) -> Prediction:
        """Score = log odds of disease; map = evidence of it, beyond what is usual in healthy images there.

        The evidence of all places and layers adds up to the score. It is shown from 0 (no more than usual) to 1 (as
        much as the strongest in the training pile, or more).
        """
        maps = self._maps(x)
        unusual = (self._evidence(maps) - self.usual) / self.map_scale
        difference = interpolate(unusual, x.shape[-2:], mode="bilinear").clamp(0, 1)
        return Prediction(self._log_odds(_means(maps)), difference)

    @torch.no_grad()
    def evidence(self, x: Tensor) -> Tensor:
        """(N,): log odds of disease for x, N x C x H x W in [-1, 1]."""
        if torch.is_autocast_enabled(x.device.type):  # sums over a thousand features do not bear bfloat16
            with torch.autocast(x.device.type, enabled=False):
                return self.evidence(x)
        return self._log_odds(_means(self._maps(x)))

    def _maps(self, x: Tensor) -> list[Tensor]:
        """Feature maps of a batch, averaged with the mirror image's mirrored maps."""
        maps = self.backbone.features(x, self.config.layers)
        if not self.config.flip:
            return maps
        mirrored = self.backbone.features(x.flip(3), self.config.layers)
        return [(one + other.flip(3)) / 2 for one, other in zip(maps, mirrored, strict=True)]

    def _pooled(
        self, training: Training, store: ImageStore, title: str, places: NDArray[np.int64], done: int
    ) -> Iterator[Tensor]:
        """Means over all layers' maps, n x D a batch, on the CPU, of the images there but for the first ``done``."""
        for x in batches(store, self.device, f"{title}: features", training.progress, places=places, done=done):
            yield _means(self._maps(x)).cpu()

    def _odds(self, training: Training, store: ImageStore, places: NDArray[np.int64], done: int) -> Iterator[Tensor]:
        """(n,) log odds a batch, likewise."""
        for x in batches(store, self.device, "rest of the mixed set", training.progress, places=places, done=done):
            yield self.evidence(x).cpu()

    def _layer_scale(self) -> NDArray[np.float32]:
        """(D,): what gives each layer the same variance in all, however many channels it has."""
        counts = [self.backbone.channels[layer] for layer in self.config.layers]
        return np.concatenate([np.full(count, count**-0.5, dtype=np.float32) for count in counts])

    def _is_measured(self) -> NDArray[np.bool_]:
        """(D,): features of all layers but the deepest, which tells ImageNet's classes and little of health."""
        places = [range(len(self.backbone.channels))[layer] for layer in self.config.layers]
        counts = [self.backbone.channels[place] for place in places]
        return np.repeat([place < max(places) or len(set(places)) == 1 for place in places], counts)

    def _away(self, features: Tensor) -> Tensor:
        """Whitened differences from healthy features, as long as the distance's part in the log odds."""
        away: Tensor = (features[:, self._measured] - self.centre) @ self.whitener
        return away

    def _log_odds(self, features: Tensor) -> Tensor:
        """(N,): of disease, for pooled features, (N, D)."""
        odds: Tensor = features @ self.weight + self._away(features).norm(dim=1) + self.bias
        return odds

    def _evidence(self, maps: list[Tensor]) -> Tensor:
        """What each place adds to the log odds, N x 1 x h x w in the finest layer's resolution; its mean is all but
        the bias.

        A distance is the length of a vector, so its part is linear along that vector's own direction.
        """
        away = self._away(_means(maps))
        direction = away / away.norm(dim=1, keepdim=True).clamp_min(torch.finfo(away.dtype).tiny)
        pull = direction @ self.whitener.T
        weights = self.weight.repeat(len(pull), 1)
        weights[:, self._measured] += pull
        finest = max((part.shape[-2:] for part in maps), key=math.prod)
        split = torch.split(weights, [part.shape[1] for part in maps], dim=1)
        local = [torch.einsum("nchw,nc->nhw", part, w)[:, None] for part, w in zip(maps, split, strict=True)]
        total = torch.stack([_spread(part, finest) for part in local]).sum(dim=0)
        beyond: Tensor = total - (pull @ self.centre).view(-1, 1, 1, 1)
        return beyond

    def _usual(self, healthy: ImageStore, training: Training) -> Tensor:
        """1 x 1 x h x w: mean evidence of healthy images at each place."""
        total, count = torch.zeros((), device=self.device), 0
        for x in batches(
            healthy,
            self.device,
            "healthy set: evidence",
            training.progress,
            places=evenly_spaced(len(healthy), MAP_IMAGES),
        ):
            total = total + self._evidence(self._maps(x)).sum(dim=0, keepdim=True)
            count += len(x)
        return total / count

    def _map_scale(self, mixed: ImageStore, usual: Tensor, training: Training) -> Tensor:
        """Evidence beyond the usual that is shown as 1."""
        unusual = [
            (self._evidence(self._maps(x)) - usual).flatten().cpu().numpy()
            for x in batches(
                mixed,
                self.device,
                "mixed set: evidence",
                training.progress,
                places=evenly_spaced(len(mixed), MAP_IMAGES),
            )
        ]
        top = float(np.percentile(np.concatenate(unusual), MAP_PERCENTILE))
        return torch.tensor(max(top, 1e-6), dtype=torch.float32, device=self.device)


def _means(maps: list[Tensor]) -> Tensor:
    """(N, D): means over places of all layers' maps."""
    return torch.cat([part.mean(dim=(2, 3)) for part in maps], dim=1)


def _spread(part: Tensor, size: torch.Size) -> Tensor:
    """Bring N x 1 x h x w to ``size`` with each image's mean kept."""
    if part.shape[-2:] == size:
        return part
    fine = interpolate(part, tuple(size), mode="bilinear")
    return fine + (part.mean(dim=(2, 3), keepdim=True) - fine.mean(dim=(2, 3), keepdim=True))


def _parts(fit: PUFit, is_mixed: NDArray[np.bool_]) -> dict[str, Any]:
    """What scoring needs of the fit, by name."""
    (weight, bias), (by_distance, by_contrast) = fit.head, fit.mixture.slopes
    of_healthy, (apart, contrast_weight) = fit.mixture.log_odds(fit.crossfitted[~is_mixed]), fit.weights
    return {
        "weight": by_contrast * weight,
        "bias": fit.mixture.intercept + by_contrast * bias,
        "centre": fit.distance.centre,
        "whitener": by_distance * fit.distance.whitener,
        "typical": [of_healthy.mean(), max(of_healthy.std(), SMALLEST_SPREAD)],
        "contrast_weight": contrast_weight / max(apart + contrast_weight, np.finfo(float).tiny),
    }
