"""The unread ranked anew by what was read: verdicts beside the healthy set, on features and the first ranking.

A logistic head tells the diseased verdicts from the healthy ones and from the healthy set. The first ranking's log odds
are one of its features, so that a few verdicts leave that ranking much as it is and many may overrule it:

    log odds = a r + w z + b,    least  sum_i c_i log(1 + exp(-y_i log odds_i)) + (|w|^2 + a^2 / A^2) / (2 C)

with z the standardised features, r the first ranking's log odds in standard deviations of the pile, and y = 1 for a
diseased, -1 for a healthy image. c is 1 for what was read; the healthy set counts together no more than the healthy
verdicts do, since it may lie apart from the pile in ways that are no disease.

No unread image is scored by a model that learned from its patient: patients are dealt into folds, and each fold is
scored by a head that learned from the others. The heads' biases are made alike by their means over all the unread.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from healthygan.detectors.contrast.mahalanobis import standardiser
from healthygan.stats.arrays import Booleans, Floats

UNREAD, HEALTHY, DISEASED = -1, 0, 1
FOLDS = 5
STRENGTH = 0.3
"""C, for features whose layers each have a variance of 1."""
TRUST = 3.0
"""A: how readily the first ranking is followed. Both were chosen on labels of mixed sets (benchmarks/README.md)."""
ITERATIONS, TOLERANCE = 60, 1e-2
"""Of the search: it is to rank, in a reader's time."""
SMALLEST_SPREAD = 1e-6
"""Of the first ranking's log odds."""


@dataclass(frozen=True)
class PartlyRead:
    """A healthy set and a pile of which some is read, N images together.

    Raises:
        ValueError: lengths differ, a verdict is none of -1, 0 and 1, the healthy set or the pile is empty, or a number
            is not finite.
    """

    features: NDArray[np.float32]
    """(N, D), pooled."""
    is_healthy_set: Booleans
    """(N,)."""
    verdicts: NDArray[np.int8]
    """(N,): -1 unread, 0 healthy, 1 diseased; not looked at where the image is of the healthy set."""
    groups: NDArray[Any]
    """(N,): patients."""
    log_odds: Floats
    """(N,): the first ranking, cross-fitted, of the healthy set too."""
    scale: NDArray[np.float32]
    """(D,): factor of each standardised feature."""

    def __post_init__(self) -> None:
        rows = (self.features, self.is_healthy_set, self.verdicts, self.groups, self.log_odds)
        lengths = [len(row) for row in rows]
        if len(set(lengths)) > 1 or self.features.ndim != 2 or self.features.shape[1] != len(self.scale):
            raise ValueError(f"features {self.features.shape}, scale {self.scale.shape}, rows {lengths}: not of a kind")
        if not np.isin(self.verdicts, (UNREAD, HEALTHY, DISEASED)).all():
            raise ValueError("a verdict is none of -1 (unread), 0 (healthy) and 1 (diseased)")
        if self.is_healthy_set.all() or not self.is_healthy_set.any():
            raise ValueError("the healthy set or the pile is empty")
        if not (np.isfinite(self.features).all() and np.isfinite(self.log_odds).all()):
            raise ValueError("a feature or a log odds is not finite")

    @property
    def is_read(self) -> Booleans:
        """(N,): of the pile, with a verdict."""
        read: Booleans = ~self.is_healthy_set & (self.verdicts != UNREAD)
        return read

    @property
    def is_unread(self) -> Booleans:
        """(N,): of the pile, without one."""
        unread: Booleans = ~self.is_healthy_set & (self.verdicts == UNREAD)
        return unread

    @property
    def is_diseased(self) -> Booleans:
        """(N,): of the pile, called diseased."""
        diseased: Booleans = ~self.is_healthy_set & (self.verdicts == DISEASED)
        return diseased


def relearn(task: PartlyRead, seed: int = 0) -> NDArray[np.float64]:
    """(N,): new log odds of the unread, to rank them by; nan of all others.

    The first ranking's where the diseased verdicts are all of one fold. Takes seconds for 10,000 images.

    Args:
        seed: of the folds.
    """
    fold = _folds(task.groups, seed)
    odds = np.full(len(fold), np.nan)
    odds[task.is_unread] = task.log_odds[task.is_unread]
    if len(np.unique(fold[task.is_diseased])) < 2:
        return odds
    inputs = _inputs(task)
    known = np.flatnonzero(task.is_read | task.is_healthy_set)
    centres = []
    for part in range(FOLDS):
        judge = np.flatnonzero(task.is_unread & (fold == part))
        if not len(judge):
            continue
        weight, bias = _head(task, inputs, known[fold[known] != part])
        centres.append(weight @ inputs[task.is_unread].mean(axis=0) + bias)
        odds[judge] = inputs[judge] @ weight + bias - centres[-1]
    # Heads that saw few verdicts differ most in their bias, which would rank folds instead of images.
    return odds + (np.mean(centres) if centres else 0.0)


def _head(task: PartlyRead, inputs: NDArray[np.float32], learn: NDArray[np.int64]) -> tuple[NDArray[np.float64], float]:
    """Weights (D + 1,) and bias, from these images alone."""
    from sklearn.linear_model import LogisticRegression  # only learning needs it

    model = LogisticRegression(C=STRENGTH, max_iter=ITERATIONS, tol=TOLERANCE)
    model.fit(inputs[learn], task.is_diseased[learn], sample_weight=_weights(task, learn))
    return model.coef_[0].astype(np.float64), float(model.intercept_[0])


def _inputs(task: PartlyRead) -> NDArray[np.float32]:
    """(N, D + 1): features, standardised by the healthy set, and the first ranking."""
    mean, factor = standardiser(task.features[task.is_healthy_set], task.scale)
    of_pile = task.log_odds[~task.is_healthy_set]
    first = TRUST * (task.log_odds - of_pile.mean()) / max(float(of_pile.std()), SMALLEST_SPREAD)
    return np.column_stack([(task.features - mean) * factor, first]).astype(np.float32)


def _folds(groups: NDArray[Any], seed: int) -> NDArray[np.int64]:
    """(N,): the fold of each image, that of its patient."""
    _, patients = np.unique(groups, return_inverse=True)
    dealt = np.random.default_rng(seed).permutation(patients.max() + 1) % FOLDS
    return np.asarray(dealt[patients], dtype=np.int64)


def _weights(task: PartlyRead, learn: NDArray[np.int64]) -> NDArray[np.float64]:
    """1 for what was read; the healthy set together as much as the healthy verdicts, and each no more than 1."""
    known = task.is_healthy_set[learn]
    verdicts = int((~known & ~task.is_diseased[learn]).sum())
    return np.where(known, min(1.0, max(verdicts, 1) / max(int(known.sum()), 1)), 1.0)
