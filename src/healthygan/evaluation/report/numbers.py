"""The page's numbers: the few that matter most, the metrics, the controls."""

from dataclasses import dataclass

from healthygan.evaluation.report.rows import (
    HONEST_COLUMN,
    HONEST_NOTE,
    PAPER_COLUMN,
    PAPER_NOTE,
    auc_rows,
    number,
    pile_rows,
    rate_rows,
)
from healthygan.evaluation.result import Evaluation
from healthygan.stats.metrics import Performance


@dataclass(frozen=True)
class KeyNumber:
    """A number in large print, its name above and a note below it."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Headline:
    """The few numbers that matter most, and what they mean in plain sentences."""

    numbers: list[KeyNumber]
    meaning: str


@dataclass(frozen=True)
class Metrics:
    """Two tables: the rates that need a threshold, and what needs none."""

    thresholds: dict[str, str]  # a column each: its name, and how the threshold was set
    rates: list[tuple[str, str, str]]  # name, then a value for each of ``thresholds``
    areas: list[tuple[str, str]]  # name, value


@dataclass(frozen=True)
class ControlRow:
    """An AUC beside the others."""

    name: str
    auc: str
    bar: int  # length in %: what lies above chance
    better: str = ""  # by how much the detector is; empty for itself


@dataclass(frozen=True)
class Controls:
    """The detector beside the shallow controls, the strongest control first."""

    detector: ControlRow
    rows: list[ControlRow]


def headline(evaluation: Evaluation) -> Headline:
    """The numbers that matter most: of a test with labels, or of a pile without."""
    performance = evaluation.performance
    return _pile_headline(evaluation) if performance is None else _test_headline(evaluation, performance)


def metrics(evaluation: Evaluation) -> Metrics | None:
    """The metrics; None for a pile without labels."""
    performance = evaluation.performance
    if performance is None:
        return None
    return Metrics(
        thresholds={PAPER_COLUMN: PAPER_NOTE, HONEST_COLUMN: evaluation.honest_rule or HONEST_NOTE},
        rates=rate_rows(performance),
        areas=auc_rows(evaluation, performance),
    )


def controls(evaluation: Evaluation) -> Controls | None:
    """The detector's AUC beside those of the shallow controls; None without them."""
    performance = evaluation.performance
    if performance is None or not evaluation.controls:
        return None
    ranked = sorted(evaluation.controls.items(), key=lambda item: -item[1])
    return Controls(
        _control_row(evaluation.detector, performance.auc),
        [_control_row(name, auc, f"{performance.auc - auc:+.3f}") for name, auc in ranked],
    )


def _test_headline(evaluation: Evaluation, performance: Performance) -> Headline:
    low, high, level = performance.auc_interval
    numbers = [KeyNumber("AUC", number(performance.auc), f"{100 * level:g} % interval {number(low)} to {number(high)}")]
    meaning = (
        f"Shown one diseased and one healthy {evaluation.unit[:-1]} picked at random, the detector gives the "
        f"diseased one the higher score {100 * performance.auc:.0f} times in 100."
    )
    rates = performance.honest_rates
    if rates is not None:
        diseased, healthy = rates.tp + rates.fn, rates.tn + rates.fp
        numbers += [
            KeyNumber("Recall, honest threshold", number(rates.recall), f"{rates.tp:,} of {diseased:,} diseased found"),
            KeyNumber(
                "Specificity, honest threshold",
                number(rates.specificity),
                f"{rates.fp:,} false alarms in {healthy:,} healthy",
            ),
        ]
        meaning += (
            f" At a threshold set without looking at the test labels ({evaluation.honest_rule}) "
            f"it finds {rates.tp:,} of {diseased:,} diseased {evaluation.unit} and calls {rates.fp:,} of {healthy:,} "
            "healthy ones diseased."
        )
    return Headline(numbers, meaning)


def _pile_headline(evaluation: Evaluation) -> Headline:
    meaning = "Nobody has annotated these images, so nothing here says how often the detector is right."
    if evaluation.honest_rule:
        meaning += f" The threshold: {evaluation.honest_rule}."
    return Headline([KeyNumber(name.capitalize(), value) for name, value in pile_rows(evaluation)], meaning)


def _control_row(name: str, auc: float, better: str = "") -> ControlRow:
    return ControlRow(name, number(auc), round(max(0.0, 200 * (auc - 0.5))), better)
