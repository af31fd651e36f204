"""An evaluation, or the choice of a checkpoint, as a table in the terminal."""

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from healthygan.cli.tables.warnings import print_warnings
from healthygan.evaluation.report.rows import (
    HONEST_COLUMN,
    HONEST_NOTE,
    PAPER_COLUMN,
    PAPER_NOTE,
    auc_rows,
    choice_rows,
    pile_rows,
    rate_rows,
)
from healthygan.evaluation.result import Evaluation
from healthygan.runs.selection import Selection


def print_evaluation(evaluation: Evaluation, report: Path, console: Console) -> None:
    """Show the metrics, the shallow controls, what to beware of, and where the report lies."""
    console.print(evaluation_table(evaluation))
    if evaluation.controls:
        console.print("AUC of shallow controls, which a detector must beat:")
        for name, area in sorted(evaluation.controls.items(), key=lambda item: -item[1]):
            console.print(f"  {name:<22} {area:.3f}", highlight=False, markup=False)
    for alarm in evaluation.alarms:
        console.print(f"not to be relied on: {alarm}", style="bold red", highlight=False, soft_wrap=True, markup=False)
    print_warnings(evaluation.cautions, console)
    console.print(f"report: {report.resolve()}", highlight=False, soft_wrap=True, markup=False)


def evaluation_table(evaluation: Evaluation) -> Table:
    """The metrics for the terminal; for a pile without labels, how many images are above the threshold."""
    table = Table(title=Text(f"{evaluation.detector} on {evaluation.cohort}"), title_justify="left")
    table.add_column("")
    result = evaluation.performance
    if result is None:
        table.add_column(evaluation.unit, justify="right")
        for name, value in pile_rows(evaluation):
            table.add_row(name, value)
        return table
    table.add_column(f"{PAPER_COLUMN}\n({PAPER_NOTE})", justify="right")
    table.add_column(f"{HONEST_COLUMN}\n({HONEST_NOTE})", justify="right")
    for name, paper, honest in rate_rows(result):
        table.add_row(name, paper, honest)
    table.add_section()
    for name, value in auc_rows(evaluation, result):
        table.add_row(Text(name), value, value)  # needs no threshold: the same either way
    return table


def selection_table(selection: Selection) -> Table:
    """What each rule would take, for the terminal."""
    names, rows = choice_rows(selection)
    table = Table(title="Checkpoint by rule", title_justify="left")
    for name in names:
        table.add_column(name)
    for row in rows:
        table.add_row(*row)
    return table
