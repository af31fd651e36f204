"""The page tells what was measured, warnings first, and leaves out what is undefined."""

import math
import re
from dataclasses import replace

import numpy as np

from healthygan.evaluation.result import Evaluation
from healthygan.stats.metrics import measure


def test_report_tells_what_was_measured(page, labelled: Evaluation) -> None:
    text = page.text
    performance = labelled.performance
    assert performance is not None
    honest = performance.honest_rates
    assert honest is not None
    assert f"{performance.auc:.3f}" in text
    assert f"{performance.auc_interval.low:.3f} to {performance.auc_interval.high:.3f}" in text
    assert f"finds {honest.tp} of 40 diseased images and calls {honest.fp} of 40 healthy ones" in text
    assert "the paper's way" in text
    assert "threshold seen on the test labels; optimistic" in text
    assert "specificity 0.90 on 50 held-out healthy images" in text
    assert "0.912" in text
    assert f"{performance.auc - 0.61:+.3f}" in text
    assert "not a medical device" in text


def test_undefined_numbers_are_left_out(page) -> None:
    assert "Dice" not in page.text
    assert "nan" not in page.text


def test_warnings_come_before_every_number(page) -> None:
    assert page.text.index("2 images could not be read.") < page.text.index("AUC")


def test_an_infinite_threshold_shows_as_none(written, labelled: Evaluation) -> None:
    assert labelled.labels is not None
    performance = measure(
        labelled.scores,
        labelled.labels,
        honest_threshold=math.inf,
        resamples=5,
        generator=np.random.default_rng(0),
    )
    page, _ = written(replace(labelled, performance=performance, honest_threshold=math.inf))
    assert re.search(r"threshold[\d.]+none", page.text)
    assert "inf" not in page.text
