"""Telling a pile from healthy images: against scikit-learn, the risk's own formula, and piles of known make-up."""

from collections import Counter

import numpy as np
import pytest
from scipy.optimize import check_grad, minimize
from sklearn.linear_model import LogisticRegression

from healthygan.common.errors import InputError
from healthygan.detectors.contrast import positive_unlabelled as module
from healthygan.detectors.contrast.detector import ContrastConfig
from healthygan.detectors.contrast.mahalanobis import fit_distance
from healthygan.detectors.contrast.positive_unlabelled import PUProblem, crossfitted, fit_nnpu, learn
from healthygan.detectors.contrast.prevalence import fit_mixture
from healthygan.stats.metrics import auc


def task(share=0.5, *, count=150, width=6, seed=0, images_each=1):
    """Features of which the first is moved in the diseased; and who is."""
    random = np.random.default_rng(seed)
    features = random.standard_normal((2 * count, width)).astype(np.float32)
    is_mixed = np.arange(2 * count) >= count
    diseased = is_mixed & (np.arange(2 * count) < count + share * count)
    features[diseased, 0] += 3
    groups = np.array([f"p{number // images_each}" for number in range(2 * count)])
    scale = np.full(width, width**-0.5, np.float32)
    return PUProblem(features * 5 + 2, is_mixed, groups, scale, np.arange(width) < width // 2, seed), diseased


@pytest.mark.parametrize("risk", ["logistic", "nnpu"])
def test_mixed_against_healthy_ranks_disease_without_a_label(risk):
    problem, diseased = task(0.5, count=300, seed=2)
    found = learn(problem, ContrastConfig(risk=risk))
    weight, bias = found.head
    fresh, sick = task(0.5, seed=1)
    assert auc(fresh.features @ weight + bias, sick) > 0.95  # at best 0.98: a shift of three standard deviations
    mixed = problem.is_mixed
    assert auc(found.mixture.log_odds(found.crossfitted[mixed]), diseased[mixed]) > 0.9
    assert found.interval.low <= found.mixture.share <= found.interval.high


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_the_share_is_found_on_average(share, monkeypatch):
    monkeypatch.setattr(module, "share_interval", lambda *_, **__: None)
    settings = ContrastConfig(strengths=(1.0,))
    found = [learn(task(share, count=300, seed=seed)[0], settings).mixture.share for seed in range(6)]
    assert np.mean(found) == pytest.approx(share, abs=0.12)


def test_no_image_is_scored_by_a_model_that_saw_its_patient(monkeypatch):
    problem, _ = task(images_each=3)
    fit, seen = module._fit, []
    monkeypatch.setattr(module, "_fit", lambda t, chosen, *rest: seen.append(chosen) or fit(t, chosen, *rest))
    found = learn(problem, ContrastConfig(strengths=(1.0,), folds=5))
    *folds, everything = seen
    assert len(folds) == 5 and len(everything) == len(problem.features)
    judged = np.zeros(len(problem.features), int)
    for learned in folds:
        left = np.setdiff1d(np.arange(len(problem.features)), learned)
        assert not set(problem.groups[learned]) & set(problem.groups[left])
        [(weight, bias)] = fit(problem, learned, (1.0,), None)
        np.testing.assert_allclose(found.crossfitted[left, 1], problem.features[left] @ weight + bias)
        healthy = problem.features[learned[~problem.is_mixed[learned]]][:, problem.measured]
        distance = fit_distance(healthy, problem.scale[problem.measured])
        np.testing.assert_allclose(found.crossfitted[left, 0], distance.of(problem.features[left][:, problem.measured]))
        judged[left] += 1
    assert (judged == 1).all()


def test_the_head_is_the_balanced_logistic_regression_on_standardised_features():
    problem, _ = task(0.3)
    [(weight, bias)] = module._fit(problem, np.arange(len(problem.features)), (2.0,), None)
    standard = (problem.features - problem.features.mean(0)) / problem.features.std(0) / 6**0.5
    reference = LogisticRegression(C=2.0, class_weight="balanced", tol=1e-8, max_iter=5000)
    expected = reference.fit(standard, problem.is_mixed).decision_function(standard)
    np.testing.assert_allclose(problem.features @ weight + bias, expected, atol=1e-2)


def test_a_constant_feature_gets_no_weight():
    problem, _ = task()
    problem.features[:, 3] = 0.7
    [(weight, bias)] = module._fit(problem, np.arange(len(problem.features)), (1.0,), None)
    assert weight[3] == 0 and np.isfinite(weight).all() and np.isfinite(bias)


def test_the_regularisation_is_the_one_whose_scores_tell_the_pile_best():
    problem, _ = task(width=60, count=60)
    settings = ContrastConfig(strengths=(1e-6, 0.1, 1e4))
    found = learn(problem, settings)
    scores = crossfitted(problem, settings)
    misfits = {
        c: fit_mixture(s[~problem.is_mixed], s[problem.is_mixed], module.PRIORS).misfit for c, s in scores.items()
    }
    assert found.strength == min(misfits, key=misfits.get) and len(set(misfits.values())) == 3
    assert np.array_equal(found.crossfitted, scores[found.strength])
    assert found.mixture.misfit == misfits[found.strength]


@pytest.mark.parametrize("share", [0.0, 0.03])
def test_a_pile_with_few_diseased_is_ranked_by_the_distance_from_healthy_images(share):
    """The contrast alone learns what happens to differ, and would rank worse than chance or little better."""
    problem, _ = task(share, count=200, width=20, seed=4)
    found = learn(problem, ContrastConfig())
    fresh, sick = task(0.5, count=200, width=20, seed=5)
    weight, bias = found.head
    scores = np.stack([found.distance.of(fresh.features[:, fresh.measured]), fresh.features @ weight + bias], axis=1)
    alone = auc(scores[:, 0], sick)
    assert auc(found.mixture.log_odds(scores), sick) > alone - 0.02 > auc(scores[:, 1], sick)
    assert found.mixture.share < 0.15


def nnpu_risk(parameters, healthy, mixed, share, decay):
    """Kiryo et al., equation 6, written out image by image."""
    score = lambda x: x @ parameters[:-1] + parameters[-1]  # noqa: E731
    as_diseased = lambda g: np.log1p(np.exp(-g))  # noqa: E731
    wrong = (1 - share) * as_diseased(-score(healthy)).mean()
    unlabelled = as_diseased(score(mixed)).mean() - (1 - share) * as_diseased(score(healthy)).mean()
    return wrong + max(0, unlabelled) + decay / 2 * (parameters[:-1] ** 2).sum()


@pytest.mark.parametrize(("share", "decay"), [(0.5, 0.01), (0.02, 1e-4)])
def test_nnpu_finds_the_least_of_its_risk(share, decay):
    problem, _ = task(0.5, count=60, width=3)
    x = ((problem.features - 2) / 5).astype(np.float64)
    healthy, mixed = x[~problem.is_mixed], x[problem.is_mixed]
    weight, bias = fit_nnpu(healthy, mixed, share, decay)
    arguments = (healthy, mixed, share, decay)
    reached = nnpu_risk(np.append(weight, bias), *arguments)
    slow = minimize(nnpu_risk, np.zeros(4), arguments, method="Nelder-Mead", options={"maxiter": 8000, "fatol": 1e-10})
    assert reached <= slow.fun + 1e-4


def test_nnpu_s_slopes_agree_with_differences(monkeypatch):
    problem, _ = task(0.5, count=40, width=3)
    x = ((problem.features - 2) / 5).astype(np.float64)
    checked = []

    def compare(cost, start, **_):
        for point in np.random.default_rng(0).standard_normal((5, len(start))):
            checked.append(check_grad(lambda p: cost(p)[0], lambda p: cost(p)[1], point))
        return minimize(lambda p: cost(p)[0], start)

    monkeypatch.setattr(module, "minimize", compare)
    fit_nnpu(x[~problem.is_mixed], x[problem.is_mixed], 0.4, 0.1)
    assert len(checked) == 5 and max(checked) < 1e-5


def test_too_few_patients_are_refused():
    problem, _ = task(count=10, images_each=10)
    with pytest.raises(InputError, match=r"two patients or more.*here are 1 and 1"):
        learn(problem, ContrastConfig())


def test_images_are_drawn_with_all_of_their_patient_and_by_the_seed():
    groups = [f"p{number // 3}" for number in range(300)]
    chosen = module.drawn(groups, 100, 0)
    assert len(chosen) == 99  # of 33 patients; a 34th would be too much
    assert sorted(Counter(groups[place] for place in chosen).values()) == [3] * 33
    assert chosen.tolist() == module.drawn(groups, 100, 0).tolist() != module.drawn(groups, 100, 1).tolist()
    assert module.drawn(groups, 300, 0).tolist() == list(range(300))
    assert len(module.drawn(groups, 2, 0)) == 6, "two patients at the least"


def test_healthy_images_that_all_score_alike_are_refused_in_one_line():
    problem, _ = task(count=20)
    problem.features[:20] = problem.features[0]
    with pytest.raises(InputError, match="the 20 healthy images left to learn from all score alike"):
        learn(problem, ContrastConfig(strengths=(1.0,), folds=4))


def test_swapped_sets_turn_the_sign_of_the_spread():
    problem, _ = task(0.6, seed=4)
    swapped = PUProblem(
        problem.features, ~problem.is_mixed, problem.groups, problem.scale, problem.measured, problem.seed
    )
    settings = ContrastConfig(strengths=(1.0,), folds=4)
    right, wrong = learn(problem, settings).spread, learn(swapped, settings).spread
    assert right is not None and wrong is not None and right.low > 0 > wrong.high
