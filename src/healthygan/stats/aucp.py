"""What can be said of a mixed set without any of its labels: AUCp, and the share of healthy images.

``healthy`` are (n,) scores of known-healthy images and ``mixed`` (m,) scores of unlabelled ones, none of either
seen by the gradient.
"""

import math

import numpy as np
from numpy.typing import NDArray

from healthygan.stats.arrays import Floats, some_row
from healthygan.stats.metrics import auc

CONFIDENCE = 0.1
"""delta of Garg et al.: how often the bounds may fail together."""
MARGIN = 0.01
"""gamma of Garg et al."""


def aucp(healthy: Floats, mixed: Floats) -> float:
    """AUC with known-healthy images in place of the healthy and all unlabelled ones in place of the diseased.

    The AUCp of Brainomaly (Rahman Siddiquee et al., WACV 2024). It grows with the true AUC, but where the two
    sets come from different sources it rewards telling the sources apart.

    Raises:
        ValueError: a set is empty, or a score is not finite.
    """
    known, unknown = some_row(healthy, "healthy scores"), some_row(mixed, "mixed scores")
    scores = np.concatenate([known, unknown])
    return auc(scores, np.arange(len(scores)) >= len(known))


def healthy_share(healthy: Floats, mixed: Floats) -> float:
    """Estimated share of healthy images in the mixed set, from 0 to 1.

    Best bin estimation (Garg et al., NeurIPS 2021): the share of mixed scores below a cut over that of healthy
    scores below it, at the cut where an upper confidence bound of this ratio is lowest. Where some low scores
    are reached by no diseased image it nears the truth; where diseased scores reach down everywhere it is too
    high, so that 1 minus it counts only the disease that the scores can tell.

    Raises:
        ValueError: a set is empty, or a score is not finite.
    """
    known, unknown = np.sort(some_row(healthy, "healthy scores")), np.sort(some_row(mixed, "mixed scores"))
    cuts = np.concatenate([known, unknown])
    below_known, below_unknown = _share_below(known, cuts), _share_below(unknown, cuts)
    usable = below_known > 0
    ratio = below_unknown[usable] / below_known[usable]
    doubt = (1 + MARGIN) * (_deviation(len(known)) + _deviation(len(unknown))) / below_known[usable]
    return float(min(ratio[np.argmin(ratio + doubt)], 1.0))


def _share_below(scores: NDArray[np.float64], cuts: NDArray[np.float64]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = np.searchsorted(scores, cuts, side="right") / len(scores)
    return shares


def _deviation(count: int) -> float:
    """How far an empirical distribution may lie from the true one (Dvoretzky, Kiefer and Wolfowitz)."""
    return math.sqrt(math.log(4 / CONFIDENCE) / (2 * count))
