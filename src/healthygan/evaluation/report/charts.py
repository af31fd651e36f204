"""The page's charts: the scores, the choice of the checkpoint, the training."""

from collections.abc import Callable
from dataclasses import dataclass

from healthygan.evaluation.report.rows import choice_rows
from healthygan.evaluation.result import Evaluation
from healthygan.stats.arrays import Booleans, Floats
from healthygan.stats.metrics import Performance, roc
from healthygan.viz.charts import DARK, LIGHT, Theme, histogram, roc_chart, selection_curve, training_curve

TEST_AUC = "AUC on the test labels (for measuring only)"


@dataclass(frozen=True)
class Chart:
    """A chart as PNG files for light and for dark screens, and what stands below it."""

    title: str
    note: str
    light: bytes
    dark: bytes


@dataclass(frozen=True)
class CheckpointChoice:
    """What each rule would take of the run's candidates, as a table and over the iterations."""

    rule: str  # the one that chose
    columns: list[str]
    rows: list[list[str]]
    remarks: list[str]
    chart: Chart


def score_charts(evaluation: Evaluation) -> list[Chart]:
    """The histogram of the scores; with labels, after the ROC curve."""
    labels, performance = evaluation.labels, evaluation.performance
    if labels is None or performance is None:
        return [_pile_histogram(evaluation)]
    return [_roc(evaluation.scores, labels, performance), _test_histogram(evaluation, labels, performance)]


def checkpoint_choice(evaluation: Evaluation) -> CheckpointChoice | None:
    """The choice of the run's checkpoint; None if nothing was measured of its candidates."""
    selection = evaluation.selection
    if selection is None or not (selection.curves or selection.test_auc):
        return None
    curves = {curve.name: curve.values for curve in selection.curves}
    best = {curve.name: curve.best for curve in selection.curves}
    if test_auc := selection.test_auc:
        curves[TEST_AUC] = test_auc
        best[TEST_AUC] = max(test_auc, key=lambda iteration: test_auc[iteration])
    columns, rows = choice_rows(selection)
    return CheckpointChoice(
        rule=selection.rule,
        columns=columns,
        rows=rows,
        remarks=[f"{curve.name}: {curve.remark}." for curve in selection.curves if curve.remark],
        chart=_chart(
            "Candidates",
            "Each measurement over the iterations; the dot is what it would take, the dashed line the model that "
            "scored here.",
            lambda theme: selection_curve(curves, best, selection.chosen, theme),
        ),
    )


def training_chart(evaluation: Evaluation) -> Chart | None:
    """What the run logged, over the iterations; None if nothing."""
    log = evaluation.training
    if log is None or not log.series:
        return None
    return _chart(
        "Training", "As logged while training.", lambda theme: training_curve(log.iterations, log.series, theme)
    )


def _roc(scores: Floats, labels: Booleans, performance: Performance) -> Chart:
    curve = roc(scores, labels)[:2]
    judged = {"paper's way": performance.paper_rates, "honest": performance.honest_rates}
    points = {name: (1 - rates.specificity, rates.recall) for name, rates in judged.items() if rates is not None}
    return _chart(
        "Receiver operating characteristic (ROC)",
        "Every trade between finding disease and false alarms; the dashed line is chance.",
        lambda theme: roc_chart(curve, points, theme),
    )


def _test_histogram(evaluation: Evaluation, labels: Booleans, performance: Performance) -> Chart:
    scores = evaluation.scores
    thresholds = _honest_line(evaluation) | {"paper's threshold": performance.paper_rates.threshold}
    return _chart(
        "Anomaly scores",
        f"Scores of the test {evaluation.unit}. The less the groups overlap, the better.",
        lambda theme: histogram(healthy=scores[~labels], diseased=scores[labels], thresholds=thresholds, theme=theme),
    )


def _pile_histogram(evaluation: Evaluation) -> Chart:
    healthy = evaluation.held_out_healthy
    beside = "" if healthy is None else f", beside those of held-out healthy {evaluation.unit}"
    return _chart(
        "Anomaly scores",
        f"The pile's scores{beside}.",
        lambda theme: histogram(
            unlabelled=evaluation.scores, healthy=healthy, thresholds=_honest_line(evaluation), theme=theme
        ),
    )


def _honest_line(evaluation: Evaluation) -> dict[str, float]:
    threshold = evaluation.honest_threshold
    return {} if threshold is None else {"honest threshold": threshold}


def _chart(title: str, note: str, draw: Callable[[Theme], bytes]) -> Chart:
    return Chart(title, note, light=draw(LIGHT), dark=draw(DARK))
