"""The contrast detector: what it learns, that it reads no label, and the way through train and evaluate."""

import csv
import json

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from healthygan import evaluate
from healthygan.common.errors import InputError
from healthygan.common.run_folder import Run
from healthygan.common.tensors import load_tensors
from healthygan.data.cohort import Cohort, CohortImage, Label, Split
from healthygan.data.preprocessing import to_tensor
from healthygan.data.store import ImageStore
from healthygan.detectors import pretrained
from healthygan.detectors.contrast.body_mask import body_share
from healthygan.detectors.contrast.detector import Contrast, ContrastConfig, _means
from healthygan.detectors.contrast.evidence import evidence, patch_scores, summaries
from healthygan.runs import train as workflow
from healthygan.runs.config import load_config
from healthygan.runs.partition import partition_cohort

SETTINGS = ("preprocessing.size=32", "training.device=cpu")


@pytest.fixture(scope="module")
def trained(manifest, tmp_path_factory):
    folder = tmp_path_factory.mktemp("contrast") / "run"
    return workflow.train(load_config("contrast", SETTINGS), Cohort.from_manifest(manifest), folder)


def test_training_leaves_one_candidate_the_pile_s_own_ranking_a_picture_and_notes(trained, manifest):
    assert list(trained.candidates()) == [1]
    assert trained.load_decision().rule == "the only candidate"
    with trained.mixed_scores.open(newline="") as file:
        rows = list(csv.DictReader(file))
    mixed = {str(path) for path in Cohort.from_manifest(manifest).paths(Split.MIXED)}
    assert {row["path"] for row in rows} == mixed
    scores, chances = (np.array([float(row[name]) for row in rows]) for name in ("score", "probability"))
    assert (np.diff(scores) <= 0).all()
    np.testing.assert_allclose(chances, 1 / (1 + np.exp(-scores)), atol=1e-5)
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


def test_of_a_large_pile_a_part_is_learned_from_and_all_is_ranked(trained, manifest, tmp_path):
    cohort = Cohort.from_manifest(manifest)
    config = load_config("contrast", (*SETTINGS, "detector.most=8", "detector.folds=4"))
    run = workflow.train(config, cohort, tmp_path / "run")
    with run.mixed_scores.open(newline="") as file:
        found = {row["path"]: float(row["score"]) for row in csv.DictReader(file)}
    parts = partition_cohort(cohort, config.selection, config.early_stopping_share)
    assert set(found) == {str(image.path) for image in parts.mixed} and len(found) > 8
    learned = load_tensors(run.checkpoint)
    assert len(learned["healthy"]) == len(learned["mixed"]) == 8
    detector, *_ = workflow.load(run, "cpu")
    store = ImageStore.build([image.path for image in parts.mixed], config.preprocessing)
    odds = detector.evidence(to_tensor(store.read(np.arange(len(store))))).numpy()
    apart = [abs(found[str(path)] - one) for path, one in zip(store.paths, odds, strict=True)]
    as_they_are = sum(difference < 1e-4 for difference in apart)
    assert as_they_are == len(found) - 8, "those learned from are scored by models that never saw them"


def test_what_is_held_out_of_the_pile_is_ranked_by_a_model_that_never_saw_it(manifest, tmp_path):
    cohort = Cohort.from_manifest(manifest)
    config = load_config("contrast", (*SETTINGS, "detector.folds=4", "selection.choice_holdout=0.25"))
    run = workflow.train(config, cohort, tmp_path / "run")
    with run.mixed_scores.open(newline="") as file:
        found = {row["path"]: float(row["score"]) for row in csv.DictReader(file)}
    assert set(found) == {str(path) for path in cohort.paths(Split.MIXED)}
    held_out_mixed = [
        image.path for image in partition_cohort(cohort, config.selection, config.early_stopping_share).choice_mixed
    ]
    assert held_out_mixed and len(load_tensors(run.checkpoint)["mixed"]) == len(found) - len(held_out_mixed)
    store = ImageStore.build(held_out_mixed, config.preprocessing)
    odds = workflow.load(run, "cpu")[0].evidence(to_tensor(store.read(np.arange(len(store)))))
    np.testing.assert_allclose([found[str(path)] for path in store.paths], odds, atol=1e-4)


