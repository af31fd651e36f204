"""Telling a pile from known healthy images, and what the pile is made of.

Two scores do it: a linear model that tells the pile from the healthy set (the contrast), and the distance from healthy
images. The contrast is the better one where the pile holds many diseased images and tells nothing, or worse, where it
holds few; the mixture of both, fitted to the pile, weighs them.

Positive-unlabelled learning (Elkan and Noto, KDD 2008): no label of the pile is needed for anything, the regularisation
and the diseased share included.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from healthygan.common.errors import InputError
from healthygan.common.progress import Progress, silent
from healthygan.detectors.contrast.mahalanobis import Distance, fit_distance, standardiser
from healthygan.detectors.contrast.prevalence import DOUBTFUL, USEFUL, Mixture, Prior, fit_mixture, share_interval
from healthygan.detectors.contrast.spread import spread_difference
from healthygan.stats import metrics
from healthygan.stats.arrays import Floats
from healthygan.stats.intervals import Interval

PRIORS = (USEFUL, DOUBTFUL)
"""Of the distance, and of the contrast."""
OTHERS = DOUBTFUL
"""Of any other score."""


class Settings(Protocol):
    """How the pile is told from the healthy set."""

    @property
    def risk(self) -> str:
        """logistic, or nnpu for the non-negative positive-unlabelled risk."""

    @property
    def strengths(self) -> tuple[float, ...]:
        """Inverse regularisations to choose from."""

    @property
    def folds(self) -> int:
        """Of the cross-validation."""


@dataclass(frozen=True)
class PUProblem:
    """Telling the pile from the healthy set."""

    features: NDArray[np.float32]
    """(N, D)."""
    is_mixed: NDArray[np.bool_]
    """(N,)."""
    groups: NDArray[Any]
    """(N,): patients."""
    scale: NDArray[np.float32]
    """(D,): factor of each standardised feature."""
    measured: NDArray[np.bool_]
    """(D,): features that the distance from healthy images is measured by."""
    seed: int
    others: Floats | None = None
    """(N, K): further scores, cross-fitted, higher = more anomalous, that the mixture weighs too."""

    @property
    def priors(self) -> tuple[Prior, ...]:
        """Of distance, contrast and the other scores."""
        return (*PRIORS, *[OTHERS] * (0 if self.others is None else self.others.shape[1]))


@dataclass(frozen=True)
class PUFit:
    """What telling them apart came to."""

    head: tuple[Floats, float]
    """The contrast: weights (D,) and bias on the features as they are."""
    distance: Distance
    """From healthy images, on the features that are ``measured``."""
    crossfitted: Floats
    """(N, 2 + K): distances, contrasts and other scores, each by a model that never saw the image nor another of its
    patient."""
    strength: float
    auc: float
    """Of pile against healthy by the mixture's log odds, cross-fitted."""
    mixture: Mixture
    """Of distance, contrast and other scores."""
    weights: Floats
    """(2 + K,): log odds that a healthy standard deviation of distance, contrast and each other score makes up."""
    interval: Interval
    """Of the diseased share."""
    spread: Interval | None
    """How much wider the pile spreads than the healthy set (``spread.spread_difference``)."""


def drawn(groups: Sequence[str], most: int, seed: int) -> NDArray[np.int64]:
    """Places of up to ``most`` images, with all images of their patients or none; two patients at the least."""
    _, numbers = np.unique(np.asarray(groups), return_inverse=True)
    order = np.random.default_rng(seed).permutation(numbers.max() + 1)
    within = np.cumsum(np.bincount(numbers)[order]) <= most
    return np.flatnonzero(np.isin(numbers, order[: max(2, int(within.sum()))]))


