"""The page's charts: the scores, the choice of the checkpoint, the training."""

from collections.abc import Callable

from healthygan.evaluation.report.markup import data_url, safe, section, table
from healthygan.evaluation.report.rows import choice_rows
from healthygan.evaluation.result import Evaluation
from healthygan.stats.metrics import roc
from healthygan.viz.charts import DARK, LIGHT, Theme, histogram, roc_chart, selection_curve, training_curve


def scores(evaluation: Evaluation) -> str:
    """The histogram of the scores and, with labels, the ROC curve."""
    labels, scores, result = evaluation.labels, evaluation.scores, evaluation.performance
    threshold = evaluation.honest_threshold
    lines = {"honest threshold": threshold} if threshold is not None else {}
    charts = []
    if labels is None or result is None:
        groups = {"unlabelled": scores, "healthy": evaluation.held_out_healthy}
        note = "The pile's scores" + (
            f", beside those of held-out healthy {evaluation.unit}." if evaluation.held_out_healthy is not None else "."
        )
    else:
        groups = {"healthy": scores[~labels], "diseased": scores[labels]}
        note = f"Scores of the test {evaluation.unit}. The less the groups overlap, the better."
        lines["paper's threshold"] = result.paper_rates.threshold
        curve = roc(scores, labels)[:2]
        judged = {"paper's way": result.paper_rates, "honest": result.honest_rates}
        points = {name: (1 - rates.specificity, rates.recall) for name, rates in judged.items() if rates is not None}
        charts.append(
            _chart(
                "Receiver operating characteristic (ROC)",
                "Every trade between finding disease and false alarms; the dashed line is chance.",
                lambda theme: roc_chart(curve, points, theme),
            )
        )
    charts.append(
        _chart(
            "Anomaly scores",
            note,
            lambda theme: histogram(**groups, thresholds=lines, theme=theme),
        )
    )
    return section("scores", "Scores", f'<div class="charts">{"".join(charts)}</div>')


def selection(evaluation: Evaluation) -> str:
    """What each rule would take of the run's candidates, as a table and over the iterations; empty if unmeasured."""
    found = evaluation.selection
    if found is None or not (found.curves or found.test_auc):
        return ""
    names, rows = choice_rows(found)
    body = "".join(f"<tr>{''.join(f'<td>{safe(cell)}</td>' for cell in row)}</tr>" for row in rows)
    remarks = "".join(
        f'<p class="note">{safe(f"{curve.name}: {curve.remark}.")}</p>' for curve in found.curves if curve.remark
    )
    curves = {curve.name: curve.values for curve in found.curves}
    best = {curve.name: curve.best for curve in found.curves}
    if found.test_auc:
        curves["AUC on the test labels (for measuring only)"] = found.test_auc
        best["AUC on the test labels (for measuring only)"] = max(
            found.test_auc, key=lambda n: (found.test_auc or {})[n]
        )
    chart = _chart(
        "Candidates",
        "Each figure over the iterations; the dot is what it would take, the dashed line the model that scored here.",
        lambda theme: selection_curve(curves, best, found.chosen, theme),
    )
    return section(
        "selection",
        "Choice of the checkpoint",
        f"<p>Chosen by: {safe(found.rule)}.</p>"
        + table("".join(f"<th>{name}</th>" for name in names), body)
        + remarks
        + f'<div class="charts">{chart}</div>',
    )


def training(evaluation: Evaluation) -> str:
    """What the run logged, over the iterations; empty if nothing."""
    log = evaluation.training
    if log is None or not log.series:
        return ""
    chart = _chart(
        "Training",
        "As logged while training.",
        lambda theme: training_curve(log.iterations, log.series, theme),
    )
    return section("training", "Training", f'<div class="charts">{chart}</div>')


def _chart(title: str, note: str, draw: Callable[[Theme], bytes]) -> str:
    return (
        f'<figure><picture><source srcset="{data_url(draw(DARK))}" media="(prefers-color-scheme: dark)">'
        f'<img src="{data_url(draw(LIGHT))}" alt="{title}"></picture>'
        f"<figcaption><strong>{title}.</strong> {note}</figcaption></figure>"
    )
