"""A detector's results for people (one HTML file, or a table in the terminal) and for programs (JSON)."""

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from healthygan import figures
from healthygan.arrays import Booleans, Floats
from healthygan.figures import DARK, LIGHT, Theme
from healthygan.files import write_text
from healthygan.intervals import Comparison
from healthygan.metrics import Performance, Rates, called_diseased
from healthygan.selection import Selection

# Each group of example pictures, in the order of the report: its title and what to look for.
GROUPS = {
    "top": (
        "Highest scores",
        "Look at these first.",
    ),
    "found": ("Highest-scored diseased images", "Does the map point at the disease?"),
    "missed": ("Lowest-scored diseased images", "The misses: what does the detector not see?"),
    "alarms": ("Highest-scored healthy images", "The false alarms: what does it mistake for disease?"),
    "passed": ("Lowest-scored healthy images", "What it holds to be perfectly healthy."),
}
RATES = ("precision", "recall", "specificity", "f1")
PAPER_COLUMN = "the paper's way"
PAPER_NOTE = "threshold seen on the test labels; optimistic"
HONEST_COLUMN = "honest"
HONEST_NOTE = "threshold from healthy or validation data alone"
DISCLAIMER = "HealthyGAN is research software. It is not a medical device and must not guide the care of a patient."


@dataclass(frozen=True)
class Case:
    """An image or patient worth looking at. Pictures are (H, W): images in [-1, 1], mask and difference in [0, 1]."""

    name: str
    score: float
    rank: int  # 1 = the highest score
    label: str | None = None  # "healthy", "diseased" or unknown
    source: str | None = None
    original: Floats | None = None
    translated: Floats | None = None
    mask: Floats | None = None
    difference: Floats | None = None
    lesion: Booleans | None = None


@dataclass(frozen=True)
class TrainingSeries:
    """What a run logged: each series has one value for each of ``iterations``, nan where it has none."""

    iterations: Sequence[int]
    series: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Evaluation:
    """All a report tells. ``labels`` and ``performance`` are both None for a pile nobody has annotated."""

    title: str
    detector: str
    cohort: str
    scores: Floats  # (N,)
    labels: Booleans | None = None  # (N,), True = diseased
    unit: str = "images"  # what is scored and counted: "images" or "patients"
    performance: Performance | None = None  # from metrics.measure
    honest_threshold: float | None = None
    honest_rule: str = ""  # in words, e.g. "specificity 0.90 on 90 held-out healthy images"
    held_out_healthy: Floats | None = None  # scores of healthy images neither trained on nor tested
    pixel_auroc: float | None = None
    best_dice: float | None = None
    aupro: float | None = None
    flip_stability: float | None = None
    rival: str = ""  # name of the run that ``comparison`` is against
    comparison: Comparison | None = None  # by patient: first this run, second the rival
    selection: Selection | None = None  # what was measured of the run's candidates
    controls: Mapping[str, float] = field(default_factory=dict)  # from controls.control_aucs, 0.5 to 1
    warnings: tuple[str, ...] = ()
    cases: Mapping[str, tuple[Case, ...]] = field(default_factory=dict)  # by key of GROUPS
    settings: Mapping[str, str] = field(default_factory=dict)
    training: TrainingSeries | None = None

    def __post_init__(self) -> None:
        if (self.labels is None) != (self.performance is None):
            raise ValueError("give labels and performance together, or neither")
        if unknown := self.cases.keys() - GROUPS.keys():
            raise ValueError(f"unknown groups of cases {sorted(unknown)}; use {sorted(GROUPS)}")

    @property
    def cautions(self) -> tuple[str, ...]:
        """The warnings given, and those that follow from the numbers."""
        return (*self.warnings, *_found_cautions(self))


def choose_cases(scores: Floats, labels: Booleans | None, count: int) -> dict[str, NDArray[np.int64]]:
    """Indices of the images worth looking at, for each group of ``GROUPS`` that applies, most telling first.

    With labels: the ``count`` highest and lowest of each class. Without: the ``count`` highest of all.
    """
    falling = np.argsort(-scores, kind="stable").astype(np.int64)
    if labels is None:
        return {"top": falling[:count]}
    diseased, healthy = falling[labels[falling]], falling[~labels[falling]]
    return {
        "found": diseased[:count],
        "missed": diseased[::-1][:count],
        "alarms": healthy[:count],
        "passed": healthy[::-1][:count],
    }


