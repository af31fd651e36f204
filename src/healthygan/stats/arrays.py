"""Types and checks of score arrays, shared by every statistic; and indices of many things, some at a time.

Throughout, ``scores`` are (N,) finite floats, higher = more anomalous, and ``labels`` are (N,) booleans,
True = diseased.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32] | NDArray[np.float64]
Booleans: TypeAlias = NDArray[np.bool_]


def finite_row(scores: Floats, name: str = "scores") -> NDArray[np.float64]:
    """The scores as (N,) float64.

    Raises:
        ValueError: another shape, or a score is not finite; ``name`` is what the message calls them.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"{name} have shape {values.shape}; give one number for each image")
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise ValueError(f"{bad} of {len(values)} {name} are not finite")
    return values


def some_row(scores: Floats, name: str) -> NDArray[np.float64]:
    """As ``finite_row``, and at least one."""
    values = finite_row(scores, name)
    if not len(values):
        raise ValueError(f"there are no {name}; give at least one")
    return values


def labelled(scores: Floats, labels: Booleans) -> tuple[NDArray[np.float64], Booleans]:
    """Scores and labels that belong together.

    Raises:
        ValueError: as ``finite_row``, or the labels are not N booleans.
    """
    values, truth = finite_row(scores), np.asarray(labels)
    if truth.dtype != np.bool_ or truth.shape != values.shape:
        raise ValueError(
            f"labels are {truth.dtype} {truth.shape} for {len(values)} scores; give a boolean for each image"
        )
    return values, truth


def both_classes(scores: Floats, labels: Booleans) -> tuple[NDArray[np.float64], Booleans]:
    """As ``labelled``, and at least one image of each class."""
    values, truth = labelled(scores, labels)
    diseased = int(truth.sum())
    if diseased in (0, len(truth)):
        raise ValueError(f"{diseased} diseased and {len(truth) - diseased} healthy images; both classes are needed")
    return values, truth


def group_numbers(groups: Sequence[str], length: int) -> NDArray[np.int64]:
    """(N,): the groups (patients) numbered from 0 in alphabetical order.

    Raises:
        ValueError: there are not ``length`` of them.
    """
    if len(groups) != length:
        raise ValueError(f"{len(groups)} patients for {length} scores; give one patient for each image")
    numbers = {group: number for number, group in enumerate(sorted(set(groups)))}
    return np.array([numbers[group] for group in groups], dtype=np.int64)
