"""Contrast: what tells the pile from the healthy set, on pretrained features of whole images and of places.

Since the pile holds healthy images too, what tells it from the healthy set is disease: positive-unlabelled learning,
where the ranking by "pile or healthy" is the ranking by "diseased or healthy" (Elkan and Noto, KDD 2008). Where the
pile holds few diseased images that tells little, and the distance from healthy images steps in. No label of the pile is
needed for anything, the regularisation and the diseased share included. What speaks for disease at each place
(``evidence.py``) is the map, and a part of the score.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate

from healthygan.data.store import ImageStore
from healthygan.detectors.base import DetectorConfig, Prediction
from healthygan.detectors.contrast.body_mask import body_share
from healthygan.detectors.contrast.evidence import (
    GRID,
    PatchModel,
    evidence,
    patch_scores,
    patches_of,
    shown,
    summaries,
)
from healthygan.detectors.contrast.findings import PileFindings
from healthygan.detectors.contrast.patch_learning import (
    FOLDS,
    POOL,
    Learner,
    PatchImages,
    crossfitted,
    sketch,
    summaries_of,
    weighed,
)
from healthygan.detectors.contrast.positive_unlabelled import PUFit, PUProblem, drawn, fold_numbers, learn
from healthygan.detectors.pretrained import PretrainedConfig, PretrainedDetector, batches, resumable, smooth_map
from healthygan.stats.arrays import Floats
from healthygan.training.loop import Training

STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Inverse regularisation to choose from, for features whose layers each have a variance of 1."""
MAP_SMOOTHING = 1 / 64
"""Of the map: standard deviation as a share of the side."""
FINEST_STRIDE = 8
"""Pixels a place at least."""
PATCH = "patch_"
"""What the names of buffers of the patch evidence begin with."""
SMALLEST_SPREAD = 1e-6
"""Of healthy log odds: where neither score tells anything all are equal."""


