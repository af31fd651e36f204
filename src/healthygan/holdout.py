"""Who is kept out of training, and for what: choosing a checkpoint, promising a specificity, watching.

Every part is of whole patients. Which images are held out depends on ``selection.seed`` alone, never on the
training's seed, so that trainings of several seeds can be compared and joined. No label of the mixed set is read.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from healthygan.config import Config
from healthygan.conformal import healthy_needed
from healthygan.data.cohort import Cohort, CohortImage, Label, Split
from healthygan.detectors.base import WatchedConfig
from healthygan.errors import InputError
from healthygan.units import patient_of

Images = tuple[CohortImage, ...]


@dataclass(frozen=True)
class Parts:
    """A cohort's images by what they are used for; no image and no patient has two uses."""

    healthy: Images
    """Trained on: B."""
    mixed: Images
    """Trained on: A."""
    watched: Images
    """Healthy; a watched detector looks at them to know when to stop."""
    choice_healthy: Images
    """Healthy; with ``choice_mixed`` they choose a checkpoint without labels."""
    choice_mixed: Images
    """Unlabelled; they also show what the training pile's scores were like."""
    validation: Images
    """With labels of both kinds, or empty; they choose a checkpoint where labels may."""
    threshold: Images
    """Healthy; they choose nothing and promise the specificity."""


def divide(cohort: Cohort, config: Config) -> Parts:
    """Divide a cohort.

    The threshold's images are validation's healthy ones, or else a share of the healthy set: at least as many as
    the wanted specificity needs, but never more than half. Where validation's labels choose the checkpoint,
    half of its healthy patients do so and the other half keep the threshold's promise.

    Raises:
        InputError: nothing would be left to train on.
    """
    settings = config.selection
    healthy, mixed = cohort.split(Split.HEALTHY), cohort.split(Split.MIXED)
    validation, threshold = _validation(cohort, config)
    if not threshold and settings.holdout:
        wanted = max(round(settings.holdout * len(healthy)), _needed(healthy, config))
        healthy, threshold = _part(healthy, min(wanted, len(healthy) // 2), [settings.seed, 0])
    choice = settings.choice_holdout
    healthy, choice_healthy = _part(healthy, round(choice * len(healthy)), [settings.seed, 1])
    mixed, choice_mixed = _part(mixed, round(choice * len(mixed)), [settings.seed, 2])
    healthy, watched = _watched(healthy, config)
    return Parts(healthy, mixed, watched, choice_healthy, choice_mixed, validation, threshold)


def _validation(cohort: Cohort, config: Config) -> tuple[Images, Images]:
    """Labelled images that may choose the checkpoint, and healthy ones for the threshold."""
    images = tuple(image for image in cohort.split(Split.VALIDATION) if image.label is not None)
    healthy = tuple(image for image in images if image.label is Label.HEALTHY)
    diseased = tuple(image for image in images if image.label is Label.DISEASED)
    if config.selection.rule != "validation_auc" or not diseased:
        return (images if healthy and diseased else ()), healthy
    promise, choice = _part(healthy, len(healthy) // 2, [config.selection.seed, 3])
    return (choice + diseased if choice else ()), promise


def _needed(healthy: Images, config: Config) -> int:
    """Images that the wanted specificity needs; of patients, where those are judged, each has several."""
    needed = healthy_needed(config.selection.specificity)
    if config.selection.unit == "patient":
        needed *= math.ceil(len(healthy) / max(1, len({patient_of(image) for image in healthy})))
    return needed


def _watched(healthy: Images, config: Config) -> tuple[Images, Images]:
    if not isinstance(config.detector, WatchedConfig):
        return healthy, ()
    wanted = max(1, round(config.detector.watched * len(healthy)))
    kept, watched = _part(healthy, wanted, [config.selection.seed, 4])
    if not watched:
        raise InputError(
            f"healthy set: detector {config.detector.name} watches its training on patients kept out of it, "
            "and one patient alone is left; add healthy images"
        )
    return kept, watched


def _part(images: Images, wanted: int, seed: Sequence[int]) -> tuple[Images, Images]:
    """Part images in two; the second holds whole patients, drawn until it has ``wanted`` images, never all."""
    images_of = Counter(patient_of(image) for image in images)
    patients = sorted(images_of)
    chosen: set[str] = set()
    count = 0
    for number in np.random.default_rng([*seed, len(images)]).permutation(len(patients))[:-1]:
        if count >= wanted:
            break
        chosen.add(patients[number])
        count += images_of[patients[number]]
    kept = tuple(image for image in images if patient_of(image) not in chosen)
    return kept, tuple(image for image in images if patient_of(image) in chosen)
