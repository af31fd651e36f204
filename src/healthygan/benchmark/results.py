"""What a benchmark came to: mean, spread and interval of every number, and what each method spent."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from healthygan.benchmark.budgets import Method
from healthygan.benchmark.job import Cost, Predicted
from healthygan.benchmark.published import PublishedResult
from healthygan.common.run_folder import Decision
from healthygan.stats import metrics
from healthygan.stats.arrays import group_numbers
from healthygan.stats.metrics import Rates
from healthygan.stats.resampling import resamples_of_both_classes, tails

RATES = ("precision", "recall", "specificity", "f1")
PAPER, HONEST = "paper", "honest"
"""Thresholds: the paper's, chosen on the test labels; and that of healthy images held out of training."""
COLUMNS = ("auc", *(f"{way}_{rate}" for way in (PAPER, HONEST) for rate in RATES))
PIXELS = "pixel_auroc"
"""A column where there are lesion masks; it has no interval."""
RESAMPLES = 1000
DIGITS = 3
NONE = "–"
LEVEL = 0.95


@dataclass(frozen=True)
class Finished:
    """One training that was judged."""

    seed: int
    decision: Decision
    iterations: int
    """Done, not planned: a method may stop early."""
    fit: Cost
    predicted: Predicted
    judged: NDArray[np.float64]
    """(N,): the scores of what is judged, images or patients."""


@dataclass(frozen=True)
class Failed:
    """One training that came to nothing."""

    method: str
    seed: int
    reason: str
    """One line."""


@dataclass(frozen=True)
class Cell:
    """One number over the seeds; nan where it is undefined (precision where nothing is called, no threshold)."""

    mean: float
    deviation: float
    """Sample standard deviation over the seeds; nan with one."""
    low: float
    high: float
    """Ends of the bootstrap interval of the mean."""
    seeds: tuple[float, ...]
    """Seed by seed."""


@dataclass(frozen=True)
class Row:
    """One method's results; no cells where every training failed."""

    method: Method
    finished: tuple[Finished, ...] = ()
    cells: dict[str, Cell] = field(default_factory=dict)
    published: tuple[PublishedResult, ...] = ()
    """What the paper reports; two where either may be the method's."""


@dataclass(frozen=True)
class GroundTruth:
    """What all methods are judged by: images (each frame of a file), or patients."""

    labels: NDArray[np.bool_]
    """(N,), True = diseased."""
    patients: Sequence[str]
    """(N,)."""
    noun: str = "images"


@dataclass(frozen=True)
class Example:
    """One image of the picture grid."""

    name: str
    diseased: bool
    image: NDArray[np.floating]
    """H x W in [-1, 1]."""
    lesion: NDArray[np.bool_] | None
    """H x W; none where no mask is known."""


@dataclass(frozen=True)
class Results:
    """All that the tables tell."""

    cohort: str
    paper: str | None
    """Of the paper's cohorts, the one whose published figures stand beside ours."""
    test: GroundTruth
    rows: tuple[Row, ...]
    seeds: int
    """Wanted of each method."""
    failures: tuple[Failed, ...]
    controls: dict[str, float]
    """AUC of shallow statistics, which a detector must beat."""
    examples: tuple[Example, ...]
    """The images whose maps every method kept."""
    notes: tuple[str, ...]
    """On the machine and on images left out."""


