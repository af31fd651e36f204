"""Who is kept out of training, and for what: choosing a checkpoint, promising a specificity, watching.

Every part is of whole patients. Which images are held out depends on ``selection.seed`` alone, never on the
training's seed, so that trainings of several seeds can be compared and joined. Mixed images leave their labels and
masks behind: no code that trains or chooses has one to read.
"""

from collections import Counter
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np

from healthygan.common.errors import InputError
from healthygan.common.progress import Progress, silent
from healthygan.data.cohort import Cohort, CohortImage, Split
from healthygan.data.preprocessing import Preprocessing
from healthygan.data.store import ImageStore
from healthygan.detectors.base import DetectorConfig
from healthygan.runs.aggregation import Units, count_units, patient_of
from healthygan.runs.config import Config, SelectionConfig
from healthygan.stats.conformal import healthy_needed

Images = tuple[CohortImage, ...]


@dataclass(frozen=True)
class Partition:
    """A cohort's images by what they are used for; no image and no patient has two uses. Mixed ones have no label."""

    healthy: Images
    """Trained on: B."""
    mixed: Images
    """Trained on: A."""
    early_stopping_healthy: Images
    """Healthy; a detector that stops early looks at them to know when."""
    choice_healthy: Images
    """Healthy; with ``choice_mixed`` they choose a checkpoint without labels."""
    choice_mixed: Images
    """They also show what scores the mixed set had."""
    validation: Images
    """With labels of both kinds, or empty; they choose a checkpoint where labels may."""
    threshold: Images
    """Healthy; they choose nothing and promise the specificity."""


