"""How many of a mixed pile are diseased, from scores alone: of known healthy images and of the pile.

The pile is a mixture, p_mixed = (1 - share) p_healthy + share p_diseased, and the diseased are taken to be an
exponential tilt of the healthy: p_diseased(s) ~ p_healthy(s) exp(slope s) (Qin, Biometrika 1999). Nothing is assumed of
p_healthy itself. Then a pile's image is diseased with probability sigmoid(intercept + slope s), and all these numbers
are the maximum of the likelihood of "healthy set or pile", in which the share shows as the level that the density
ratio falls to among the healthiest. With several scores each has a slope of its own. Where diseased and healthy score
alike nothing can tell them apart; priors on the slopes then keep the share small and say which score to trust. Two
samples of healthy people differ a little by chance, as if one of them had a disease that hardly shows; that slopes
should add up to something keeps such a disease from being believed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from healthygan.stats.arrays import Floats, group_numbers
from healthygan.stats.intervals import Interval
from healthygan.stats.resampling import Resampler, tails

SHARE_BOUNDS, INTERCEPT_BOUNDS, SLOPE_BOUNDS = (-7.0, 7.0), (-30.0, 30.0), (0.0, 20.0)
"""Of the share's logit, of the intercept, and of slopes in healthy standard deviations."""
STARTS = (-2.0, 0.0, 2.0)
"""The share's logit that the search begins with: the likelihood may have several peaks."""
LEAST, LEAST_SPREAD = 1.5, 0.4
"""What slopes should add up to, and how improbable less is: half a normal distribution. Real diseases reached 1.0 and
more, chance among healthy people mostly 0.2 to 0.8 (benchmarks/README.md)."""
RESAMPLES = 200


class Prior(NamedTuple):
    """What is known of a slope beforehand: Cauchy, cut at 0, in healthy standard deviations of its score.

    Its tails are heavy, so that a score that tells much is believed as soon as the pile bears it out.
    """

    mean: float
    spread: float


USEFUL = Prior(1.5, 1.0)
"""Of a score that disease is known to raise."""
DOUBTFUL = Prior(0.0, 0.5)
"""Of a score that may tell nothing: it counts as far as the pile bears it out."""


@dataclass(frozen=True)
class Mixture:
    """What a pile of scores is made of."""

    share: float
    """Diseased images among the pile's, 0 to 1."""
    intercept: float
    slopes: Floats
    """(K,), one a score; none below 0."""
    misfit: float
    """Negative logarithm of likelihood and prior, an image; the lower, the better scores tell the pile's two kinds."""

    def log_odds(self, scores: Floats) -> Floats:
        """(N,): of disease, for images of the pile with these scores, (N, K); they rise with each."""
        odds: Floats = self.intercept + np.asarray(scores, dtype=np.float64) @ self.slopes
        return odds

    def weights(self, healthy: Floats) -> Floats:
        """(K,): log odds that a standard deviation of healthy scores, (N, K), makes up."""
        weights: Floats = self.slopes * healthy.std(axis=0)
        return weights


def fit_mixture(healthy: Floats, mixed: Floats, priors: Sequence[Prior] = (USEFUL,)) -> Mixture:
    """The mixture most probable given scores of known healthy images and of the pile, higher = more anomalous.

    Both must come from models that saw neither: scores of images that were trained on are further apart.

    Args:
        healthy, mixed: (N, K) and (M, K).
        priors: one a score.

    Raises:
        ValueError: fewer than two images of a kind, a score that is not finite, healthy ones that are all equal, or
            another number of scores than of priors.
    """
    healthy, mixed = _checked(healthy, len(priors)), _checked(mixed, len(priors))
    if (np.ptp(healthy, axis=0) == 0).any():
        raise ValueError("the healthy scores are all equal: they tell nothing of the pile")
    starts = [
        np.array([share, -2.0, *(max(prior.mean, least) for prior in priors)])
        for share in STARTS
        for least in (0.0, 1.0)
    ]
    parameters, misfit = min((_search(healthy, mixed, start, priors) for start in starts), key=lambda fit: fit[1])
    return _mixture(parameters, misfit / (len(healthy) + len(mixed)), healthy)