@pytest.fixture
def detector(trained):
    return workflow.load(trained, "cpu")[0]


@pytest.fixture
def x():
    return torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_the_score_adds_contrast_distance_and_patch_evidence(detector, x):
    features = _means(detector._maps(x)).double()
    learned = {name: part.double() for name, part in detector.named_buffers(recurse=False)}
    deepest = detector.backbone.channels[-1]
    away = (features[:, :-deepest] - learned["centre"]) @ learned["whitener"]
    odds = features @ learned["weight"] + (away**2).sum(dim=1).sqrt() + learned["bias"]
    model = detector.patches
    of_places = evidence(model, patch_scores(model, detector._patches(x)), body_share(x, detector.grid).flatten(1))
    odds += learned["evidence_weight"] * summaries(of_places)[:, 0]
    torch.testing.assert_close(detector.evidence(x).double(), odds, rtol=1e-4, atol=1e-3)
    found = detector.predict(x)
    torch.testing.assert_close(found.score.double(), odds, rtol=1e-4, atol=1e-3)
    assert found.difference.shape == (3, 1, 32, 32)
    assert 0 <= found.difference.min() <= found.difference.max() <= 1
    assert torch.equal(found.evidence, found.difference)


def test_of_large_images_the_whole_is_looked_at_shrunk_and_places_as_they_are():
    detector = Contrast(ContrastConfig(pooled_size=32), 1, 64)
    x = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    small = interpolate(x, (32, 32), mode="bilinear", antialias=True)
    for one, other in zip(detector._maps(x), detector._maps(small), strict=True):
        torch.testing.assert_close(one, other)
    assert detector._patches(x).shape == (1, 64, 40 + 112 + 320)


def test_typical_evidence_is_that_of_healthy_images_that_were_not_learned_from(trained, manifest, detector):
    config = load_config(trained.config)
    parts = partition_cohort(Cohort.from_manifest(manifest), config.selection, config.early_stopping_share)
    store = ImageStore.build([image.path for image in parts.healthy], config.preprocessing)
    mean, deviation = detector.typical
    learned_from = detector.evidence(to_tensor(store.read(np.arange(len(store)))))
    assert deviation > 0
    assert mean > learned_from.mean()  # what was learned from lies nearer, and looks less like the pile


def test_an_image_and_its_mirror_image_get_the_same_score_but_for_evidence_at_places(detector, x):
    """Anatomy has a left and a right, which places know."""
    detector.evidence_weight = torch.zeros(())
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
    monkeypatch.setattr(Contrast, "_pooled", lambda *about: starts.append(about[-1]) or pooled(*about))
    run = workflow.train(load_config("contrast", SETTINGS), cohort, tmp_path / "run")
    assert starts == [12, 4]
    for name, weight in run_weights(trained).items():
        torch.testing.assert_close(run_weights(run)[name], weight, rtol=1e-3, atol=1e-4)


def run_weights(run):
    return workflow.load(run, "cpu")[0].state_dict()


def test_a_finished_run_is_not_learned_again(trained, manifest, monkeypatch):
    before = trained.model.read_bytes()
    monkeypatch.setattr(Contrast, "_learn", lambda *_: pytest.fail("learned again"))
    workflow.train(load_config("contrast", SETTINGS), Cohort.from_manifest(manifest), trained.path)
    assert trained.model.read_bytes() == before


def test_weights_of_another_detector_do_not_fit():
    detector = Contrast(ContrastConfig(), 1, 32)
    with pytest.raises(RuntimeError, match=r"(?s)Missing key.*weight.*Unexpected key.*generator.weight"):
        detector.load_state_dict({"generator.weight": torch.zeros(1)})


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
    assert found.score.tolist() == [0, 0] and not found.difference.any()