def learn(task: PUProblem, settings: Settings, progress: Progress = silent) -> PUFit:
    """Choose the regularisation, fit both scores, cross-fit them and weigh them by what the pile is made of.

    Raises:
        InputError: too few patients to keep apart, or healthy images that all score alike.
    """
    share = None
    if settings.risk == "nnpu":  # its risk needs the share, which the plain contrast estimates
        share = _best(task, settings, None, progress)[2].share
    strength, scores, mixture = _best(task, settings, share, progress)
    healthy, mixed = scores[~task.is_mixed], scores[task.is_mixed]
    groups = (task.groups[~task.is_mixed].tolist(), task.groups[task.is_mixed].tolist())
    [head] = _fit(task, np.arange(len(task.features)), (strength,), share)
    return PUFit(
        head=head,
        distance=_fit_distance(task, np.arange(len(task.features))),
        crossfitted=scores,
        strength=strength,
        auc=metrics.auc(mixture.log_odds(scores), task.is_mixed),
        mixture=mixture,
        weights=mixture.weights(healthy),
        interval=share_interval(
            mixture, healthy, mixed, groups=groups, generator=np.random.default_rng(task.seed), priors=task.priors
        ),
        spread=_spread(task, groups),
    )


def _spread(task: PUProblem, groups: tuple[Sequence[str], Sequence[str]]) -> Interval | None:
    """Of the features that the distance is measured by."""
    measured = task.features[:, task.measured]
    return spread_difference(
        measured[~task.is_mixed],
        measured[task.is_mixed],
        task.scale[task.measured],
        groups,
        np.random.default_rng(task.seed),
    )


