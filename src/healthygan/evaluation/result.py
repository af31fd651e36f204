"""What an evaluation found: the data that the report and the terminal show, and its JSON for programs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from healthygan.runs.selection import Selection
from healthygan.stats.arrays import Booleans, Floats
from healthygan.stats.intervals import Comparison
from healthygan.stats.metrics import Performance, Rates

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
    evidence: Floats | None = None


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
    patients_known: bool = True  # otherwise each image counts as a patient of its own
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
    alarms: tuple[str, ...] = ()  # what makes the figures worthless
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
        "alarms": list(evaluation.alarms),
        "warnings": list(evaluation.cautions),
        "settings": dict(evaluation.settings),
    }


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
    return found


def _comparison_json(found: Comparison | None) -> dict[str, float | None] | None:
    return None if found is None else {name: _finite(value) for name, value in found._asdict().items()}


def _rates_json(rates: Rates | None) -> dict[str, float | int | None] | None:
    if rates is None:
        return None
    shares = {name: _finite(getattr(rates, name)) for name in RATES}
    counts = {name: getattr(rates, name) for name in ("tp", "fp", "tn", "fn")}
    return {"threshold": _finite(rates.threshold), **shares, **counts}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
