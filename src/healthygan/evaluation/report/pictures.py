"""The page's pictures: the images worth looking at, with their maps, on one scale."""

from collections.abc import Sequence
from html import escape

import numpy as np

from healthygan.evaluation.report.markup import data_url, safe, section
from healthygan.evaluation.result import GROUPS, Case, Evaluation
from healthygan.stats.metrics import called_diseased
from healthygan.viz import overlays


def pictures(evaluation: Evaluation) -> str:
    """The groups of cases, each with its panels; empty without cases."""
    shown = [case for cases in evaluation.cases.values() for case in cases]
    if not shown:
        return ""
    top = _scale_top(shown)
    scale = "" if top is None else _scale(top, any(case.translated is not None for case in shown))
    groups = "".join(_group(key, evaluation, top or 1.0) for key in GROUPS if evaluation.cases.get(key))
    of_patient = '<p class="note">Of each patient the image with the highest score is shown.</p>'
    note = of_patient if evaluation.unit == "patients" else ""
    return section("pictures", "Pictures", note + scale + groups)


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
        f'<img src="{data_url(overlays.png(overlays.colour_scale()))}" alt="colours of the maps">'
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
        f'<article class="card"><h4><bdi>{safe(case.name)}</bdi>{badge}</h4>'
        f"<p>{safe(facts)}</p>{_panels(case, top)}</article>"
    )


def _panels(case: Case, top: float) -> str:
    if case.original is None:
        return ""
    shown = overlays.panels(case.original, case.translated, case.mask, case.difference, case.lesion, top)
    pictures = "".join(
        f'<figure><img src="{data_url(overlays.png(picture))}" alt="{escape(title)} of {safe(case.name)}">'
        f"<figcaption>{escape(title)}</figcaption></figure>"
        for title, picture in shown.items()
    )
    return f'<div class="panels">{pictures}</div>'


def _verdict(case: Case, threshold: float | None) -> str:
    """How the honest threshold judges a case; empty where there is no threshold."""
    if threshold is None:
        return ""
    called = bool(called_diseased(np.array([case.score]), threshold)[0])
    match case.label:
        case "diseased":
            return "found" if called else "missed"
        case "healthy":
            return "false alarm" if called else "rightly passed"
        case _:
            return "above threshold" if called else "below threshold"
