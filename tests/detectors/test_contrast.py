"""The contrast detector: what it learns, that it reads no label, and the way through train and evaluate."""

import csv
import json

import numpy as np
import pytest
import torch
from scipy.optimize import check_grad, minimize
from sklearn.linear_model import LogisticRegression

from healthygan import evaluate, workflow
from healthygan.config import load_config
from healthygan.data.cohort import Cohort, CohortImage, Label, Split
from healthygan.detectors import contrast as module
from healthygan.detectors import pretrained
from healthygan.detectors.contrast import Contrast, ContrastConfig, Task, contrast, fit_nnpu
from healthygan.errors import InputError
from healthygan.metrics import auc
from healthygan.run import Run

SETTINGS = ("preprocessing.size=32", "training.device=cpu")


def task(share=0.5, *, count=150, width=6, seed=0, images_each=1):
    """Features of which the first is moved in the diseased; and who is."""
    random = np.random.default_rng(seed)
    features = random.standard_normal((2 * count, width)).astype(np.float32)
    is_mixed = np.arange(2 * count) >= count
    diseased = is_mixed & (np.arange(2 * count) < count + share * count)
    features[diseased, 0] += 3
    groups = np.array([f"p{number // images_each}" for number in range(2 * count)])
    return Task(features * 5 + 2, is_mixed, groups, np.full(width, width**-0.5, np.float32), seed), diseased


@pytest.fixture(scope="module")
def trained(manifest, tmp_path_factory):
    folder = tmp_path_factory.mktemp("contrast") / "run"
    return workflow.train(load_config("contrast", SETTINGS), Cohort.from_manifest(manifest), folder)


@pytest.mark.parametrize("risk", ["logistic", "nnpu"])
def test_mixed_against_healthy_ranks_disease_without_a_label(risk):
    problem, diseased = task(0.5, count=300, seed=2)
    found = contrast(problem, ContrastConfig(risk=risk))
    weight, bias = found.head
    fresh, sick = task(0.5, seed=1)
    assert auc(fresh.features @ weight + bias, sick) > 0.95  # at best 0.98: a shift of three standard deviations
    mixed = problem.is_mixed
    assert auc(found.crossfitted[mixed], diseased[mixed]) > 0.9
    assert found.mixture.share == pytest.approx(0.5, abs=0.15)
    assert found.interval.low <= 0.5 <= found.interval.high


def test_no_image_is_scored_by_a_model_that_saw_its_patient(monkeypatch):
    problem, _ = task(images_each=3)
    fit, seen = module._fit, []
    monkeypatch.setattr(module, "_fit", lambda t, chosen, *rest: seen.append(chosen) or fit(t, chosen, *rest))
    found = contrast(problem, ContrastConfig(strengths=(1.0,), folds=5))
    *folds, everything = seen
    assert len(folds) == 5 and len(everything) == len(problem.features)
    judged = np.zeros(len(problem.features), int)
    for learned in folds:
        left = np.setdiff1d(np.arange(len(problem.features)), learned)
        assert not set(problem.groups[learned]) & set(problem.groups[left])
        weight, bias = fit(problem, learned, 1.0, None)
        np.testing.assert_allclose(found.crossfitted[left], problem.features[left] @ weight + bias)
        judged[left] += 1
    assert (judged == 1).all()


def test_the_head_is_the_balanced_logistic_regression_on_standardised_features():
    problem, _ = task(0.3)
    weight, bias = module._fit(problem, np.arange(len(problem.features)), 2.0, None)
    standard = (problem.features - problem.features.mean(0)) / problem.features.std(0) / 6**0.5
    reference = LogisticRegression(C=2.0, class_weight="balanced", tol=1e-8, max_iter=5000)
    expected = reference.fit(standard, problem.is_mixed).decision_function(standard)
    np.testing.assert_allclose(problem.features @ weight + bias, expected, atol=1e-2)


def test_a_constant_feature_gets_no_weight():
    problem, _ = task()
    problem.features[:, 3] = 0.7
    weight, bias = module._fit(problem, np.arange(len(problem.features)), 1.0, None)
    assert weight[3] == 0 and np.isfinite(weight).all() and np.isfinite(bias)


def test_the_regularisation_is_the_one_that_best_tells_mixed_from_healthy():
    problem, _ = task(width=60, count=60)
    splits, strengths = module._folds(problem, 5), (1e-6, 0.1, 1e4)
    chosen, scores = module._best(problem, strengths, splits, None)
    single = {c: auc(module._best(problem, (c,), splits, None)[1], problem.is_mixed) for c in strengths}
    assert auc(scores, problem.is_mixed) == single[chosen] == max(single.values())
    assert len(set(single.values())) > 1


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
        contrast(problem, ContrastConfig())


def test_training_leaves_one_candidate_the_pile_s_own_ranking_a_picture_and_notes(trained, manifest):
    assert list(trained.candidates()) == [1]
    assert trained.load_decision().rule == "the only candidate"
    with trained.mixed_scores.open(newline="") as file:
        rows = list(csv.DictReader(file))
    mixed = {str(path) for path in Cohort.from_manifest(manifest).paths(Split.MIXED)}
    assert {row["path"] for row in rows} == mixed
    values = [float(row["score"]) for row in rows]
    assert values == sorted(values, reverse=True) and 0 <= values[-1] <= values[0] <= 1
    assert all(row["patient_id"].startswith("mixed-") for row in rows)
    assert trained.share_picture.read_bytes().startswith(b"\x89PNG")
    assert "diseased share" in trained.load_notes()[0]