class Curve:
    """The numbers of one scoring, for any weights of its images (a bootstrap resample is such weights).

    Args:
        scores: (N,), finite.
        labels: (N,), True = diseased.
        honest: threshold of the honest column; none where there is none.
    """

    def __init__(self, scores: NDArray[np.float64], labels: NDArray[np.bool_], honest: float | None) -> None:
        self._ranking = metrics.Ranking(scores, labels)
        self._labels = labels
        self._called = None if honest is None else metrics.called_diseased(scores, honest)

    def measure(self, weights: NDArray[np.int64]) -> NDArray[np.float64]:
        """(len(COLUMNS),): every number, where image i counts ``weights[i]`` times."""
        tp, fp = self._ranking.called(weights)
        positives, negatives = int(tp[-1]), int(fp[-1])
        area = float(np.trapezoid(np.append(0, tp), np.append(0, fp))) / (positives * negatives)
        best = metrics.most_equal_rates(tp / positives, 1 - fp / negatives)
        paper = _rates(int(tp[best]), int(fp[best]), positives, negatives)
        if self._called is None:
            return np.array([area, *paper, *[math.nan] * len(RATES)])
        hits, calls = int(weights[self._called & self._labels].sum()), int(weights[self._called].sum())
        return np.array([area, *paper, *_rates(hits, calls - hits, positives, negatives)])


def summarise(test: GroundTruth, finished: Sequence[Finished], resamples: int = RESAMPLES) -> dict[str, Cell]:
    """Every number of one method over its seeds.

    The interval is the percentile bootstrap of the mean over seeds: patients are drawn with replacement, each with
    all its images, the same for every seed; the paper's threshold is sought anew in every resample. Resamples are
    the same for every method. A nan in any makes both ends nan. The maps' pixel AUROC comes along where it is known.
    """
    curves = [Curve(run.judged, test.labels, run.decision.threshold) for run in finished]
    seeds = np.stack([curve.measure(np.ones(len(test.labels), dtype=np.int64)) for curve in curves])
    drawn = np.stack(
        [np.mean([curve.measure(weights) for curve in curves], axis=0) for weights in resample(test, resamples)]
    )
    low, high = np.quantile(drawn, tails(LEVEL), axis=0)
    spread = seeds.std(axis=0, ddof=1) if len(seeds) > 1 else np.full(len(COLUMNS), math.nan)
    table = np.stack([seeds.mean(axis=0), spread, low, high]).T.tolist()
    cells = {
        name: Cell(mean, deviation, low, high, seeds=tuple(each))
        for name, (mean, deviation, low, high), each in zip(COLUMNS, table, seeds.T.tolist(), strict=True)
    }
    pixels = [run.predicted.pixel_auroc for run in finished if run.predicted.pixel_auroc is not None]
    if len(pixels) == len(finished):
        deviation = float(np.std(pixels, ddof=1)) if len(pixels) > 1 else math.nan
        cells[PIXELS] = Cell(float(np.mean(pixels)), deviation, math.nan, math.nan, tuple(pixels))
    return cells


def columns_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """``COLUMNS``, and the pixel AUROC where any method has one."""
    return (*COLUMNS, PIXELS) if any(PIXELS in row.cells for row in rows) else COLUMNS


def resample(test: GroundTruth, resamples: int) -> Iterator[NDArray[np.int64]]:
    """How often each image counts in each bootstrap resample of patients; always the same ones."""
    groups = group_numbers(test.patients, len(test.labels))
    for members in resamples_of_both_classes(groups, test.labels, resamples, np.random.default_rng(0)):
        yield np.bincount(members, minlength=len(test.labels))


def marks(rows: Sequence[Row], column: str, digits: int = 3) -> tuple[set[str], set[str]]:
    """Names of the best and of the second-best methods in a column, equal where they are printed alike."""
    shown = {
        row.method.name: round(row.cells[column].mean, digits)
        for row in rows
        if column in row.cells and math.isfinite(row.cells[column].mean)
    }
    levels = sorted(set(shown.values()), reverse=True)[:2]
    best, second = ({name for name, value in shown.items() if value == level} for level in [*levels, None, None][:2])
    return best, second


def _rates(tp: int, fp: int, positives: int, negatives: int) -> list[float]:
    rates = Rates(math.nan, tp, fp, negatives - fp, positives - tp)
    return [float(getattr(rates, name)) for name in RATES]


def short(value: float, digits: int = DIGITS) -> str:
    """As the paper writes shares: without the zero before the point."""
    return NONE if not math.isfinite(value) else re.sub(r"^0\.", ".", f"{value:.{digits}f}")
