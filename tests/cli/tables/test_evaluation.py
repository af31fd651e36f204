"""The terminal shows the same numbers as the page, in tables."""

import io
import re
from dataclasses import replace

from rich.console import Console

from healthygan.cli.tables.evaluation import evaluation_table, selection_table
from healthygan.evaluation.result import Evaluation


def printed(evaluation: Evaluation) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(evaluation_table(evaluation))
    return console.export_text()


def test_terminal_table_shows_both_columns(labelled: Evaluation) -> None:
    text = printed(replace(labelled, detector="[red]HealthyGAN[/red]"))
    assert labelled.performance is not None
    assert "[red]HealthyGAN[/red] on phantoms" in text
    assert "the paper's way" in text
    assert f"{labelled.performance.paper_rates.f1:.3f}" in text
    assert f"{labelled.performance.auc:.3f}" in text


def test_terminal_table_of_a_pile_counts_what_is_above_the_threshold(pile: Evaluation) -> None:
    text = printed(pile)
    # 30 scores from 0 to 1: those at 27/29 and above reach 0.9.
    assert re.search(r"above the threshold\s+│\s+3 ", text)


def test_without_test_labels_the_choice_tells_no_auc(selection) -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(selection_table(selection(False)))
    shown = console.export_text()
    assert "FID (x) 4" in shown and "test AUC" not in shown and "oracle" not in shown


def test_localisation_and_stability_are_told_where_they_are_known(labelled: Evaluation, pile: Evaluation) -> None:
    shown = printed(replace(labelled, aupro=0.4321, flip_stability=0.8765))
    assert "AUPRO" in shown and "0.432" in shown and "0.876" in shown
    assert "AUPRO" not in printed(labelled) and "flips" not in printed(labelled)
    assert "0.876" in printed(replace(pile, flip_stability=0.8765))
