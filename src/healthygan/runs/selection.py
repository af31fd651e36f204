"""Choosing a checkpoint: a figure for each candidate, with labels or without, and the rule that takes one.

The label-free figures look at images that no gradient saw. What chooses a checkpoint may not promise its
specificity afterwards: ``holdout`` keeps the two apart.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from healthygan.common.batching import in_batches
from healthygan.common.errors import Call, InputError
from healthygan.common.progress import Progress, silent
from healthygan.data.preprocessing import to_tensor
from healthygan.data.store import ImageStore
from healthygan.detectors.base import Detector, Prediction, load_file
from healthygan.detectors.prediction import BATCH, predictions
from healthygan.runs.aggregation import Units
from healthygan.stats.aucp import aucp
from healthygan.stats.fid import frechet_distance, images_needed
from healthygan.stats.metrics import auc

ORACLE = "oracle"
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
    """A figure of one candidate."""

    rule: str
    name: str
    lower_is_better: bool
    images: int
    """Images that one measurement looks at."""
    measure: Callable[[ScoreStore], float]
    remark: str = ""
    """What a reader must know of it, such as that it rests on few images."""


class Curve(BaseModel):
    """One figure over a run's candidates."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: str
    name: str
    lower_is_better: bool = False
    values: dict[int, float]
    """By iteration, ascending."""
    remark: str = ""

    @property
    def best(self) -> int:
        """The iteration that it takes; of equals the last."""
        sign = -1 if self.lower_is_better else 1
        return max(self.values, key=lambda iteration: (sign * self.values[iteration], iteration))

    @property
    def reason(self) -> str:
        """Why, in words."""
        extreme = "lowest" if self.lower_is_better else "highest"
        text = f"{extreme} {self.name} ({self.values[self.best]:.4g}) of {len(self.values)} candidates"
        return f"{text}; {self.remark}" if self.remark else text


class Choice(NamedTuple):
    """One rule's candidate; the AUCs are on the test labels, none where they were not measured."""

    rule: str
    iteration: int
    measurement: str
    test_auc: float | None = None
    from_best: float | None = None
    """0 or below: what the rule lost to the best candidate."""
    from_last: float | None = None


class Selection(BaseModel):
    """What was measured of a run's candidates, kept as ``selection.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    chosen: int
    """Iteration of the run's model."""
    rule: str
    last: int
    """Iteration of the last candidate."""
    curves: tuple[Curve, ...] = ()
    test_auc: dict[int, float] | None = None
    """For measuring only: AUC on the labels of the test set, which no rule sees."""

    def picks(self) -> dict[str, int]:
        """The iteration that each rule takes."""
        return {curve.rule: curve.best for curve in self.curves} | {"last": self.last}

    def choices(self) -> "list[Choice]":
        """What each rule takes and, where the test labels were measured, what that is worth; the oracle last."""
        measurements = {curve.rule: f"{curve.name} {curve.values[curve.best]:.4g}" for curve in self.curves}
        found = [self._choice(rule, iteration, measurements.get(rule, "")) for rule, iteration in self.picks().items()]
        if self.test_auc:
            oracle = max(self.test_auc, key=lambda iteration: (self.test_auc or {})[iteration])
            found.append(self._choice(ORACLE, oracle, "no rule: it sees the test labels"))
        return found

    def _choice(self, rule: str, iteration: int, measurement: str) -> "Choice":
        areas = self.test_auc
        if not areas:
            return Choice(rule, iteration, measurement)
        area = areas[iteration]
        return Choice(rule, iteration, measurement, area, area - max(areas.values()), area - areas[self.last])

    @classmethod
    def load(cls, path: Path) -> "Selection | None":
        """What a run has measured; none if nothing.

        Raises:
            InputError: the file is damaged.
        """
        if not path.exists():
            return None
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise InputError(
                f"{path}: damaged ({error.errors()[0]['msg']}); repeat ", Call("select", path.parent)
            ) from error


def aucp_of(healthy: ImageStore, mixed: ImageStore, units: tuple[Units, Units]) -> CheckpointMetric:
    """AUCp (``mixture.aucp``) of held-out images; ``units`` are the healthy and the mixed ones'."""
    known, unknown = units

    def measure(score_store: ScoreStore) -> float:
        return aucp(known.scores(_scores(score_store(healthy))), unknown.scores(_scores(score_store(mixed))))

    too_few = min(len(known), len(unknown)) < FEW
    remark = f"rough: only {len(known)} healthy and {len(unknown)} mixed held-out {known.noun}" if too_few else ""
    return CheckpointMetric("aucp", "AUCp", False, len(healthy) + len(mixed), measure, remark)


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


def auc_of(rule: str, name: str, images: ImageStore, units: Units) -> CheckpointMetric:
    """AUC on labelled images."""
    labels = units.diseased()

    def measure(score_store: ScoreStore) -> float:
        return auc(units.scores(_scores(score_store(images))), labels)

    return CheckpointMetric(rule, name, False, len(images), measure)


def evaluate_checkpoints(
    candidates: Mapping[int, Path],
    detector: Detector,
    criteria: Sequence[CheckpointMetric],
    progress: Progress = silent,
) -> tuple[Curve, ...]:
    """Each criterion over all candidates; the detector is left with the last one's weights.

    Raises:
        InputError: a candidate's file is damaged, or gives scores that are not finite.
    """
    values: list[dict[int, float]] = [{} for _ in criteria]
    total = len(candidates) * sum(criterion.images for criterion in criteria)
    with progress("choosing a checkpoint", total) as advance:
        for iteration, path in candidates.items():
            load_file(detector, path)
            for criterion, found in zip(criteria, values, strict=True):
                try:
                    found[iteration] = criterion.measure(lambda store: predictions(detector, store, advance))
                except ValueError as error:
                    raise InputError(f"{path}: {criterion.name} cannot be computed ({error}); train anew") from error
    return tuple(
        Curve(rule=c.rule, name=c.name, lower_is_better=c.lower_is_better, values=found, remark=c.remark)
        for c, found in zip(criteria, values, strict=True)
    )


def _scores(found: Iterator[Prediction]) -> NDArray[np.float64]:
    return np.concatenate([part.score.double().numpy() for part in found])


def _translated_features(found: Iterator[Prediction], extractor: Extractor) -> NDArray[np.float64]:
    features = []
    for part in found:
        assert part.translated is not None
        features.append(_features(extractor, part.translated))
    return np.concatenate(features)


@torch.no_grad()
def _features(extractor: Extractor, x: Tensor) -> NDArray[np.float64]:
    return extractor.pooled(x).double().cpu().numpy()