def patient_folds(
    is_mixed: NDArray[np.bool_], groups: NDArray[Any], wanted: int, seed: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Places to learn from and to score, patients kept together.

    Args:
        is_mixed, groups: (N,).
        wanted: folds; fewer where there are fewer patients of either set.

    Raises:
        InputError: too few patients to keep apart.
    """
    patients = [len(np.unique(groups[is_mixed == side])) for side in (False, True)]
    count = min(wanted, *patients)
    if count < 2:
        raise InputError(
            f"contrast: needs two patients or more in the healthy and in the mixed set, here are {patients[0]} "
            f"and {patients[1]}; add images"
        )
    from sklearn.model_selection import StratifiedGroupKFold  # only learning needs it

    folds = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    return list(folds.split(is_mixed, is_mixed, groups))


def fold_numbers(is_mixed: NDArray[np.bool_], groups: NDArray[Any], wanted: int, seed: int) -> NDArray[np.int64]:
    """(N,): which of ``patient_folds`` each image is scored in."""
    numbers = np.empty(len(is_mixed), dtype=np.int64)
    for number, (_, judged) in enumerate(patient_folds(is_mixed, groups, wanted, seed)):
        numbers[judged] = number
    return numbers


def crossfitted(
    task: PUProblem, settings: Settings, share: float | None = None, progress: Progress = silent
) -> dict[float, Floats]:
    """By strength, (N, 2 + K) distances, contrasts and the task's other scores.

    All are by models that never saw the image nor another of its patient.

    Args:
        share: of the diseased; the non-negative risk is taken for it where given.

    Raises:
        InputError: too few patients to keep apart.
    """
    splits = patient_folds(task.is_mixed, task.groups, settings.folds, task.seed)
    strengths = sorted(settings.strengths)
    others = np.empty((len(task.features), 0)) if task.others is None else task.others
    scores: dict[float, Floats] = {
        strength: np.concatenate([np.empty((len(others), 2)), others], axis=1) for strength in strengths
    }
    with progress("choosing the regularisation", len(splits)) as advance:
        for learn, judge in splits:
            judged = task.features[judge]
            distances = _fit_distance(task, learn).of(judged[:, task.measured])
            for strength, (weight, bias) in zip(strengths, _fit(task, learn, strengths, share), strict=True):
                scores[strength][judge, :2] = np.stack([distances, judged @ weight + bias], axis=1)
            advance()
    return scores


def _best(
    task: PUProblem, settings: Settings, share: float | None, progress: Progress
) -> tuple[float, Floats, Mixture]:
    """The strength whose cross-fitted scores tell best what the pile is made of, those scores, and what they tell.

    Of equals the lowest strength. An AUC of pile against healthy is less steady: nothing can tell the pile's healthy
    images from the others, and it counts them all.
    """
    candidates = crossfitted(task, settings, share, progress)
    _refuse_equal(candidates, task)
    mixtures = {
        strength: fit_mixture(scores[~task.is_mixed], scores[task.is_mixed], task.priors)
        for strength, scores in candidates.items()
    }
    best = min(mixtures, key=lambda strength: (round(mixtures[strength].misfit, 6), strength))
    return best, candidates[best], mixtures[best]


def _refuse_equal(candidates: Mapping[float, Floats], task: PUProblem) -> None:
    """Healthy scores that are all equal tell nothing of the pile."""
    if any((np.ptp(scores[~task.is_mixed], axis=0) == 0).any() for scores in candidates.values()):
        raise InputError(
            f"contrast: the {(~task.is_mixed).sum()} healthy images left to learn from all score alike, since they are "
            "too few or all the same; add healthy images, 20 or more of different patients"
        )


def _fit_distance(task: PUProblem, chosen: NDArray[np.int64]) -> Distance:
    """From the healthy ones of the ``chosen`` images."""
    healthy = chosen[~task.is_mixed[chosen]]
    return fit_distance(task.features[healthy][:, task.measured], task.scale[task.measured])


def _fit(
    task: PUProblem, chosen: NDArray[np.int64], strengths: Sequence[float], share: float | None
) -> list[tuple[Floats, float]]:
    """At each strength, weights and bias on the features as they are, from the ``chosen`` images alone."""
    from sklearn.linear_model import LogisticRegression  # only learning needs it

    features, is_mixed = task.features[chosen], task.is_mixed[chosen]
    mean, factor = standardiser(features, task.scale)
    standard = ((features - mean) * factor).astype(np.float32)
    heads = []
    for strength in strengths:
        if share is None:
            model = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000).fit(standard, is_mixed)
            weight, bias = model.coef_[0].astype(np.float64), float(model.intercept_[0])
        else:
            weight, bias = fit_nnpu(standard[~is_mixed], standard[is_mixed], share, 1 / (strength * len(chosen)))
        weight = weight * factor
        heads.append((weight, bias - float(weight @ mean)))
    return heads


def fit_nnpu(healthy: NDArray[Any], mixed: NDArray[Any], share: float, decay: float) -> tuple[Floats, float]:
    """The linear model of least non-negative positive-unlabelled risk, logistic loss (Kiryo et al. 2017, eq. 6).

    Known are the healthy, who make up 1 - share of the mixed. With g the score, l(g) = log(1 + exp(-g)) its loss
    where "diseased" is right and l(-g) where "healthy" is:
    risk = (1 - share) E_healthy[l(-g)] + max(0, E_mixed[l(g)] - (1 - share) E_healthy[l(g)]) + decay / 2 |w|^2.

    Returns:
        Weights (D,) and bias.
    """
    known = 1 - share

    def cost(parameters: Floats) -> tuple[float, Floats]:
        weight, bias = parameters[:-1], parameters[-1]
        at_healthy, at_mixed = healthy @ weight + bias, mixed @ weight + bias
        diseased = np.logaddexp(0, -at_mixed).mean() - known * np.logaddexp(0, -at_healthy).mean()
        value = known * np.logaddexp(0, at_healthy).mean() + max(0.0, diseased) + decay / 2 * weight @ weight
        by_healthy = known * expit(at_healthy) / len(healthy)
        by_mixed = np.zeros(len(mixed))
        if diseased > 0:
            by_mixed = -expit(-at_mixed) / len(mixed)
            by_healthy = by_healthy + known * expit(-at_healthy) / len(healthy)
        slope = healthy.T @ by_healthy + mixed.T @ by_mixed + decay * weight
        return float(value), np.append(slope, by_healthy.sum() + by_mixed.sum())

    minimum = minimize(cost, np.zeros(healthy.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    return minimum.x[:-1], float(minimum.x[-1])
