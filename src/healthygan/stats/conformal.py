"""Promises that need no disease label: thresholds and p-values from held-out healthy scores alone.

All rest on one assumption: a new healthy image's score is exchangeable with the held-out healthy ones, as if
drawn from the same pile. Held-out images may neither train a detector nor choose its checkpoint. With several
images a patient, or patients from elsewhere, the promises are approximate.
"""

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.stats import betabinom, false_discovery_control

from healthygan.stats.arrays import Booleans, Floats, finite_row
from healthygan.stats.intervals import Interval
from healthygan.stats.resampling import tails


def threshold_for_specificity(healthy_scores: Floats, specificity: float) -> float:
    """A threshold from held-out healthy scores alone that keeps the promised specificity on new images.

    The split-conformal quantile: with k = ceil((n + 1) * specificity), the smallest float above the k-th
    smallest score. A new image exchangeable with the held-out ones then falls below it with probability at
    least ``specificity``, averaged over the draw of the held-out images. No disease label is used.

    Args:
        healthy_scores: (n,) scores of healthy images neither trained on nor tested.
        specificity: strictly between 0 and 1.

    Returns:
        The threshold.

    Raises:
        ValueError: a score is not finite, ``specificity`` is out of range, or n is below
            ``healthy_needed(specificity)``: then nothing can be promised.
    """
    values = finite_row(healthy_scores, "healthy scores")
    k = _possible_order(len(values), specificity)
    return float(np.nextafter(np.sort(values)[k - 1], np.inf))


def healthy_needed(specificity: float) -> int:
    """How many held-out healthy images ``threshold_for_specificity`` needs (0.90: 9, 0.95: 19, 0.99: 99).

    Raises:
        ValueError: ``specificity`` is not strictly between 0 and 1.
    """
    share = _exact(specificity, "specificity")
    return math.ceil(share / (1 - share))


def realised_interval(healthy: int, tested: int, specificity: float, level: float = 0.95) -> Interval:
    """Where the specificity of one conformal threshold, counted on ``tested`` new healthy images, lies.

    Exact for scores without ties: beta-binomial, as the true specificity is Beta(k, n + 1 - k) over the draw of the
    held-out images, with k as in ``threshold_for_specificity`` (Vovk, 2012). A count outside says that the tested
    healthy images are not like the held-out ones.

    Args:
        healthy: n, held out, at least ``healthy_needed(specificity)``.

    Raises:
        ValueError: n is too small, a share is out of range, or nothing is tested.
    """
    if tested < 1:
        raise ValueError("no healthy image was tested; give at least one")
    k = _possible_order(healthy, specificity)
    low, high = betabinom.ppf(tails(level), tested, k, healthy + 1 - k) / tested
    return Interval(float(low), float(high), level)


def p_values(scores: Floats, healthy_scores: Floats) -> NDArray[np.float64]:
    """(N,) conformal p-values of new images: (1 + held-out healthy scores at or above) / (n + 1).

    For a new healthy image P(p <= a) <= a, whatever the scores' distribution. An image is at or above
    ``threshold_for_specificity(healthy_scores, s)`` exactly where its p-value is at most 1 - s.

    Args:
        scores: (N,) of the new images.
        healthy_scores: (n,) of healthy images neither trained on nor tested; without any, every p-value is 1.

    Raises:
        ValueError: a score is not finite.
    """
    held_out = np.sort(finite_row(healthy_scores, "healthy scores"))
    below = np.searchsorted(held_out, finite_row(scores), side="left")
    shares: NDArray[np.float64] = (1 + len(held_out) - below) / (len(held_out) + 1)
    return shares


def worklist(p_values: Floats, false_discovery_rate: float) -> Booleans:
    """(N,): which images to look at so that on average at most this share of them is healthy.

    Benjamini and Hochberg's step-up procedure (1995); p-values that share their held-out images keep its
    promise (Bates et al., Annals of Statistics 2023).

    Args:
        p_values: (N,) from ``p_values``.
        false_discovery_rate: strictly between 0 and 1, of healthy images among those listed.

    Raises:
        ValueError: a p-value lies outside (0, 1], or the rate is out of range.
    """
    values = finite_row(p_values, "p-values")
    if len(values) and not (values.min() > 0 and values.max() <= 1):
        raise ValueError("a p-value lies outside (0, 1]")
    rate = float(_exact(false_discovery_rate, "the false discovery rate"))
    # A relative margin of rounding: p and rate k / N are fractions that may be meant to be equal.
    listed: Booleans = false_discovery_control(values) <= rate * (1 + 1e-12)
    return listed


def healthy_needed_for_worklist(images: int, false_discovery_rate: float, listed: int) -> int:
    """Held-out healthy images without which ``worklist`` can never list as few as ``listed`` of ``images``.

    The smallest p-value, 1 / (n + 1), must not exceed rate * listed / images. With fewer held-out images the
    list is empty or longer.

    Raises:
        ValueError: the rate is out of range, or not 1 <= listed <= images.
    """
    if not 1 <= listed <= images:
        raise ValueError(f"{listed} listed of {images} images; list at least one and at most all")
    return max(math.ceil(images / (_exact(false_discovery_rate, "the false discovery rate") * listed)) - 1, 0)


def _possible_order(healthy: int, specificity: float) -> int:
    """k of ``threshold_for_specificity``; refused where it exceeds n."""
    if healthy < healthy_needed(specificity):
        raise ValueError(
            f"{healthy} held-out healthy images promise no specificity {specificity}; "
            f"{healthy_needed(specificity)} are needed"
        )
    return math.ceil((healthy + 1) * _exact(specificity, "specificity"))


def _exact(share: float, name: str) -> Fraction:
    """The decimal the user wrote: as a binary float 0.9 / (1 - 0.9) would be a little above 9."""
    if not 0 < share < 1:
        raise ValueError(f"{name} {share} must lie strictly between 0 and 1, for instance 0.9")
    return Fraction(repr(float(share)))