class ContrastConfig(PretrainedConfig):
    """Features, and how the pile is told from the healthy set."""

    name: Literal["contrast"] = "contrast"
    layers: tuple[int, ...] = Field(
        (1, 2, 3, 4, 5), min_length=1, description="feature levels of the backbone; each has the same say"
    )
    flip: bool = Field(True, description="average the features of an image and of its mirror image")
    pooled_size: int = Field(
        160, ge=32, description="side in pixels at which whole images are looked at; larger ones are shrunk to it"
    )
    patch_layers: tuple[int, ...] = Field(
        (2, 3, 4), min_length=1, description="feature levels, finest first, of the evidence at each place"
    )
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
    """Distance and contrast of pooled features, and patch evidence; score = log odds that an image of the pile is
    diseased.

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
    evidence_weight: Tensor
    """A scalar: of the mean of the highest tenth of the patch evidence, in the log odds."""
    _measured: Tensor

    def __init__(self, config: ContrastConfig, channels: int, size: int, seed: int = 0) -> None:
        super().__init__(config, channels, size, seed)
        is_measured = self._is_measured()
        self.register_buffer("_measured", torch.from_numpy(np.flatnonzero(is_measured)), persistent=False)
        self.backbone.check_layers(config.patch_layers)
        count = len(self._measured)
        # Before anything is learned nothing is evidence.
        unlearned = {"weight": torch.zeros(len(is_measured)), "bias": torch.zeros(())}
        unlearned |= {"centre": torch.zeros(count), "whitener": torch.zeros(count, count)}
        unlearned |= {"typical": torch.tensor([0.0, 1.0]), "contrast_weight": torch.ones(())}
        unlearned |= {"evidence_weight": torch.zeros(())}
        places, features = self.grid**2, sum(self.backbone.channels[layer] for layer in config.patch_layers)
        self._register_learned(unlearned | _named(PatchModel.unlearned(features, places)))

    @property
    def grid(self) -> int:
        """Places along a side that evidence is told apart at: those of the finest level, ``GRID`` at most."""
        return max(1, min(GRID, self.size // FINEST_STRIDE))

    @property
    def patches(self) -> PatchModel:
        """What was learned of places."""
        return PatchModel(*(getattr(self, PATCH + name) for name in PatchModel._fields))

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
        of_patches = self._learn_patches(
            [
                self._patch_images(store, places, fold, title, training)
                for store, places, fold, title in zip(
                    (healthy, mixed),
                    (known, pile),
                    np.split(fold_numbers(is_mixed, groups, FOLDS, self.seed), [len(known)]),
                    ("healthy set", "mixed set"),
                    strict=True,
                )
            ],
            training,
        )
        task = PUProblem(
            features, is_mixed, groups, self._layer_scale(), self._is_measured(), self.seed, of_patches[:, :1]
        )
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

    def _learn_patches(self, images: Sequence[PatchImages], training: Training) -> NDArray[np.float64]:
        """Keep the patch evidence; gives cross-fitted summaries of the images of both sets, N x 2."""
        healthy, mixed = images
        names = ("healthy patches", "mixed patches")
        folds = int(max(part.fold.max() for part in images)) + 1
        scale = _equal_say([self.backbone.channels[layer] for layer in self.config.patch_layers])
        learner = Learner(sketch(healthy, folds, self.seed, POOL), sketch(mixed, folds, self.seed), scale, self.seed)
        apart = [self._on_device(learner.without(fold)) for fold in range(folds)]
        of_healthy, of_pile = (
            resumable(training, name, partial(crossfitted, part, apart))
            for name, part in zip(names, images, strict=True)
        )
        model = weighed(learner.without(None), of_healthy, of_pile, healthy.fold)
        self._keep(_named(self._on_device(model)))
        return np.concatenate([summaries_of(model, part) for part in (of_healthy, of_pile)])

    def _on_device(self, model: PatchModel) -> PatchModel:
        return PatchModel(*(part.to(self.device) for part in model))

    def _patch_images(
        self, store: ImageStore, places: NDArray[np.int64], fold: NDArray[np.int64], title: str, training: Training
    ) -> PatchImages:
        """Some of a store's images, as what patches are learned from."""

        def read(chosen: NDArray[np.int64], task: str) -> Iterator[tuple[Tensor, Tensor]]:
            where = places[chosen]
            for x in batches(store, self.device, f"{title}: {task}", training.progress, places=where):
                yield self._patches(x), body_share(x, self.grid).flatten(1)

        return PatchImages(fold, read)

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
        """Score = log odds of disease; map = patch evidence of it, on a scale learned in training."""
        score, shown = self.judge(x)
        return Prediction(score, shown, evidence=shown)

    def evidence(self, x: Tensor) -> Tensor:
        """(N,): log odds of disease for x, N x C x H x W in [-1, 1]."""
        return self.judge(x)[0]

    @torch.no_grad()
    def judge(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Log odds of disease, (N,), and where it shows, N x 1 x H x W in [0, 1] (see ``evidence.shown``), of x,
        N x C x H x W in [-1, 1]."""
        if torch.is_autocast_enabled(x.device.type):  # sums over a thousand features do not bear bfloat16
            with torch.autocast(x.device.type, enabled=False):
                return self.judge(x)
        model, body = self.patches, body_share(x, self.grid).flatten(1)
        found = evidence(model, patch_scores(model, self._patches(x)), body)
        odds = self._log_odds(_means(self._maps(x))) + self.evidence_weight * summaries(found)[:, 0]
        places = found.view(-1, 1, self.grid, self.grid)
        fine = smooth_map(places, x.shape[-2:], MAP_SMOOTHING * x.shape[-1])
        return odds, shown(model, fine)

    def _maps(self, x: Tensor) -> list[Tensor]:
        """Feature maps of whole images, averaged with the mirror image's mirrored maps."""
        if x.shape[-1] > self.config.pooled_size:
            x = interpolate(x, (self.config.pooled_size,) * 2, mode="bilinear", antialias=True)
        maps = self.backbone.features(x, self.config.layers, as_given=True)
        if not self.config.flip:
            return maps
        mirrored = self.backbone.features(x.flip(3), self.config.layers, as_given=True)
        return [(one + other.flip(3)) / 2 for one, other in zip(maps, mirrored, strict=True)]

    def _patches(self, x: Tensor) -> Tensor:
        """Features of each place, n x P x D. Not of mirror images: anatomy has a left and a right."""
        return patches_of(self.backbone.features(x, self.config.patch_layers), self.grid)

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
        return _equal_say([self.backbone.channels[layer] for layer in self.config.layers])

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


def _means(maps: list[Tensor]) -> Tensor:
    """(N, D): means over places of all layers' maps."""
    return torch.cat([part.mean(dim=(2, 3)) for part in maps], dim=1)


def _equal_say(counts: Sequence[int]) -> NDArray[np.float32]:
    """(sum of counts,): factors that give each layer of so many standardised features a variance of 1 in all."""
    return np.concatenate([np.full(count, count**-0.5, dtype=np.float32) for count in counts])


def _named(model: PatchModel) -> dict[str, Tensor]:
    """The buffers that hold it."""
    return {PATCH + name: part for name, part in model._asdict().items()}


def _parts(fit: PUFit, is_mixed: NDArray[np.bool_]) -> dict[str, Any]:
    """What scoring needs of the fit, by name."""
    (weight, bias), (by_distance, by_contrast, by_evidence) = fit.head, fit.mixture.slopes
    of_healthy, (apart, contrast_weight, patches) = fit.mixture.log_odds(fit.crossfitted[~is_mixed]), fit.weights
    told, total = contrast_weight + patches / 2, apart + contrast_weight + patches  # half of v is the pile's
    return {
        "weight": by_contrast * weight,
        "bias": fit.mixture.intercept + by_contrast * bias,
        "centre": fit.distance.centre,
        "whitener": by_distance * fit.distance.whitener,
        "typical": [of_healthy.mean(), max(of_healthy.std(), SMALLEST_SPREAD)],
        "contrast_weight": told / max(total, np.finfo(float).tiny),
        "evidence_weight": by_evidence,
    }
