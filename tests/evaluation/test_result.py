"""An evaluation is refused where it contradicts itself; its cautions and its JSON tell what was measured."""

import json
from dataclasses import replace

import numpy as np
import pytest

from healthygan.evaluation.result import Evaluation, choose_cases, to_json


def test_cautions_follow_from_the_numbers(labelled: Evaluation) -> None:
    assert labelled.cautions == labelled.warnings
    assert labelled.performance is not None
    chance = replace(labelled.performance, auc=0.55, auc_interval=labelled.performance.auc_interval._replace(low=0.45))
    doubtful = replace(labelled, warnings=(), performance=chance).cautions
    assert len(doubtful) == 3
    assert "not shown to beat chance" in doubtful[0]
    assert "“mean intensity”" in doubtful[1]
    assert "Within the interval" in doubtful[2] and doubtful[2].endswith(": “file size”.")


def test_choose_cases_takes_the_ends_of_each_class() -> None:
    scores = np.array([0.3, 0.9, 0.1, 0.8, 0.5, 0.2])
    labels = np.array([True, True, True, False, False, False])
    chosen = {group: indices.tolist() for group, indices in choose_cases(scores, labels, 2).items()}
    assert chosen == {"found": [1, 0], "missed": [2, 0], "alarms": [3, 4], "passed": [5, 4]}
    assert choose_cases(scores, None, 3)["top"].tolist() == [1, 3, 4]


def test_an_evaluation_with_labels_but_no_numbers_is_refused(labelled: Evaluation) -> None:
    with pytest.raises(ValueError, match="together"):
        replace(labelled, performance=None)
    with pytest.raises(ValueError, match="unknown groups"):
        replace(labelled, cases={"odd": ()})


def test_json_has_null_for_what_is_undefined_and_survives_a_strict_writer(labelled: Evaluation) -> None:
    content = to_json(replace(labelled, honest_threshold=None))
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["best_dice"] is None
    assert content["honest_threshold"] is None
    assert content["images"] == 80
    assert content["diseased"] == 40
    assert labelled.performance is not None
    assert content["auc"] == labelled.performance.auc
    rates = content["paper_rates"]
    assert isinstance(rates, dict)
    assert rates["tp"] + rates["fn"] == 40
    assert rates["recall"] == labelled.performance.paper_rates.recall


def test_json_of_a_pile_has_no_metrics(pile: Evaluation) -> None:
    content = to_json(pile)
    assert content["auc"] is None
    assert content["paper_rates"] is None
    assert content["honest_threshold"] == 0.9
    json.dumps(content, allow_nan=False)


def test_json_tells_what_each_rule_would_take(labelled: Evaluation, selection) -> None:
    rows = to_json(replace(labelled, selection=selection(True)))["selection"]
    assert isinstance(rows, list) and rows[0]["rule"] == "aucp" and rows[0]["from_last"] == pytest.approx(0.05)
