"""When not to trust a result: too few cases, another prevalence, another kind of images, a broken promise."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from healthygan.common.messages import shorten_list
from healthygan.data.cohort import Split
from healthygan.runs.reference import Reference
from healthygan.runs.seen import Overlap
from healthygan.stats import conformal
from healthygan.stats.arrays import Booleans
from healthygan.stats.drift import describe, drift
from healthygan.stats.metrics import called_diseased

FEW_CASES = 50
PREVALENCE_GAP = 0.2
DRIFT_LEVEL = 0.01
DRIFT_PATIENTS = 10
"""Held-out patients of the training pile without which its scores say nothing."""
PROMISE_LEVEL = 0.99
SMALLEST_SHARE = 0.5
"""Of the model's size: images with a shorter side below it show too little."""
UNLIKE = "unlike anything seen in training"


def case_warnings(labels: Booleans, noun: str) -> Iterable[str]:
    """Too few test cases of a class; ``labels`` are (N,), True = diseased, of images or patients as ``noun`` says."""
    for name, count in (("healthy", int((~labels).sum())), ("diseased", int(labels.sum()))):
        if count < FEW_CASES:
            yield (
                f"test: only {count} {name} {noun}, each worth {1 / count:.1%} of a rate; read the interval, not the "
                f"figure, and add cases ({FEW_CASES} or more)"
            )


def prevalence_warnings(labels: Booleans, diseased_share: float | None) -> Iterable[str]:
    """A test prevalence far from the mixed set's, as estimated without its labels (``mixture.healthy_share``)."""
    share = float(labels.mean())
    if diseased_share is not None and abs(share - diseased_share) > PREVALENCE_GAP:
        yield (
            f"test: {share:.0%} are diseased, in the mixed set an estimated {diseased_share:.0%} as far as the scores "
            "tell; precision, F1 and the worklist's length hold for the test set's share only"
        )


def drift_warnings(
    scores: NDArray[np.float64], patients: Sequence[str], reference: Reference, are_known: bool = True
) -> Iterable[str]:
    """Scores unlike those of the training pile's held-out images, tested by patient.

    Args:
        scores: (M,), of units.
        patients: (M,), of the units; a file whose patient is unknown stands for one.
        are_known: whether the patients are, rather than files that stand for them.
    """
    held_out, new = len({*reference.choice_patients}), len({*patients})
    if held_out < DRIFT_PATIENTS or not new:
        return
    test = drift(reference.choice_mixed, scores, (reference.choice_patients, patients))
    if test.p_value < DRIFT_LEVEL:
        noun = "patients" if are_known else "images"
        unknown = (
            "" if are_known else "; where several images are of one patient, name patients, or this comes too often"
        )
        yield (
            f"scores differ from those of the training pile (largest gap {test.distance:.2f} between {held_out} "
            f"held-out and {new} new {noun}, p = {test.p_value:.1g}): other machines or patients, "
            "or another share of diseased; thresholds and p-values hold only if healthy "
            f"{reference.noun} still score alike{unknown}"
        )


def seen_splits(overlap: Overlap) -> str:
    """How many images a run has seen, by split: "3 healthy, 4 mixed"."""
    counts = Counter(split for split in overlap.splits if split is not None)
    return ", ".join(f"{counts[split]} {split}" for split in Split if counts[split])


def unchecked_warnings(overlap: Overlap) -> Iterable[str]:
    """What could not be compared with the images at hand."""
    if overlap.unchecked:
        yield (
            f"{overlap.unchecked} images of the run's cohort are gone, and the run was made before hashes of them were "
            "kept: whether they are among these images cannot be checked"
        )


def promise_warnings(
    scores: NDArray[np.float64], labels: Booleans, threshold: float, specificity: float, reference: Reference
) -> Iterable[str]:
    """A realised specificity that the promise does not explain (``conformal.realised_interval``)."""
    held_out, tested = len(reference.threshold), int((~labels).sum())
    if held_out < conformal.healthy_needed(specificity) or not tested:
        return
    low, high, level = conformal.realised_interval(held_out, tested, specificity, PROMISE_LEVEL)
    realised = float((~called_diseased(scores[~labels], threshold)).mean())
    if not low <= realised <= high:
        yield (
            f"specificity {specificity} was promised from {held_out} held-out healthy {reference.noun}, and "
            f"{realised:.2f} came about on {tested}; by chance it would lie from {low:.2f} to {high:.2f} in "
            f"{level:.0%} of cases: the healthy {reference.noun} of the test set are not like those held out"
        )


def frame_remarks(shorter_sides: Sequence[int], x: Tensor, reference: Reference) -> list[str]:
    """(N,): why not to trust each frame's score; empty where nothing speaks against it.

    Args:
        shorter_sides: (N,), of the frames as they were decoded, in pixels.
        x: the preprocessed frames, N x C x S x S in [-1, 1].
    """
    size, seen = x.shape[-1], reference.appearance
    unlike = np.zeros(len(x), dtype=np.bool_) if seen is None else seen.unlike(describe(x))
    remarks = []
    for side, is_unlike in zip(shorter_sides, unlike, strict=True):
        small = f"shorter side {side} px where the model sees {size}" if side < SMALLEST_SHARE * size else ""
        remarks.append("; ".join(filter(None, (small, UNLIKE if is_unlike else ""))))
    return remarks


def unlike_warnings(descriptors: NDArray[np.float64], names: Sequence[str], reference: Reference) -> Iterable[str]:
    """Images unlike anything seen in training; ``descriptors`` are (N, D) from ``drift.describe``."""
    if reference.appearance is None:
        return
    strange = np.flatnonzero(reference.appearance.unlike(descriptors))
    if len(strange):
        yield (
            f"{len(strange)} of {len(names)} images are {UNLIKE}, so that their scores mean "
            f"nothing: {shorten_list([names[int(number)] for number in strange])}; look at them first"
        )