def to_json(evaluation: Evaluation) -> dict[str, object]:
    """The numbers, for ``metrics.json``; what is undefined or infinite is null."""
    result = evaluation.performance
    return {
        "title": evaluation.title,
        "detector": evaluation.detector,
        "cohort": evaluation.cohort,
        "unit": evaluation.unit,
        evaluation.unit: len(evaluation.scores),
        "diseased": None if evaluation.labels is None else int(evaluation.labels.sum()),
        "auc": result and _finite(result.auc),
        "auc_interval": result and [_finite(result.auc_interval.low), _finite(result.auc_interval.high)],
        "auc_interval_level": result and result.auc_interval.level,
        "auc_by_patient": result and _finite(result.auc_by_patient),
        "paper_rates": result and _rates_json(result.paper_rates),
        "honest_rates": result and _rates_json(result.honest_rates),
        "honest_threshold": _finite(evaluation.honest_threshold),
        "honest_rule": evaluation.honest_rule,
        "pixel_auroc": _finite(evaluation.pixel_auroc),
        "best_dice": _finite(evaluation.best_dice),
        "aupro": _finite(evaluation.aupro),
        "flip_stability": _finite(evaluation.flip_stability),
        "rival": evaluation.rival or None,
        "comparison": _comparison_json(evaluation.comparison),
        "selection": evaluation.selection and [choice._asdict() for choice in evaluation.selection.choices()],
        "controls": {name: _finite(value) for name, value in evaluation.controls.items()},
        "warnings": list(evaluation.cautions),
        "settings": dict(evaluation.settings),
    }


def evaluation_table(evaluation: Evaluation) -> Table:
    """The metrics for the terminal; for a pile without labels, how many images are above the threshold."""
    table = Table(title=Text(f"{evaluation.detector} on {evaluation.cohort}"), title_justify="left")
    table.add_column("")
    result = evaluation.performance
    if result is None:
        table.add_column(evaluation.unit, justify="right")
        for name, value in _pile_rows(evaluation):
            table.add_row(name, value)
        return table
    table.add_column(f"{PAPER_COLUMN}\n({PAPER_NOTE})", justify="right")
    table.add_column(f"{HONEST_COLUMN}\n({HONEST_NOTE})", justify="right")
    for name, paper, honest in _rate_rows(result):
        table.add_row(name, paper, honest)
    table.add_section()
    for name, value in _auc_rows(evaluation, result):
        table.add_row(Text(name), value, value)  # needs no threshold: the same either way
    return table


