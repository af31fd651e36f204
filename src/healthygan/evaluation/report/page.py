"""The report: one HTML file that holds everything and loads nothing."""

from pathlib import Path

from healthygan.common.files import write_text
from healthygan.evaluation.report import charts, numbers, pictures
from healthygan.evaluation.report.render import render
from healthygan.evaluation.result import Evaluation


def write_report(path: Path, evaluation: Evaluation) -> None:
    """Write one HTML file that holds everything and loads nothing, for screens from a phone's up.

    Raises:
        InputError: the file cannot be written.
    """
    page = render(
        "report.html",
        evaluation=evaluation,
        headline=numbers.headline(evaluation),
        metrics=numbers.metrics(evaluation),
        controls=numbers.controls(evaluation),
        score_charts=charts.score_charts(evaluation),
        pictures=pictures.pictures(evaluation),
        checkpoint_choice=charts.checkpoint_choice(evaluation),
        training_chart=charts.training_chart(evaluation),
    )
    write_text(path, page)
