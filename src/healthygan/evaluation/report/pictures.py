"""The page's pictures: the images worth looking at, with their maps, on one scale."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from healthygan.evaluation.result import GROUPS, Case, Evaluation
from healthygan.stats.metrics import called_diseased
from healthygan.viz import overlays


@dataclass(frozen=True)
class Scale:
    """The colours of all maps of the page."""

    png: bytes
    top: float  # the value in full colour
    translated: bool  # the maps show what a translation changed, rather than a score for each place


@dataclass(frozen=True)
class Card:
    """A case: its verdict (empty without a threshold), its facts, its panels as PNG files by title."""

    name: str
    verdict: str
    facts: list[str]
    panels: dict[str, bytes]


@dataclass(frozen=True)
class Group:
    """Cases to look at for one reason."""

    key: str
    title: str
    hint: str
    cards: list[Card]


@dataclass(frozen=True)
class Pictures:
    """All groups, and the scale that their maps share, if any has a map."""

    scale: Scale | None
    groups: list[Group]


def pictures(evaluation: Evaluation) -> Pictures | None:
    """The groups of cases, each with its panels; None without cases."""
    cases = [case for group in evaluation.cases.values() for case in group]
    if not cases:
        return None
    top = _scale_top(cases)
    translated = any(case.translated is not None for case in cases)
    return Pictures(
        scale=None if top is None else Scale(overlays.png(overlays.colour_scale()), top, translated),
        groups=[_group(key, evaluation, top or 1.0) for key in GROUPS if evaluation.cases.get(key)],
    )


def _scale_top(cases: Sequence[Case]) -> float | None:
    """One scale for all: the 99.9th percentile of the shown differences, so that no few pixels set it; 1 where they are
    evidence, whose scale training fixed."""
    if any(case.evidence is not None and case.translated is None for case in cases):
        return 1.0
    maps = [case.difference.ravel() for case in cases if case.difference is not None]
    if not maps:
        return None
    return max(float(np.percentile(np.concatenate(maps), 99.9)), 1e-6)


def _group(key: str, evaluation: Evaluation, top: float) -> Group:
    title, hint = (text.replace("images", evaluation.unit) for text in GROUPS[key])
    return Group(key, title, hint, [_card(case, evaluation, top) for case in evaluation.cases[key]])


def _card(case: Case, evaluation: Evaluation, top: float) -> Card:
    facts = [f"score {case.score:.4g}", f"rank {case.rank:,} of {len(evaluation.scores):,}"]
    if case.label:
        facts.append(case.label)
    if case.source:
        facts.append(f"source {case.source}")
    return Card(case.name, _verdict(case, evaluation.honest_threshold), facts, _panels(case, top))


def _panels(case: Case, top: float) -> dict[str, bytes]:
    if case.original is None:
        return {}
    panels = overlays.panels(
        case.original, case.translated, case.mask, case.difference, case.lesion, top, evidence=case.evidence
    )
    return {title: overlays.png(panel) for title, panel in panels.items()}


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
