"""Dark margins around what an image shows: they tell how it was exported, not whether anyone is ill."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DARK = 0.08
"""Share of the range from black to white up to which a pixel counts as dark."""
FEW = 0.02
"""Share of a row's or a column's pixels that may be brighter without it showing anything."""
MOST = 0.25
"""Of a side, the most that is cut off at either end: an image that is dark by and large is not enlarged further."""


class Margins(NamedTuple):
    """Shares of the height (top, bottom) and of the width (left, right)."""

    top: float = 0.0
    bottom: float = 0.0
    left: float = 0.0
    right: float = 0.0


NO_MARGINS = Margins()


def is_bright(values: NDArray[np.floating], low: float, high: float) -> NDArray[np.bool_]:
    """Which values are not dark where ``low`` is black and ``high`` is white; same shape."""
    bright: NDArray[np.bool_] = values > low + DARK * (high - low)
    return bright


def find_margins(bright: NDArray[np.bool_]) -> Margins:
    """Margins around all that any of n planes shows; none where nothing is shown at all.

    Args:
        bright: n x H x W, as of ``is_bright``.
    """
    rows = (bright.mean(axis=2) > FEW).any(axis=0)
    columns = (bright.mean(axis=1) > FEW).any(axis=0)
    if not (rows.any() and columns.any()):
        return NO_MARGINS
    return Margins(_before(rows), _before(rows[::-1]), _before(columns), _before(columns[::-1]))


def _before(shown: NDArray[np.bool_]) -> float:
    return min(int(shown.argmax()) / len(shown), MOST)