def test_a_trained_detector_is_evaluated_like_any_other(trained, tmp_path):
    found = evaluate(trained, None, tmp_path, device="cpu")
    assert found.performance is not None and found.performance.auc > 0.8
    assert found.pixel_auroc is not None
    page = (tmp_path / "report.html").read_text()
    assert "anomaly map" in page and "diseased share" in page and "to heal it" not in page
    assert json.loads((tmp_path / "metrics.json").read_text())


def test_the_score_is_the_calibrated_head_and_the_map_adds_up_to_it(trained):
    detector, _, _ = workflow.load(trained, "cpu")
    x = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    maps = detector._maps(x)
    linear = detector._linear(maps)
    torch.testing.assert_close(detector._evidence(maps).mean(dim=(1, 2, 3)), linear, rtol=1e-4, atol=1e-4)
    intercept, slope = detector.learned["calibration"]
    found = detector.predict(x)
    expected = torch.sigmoid(intercept + slope * (linear + detector.learned["bias"]))
    torch.testing.assert_close(found.score, expected)
    assert slope > 0
    assert found.difference.shape == (3, 1, 32, 32)
    assert 0 <= found.difference.min() <= found.difference.max() <= 1


def test_an_image_and_its_mirror_image_get_the_same_score_and_mirrored_maps(trained):
    detector, _, _ = workflow.load(trained, "cpu")
    x = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    one, other = detector.predict(x), detector.predict(x.flip(3))
    torch.testing.assert_close(one.score, other.score, rtol=1e-4, atol=1e-5)


def test_shuffling_the_labels_of_the_mixed_set_changes_no_byte(trained, manifest, tmp_path):
    cohort = Cohort.from_manifest(manifest)
    images = tuple(
        CohortImage(i.path, i.split, Label.HEALTHY if i.split is Split.MIXED else i.label, i.patient_id, i.source)
        for i in cohort.images
    )
    other = workflow.train(load_config("contrast", SETTINGS), Cohort("other", images), tmp_path / "run")
    assert other.model.read_bytes() == trained.model.read_bytes()
    assert other.mixed_scores.read_bytes() == trained.mixed_scores.read_bytes()


def test_a_stopped_fit_goes_on_with_the_features_it_has(trained, manifest, tmp_path, monkeypatch):
    """Stopped in the mixed set's second batch of four: no image before it is looked at again."""
    monkeypatch.setattr(pretrained, "SECONDS_BETWEEN_SAVES", 0.0)
    monkeypatch.setattr(pretrained, "BATCH", 4)
    real, looked = Contrast._maps, []

    def counted(self, x):
        if len(looked) == 3 + 1:
            raise KeyboardInterrupt
        looked.append(len(x))
        return real(self, x)

    monkeypatch.setattr(Contrast, "_maps", counted)
    cohort = Cohort.from_manifest(manifest)
    with pytest.raises(KeyboardInterrupt):
        workflow.train(load_config("contrast", SETTINGS), cohort, tmp_path / "run")
    assert not Run(tmp_path / "run").candidates()
    kept = Run(tmp_path / "run").load_checkpoint()
    assert (len(kept["healthy"]), len(kept["mixed"])) == (12, 4)
    starts = []
    monkeypatch.setattr(Contrast, "_maps", real)
    pooled = Contrast._pooled
    monkeypatch.setattr(
        Contrast, "_pooled", lambda self, store, title, done: starts.append(done) or pooled(self, store, title, done)
    )
    run = workflow.train(load_config("contrast", SETTINGS), cohort, tmp_path / "run")
    assert starts == [12, 4]
    for name, weight in run_weights(trained).items():
        torch.testing.assert_close(run_weights(run)[name], weight, rtol=1e-3, atol=1e-4)


def run_weights(run):
    return workflow.load(run, "cpu")[0].weights()


def test_a_finished_run_is_not_learned_again(trained, manifest, monkeypatch):
    before = trained.model.read_bytes()
    monkeypatch.setattr(Contrast, "_learn", lambda *_: pytest.fail("learned again"))
    workflow.train(load_config("contrast", SETTINGS), Cohort.from_manifest(manifest), trained.path)
    assert trained.model.read_bytes() == before


def test_weights_of_another_detector_do_not_fit():
    detector = Contrast(ContrastConfig(), 1, 32)
    with pytest.raises(RuntimeError, match="another detector's"):
        detector.load_weights({"generator.weight": torch.zeros(1)})


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("detector.strengths=[1, 0]", "each must be above 0"),
        ("preprocessing.size=16", "backbones need 32 pixels"),
        ("detector.risk=pu", "detector.risk='pu'"),
        ("detector.folds=1", "detector.folds=1"),
    ],
)
def test_wrong_settings_are_refused(override, message):
    with pytest.raises(InputError, match=message):
        load_config("contrast", [override])


def test_before_anything_is_learned_nothing_is_evidence():
    found = Contrast(ContrastConfig(), 1, 32).predict(torch.rand(2, 1, 32, 32))
    assert found.score.tolist() == [0.5, 0.5] and not found.difference.any()
