"""The page tells what was measured, warnings first, and leaves out what is undefined."""

from healthygan.evaluation.result import Evaluation


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
