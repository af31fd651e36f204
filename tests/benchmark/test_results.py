"""Means, spreads, intervals and marks, against the functions of ``metrics`` and plain repetition of images."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from healthygan.benchmark.budgets import Method
from healthygan.benchmark.job import Cost, Predicted
from healthygan.benchmark.results import COLUMNS, Cell, Curve, Finished, GroundTruth, Row, marks, resample, summarise
from healthygan.common.run_folder import Decision
from healthygan.runs.config import Config
from healthygan.stats import metrics
from healthygan.stats.intervals import bootstrap_interval

COST = Cost(1.0, True, 1.0, 1.0, None)
RANDOM = np.random.default_rng(1)
LABELS = np.arange(40) % 3 == 0
TEST = GroundTruth(LABELS, [str(number // 2) for number in range(40)])


def finished(scores: Sequence[float], threshold: float | None = None, seed: int = 0) -> Finished:
    decision = Decision(iteration=1, rule="last", threshold=threshold, threshold_rule="", map_top=1.0)
    values = np.asarray(scores, dtype=np.float64)
    return Finished(seed, decision, 1, COST, Predicted(values, np.arange(2), None, "key", 1, None, COST), values)


def row(name: str, mean: float) -> Row:
    return Row(Method(name, Config()), cells={"auc": Cell(mean, 0.0, 0.0, 1.0, (mean,))})


@pytest.mark.parametrize("ties", [False, True])
def test_weights_count_as_repeated_images(ties: bool) -> None:
    scores = RANDOM.normal(size=40) + LABELS
    scores = scores.round(0) if ties else scores
    for weights in [np.ones(40, dtype=np.int64), *resample(TEST, 30)]:
        found = dict(zip(COLUMNS, Curve(scores, LABELS, 0.5).measure(weights), strict=True))
        repeated = np.repeat(np.arange(40), weights)
        values, truth = scores[repeated], LABELS[repeated]
        assert found["auc"] == pytest.approx(metrics.auc(values, truth), abs=1e-12)
        paper = metrics.rates_at(values, truth, metrics.threshold_equal_rates(values, truth))
        honest = metrics.rates_at(values, truth, 0.5)
        for way, rates in (("paper", paper), ("honest", honest)):
            for rate in ("precision", "recall", "specificity", "f1"):
                expected = getattr(rates, rate)
                assert found[f"{way}_{rate}"] == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_resamples_draw_whole_patients_and_are_always_the_same() -> None:
    first, second = list(resample(TEST, 20)), list(resample(TEST, 20))
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    for weights in first:
        assert (weights[::2] == weights[1::2]).all()
        assert weights[::2].sum() == 20


def test_resamples_of_one_class_are_drawn_again() -> None:
    truth = GroundTruth(np.array([True, False]), ["a", "b"])
    assert all(weights.tolist() == [1, 1] for weights in resample(truth, 10))


def test_means_and_deviations_are_over_the_seeds() -> None:
    runs = [finished(RANDOM.normal(size=40) + LABELS, seed=seed) for seed in range(3)]
    areas = [metrics.auc(run.judged, LABELS) for run in runs]
    cell = summarise(TEST, runs, resamples=50)["auc"]
    assert cell.seeds == pytest.approx(areas)
    assert cell.mean == pytest.approx(np.mean(areas))
    assert cell.deviation == pytest.approx(np.std(areas, ddof=1))
    assert cell.low < cell.mean < cell.high


def test_one_seed_has_the_interval_of_the_single_bootstrap_but_no_deviation() -> None:
    scores = RANDOM.normal(size=40) + LABELS
    cell = summarise(TEST, [finished(scores)], resamples=500)["auc"]
    expected = bootstrap_interval(
        metrics.auc, scores, LABELS, TEST.patients, generator=np.random.default_rng(5), resamples=500
    )
    assert math.isnan(cell.deviation)
    assert (cell.low, cell.high) == pytest.approx((expected.low, expected.high), abs=0.03)


def test_the_mean_of_seeds_that_err_apart_is_surer_than_one_seed() -> None:
    runs = [finished(RANDOM.normal(size=40) + LABELS, seed=seed) for seed in range(8)]
    single = summarise(TEST, runs[:1], resamples=300)["auc"]
    together = summarise(TEST, runs, resamples=300)["auc"]
    assert together.high - together.low < single.high - single.low


def test_without_a_threshold_honest_cells_are_undefined_and_the_others_are_not() -> None:
    cells = summarise(TEST, [finished(RANDOM.normal(size=40), None)], resamples=10)
    assert all(math.isnan(cell.mean) == name.startswith("honest") for name, cell in cells.items())


def test_marks_name_the_best_and_the_second() -> None:
    assert marks([row("a", 0.7), row("b", 0.9), row("c", 0.8)], "auc") == ({"b"}, {"c"})


def test_what_is_printed_alike_is_marked_alike_and_undefined_numbers_never() -> None:
    rows = [row("a", 0.90001), row("b", 0.90004), row("c", math.nan), row("d", 0.1), Row(Method("e", Config()))]
    assert marks(rows, "auc") == ({"a", "b"}, {"d"})
    assert marks([row("a", math.nan)], "auc") == (set(), set())