def share_interval(
    mixture: Mixture,
    healthy: Floats,
    mixed: Floats,
    *,
    groups: tuple[Sequence[str], Sequence[str]],
    generator: np.random.Generator,
    priors: Sequence[Prior] = (USEFUL,),
    resamples: int = RESAMPLES,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap interval of the share, drawing patients with all their images.

    Args:
        mixture: what ``fit_mixture`` made of these scores and priors.
        healthy, mixed, priors: as of ``fit_mixture``.
        groups: patients of the healthy and of the mixed images.

    Raises:
        ValueError: as ``fit_mixture``.
    """
    scores = (_checked(healthy, len(priors)), _checked(mixed, len(priors)))
    start = _parameters(mixture, scores[0])
    draws = [Resampler(group_numbers(names, len(values))) for names, values in zip(groups, scores, strict=True)]
    shares = []
    for _ in range(resamples):
        drawn = [values[draw(generator)] for values, draw in zip(scores, draws, strict=True)]
        if (np.ptp(drawn[0], axis=0) > 0).all():
            shares.append(expit(_search(drawn[0], drawn[1], start, priors)[0][0]))
    if not shares:  # no draw of so few healthy images tells anything
        return Interval(0.0, 1.0, level)
    low, high = np.quantile(shares, tails(level))
    return Interval(float(low), float(high), level)


def _search(healthy: Floats, mixed: Floats, start: Floats, priors: Sequence[Prior]) -> tuple[Floats, float]:
    """The best parameters near ``start``, for scores in healthy standard deviations; and their negative log."""
    z = (np.concatenate([healthy, mixed]) - healthy.mean(axis=0)) / healthy.std(axis=0)
    is_mixed = np.concatenate([np.zeros(len(healthy)), np.ones(len(mixed))])
    prior_odds = np.log(len(mixed) / len(healthy))
    means, spreads = np.array(priors).T

    def cost(parameters: Floats) -> tuple[float, Floats]:
        share, intercept, slopes = parameters[0], parameters[1], parameters[2:]
        tilt = intercept + z @ slopes
        # Density ratio pile : healthy = (1 - share) (1 + exp(tilt)).
        odds = prior_odds - np.logaddexp(0, share) + np.logaddexp(0, tilt)
        away = (slopes - means) / spreads
        lack = max(LEAST - slopes.sum(), 0.0) / LEAST_SPREAD
        value = (np.logaddexp(0, odds) - is_mixed * odds).sum() + np.log1p(away**2).sum() + lack**2 / 2
        by_odds = expit(odds) - is_mixed
        by_tilt = by_odds * expit(tilt)
        by_slopes = by_tilt @ z + 2 * away / (1 + away**2) / spreads - lack / LEAST_SPREAD
        return float(value), np.array([-by_odds.sum() * expit(share), by_tilt.sum(), *by_slopes])

    bounds = (SHARE_BOUNDS, INTERCEPT_BOUNDS, *[SLOPE_BOUNDS] * len(priors))
    minimum = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return minimum.x, float(minimum.fun)


def _mixture(parameters: Floats, misfit: float, healthy: Floats) -> Mixture:
    share, intercept, slopes = parameters[0], parameters[1], parameters[2:] / healthy.std(axis=0)
    return Mixture(float(expit(share)), float(intercept - healthy.mean(axis=0) @ slopes), slopes, misfit)


def _parameters(mixture: Mixture, healthy: Floats) -> Floats:
    """What ``_mixture`` was made from."""
    share = np.log(mixture.share) - np.log1p(-mixture.share)
    intercept = mixture.intercept + healthy.mean(axis=0) @ mixture.slopes
    return np.array([share, intercept, *mixture.weights(healthy)])


def _checked(scores: Floats, kinds: int) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != kinds or len(values) < 2:
        raise ValueError(f"scores of shape {values.shape}; a mixture needs (N, {kinds}), two images or more of a kind")
    if not np.isfinite(values).all():
        raise ValueError("a score is not finite")
    return values
