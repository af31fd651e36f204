"""What tells checkpoints apart: metrics of a candidate's scores, with labels or without.

The label-free ones look at images that no gradient saw.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from healthygan.common.batching import in_batches
from healthygan.common.errors import InputError
from healthygan.common.progress import Progress, silent
from healthygan.data.cohort import CohortImage, Label
from healthygan.data.preprocessing import Preprocessing, to_tensor
from healthygan.data.store import ImageStore
from healthygan.detectors.base import Detector, Prediction, load_file
from healthygan.detectors.prediction import BATCH, predictions
from healthygan.runs.aggregation import Units
from healthygan.runs.config import SelectionConfig
from healthygan.runs.partition import HeldOut, Stores
from healthygan.runs.selection import ORACLE, Curve
from healthygan.stats.aucp import aucp
from healthygan.stats.fid import frechet_distance, images_needed
from healthygan.stats.metrics import auc

FEW = 30
"""Held-out units of either set below which a label-free choice is little better than a guess."""


class Extractor(Protocol):
    """A pretrained network as a source of features."""

    @property
    def name(self) -> str:
        """Part of the name of every number made from its features."""
        ...

    def pooled(self, x: Tensor) -> Tensor:
        """N x D features of x, N x C x H x W in [-1, 1]."""
        ...


ScoreStore: TypeAlias = Callable[[ImageStore], Iterator[Prediction]]
"""Puts a store through the candidate at hand."""


@dataclass(frozen=True)
class CheckpointMetric:
    """A number that tells one candidate from another."""

    rule: str
    name: str
    lower_is_better: bool
    images: int
    """Images that one measurement looks at."""
    measure: Callable[[ScoreStore], float]
    remark: str = ""
    """What a reader must know of it, such as that it rests on few images."""


def checkpoint_metrics(
    rules: Sequence[str], stores: Stores, settings: SelectionConfig, extractor: Extractor | None
) -> list[CheckpointMetric]:
    """Those of the rules that measure something, as far as there are images for them."""
    metrics = []
    healthy, mixed = stores.choice_healthy, stores.choice_mixed
    if "validation_auc" in rules and stores.validation:
        metrics.append(auc_of("validation_auc", "AUC on the validation labels", stores.validation, settings))
    if "aucp" in rules and healthy and mixed:
        metrics.append(aucp_of(healthy, mixed, settings))
    if "fid" in rules and healthy and mixed and extractor:
        metrics.append(fid_of(mixed.store, healthy.store, extractor))
    return metrics


def oracle_metric(
    images: Sequence[CohortImage], settings: SelectionConfig, preprocessing: Preprocessing, progress: Progress = silent
) -> CheckpointMetric | None:
    """AUC on the test labels, to measure what the rules are worth; none without labels of both kinds."""
    if {*Units(images, settings).labels()} != {*Label}:
        return None
    paths = [image.path for image in images]
    store = ImageStore.build(paths, preprocessing, title="test set", progress=progress)
    return auc_of(ORACLE, "AUC on the test labels", HeldOut(tuple(images), store), settings)


def auc_of(rule: str, name: str, labelled: HeldOut, settings: SelectionConfig) -> CheckpointMetric:
    """AUC on images with labels of both kinds."""
    units = labelled.units(settings)
    labels = units.diseased()

    def measure(score_store: ScoreStore) -> float:
        return auc(units.scores(_scores(score_store(labelled.store))), labels)

    return CheckpointMetric(rule, name, False, len(labelled.store), measure)


def aucp_of(healthy: HeldOut, mixed: HeldOut, settings: SelectionConfig) -> CheckpointMetric:
    """AUCp (``stats.aucp``) of held-out images."""
    known, unknown = healthy.units(settings), mixed.units(settings)

    def measure(score_store: ScoreStore) -> float:
        healthy_scores = known.scores(_scores(score_store(healthy.store)))
        return aucp(healthy_scores, unknown.scores(_scores(score_store(mixed.store))))

    too_few = min(len(known), len(unknown)) < FEW
    remark = f"rough: only {len(known)} healthy and {len(unknown)} mixed held-out {known.noun}" if too_few else ""
    return CheckpointMetric("aucp", "AUCp", False, len(healthy.store) + len(mixed.store), measure, remark)


def fid_of(mixed: ImageStore, healthy: ImageStore, extractor: Extractor) -> CheckpointMetric:
    """FID between translated mixed images and healthy images as they are, both held out.

    Raises:
        InputError: fewer than two images on either side.
    """
    if min(len(mixed), len(healthy)) < 2:
        raise InputError(
            f"FID needs two held-out images of either set, here are {len(mixed)} mixed and {len(healthy)} healthy; "
            "raise selection.choice_holdout or choose by another rule"
        )
    parts = in_batches(len(healthy), BATCH)
    real = np.concatenate([_features(extractor, to_tensor(healthy.read(part))) for part in parts])

    def measure(score_store: ScoreStore) -> float:
        return frechet_distance(_translated_features(score_store(mixed), extractor), real)

    needed = images_needed(real.shape[1])
    short = min(len(mixed), len(healthy)) < needed
    remark = (
        f"rough: {len(mixed)} mixed and {len(healthy)} healthy held-out images, and a full covariance of "
        f"{real.shape[1]} features takes {needed} of either"
    )
    return CheckpointMetric("fid", f"FID ({extractor.name})", True, len(mixed), measure, remark if short else "")


def evaluate_checkpoints(
    candidates: Mapping[int, Path],
    detector: Detector,
    metrics: Sequence[CheckpointMetric],
    progress: Progress = silent,
) -> tuple[Curve, ...]:
    """Each metric over all candidates; the detector is left with the last one's weights.

    Raises:
        InputError: a candidate's file is damaged, or gives scores that are not finite.
    """
    values: list[dict[int, float]] = [{} for _ in metrics]
    total = len(candidates) * sum(metric.images for metric in metrics)
    with progress("choosing a checkpoint", total) as advance:
        for iteration, path in candidates.items():
            load_file(detector, path)
            for metric, by_iteration in zip(metrics, values, strict=True):
                try:
                    by_iteration[iteration] = metric.measure(lambda store: predictions(detector, store, advance))
                except ValueError as error:
                    raise InputError(f"{path}: {metric.name} cannot be computed ({error}); train anew") from error
    return tuple(
        Curve(rule=m.rule, name=m.name, lower_is_better=m.lower_is_better, values=by_iteration, remark=m.remark)
        for m, by_iteration in zip(metrics, values, strict=True)
    )


def _scores(predicted: Iterator[Prediction]) -> NDArray[np.float64]:
    return np.concatenate([batch.score.double().numpy() for batch in predicted])


def _translated_features(predicted: Iterator[Prediction], extractor: Extractor) -> NDArray[np.float64]:
    features = []
    for batch in predicted:
        assert batch.translated is not None
        features.append(_features(extractor, batch.translated))
    return np.concatenate(features)


@torch.no_grad()
def _features(extractor: Extractor, x: Tensor) -> NDArray[np.float64]:
    return extractor.pooled(x).double().cpu().numpy()