def partition_cohort(cohort: Cohort, selection: SelectionConfig, early_stopping_share: float | None) -> Partition:
    """Divide a cohort; mixed images lose label and mask.

    The threshold's images are validation's healthy ones, or else a share of the healthy set: at least as many as
    the wanted specificity needs, but never more than half. Where validation's labels choose the checkpoint,
    half of its healthy patients do so and the other half keep the threshold's promise. Where patients are judged,
    patients are counted, not their images, and no image of a diseased one counts as healthy.

    Args:
        early_stopping_share: of the healthy images left to train on, in (0, 0.5]; none: the detector does not stop
            early.

    Raises:
        InputError: the detector stops early and one healthy patient alone is left.
    """
    healthy = cohort.split(Split.HEALTHY)
    mixed = tuple(replace(image, label=None, mask=None) for image in cohort.split(Split.MIXED))
    validation, threshold = _validation(cohort, selection)
    if not threshold and selection.holdout:
        count = count_units(healthy, selection)
        wanted = max(round(selection.holdout * count), healthy_needed(selection.specificity))
        healthy, threshold = _part(healthy, min(wanted, count // 2), 0, selection)
    healthy, choice_healthy = _share(healthy, selection.choice_holdout, 1, selection)
    mixed, choice_mixed = _share(mixed, selection.choice_holdout, 2, selection)
    early_stopping_healthy: Images = ()
    if early_stopping_share is not None:
        healthy, early_stopping_healthy = _share(healthy, early_stopping_share, 4, selection, at_least=1)
        if not early_stopping_healthy:
            raise InputError(
                "healthy set: this detector knows when to stop by patients kept out of its training, "
                "and one patient alone is left; add healthy images"
            )
    return Partition(healthy, mixed, early_stopping_healthy, choice_healthy, choice_mixed, validation, threshold)


def _validation(cohort: Cohort, selection: SelectionConfig) -> tuple[Images, Images]:
    """Labelled images that may choose the checkpoint, and healthy ones for the threshold."""
    images = tuple(image for image in cohort.split(Split.VALIDATION) if image.label is not None)
    units = Units(images, selection)
    marks = units.spread(units.diseased())
    healthy, diseased = (tuple(compress(images, marks == value)) for value in (False, True))
    if selection.rule != "validation_auc" or not diseased:
        return (images if healthy and diseased else ()), healthy
    promise, choice = _part(healthy, count_units(healthy, selection) // 2, 3, selection)
    return (choice + diseased if choice else ()), promise


def _share(
    images: Images, share: float, use: int, selection: SelectionConfig, at_least: int = 0
) -> tuple[Images, Images]:
    return _part(images, max(at_least, round(share * count_units(images, selection))), use, selection)


def _part(images: Images, wanted: int, use: int, selection: SelectionConfig) -> tuple[Images, Images]:
    """Part images in two; the second holds whole patients, drawn until it has ``wanted`` units, never all.

    ``use`` is a number of its own for each draw, so that none repeats another.
    """
    images_of = Counter(patient_of(image) for image in images)
    patients = sorted(images_of)
    chosen: set[str] = set()
    count = 0
    for number in np.random.default_rng([selection.seed, use, len(images)]).permutation(len(patients))[:-1]:
        if count >= wanted:
            break
        chosen.add(patients[number])
        count += 1 if selection.unit == "patient" else images_of[patients[number]]
    kept = tuple(image for image in images if patient_of(image) not in chosen)
    return kept, tuple(image for image in images if patient_of(image) in chosen)


def validate_selection(selection: SelectionConfig, parts: Partition, detector: DetectorConfig) -> None:
    """Refuse, before anything is decoded or trained, a rule or a threshold that could not be followed after it.

    Raises:
        InputError: names the setting and the remedy.
    """
    if selection.rule == "fid" and not detector.translates:
        raise InputError(f"selection.rule=fid: detector {detector.name} translates no image; choose by another rule")
    if selection.rule in ("fid", "aucp") and not (parts.choice_healthy and parts.choice_mixed):
        raise InputError(
            f"selection.rule={selection.rule}: no images are held out of both training sets to choose by; "
            "raise selection.choice_holdout, add images, or take selection.rule=last"
        )
    if selection.threshold != "specificity" and not parts.validation:
        raise InputError(
            f"selection.threshold={selection.threshold}: needs a validation set with labels of both kinds; "
            "add one or take selection.threshold=specificity"
        )


@dataclass(frozen=True)
class HeldOut:
    """Images that no gradient sees, and what they were decoded to."""

    images: Images
    store: ImageStore

    def units(self, selection: SelectionConfig) -> Units:
        """What is judged, of the store's frames."""
        return Units.of(self.images, self.store.owner, selection)


@dataclass(frozen=True)
class Stores:
    """The decoded images of a ``Partition``; none where a part is empty.

    Training sees pixels, paths and patients alone; what is measured afterwards also knows its images.
    """

    healthy: ImageStore
    mixed: ImageStore
    early_stopping_healthy: ImageStore | None
    choice_healthy: HeldOut | None
    choice_mixed: HeldOut | None
    validation: HeldOut | None
    threshold: HeldOut | None

    @classmethod
    def build(
        cls, parts: Partition, preprocessing: Preprocessing, strict: bool, progress: Progress = silent
    ) -> "Stores":
        """Decode every part, or reuse what was decoded before.

        Raises:
            InputError: no image of a part can be read.
        """

        def store(images: Images, title: str) -> ImageStore:
            paths, patients = [image.path for image in images], [patient_of(image) for image in images]
            return ImageStore.build(
                paths, preprocessing, groups=patients, strict=strict, title=title, progress=progress
            )

        def held_out(images: Images, title: str) -> HeldOut | None:
            return HeldOut(images, store(images, title)) if images else None

        stopping = parts.early_stopping_healthy
        return cls(
            store(parts.healthy, "healthy set"),
            store(parts.mixed, "mixed set"),
            store(stopping, "early-stopping healthy") if stopping else None,
            held_out(parts.choice_healthy, "held-out healthy"),
            held_out(parts.choice_mixed, "held-out mixed"),
            held_out(parts.validation, "validation set"),
            held_out(parts.threshold, "threshold's healthy"),
        )

    @property
    def trained_on(self) -> dict[str, str]:
        """Keys of the stores that training sees."""
        seen = {
            "healthy": self.healthy,
            "mixed": self.mixed,
            "early_stopping_healthy": self.early_stopping_healthy,
        }
        return {name: store.key for name, store in seen.items() if store is not None}

    @property
    def scored(self) -> dict[str, HeldOut]:
        """By use, those whose scores a finished run keeps: what new scores are compared with."""
        uses = {
            "threshold": self.threshold,
            "choice_healthy": self.choice_healthy,
            "choice_mixed": self.choice_mixed,
        }
        return {use: part for use, part in uses.items() if part is not None}


def decode_parts(cohort: Cohort, config: Config, strict: bool, progress: Progress = silent) -> Stores:
    """Divide a cohort as a configuration asks, see that its rule can be followed, and decode the parts.

    Raises:
        InputError: nothing would be left to train on, or to choose by; or no image of a part can be read.
    """
    parts = partition_cohort(cohort, config.selection, config.early_stopping_share)
    validate_selection(config.selection, parts, config.detector)
    return Stores.build(parts, config.preprocessing, strict, progress)