def write_report(path: Path, evaluation: Evaluation) -> None:
    """Write one HTML file that holds everything and loads nothing, for screens from a phone's up.

    Raises:
        InputError: the file cannot be written.
    """
    sections = (_headline, _metrics, _controls, _charts, _pictures, _selection, _training, _settings)
    body = "".join(section(evaluation) for section in sections)
    # The policy forbids the page to load or run anything, whatever a file name may contain.
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    write_text(
        path,
        f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{_safe(evaluation.title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
{body}</main>
<footer>{DISCLAIMER}</footer>
</body>
</html>
""",
    )


def _found_cautions(evaluation: Evaluation) -> list[str]:
    found = []
    result = evaluation.performance
    if result is not None and result.auc_interval.low <= 0.5:
        found.append("The AUC's interval reaches 0.5: on these images the detector is not shown to beat chance.")
    if result is not None:
        rivals = [name for name, value in evaluation.controls.items() if value >= result.auc]
        found += [f"The control “{name}” tells the classes apart as well as the detector." for name in rivals]
        near = [name for name, value in evaluation.controls.items() if result.auc_interval.low <= value < result.auc]
        if near:
            names = ", ".join(f"“{name}”" for name in near)
            found.append(f"Within the interval of the detector's AUC, so near that it may be no worse: {names}.")
    if evaluation.honest_threshold == math.inf:
        short = f"Too few held-out healthy {evaluation.unit}"
        found.append(f"{short} to set an honest threshold: nothing is called diseased.")
    return found


def _headline(evaluation: Evaluation) -> str:
    cautions = "".join(f"<li>{_safe(text)}</li>" for text in evaluation.cautions)
    alert = f'<section class="alert"><h2>Before you read on</h2><ul>{cautions}</ul></section>\n' if cautions else ""
    facts, sentence = (_pile_headline if evaluation.performance is None else _test_headline)(evaluation)
    tiles = "".join(
        f'<div class="tile"><dt>{name}</dt><dd>{value}<small>{note}</small></dd></div>' for name, value, note in facts
    )
    return (
        f'<header><p class="kicker">{_safe(evaluation.detector)} on {_safe(evaluation.cohort)}</p>'
        f"<h1>{_safe(evaluation.title)}</h1></header>\n{alert}"
        f'<section><dl class="tiles">{tiles}</dl><p class="lead">{sentence}</p></section>\n'
    )


def _test_headline(evaluation: Evaluation) -> tuple[list[tuple[str, str, str]], str]:
    result = evaluation.performance
    assert result is not None
    low, high, level = result.auc_interval
    facts = [("AUC", _number(result.auc), f"{100 * level:g} % interval {_number(low)} to {_number(high)}")]
    sentence = (
        f"Shown one diseased and one healthy {evaluation.unit[:-1]} picked at random, the detector gives the "
        f"diseased one the higher score {100 * result.auc:.0f} times in 100."
    )
    rates = result.honest_rates
    if rates is not None and math.isfinite(rates.threshold):
        diseased, healthy = rates.tp + rates.fn, rates.tn + rates.fp
        facts.append(
            (
                "Recall, honest threshold",
                _number(rates.recall),
                f"{rates.tp:,} of {diseased:,} diseased found",
            )
        )
        facts.append(
            (
                "Specificity, honest threshold",
                _number(rates.specificity),
                f"{rates.fp:,} false alarms in {healthy:,} healthy",
            )
        )
        sentence += (
            f" At a threshold set without looking at the test labels ({_safe(evaluation.honest_rule)}) "
            f"it finds {rates.tp:,} of {diseased:,} diseased {evaluation.unit} and calls {rates.fp:,} of {healthy:,} "
            "healthy ones diseased."
        )
    return facts, sentence


def _pile_headline(evaluation: Evaluation) -> tuple[list[tuple[str, str, str]], str]:
    facts = [(name.capitalize(), value, "") for name, value in _pile_rows(evaluation)]
    sentence = "Nobody has annotated these images, so nothing here says how often the detector is right."
    if evaluation.honest_rule:
        sentence += f" The threshold: {_safe(evaluation.honest_rule)}."
    return facts, sentence


def _metrics(evaluation: Evaluation) -> str:
    result = evaluation.performance
    if result is None:
        return ""
    rates = "".join(
        f'<tr><th scope="row">{name}</th><td>{paper}</td><td>{honest}</td></tr>'
        for name, paper, honest in _rate_rows(result)
    )
    areas = "".join(
        f'<tr><th scope="row">{_safe(name)}</th><td>{value}</td></tr>' for name, value in _auc_rows(evaluation, result)
    )
    return _section(
        "metrics",
        "Metrics",
        '<div class="beside">'
        + _table(
            f"<th></th><th>{PAPER_COLUMN}<small>{PAPER_NOTE}</small></th>"
            f"<th>{HONEST_COLUMN}<small>{_safe(evaluation.honest_rule or HONEST_NOTE)}</small></th>",
            rates,
        )
        + _table("<th>without a threshold</th><th></th>", areas)
        + "</div>",
    )


def _controls(evaluation: Evaluation) -> str:
    result = evaluation.performance
    if result is None or not evaluation.controls:
        return ""
    ranked = sorted(evaluation.controls.items(), key=lambda item: -item[1])
    rows = _control_row(evaluation.detector, result.auc, "", "own") + "".join(
        _control_row(name, value, f"{result.auc - value:+.3f}", "") for name, value in ranked
    )
    return _section(
        "controls",
        "Shallow controls",
        "<p>What a single plain number about each image achieves on the same test, whichever way round it "
        "works better. A detector is worth its difference to these.</p>"
        + _table('<th></th><th>AUC</th><th class="bar"></th><th>detector is better by</th>', rows, "controls"),
    )


def _control_row(name: str, value: float, better: str, style: str) -> str:
    share = max(0.0, 200 * (value - 0.5))  # the bar shows what lies above chance
    return (
        f'<tr class="{style}"><th scope="row">{_safe(name)}</th><td>{_number(value)}</td>'
        f'<td class="bar"><span style="width:{share:.0f}%"></span></td><td>{better}</td></tr>'
    )


def _charts(evaluation: Evaluation) -> str:
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
        points = {"paper's way": result.paper_rates}
        if result.honest_rates is not None:
            points["honest"] = result.honest_rates
        charts.append(
            _chart(
                "Receiver operating characteristic (ROC)",
                "Every trade between finding disease and false alarms; the dashed line is chance.",
                lambda theme: figures.roc_figure(scores, labels, points, theme),
            )
        )
    charts.append(
        _chart(
            "Anomaly scores",
            note,
            lambda theme: figures.histogram_figure(**groups, thresholds=lines, theme=theme),
        )
    )
    return _section("scores", "Scores", f'<div class="charts">{"".join(charts)}</div>')


def _selection(evaluation: Evaluation) -> str:
    found = evaluation.selection
    if found is None or not (found.curves or found.test_auc):
        return ""
    names, rows = _choice_rows(found)
    body = "".join(f"<tr>{''.join(f'<td>{_safe(cell)}</td>' for cell in row)}</tr>" for row in rows)
    remarks = "".join(
        f'<p class="note">{_safe(f"{curve.name}: {curve.remark}.")}</p>' for curve in found.curves if curve.remark
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
        lambda theme: figures.selection_curve(curves, best, found.chosen, theme),
    )
    return _section(
        "selection",
        "Choice of the checkpoint",
        f"<p>Chosen by: {_safe(found.rule)}.</p>"
        + _table("".join(f"<th>{name}</th>" for name in names), body)
        + remarks
        + f'<div class="charts">{chart}</div>',
    )


def selection_table(selection: Selection) -> Table:
    """What each rule would take, for the terminal."""
    names, rows = _choice_rows(selection)
    table = Table(title="Checkpoint by rule", title_justify="left")
    for name in names:
        table.add_column(name)
    for row in rows:
        table.add_row(*row)
    return table


def _choice_rows(selection: Selection) -> tuple[list[str], list[list[str]]]:
    names = ["rule", "iteration", "figure"]
    if selection.test_auc:
        names += ["test AUC", "against the best", "against the last"]
    rows = []
    for choice in selection.choices():
        row = [choice.rule, f"{choice.iteration:,}", choice.figure]
        if choice.test_auc is not None:
            row += [_number(choice.test_auc), f"{choice.from_best:+.3f}", f"{choice.from_last:+.3f}"]
        rows.append(row)
    return names, rows


def _training(evaluation: Evaluation) -> str:
    log = evaluation.training
    if log is None or not log.series:
        return ""
    chart = _chart(
        "Training",
        "As logged while training.",
        lambda theme: figures.training_curve(log.iterations, log.series, theme),
    )
    return _section("training", "Training", f'<div class="charts">{chart}</div>')


def _chart(title: str, note: str, draw: Callable[[Theme], bytes]) -> str:
    return (
        f'<figure><picture><source srcset="{_data(draw(DARK))}" media="(prefers-color-scheme: dark)">'
        f'<img src="{_data(draw(LIGHT))}" alt="{title}"></picture>'
        f"<figcaption><strong>{title}.</strong> {note}</figcaption></figure>"
    )


def _pictures(evaluation: Evaluation) -> str:
    shown = [case for cases in evaluation.cases.values() for case in cases]
    if not shown:
        return ""
    top = _scale_top(shown)
    scale = "" if top is None else _scale(top, any(case.translated is not None for case in shown))
    groups = "".join(_group(key, evaluation, top or 1.0) for key in GROUPS if evaluation.cases.get(key))
    of_patient = '<p class="note">Of each patient the image with the highest score is shown.</p>'
    note = of_patient if evaluation.unit == "patients" else ""
    return _section("pictures", "Pictures", note + scale + groups)


def _scale_top(cases: Sequence[Case]) -> float | None:
    """One scale for all: the 99.9th percentile of the shown differences, so that no few pixels set it."""
    maps = [case.difference.ravel() for case in cases if case.difference is not None]
    if not maps:
        return None
    return max(float(np.percentile(np.concatenate(maps), 99.9)), 1e-6)


def _scale(top: float, translated: bool) -> str:
    meaning = (
        "The difference map is |x - x'| / 2: how much the detector changed each pixel of the image x to heal it."
        if translated
        else "The anomaly map shows how far each place speaks for disease, on this detector's own scale from 0 to 1."
    )
    return (
        f'<div class="scale"><span>{"unchanged" if translated else "usual"}</span>'
        f'<img src="{_data(figures.png(figures.colour_scale()))}" alt="colours of the maps">'
        f"<span>{top:.2g} or more</span></div>"
        f'<p class="note">{meaning} All maps of this page share this scale. A cyan line is a known lesion.</p>'
    )


def _group(key: str, evaluation: Evaluation, top: float) -> str:
    title, hint = (text.replace("images", evaluation.unit) for text in GROUPS[key])
    cards = "".join(_card(case, evaluation, top) for case in evaluation.cases[key])
    return f'<h3 id="{key}">{title}</h3><p>{hint}</p><div class="cards">{cards}</div>'


def _card(case: Case, evaluation: Evaluation, top: float) -> str:
    known = [part for part in (case.label, case.source and f"source {case.source}") if part]
    verdict = _verdict(case, evaluation.honest_threshold)
    badge = f'<span class="badge {verdict.replace(" ", "-")}">{verdict}</span>' if verdict else ""
    facts = " · ".join([f"score {case.score:.4g}", f"rank {case.rank:,} of {len(evaluation.scores):,}", *known])
    return (
        f'<article class="card"><h4><bdi>{_safe(case.name)}</bdi>{badge}</h4>'
        f"<p>{_safe(facts)}</p>{_panels(case, top)}</article>"
    )


def _panels(case: Case, top: float) -> str:
    if case.original is None:
        return ""
    shown = figures.panels(case.original, case.translated, case.mask, case.difference, case.lesion, top)
    pictures = "".join(
        f'<figure><img src="{_data(figures.png(picture))}" alt="{escape(title)} of {_safe(case.name)}">'
        f"<figcaption>{escape(title)}</figcaption></figure>"
        for title, picture in shown.items()
    )
    return f'<div class="panels">{pictures}</div>'


def _verdict(case: Case, threshold: float | None) -> str:
    """How the honest threshold judges a case; empty where there is no threshold."""
    if threshold is None or math.isinf(threshold):
        return ""
    called = bool(called_diseased(np.array([case.score]), threshold)[0])
    match case.label:
        case "diseased":
            return "found" if called else "missed"
        case "healthy":
            return "false alarm" if called else "rightly passed"
        case _:
            return "above threshold" if called else "below threshold"


def _settings(evaluation: Evaluation) -> str:
    if not evaluation.settings:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{_safe(name)}</th><td>{_safe(value)}</td></tr>'
        for name, value in evaluation.settings.items()
    )
    return _section("settings", "Settings", _table("<th>setting</th><th>value</th>", rows, "settings"))


def _section(anchor: str, title: str, content: str) -> str:
    return f'<section id="{anchor}"><h2>{title}</h2>{content}</section>\n'


def _table(head: str, rows: str, style: str = "") -> str:
    return (
        f'<div class="scroll"><table class="{style}"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _rate_rows(result: Performance) -> list[tuple[str, str, str]]:
    """Name, paper's way, honest: the same rows for the page and the terminal."""
    paper, honest = result.paper_rates, result.honest_rates
    rows = [(_name(rate), _rate(paper, rate), _rate(honest, rate)) for rate in RATES]
    rows.append(("threshold", _threshold(paper), _threshold(honest)))
    return rows


def _name(rate: str) -> str:
    return {"recall": "recall (sensitivity)", "f1": "F1"}.get(rate, rate)


def _rate(rates: Rates | None, name: str) -> str:
    if rates is None:
        return "–"
    value = _number(getattr(rates, name))
    part, whole = {
        "precision": (rates.tp, rates.tp + rates.fp),
        "recall": (rates.tp, rates.tp + rates.fn),
        "specificity": (rates.tn, rates.tn + rates.fp),
    }.get(name, (0, 0))
    return f"{value} ({part:,}/{whole:,})" if whole else value


def _threshold(rates: Rates | None) -> str:
    return "–" if rates is None else "none" if math.isinf(rates.threshold) else f"{rates.threshold:.4g}"


def _auc_rows(evaluation: Evaluation, result: Performance) -> list[tuple[str, str]]:
    low, high, level = result.auc_interval
    rows = [
        ("AUC", _number(result.auc)),
        (f"{100 * level:g} % interval", f"{_number(low)} to {_number(high)}"),
        ("AUC by patient", _number(result.auc_by_patient)),
        ("pixel AUC of the difference maps", _number(evaluation.pixel_auroc)),
        ("AUPRO of the difference maps, to 0.3", _number(evaluation.aupro)),
        ("best Dice of the difference maps (optimistic)", _number(evaluation.best_dice)),
        ("difference maps' stability under flips", _number(evaluation.flip_stability)),
    ]
    if evaluation.comparison is not None:
        ours, theirs, error, p_value = evaluation.comparison
        found = f"{ours - theirs:+.3f} ± {1.96 * error:.3f}, p = {p_value:.3g}"
        rows.append((f"AUC by patient of {evaluation.rival}", _number(theirs)))
        rows.append(("difference to it (DeLong)", "none: the same order" if math.isnan(p_value) else found))
    return [row for row in rows if row[1] != "–"]


def _comparison_json(found: Comparison | None) -> dict[str, float | None] | None:
    return None if found is None else {name: _finite(value) for name, value in found._asdict().items()}


def _pile_rows(evaluation: Evaluation) -> list[tuple[str, str]]:
    rows = [(evaluation.unit, f"{len(evaluation.scores):,}")]
    if evaluation.flip_stability is not None:
        rows.append(("difference maps' stability under flips", _number(evaluation.flip_stability)))
    if evaluation.honest_threshold is not None:
        above = int(called_diseased(evaluation.scores, evaluation.honest_threshold).sum())
        rows.append(("above the threshold", f"{above:,}"))
    return rows


def _rates_json(rates: Rates | None) -> dict[str, float | int | None] | None:
    if rates is None:
        return None
    shares = {name: _finite(getattr(rates, name)) for name in RATES}
    counts = {name: getattr(rates, name) for name in ("tp", "fp", "tn", "fn")}
    return {"threshold": _finite(rates.threshold), **shares, **counts}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _number(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"


def _safe(text: str) -> str:
    """Escaped for HTML; bytes of a file name that are not UTF-8 (surrogates in Python) become "?"."""
    return escape(text.encode("utf-8", "replace").decode())


def _data(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


STYLE = """
:root { --page:#f3f5f8; --card:#fff; --ink:#1b2430; --soft:#566273; --line:#dbe1e8; --accent:#0072b2;
  --alert:#fff4e5; --alert-line:#d55e00; --bad:#a84300; --good:#00699e; }
@media (prefers-color-scheme: dark) { :root { --page:#0d1117; --card:#161c24; --ink:#e4e9ef; --soft:#9aa6b4;
  --line:#2a333e; --accent:#56b4e9; --alert:#2a1e12; --alert-line:#f08a3c; --bad:#f6a566; --good:#7cc7f2; } }
* { box-sizing:border-box; }
html { -webkit-text-size-adjust:100%; }
body { margin:0; background:var(--page); color:var(--ink);
  font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif; }
main, footer { max-width:1160px; margin:0 auto; padding:0 1rem; }
header { padding:1.5rem 0 .5rem; }
.kicker { margin:0; color:var(--soft); }
h1 { margin:0; font-size:1.75rem; line-height:1.2; overflow-wrap:anywhere; }
h2 { margin:0 0 .75rem; font-size:1.25rem; }
h3 { margin:2rem 0 0; font-size:1.05rem; }
h3 + p { margin:0 0 .75rem; color:var(--soft); }
section { background:var(--card); border:1px solid var(--line); border-radius:12px; padding:1.25rem;
  margin:1rem 0; }
.alert { background:var(--alert); border-left:5px solid var(--alert-line); }
.alert h2 { font-size:1rem; margin:0 0 .25rem; }
.alert ul { margin:0; padding-left:1.2rem; }
.tiles { display:flex; flex-wrap:wrap; gap:1rem 2.5rem; margin:0; }
.tile dt { color:var(--soft); font-size:.9rem; }
.tile dd { margin:0; font-size:2.2rem; line-height:1.1; font-weight:650; font-variant-numeric:tabular-nums; }
.tile:first-child dd { color:var(--accent); }
small { display:block; font-size:.8rem; line-height:1.35; font-weight:400; color:var(--soft);
  margin-top:.2rem; }
.lead { margin:1rem 0 0; max-width:46rem; }
.note { color:var(--soft); font-size:.9rem; max-width:46rem; }
.scroll { overflow-x:auto; }
.beside { display:flex; flex-wrap:wrap; gap:1.25rem 2rem; align-items:flex-end; }
.beside > div { max-width:100%; }
thead small { max-width:11rem; }
table { border-collapse:collapse; font-variant-numeric:tabular-nums; }
th, td { padding:.45rem 1.5rem .45rem 0; border-bottom:1px solid var(--line); text-align:left;
  vertical-align:top; }
thead th { font-size:.9rem; }
tbody th { font-weight:400; }
th:last-child, td:last-child { padding-right:0; }
.own th, .own td { font-weight:650; }
.bar { width:9rem; min-width:4rem; vertical-align:middle; }
.bar span { display:block; height:.6rem; border-radius:3px; background:var(--soft); }
.own .bar span { background:var(--accent); }
.settings td, .settings th { overflow-wrap:anywhere; }
.charts { display:grid; grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr)); gap:1.5rem; }
figure { margin:0; }
.charts figure { max-width:32rem; }
img { display:block; max-width:100%; height:auto; }
.charts img { width:100%; }
figcaption { color:var(--soft); font-size:.9rem; margin-top:.35rem; }
figcaption strong { color:var(--ink); }
.scale { display:flex; align-items:center; gap:.6rem; font-size:.9rem; font-variant-numeric:tabular-nums; }
.scale span { white-space:nowrap; }
.scale img { width:12rem; min-width:4rem; height:.9rem; border-radius:3px; }
.cards { display:grid; gap:1rem; }
.card { background:#000; color:#e8edf2; border-radius:10px; padding:.75rem; }
.card h4 { margin:0; font-size:.95rem; display:flex; flex-wrap:wrap; gap:.25rem .6rem; align-items:center;
  overflow-wrap:anywhere; }
.card p { margin:.1rem 0 .6rem; font-size:.9rem; color:#a9b4c0; overflow-wrap:anywhere; }
.badge { font-size:.75rem; font-weight:600; padding:.1rem .5rem; border-radius:99px; border:1px solid #56b4e9;
  color:#8fd0f5; }
.badge.missed, .badge.false-alarm { border-color:#f08a3c; color:#f9b57f; }
.panels { display:grid; grid-template-columns:repeat(4,minmax(0,1fr)); gap:.5rem; }
.panels img { width:100%; outline:1px solid #2a333e; }
.panels figcaption { color:#a9b4c0; font-size:.8rem; }
footer { padding-top:.5rem; padding-bottom:2.5rem; color:var(--soft); font-size:.9rem; }
@media (max-width:640px) {
  section { padding:1rem; }
  .panels { grid-template-columns:repeat(2,minmax(0,1fr)); }
  .bar { display:none; }
  th, td { padding-right:.9rem; }
}
@media print { body { background:#fff; } section, .card { break-inside:avoid; } }
"""
