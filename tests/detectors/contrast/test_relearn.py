"""Ranking the unread anew: constructed features of which one tells disease and the first ranking another thing."""

from dataclasses import replace

import numpy as np
import pytest

from healthygan.detectors.contrast import relearn as module
from healthygan.detectors.contrast.relearn import DISEASED, HEALTHY, UNREAD, PartlyRead, relearn
from healthygan.stats.metrics import auc

KNOWN, PILE, WIDTH = 100, 300, 8


def partly_read(read, *, seed=0, images_each=1, trustworthy=False):
    """A pile of which the first ``read`` images have true verdicts; and who is diseased. Feature 0 tells disease."""
    random = np.random.default_rng(seed)
    count = KNOWN + PILE
    features = random.standard_normal((count, WIDTH)).astype(np.float32)
    is_healthy_set = np.arange(count) < KNOWN
    diseased = ~is_healthy_set & (random.random(count) < 0.4)
    features[diseased, 0] += 3
    verdicts = np.where(np.arange(count) < KNOWN + read, diseased.astype(np.int8), np.int8(UNREAD)).astype(np.int8)
    odds = random.standard_normal(count) + (2 * diseased if trustworthy else 0)
    groups = np.array([f"p{number // images_each}" for number in range(count)])
    scale = np.full(WIDTH, WIDTH**-0.5, np.float32)
    return PartlyRead(features, is_healthy_set, verdicts, groups, odds, scale), diseased


def test_verdicts_overrule_a_first_ranking_that_tells_nothing():
    task, diseased = partly_read(100)
    unread = task.is_unread
    assert auc(task.log_odds[unread], diseased[unread]) < 0.6
    assert auc(relearn(task)[unread], diseased[unread]) > 0.95


def test_a_few_verdicts_do_not_spoil_a_first_ranking_that_is_right():
    task, diseased = partly_read(4, trustworthy=True)
    unread = task.is_unread
    assert 0 < task.is_diseased.sum() < 4
    first = auc(task.log_odds[unread], diseased[unread])
    assert auc(relearn(task)[unread], diseased[unread]) > first - 0.03


def test_the_unread_alone_get_new_log_odds():
    task, _ = partly_read(50)
    assert np.array_equal(np.isfinite(relearn(task)), task.is_unread)


def test_no_image_is_scored_by_a_model_that_learned_from_its_patient():
    task, _ = partly_read(151, images_each=4)
    [image] = np.flatnonzero(task.is_unread)[:1]
    of_patient = (task.groups == task.groups[image]) & task.is_read
    assert of_patient.sum() == 3
    verdicts = task.verdicts.copy()
    verdicts[of_patient] = 1 - verdicts[of_patient]
    before, after = relearn(task), relearn(replace(task, verdicts=verdicts))
    # The heads' common bias is all that the patient may move.
    fold = module._folds(task.groups, 0)
    others = task.is_unread & (fold == fold[image])
    np.testing.assert_allclose(after[others] - after[image], before[others] - before[image], atol=1e-5)
    assert (after[task.is_unread] != before[task.is_unread]).any(), "others do learn from the patient"


def test_a_patient_of_the_healthy_set_is_kept_apart_as_well(monkeypatch):
    task, _ = partly_read(60)
    groups = task.groups.copy()
    groups[np.flatnonzero(task.is_unread)[:KNOWN]] = groups[:KNOWN]
    task = replace(task, groups=groups)
    head, fold, parts = module._head, module._folds(groups, 0), []

    def watched(task, inputs, learn):
        [left_out] = set(range(module.FOLDS)) - set(fold[learn].tolist())
        judged = task.is_unread & (fold == left_out)
        assert not set(task.groups[learn]) & set(task.groups[judged]) and not task.is_unread[learn].any()
        parts.append(left_out)
        return head(task, inputs, learn)

    monkeypatch.setattr(module, "_head", watched)
    assert np.isfinite(relearn(task)[task.is_unread]).all()
    assert parts == list(range(module.FOLDS))


def test_heads_of_different_folds_rank_images_and_not_folds():
    task, _ = partly_read(12, trustworthy=True)
    new, fold = relearn(task), np.array([*map(int, module._folds(task.groups, 0))])
    of_fold = [new[task.is_unread & (fold == part)].mean() for part in range(module.FOLDS)]
    assert np.ptp(of_fold) < new[task.is_unread].std()


@pytest.mark.parametrize("verdict", [UNREAD, HEALTHY])
def test_without_a_diseased_verdict_the_first_ranking_stays(verdict):
    task, _ = partly_read(0)
    verdicts = task.verdicts.copy()
    verdicts[KNOWN : KNOWN + 20] = verdict
    task = replace(task, verdicts=verdicts)
    np.testing.assert_array_equal(relearn(task)[task.is_unread], task.log_odds[task.is_unread])


def test_verdicts_on_the_healthy_set_are_not_looked_at():
    task, _ = partly_read(50)
    verdicts = task.verdicts.copy()
    verdicts[:KNOWN] = DISEASED
    np.testing.assert_array_equal(relearn(replace(task, verdicts=verdicts)), relearn(task))


def test_a_first_ranking_of_equals_and_a_constant_feature_are_borne():
    task, diseased = partly_read(100)
    task.features[:, 3] = 0.5
    new = relearn(replace(task, log_odds=np.zeros(len(diseased))))
    assert auc(new[task.is_unread], diseased[task.is_unread]) > 0.95


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"verdicts": np.zeros(3, np.int8)}, "not of a kind"),
        ({"scale": np.ones(3, np.float32)}, "not of a kind"),
        ({"verdicts": np.full(KNOWN + PILE, 2, np.int8)}, "a verdict is none"),
        ({"is_healthy_set": np.zeros(KNOWN + PILE, bool)}, "empty"),
        ({"is_healthy_set": np.ones(KNOWN + PILE, bool)}, "empty"),
        ({"log_odds": np.full(KNOWN + PILE, np.nan)}, "not finite"),
    ],
)
def test_what_does_not_belong_together_is_refused(change, message):
    task, _ = partly_read(10)
    with pytest.raises(ValueError, match=message):
        replace(task, **change)
