"""The page's numbers: the headline with its warnings, the metrics, the controls, the settings."""

from healthygan.evaluation.report.markup import safe, section, table
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


def headline(evaluation: Evaluation) -> str:
    """Title, warnings, and the few numbers that matter most, in a sentence too."""
    cautions = "".join(f"<li>{safe(text)}</li>" for text in evaluation.cautions)
    alert = f'<section class="alert"><h2>Before you read on</h2><ul>{cautions}</ul></section>\n' if cautions else ""
    facts, sentence = (_pile_headline if evaluation.performance is None else _test_headline)(evaluation)
    tiles = "".join(
        f'<div class="tile"><dt>{name}</dt><dd>{value}<small>{note}</small></dd></div>' for name, value, note in facts
    )
    return (
        f'<header><p class="kicker">{safe(evaluation.detector)} on {safe(evaluation.cohort)}</p>'
        f"<h1>{safe(evaluation.title)}</h1></header>\n{alert}"
        f'<section><dl class="tiles">{tiles}</dl><p class="lead">{sentence}</p></section>\n'
    )


def _test_headline(evaluation: Evaluation) -> tuple[list[tuple[str, str, str]], str]:
    result = evaluation.performance
    assert result is not None
    low, high, level = result.auc_interval
    facts = [("AUC", number(result.auc), f"{100 * level:g} % interval {number(low)} to {number(high)}")]
    sentence = (
        f"Shown one diseased and one healthy {evaluation.unit[:-1]} picked at random, the detector gives the "
        f"diseased one the higher score {100 * result.auc:.0f} times in 100."
    )
    rates = result.honest_rates
    if rates is not None:
        diseased, healthy = rates.tp + rates.fn, rates.tn + rates.fp
        facts.append(
            (
                "Recall, honest threshold",
                number(rates.recall),
                f"{rates.tp:,} of {diseased:,} diseased found",
            )
        )
        facts.append(
            (
                "Specificity, honest threshold",
                number(rates.specificity),
                f"{rates.fp:,} false alarms in {healthy:,} healthy",
            )
        )
        sentence += (
            f" At a threshold set without looking at the test labels ({safe(evaluation.honest_rule)}) "
            f"it finds {rates.tp:,} of {diseased:,} diseased {evaluation.unit} and calls {rates.fp:,} of {healthy:,} "
            "healthy ones diseased."
        )
    return facts, sentence


def _pile_headline(evaluation: Evaluation) -> tuple[list[tuple[str, str, str]], str]:
    facts = [(name.capitalize(), value, "") for name, value in pile_rows(evaluation)]
    sentence = "Nobody has annotated these images, so nothing here says how often the detector is right."
    if evaluation.honest_rule:
        sentence += f" The threshold: {safe(evaluation.honest_rule)}."
    return facts, sentence


def metrics(evaluation: Evaluation) -> str:
    """The metrics as tables; empty for a pile without labels."""
    result = evaluation.performance
    if result is None:
        return ""
    rates = "".join(
        f'<tr><th scope="row">{name}</th><td>{paper}</td><td>{honest}</td></tr>'
        for name, paper, honest in rate_rows(result)
    )
    areas = "".join(
        f'<tr><th scope="row">{safe(name)}</th><td>{value}</td></tr>' for name, value in auc_rows(evaluation, result)
    )
    return section(
        "metrics",
        "Metrics",
        '<div class="beside">'
        + table(
            f"<th></th><th>{PAPER_COLUMN}<small>{PAPER_NOTE}</small></th>"
            f"<th>{HONEST_COLUMN}<small>{safe(evaluation.honest_rule or HONEST_NOTE)}</small></th>",
            rates,
        )
        + table("<th>without a threshold</th><th></th>", areas)
        + "</div>",
    )


def controls(evaluation: Evaluation) -> str:
    """The detector's AUC beside those of the shallow controls; empty without them."""
    result = evaluation.performance
    if result is None or not evaluation.controls:
        return ""
    ranked = sorted(evaluation.controls.items(), key=lambda item: -item[1])
    rows = _control_row(evaluation.detector, result.auc, "", "own") + "".join(
        _control_row(name, value, f"{result.auc - value:+.3f}", "") for name, value in ranked
    )
    return section(
        "controls",
        "Shallow controls",
        "<p>What a single plain number about each image achieves on the same test, whichever way round it "
        "works better. A detector is worth its difference to these.</p>"
        + table('<th></th><th>AUC</th><th class="bar"></th><th>detector is better by</th>', rows, "controls"),
    )


def _control_row(name: str, value: float, better: str, style: str) -> str:
    share = max(0.0, 200 * (value - 0.5))  # the bar shows what lies above chance
    return (
        f'<tr class="{style}"><th scope="row">{safe(name)}</th><td>{number(value)}</td>'
        f'<td class="bar"><span style="width:{share:.0f}%"></span></td><td>{better}</td></tr>'
    )


def settings(evaluation: Evaluation) -> str:
    """The run's settings as a table; empty without them."""
    if not evaluation.settings:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{safe(name)}</th><td>{safe(value)}</td></tr>'
        for name, value in evaluation.settings.items()
    )
    return section("settings", "Settings", table("<th>setting</th><th>value</th>", rows, "settings"))
