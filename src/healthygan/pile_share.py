"""How many of a mixed pile are diseased, from scores alone: of known healthy images and of the pile.

The pile is a mixture, p_mixed = (1 - share) p_healthy + share p_diseased, and the diseased are taken to be an
exponential tilt of the healthy: p_diseased(s) ~ p_healthy(s) exp(slope s) (Qin, Biometrika 1999). Nothing is assumed of
p_healthy itself. Then a pile's image is diseased with probability sigmoid(intercept + slope s), and all three numbers
are the maximum of the likelihood of "healthy set or pile", in which the share shows as the level that the density
ratio falls to among the healthiest. Where diseased and healthy score alike nothing can tell them apart; a weak
prior, that a score worth using moves the diseased by about two standard deviations, then keeps the share small.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from healthygan.arrays import Floats, finite_row
from healthygan.intervals import Interval

TYPICAL_SHIFT, SHIFT_SPREAD = 2.0, 0.7
"""The prior on the slope, log-normal: standard deviations of healthy scores, and the spread of its logarithm."""
BOUNDS = ((-7.0, 7.0), (-30.0, 30.0), (-4.0, 3.0))
"""Of the share's logit, the intercept and the slope's logarithm."""
STARTS = (-2.0, 0.0, 2.0)
"""The share's logit that the search begins with: the likelihood may have several peaks."""
RESAMPLES = 200


@dataclass(frozen=True)
class Mixture:
    """What a pile of scores is made of."""

    share: float
    """Diseased images among the pile's, 0 to 1."""
    intercept: float
    slope: float
    """Above 0."""
    misfit: float
    """Negative logarithm of likelihood and prior, an image; the lower, the better scores tell the pile's two kinds."""

    def probability(self, scores: Floats) -> Floats:
        """(N,): how probably an image of the pile with this score is diseased; rises with the score."""
        probability: Floats = expit(self.intercept + self.slope * np.asarray(scores, dtype=np.float64))
        return probability


def fit_mixture(healthy: Floats, mixed: Floats) -> Mixture:
    """The mixture most probable given scores of known healthy images and of the pile, higher = more anomalous.

    Both must come from models that saw neither: scores of images that were trained on are further apart.

    Raises:
        ValueError: fewer than two scores of a kind, one that is not finite, or healthy ones that are all equal.
    """
    healthy, mixed = _checked(healthy), _checked(mixed)
    if np.ptp(healthy) == 0:
        raise ValueError("the healthy scores are all equal: they tell nothing of the pile")
    fits = [_search(healthy, mixed, np.array([start, -2.0, np.log(TYPICAL_SHIFT)])) for start in STARTS]
    parameters, misfit = min(fits, key=lambda fit: fit[1])
    return _mixture(parameters, misfit / (len(healthy) + len(mixed)), healthy)


def share_interval(
    healthy: Floats,
    mixed: Floats,
    *,
    groups: tuple[Sequence[str], Sequence[str]],
    generator: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap interval of the share, drawing patients with all their images.

    Args:
        groups: patients of the healthy and of the mixed scores.

    Raises:
        ValueError: as ``fit_mixture``.
    """
    scores = (_checked(healthy), _checked(mixed))
    start = _parameters(fit_mixture(*scores), scores[0])
    members = [_members(names) for names in groups]
    shares = []
    for _ in range(resamples):
        drawn = [values[_draw(owned, generator)] for values, owned in zip(scores, members, strict=True)]
        if np.ptp(drawn[0]) > 0:
            shares.append(expit(_search(drawn[0], drawn[1], start)[0][0]))
    low, high = np.quantile(shares, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level)


def _search(healthy: Floats, mixed: Floats, start: Floats) -> tuple[Floats, float]:
    """The best parameters near ``start``, for scores in healthy standard deviations; and their negative log."""
    centre, spread = healthy.mean(), healthy.std()
    z = (np.concatenate([healthy, mixed]) - centre) / spread
    is_mixed = np.concatenate([np.zeros(len(healthy)), np.ones(len(mixed))])
    prior_odds = np.log(len(mixed) / len(healthy))

    def cost(parameters: Floats) -> tuple[float, Floats]:
        share, intercept, log_slope = parameters
        slope = np.exp(log_slope)
        tilt = intercept + slope * z
        # Density ratio pile : healthy = (1 - share) (1 + exp(tilt)).
        odds = prior_odds - np.logaddexp(0, share) + np.logaddexp(0, tilt)
        shift = (log_slope - np.log(TYPICAL_SHIFT)) / SHIFT_SPREAD
        value = (np.logaddexp(0, odds) - is_mixed * odds).sum() + shift**2 / 2
        by_odds = expit(odds) - is_mixed
        by_tilt = by_odds * expit(tilt)
        slopes = (-by_odds.sum() * expit(share), by_tilt.sum(), (by_tilt * z).sum() * slope + shift / SHIFT_SPREAD)
        return float(value), np.array(slopes)

    found = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=BOUNDS)
    return found.x, float(found.fun)


def _mixture(parameters: Floats, misfit: float, healthy: Floats) -> Mixture:
    share, intercept, log_slope = parameters
    slope = np.exp(log_slope) / healthy.std()
    return Mixture(float(expit(share)), float(intercept - slope * healthy.mean()), float(slope), misfit)


def _parameters(mixture: Mixture, healthy: Floats) -> Floats:
    """What ``_mixture`` was made from."""
    share = np.log(mixture.share) - np.log1p(-mixture.share)
    intercept = mixture.intercept + mixture.slope * healthy.mean()
    return np.array([share, intercept, np.log(mixture.slope * healthy.std())])


def _checked(scores: Floats) -> NDArray[np.float64]:
    values = finite_row(scores)
    if len(values) < 2:
        raise ValueError("a mixture needs two scores or more of either kind")
    return values


def _members(names: Sequence[str]) -> list[NDArray[np.int64]]:
    """Places of each patient's images."""
    _, numbers = np.unique(np.asarray(names), return_inverse=True)
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.cumsum(np.bincount(numbers))[:-1])


def _draw(members: list[NDArray[np.int64]], generator: np.random.Generator) -> NDArray[np.int64]:
    return np.concatenate([members[number] for number in generator.integers(len(members), size=len(members))])
