"""Bootstrap resamples: whole groups (patients) drawn with replacement, each with all its members (images)."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from healthygan.stats.arrays import Booleans


class Resampler:
    """Draws as many groups as there are.

    Args:
        numbers: (N,) group of each member, from 0 without a gap (``arrays.group_numbers``).
    """

    def __init__(self, numbers: NDArray[np.int64]) -> None:
        self._order = np.argsort(numbers, kind="stable")
        self._sizes = np.bincount(numbers)
        self._starts = np.cumsum(self._sizes) - self._sizes

    def __call__(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """(M,) indices of the members of the groups drawn, group by group; M varies where groups differ in size."""
        drawn = generator.integers(len(self._sizes), size=len(self._sizes))
        sizes = self._sizes[drawn]
        before = np.cumsum(sizes) - sizes
        places = np.arange(sizes.sum()) + np.repeat(self._starts[drawn] - before, sizes)
        members: NDArray[np.int64] = self._order[places]
        return members


def resamples_of_both_classes(
    numbers: NDArray[np.int64], labels: Booleans, resamples: int, generator: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """So many resamples, (M,) indices each; one that holds a single class tells nothing and is drawn again.

    Args:
        numbers: (N,) group of each member, as of ``Resampler``.
        labels: (N,), True = diseased; both classes are among them.
    """
    draw = Resampler(numbers)
    for _ in range(resamples):
        members = draw(generator)
        while labels[members].all() or not labels[members].any():
            members = draw(generator)
        yield members


def tails(level: float) -> tuple[float, float]:
    """The two shares between which the middle ``level`` of a distribution lies.

    Raises:
        ValueError: ``level`` is not strictly between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level {level} must lie between 0 and 1")
    return (1 - level) / 2, (1 + level) / 2
