"""An evaluation's numbers in words, row by row: the same for the page and the terminal."""

import math

from healthygan.evaluation.result import RATES, Evaluation
from healthygan.runs.selection import Selection
from healthygan.stats.metrics import Performance, Rates, called_diseased

PAPER_COLUMN = "the paper's way"
PAPER_NOTE = "threshold seen on the test labels; optimistic"
HONEST_COLUMN = "honest"
HONEST_NOTE = "threshold from healthy or validation data alone"


def rate_rows(performance: Performance) -> list[tuple[str, str, str]]:
    """Name, paper's way, honest: the same rows for the page and the terminal."""
    paper, honest = performance.paper_rates, performance.honest_rates
    rows = [(_name(rate), _rate(paper, rate), _rate(honest, rate)) for rate in RATES]
    rows.append(("threshold", _threshold(paper), _threshold(honest)))
    return rows


def auc_rows(evaluation: Evaluation, performance: Performance) -> list[tuple[str, str]]:
    """Name and value of what needs no threshold, as far as it is known."""
    low, high, level = performance.auc_interval
    rows = [
        ("AUC", number(performance.auc)),
        (f"{100 * level:g} % interval", f"{number(low)} to {number(high)}"),
        ("AUC by patient", number(performance.auc_by_patient)),
        ("pixel AUC of the difference maps", number(evaluation.pixel_auroc)),
        ("AUPRO of the difference maps, to 0.3", number(evaluation.aupro)),
        ("best Dice of the difference maps (optimistic)", number(evaluation.best_dice)),
        ("difference maps' stability under flips", number(evaluation.flip_stability)),
    ]
    if evaluation.comparison is not None:
        ours, theirs, error, p_value = evaluation.comparison
        difference = f"{ours - theirs:+.3f} ± {1.96 * error:.3f}, p = {p_value:.3g}"
        counted = "patient" if evaluation.patients_known else "image"
        rows.append((f"AUC by {counted} of {evaluation.rival}", number(theirs)))
        rows.append(("difference to it (DeLong)", "none: the same order" if math.isnan(p_value) else difference))
    return [row for row in rows if row[1] != "–"]


def pile_rows(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Name and value of what can be told without labels."""
    rows = [(evaluation.unit, f"{len(evaluation.scores):,}")]
    if evaluation.flip_stability is not None:
        rows.append(("difference maps' stability under flips", number(evaluation.flip_stability)))
    if evaluation.honest_threshold is not None:
        above = int(called_diseased(evaluation.scores, evaluation.honest_threshold).sum())
        rows.append(("above the threshold", f"{above:,}"))
    return rows


def choice_rows(selection: Selection) -> tuple[list[str], list[list[str]]]:
    """The columns' names, and a row for each rule: what it would take and, if measured, at what cost."""
    names = ["rule", "iteration", "measurement"]
    if selection.test_auc:
        names += ["test AUC", "against the best", "against the last"]
    rows = []
    for choice in selection.choices():
        row = [choice.rule, f"{choice.iteration:,}", choice.measurement]
        if choice.test_auc is not None:
            row += [number(choice.test_auc), f"{choice.from_best:+.3f}", f"{choice.from_last:+.3f}"]
        rows.append(row)
    return names, rows


def number(value: float | None) -> str:
    """Three decimals, or a dash for what is undefined."""
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"


def _name(rate: str) -> str:
    return {"recall": "recall (sensitivity)", "f1": "F1"}.get(rate, rate)


def _rate(rates: Rates | None, name: str) -> str:
    if rates is None:
        return "–"
    value = number(getattr(rates, name))
    part, whole = {
        "precision": (rates.tp, rates.tp + rates.fp),
        "recall": (rates.tp, rates.tp + rates.fn),
        "specificity": (rates.tn, rates.tn + rates.fp),
    }.get(name, (0, 0))
    return f"{value} ({part:,}/{whole:,})" if whole else value


def _threshold(rates: Rates | None) -> str:
    return "–" if rates is None else f"{rates.threshold:.4g}"
