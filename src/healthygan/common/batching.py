"""Indices of many things, some at a time or evenly spaced."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def evenly_spaced(count: int, wanted: int) -> NDArray[np.int64]:
    """Indices of ``wanted`` of ``count`` things, the first and the last among them; of all where there are fewer."""
    return np.linspace(0, count - 1, min(wanted, count)).astype(np.int64)


def in_batches(count: int, size: int) -> Iterator[NDArray[np.int64]]:
    """The indices below ``count``, ``size`` at a time; the last batch may be smaller."""
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))
