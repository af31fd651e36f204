"""Who is kept out of training, and for what: choosing a checkpoint, promising a specificity, watching.

Every part is of whole patients. Which images are held out depends on ``selection.seed`` alone, never on the
training's seed, so that trainings of several seeds can be compared and joined. No label of the mixed set is read.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np

from healthygan.common.errors import InputError
from healthygan.common.progress import Progress, silent
from healthygan.data.cohort import Cohort, CohortImage, Split
from healthygan.data.store import ImageStore
from healthygan.detectors.base import EarlyStoppingConfig
from healthygan.runs.aggregation import Units, count_units, patient_of
from healthygan.runs.config import Config, SelectionConfig
from healthygan.stats.conformal import healthy_needed

Images = tuple[CohortImage, ...]


@dataclass(frozen=True)
class Partition:
    """A cohort's images by what they are used for; no image and no patient has two uses."""

    healthy: Images
    """Trained on: B."""
    mixed: Images
    """Trained on: A."""
    early_stopping_healthy: Images
    """Healthy; a watched detector looks at them to know when to stop."""
    choice_healthy: Images
    """Healthy; with ``choice_mixed`` they choose a checkpoint without labels."""
    choice_mixed: Images
    """Unlabelled; they also show what the training pile's scores were like."""
    validation: Images
    """With labels of both kinds, or empty; they choose a checkpoint where labels may."""
    threshold: Images
    """Healthy; they choose nothing and promise the specificity."""


def partition_cohort(cohort: Cohort, config: Config) -> Partition:
    """Divide a cohort.

    The threshold's images are validation's healthy ones, or else a share of the healthy set: at least as many as
    the wanted specificity needs, but never more than half. Where validation's labels choose the checkpoint,
    half of its healthy patients do so and the other half keep the threshold's promise. Where patients are judged,
    patients are counted, not their images, and no image of a diseased one counts as healthy.

    Raises:
        InputError: nothing would be left to train on.
    """
    settings = config.selection
    healthy, mixed = cohort.split(Split.HEALTHY), cohort.split(Split.MIXED)
    validation, threshold = _validation(cohort, config)
    if not threshold and settings.holdout:
        count = count_units(healthy, settings)
        wanted = max(round(settings.holdout * count), healthy_needed(settings.specificity))
        healthy, threshold = _part(healthy, min(wanted, count // 2), 0, settings)
    healthy, choice_healthy = _share(healthy, settings.choice_holdout, 1, settings)
    mixed, choice_mixed = _share(mixed, settings.choice_holdout, 2, settings)
    healthy, early_stopping_healthy = _for_early_stopping(healthy, config)
    return Partition(healthy, mixed, early_stopping_healthy, choice_healthy, choice_mixed, validation, threshold)


def _validation(cohort: Cohort, config: Config) -> tuple[Images, Images]:
    """Labelled images that may choose the checkpoint, and healthy ones for the threshold."""
    images = tuple(image for image in cohort.split(Split.VALIDATION) if image.label is not None)
    units = Units(images, config.selection)
    marks = units.spread(units.diseased())
    healthy, diseased = (tuple(compress(images, marks == value)) for value in (False, True))
    if config.selection.rule != "validation_auc" or not diseased:
        return (images if healthy and diseased else ()), healthy
    promise, choice = _part(healthy, count_units(healthy, config.selection) // 2, 3, config.selection)
    return (choice + diseased if choice else ()), promise


def _for_early_stopping(healthy: Images, config: Config) -> tuple[Images, Images]:
    if not isinstance(config.detector, EarlyStoppingConfig):
        return healthy, ()
    kept, early_stopping_healthy = _share(
        healthy, config.detector.early_stopping_healthy, 4, config.selection, at_least=1
    )
    if not early_stopping_healthy:
        raise InputError(
            f"healthy set: detector {config.detector.name} watches its training on patients kept out of it, "
            "and one patient alone is left; add healthy images"
        )
    return kept, early_stopping_healthy


def _share(
    images: Images, share: float, use: int, settings: SelectionConfig, at_least: int = 0
) -> tuple[Images, Images]:
    return _part(images, max(at_least, round(share * count_units(images, settings))), use, settings)


def _part(images: Images, wanted: int, use: int, settings: SelectionConfig) -> tuple[Images, Images]:
    """Part images in two; the second holds whole patients, drawn until it has ``wanted`` units, never all.

    ``use`` is a number of its own for each draw, so that none repeats another.
    """
    images_of = Counter(patient_of(image) for image in images)
    patients = sorted(images_of)
    chosen: set[str] = set()
    count = 0
    for number in np.random.default_rng([settings.seed, use, len(images)]).permutation(len(patients))[:-1]:
        if count >= wanted:
            break
        chosen.add(patients[number])
        count += 1 if settings.unit == "patient" else images_of[patients[number]]
    kept = tuple(image for image in images if patient_of(image) not in chosen)
    return kept, tuple(image for image in images if patient_of(image) in chosen)


@dataclass(frozen=True)
class Stores:
    """The decoded images of ``Partition``; none where a part is empty."""

    healthy: ImageStore
    mixed: ImageStore
    early_stopping_healthy: ImageStore | None
    choice_healthy: ImageStore | None
    choice_mixed: ImageStore | None
    validation: ImageStore | None
    threshold: ImageStore | None

    @classmethod
    def build(cls, parts: Partition, config: Config, strict: bool, progress: Progress = silent) -> "Stores":
        """Decode every part, or reuse what was decoded before.

        Raises:
            InputError: no image of a part can be read.
        """

        def store(images: Sequence[CohortImage], title: str) -> ImageStore:
            paths, patients = [image.path for image in images], [patient_of(image) for image in images]
            return ImageStore.build(
                paths, config.preprocessing, groups=patients, strict=strict, title=title, progress=progress
            )

        def some(images: Sequence[CohortImage], title: str) -> ImageStore | None:
            return store(images, title) if images else None

        return cls(
            store(parts.healthy, "healthy set"),
            store(parts.mixed, "mixed set"),
            some(parts.early_stopping_healthy, "early-stopping healthy"),
            some(parts.choice_healthy, "held-out healthy"),
            some(parts.choice_mixed, "held-out mixed"),
            some(parts.validation, "validation set"),
            some(parts.threshold, "threshold's healthy"),
        )

    @property
    def trained_on(self) -> dict[str, str]:
        """Keys of all images that training sees."""
        seen = {"healthy": self.healthy, "mixed": self.mixed} | (
            {"early_stopping_healthy": self.early_stopping_healthy} if self.early_stopping_healthy else {}
        )
        return {name: store.key for name, store in seen.items()}
