"""Methods and seeds side by side in processes: restarts, failures, refusals."""

import os
import signal
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.context import BaseContext
from pathlib import Path

import pytest
import torch

from healthygan.benchmark import runner as module
from healthygan.benchmark.budgets import Budget, Method, plan
from healthygan.benchmark.results import Results
from healthygan.benchmark.runner import benchmark, paper_cohort
from healthygan.common.errors import InputError, Stopped
from healthygan.common.folder_lock import locked
from healthygan.common.tensors import load_tensors
from healthygan.data.cohort import Cohort, CohortImage, Split

Plan = Callable[..., list[Method]]


def _quick_context() -> BaseContext:
    """Forked from here, where the libraries are loaded and what a test has changed is changed."""
    return get_context("spawn" if torch.cuda.is_available() else "fork")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_context", _quick_context)


@pytest.fixture(scope="module")
def tiny(tiny_settings: tuple[str, ...]) -> Plan:
    """Plans tiny HealthyGANs under the names given; one called "breaks" stops being finite."""

    def planned(names: str, *settings: str) -> list[Method]:
        methods = {name: {"preset": "small"} for name in names.split(",")}
        breaks = ["breaks:detector.learning_rate=1.0e+30"] if "breaks" in methods else []
        rule = ["selection.rule=last", "selection.specificity=0.5"]
        budget = Budget.model_validate({"base": "small", "set": [*rule, *tiny_settings], "methods": methods})
        return plan(budget, names, [*breaks, *settings])

    return planned


@pytest.fixture(scope="module")
def cohort(manifest: Path) -> Cohort:
    return Cohort.from_manifest(manifest)


@pytest.fixture(scope="module")
def first(cohort: Cohort, tiny: Plan, tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Path]:
    """Two methods, one of which breaks, with two seeds; two at a time."""
    output = tmp_path_factory.mktemp("benchmark") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_context", _quick_context)
        return benchmark(cohort, tiny("one,breaks"), output, seeds=2, workers=2), output


def test_a_failing_method_is_listed_and_the_others_keep_their_results(first: tuple[Results, Path]) -> None:
    results = first[0]
    one, breaks = results.rows
    assert [run.seed for run in one.finished] == [0, 1] and not breaks.finished
    assert 0 <= one.cells["auc"].mean <= 1 and not breaks.cells
    assert [(failed.method, failed.seed) for failed in results.failures] == [("breaks", 0), ("breaks", 1)]
    assert all("stopped being finite" in failed.reason and "\n" not in failed.reason for failed in results.failures)


def test_what_every_method_had_is_told(first: tuple[Results, Path]) -> None:
    for run in first[0].rows[0].finished:
        assert run.iterations == 8 and run.decision.iteration == 8 and run.decision.rule == "last"
        assert run.decision.threshold is not None
        assert run.fit.seconds > 0 and run.predicted.cost.seconds > 0
    assert [example.diseased for example in first[0].examples] == [True] * 4 + [False] * 4
    assert "vertical gradient" in first[0].controls


def test_the_same_call_does_nothing_twice_and_tries_failed_ones_again(
    first: tuple[Results, Path], cohort: Cohort, tiny: Plan
) -> None:
    results, output = first
    model = output / "one" / "seed_0" / "run" / "model.pt"
    log = output / "breaks" / "seed_0" / "fit.log"
    before, lines = model.stat().st_mtime_ns, log.stat().st_size
    again = benchmark(cohort, tiny("one,breaks"), output, seeds=2)
    assert model.stat().st_mtime_ns == before and log.stat().st_size > lines
    assert again.rows[0].cells == results.rows[0].cells
    assert len(again.failures) == 2


def test_a_new_method_joins_those_that_are_done(first: tuple[Results, Path], cohort: Cohort, tiny: Plan) -> None:
    results, output = first
    more = benchmark(cohort, tiny("one,two"), output, seeds=1)
    assert [row.method.name for row in more.rows] == ["one", "two"]
    assert more.rows[1].cells["auc"].seeds == pytest.approx(more.rows[0].cells["auc"].seeds)
    assert more.rows[0].finished[0].fit == results.rows[0].finished[0].fit
    assert not more.failures


def test_begun_runs_refuse_other_settings(first: tuple[Results, Path], cohort: Cohort, tiny: Plan) -> None:
    with pytest.raises(InputError, match=r"one/seed_0/run: .*training\.batch_size=4, now 2"):
        benchmark(cohort, tiny("one", "training.batch_size=2"), first[1], seeds=1)


def test_another_cohort_is_refused(first: tuple[Results, Path], cohort_factory, tiny: Plan, tmp_path: Path) -> None:
    other = Cohort.from_manifest(cohort_factory(tmp_path / "other", seed=3))
    with pytest.raises(InputError, match="benchmark of another cohort"):
        benchmark(other, tiny("one"), first[1], seeds=1)


def test_a_stopped_benchmark_goes_on_to_the_same_model(
    first: tuple[Results, Path], cohort: Cohort, tiny: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = module._Pool._note
    deadline = time.monotonic() + 60

    def interrupt(pool: module._Pool) -> str:
        if any((job.folder / "run" / "checkpoint.pt").exists() for job, *_ in pool.running.values()):
            raise KeyboardInterrupt
        assert time.monotonic() < deadline
        return original(pool)

    monkeypatch.setattr(module, "PATIENCE", 0.01)
    monkeypatch.setattr(module._Pool, "_note", interrupt)
    with pytest.raises(Stopped, match=r"^stopped$"):
        benchmark(cohort, tiny("one"), tmp_path / "out", seeds=1)
    monkeypatch.setattr(module._Pool, "_note", original)
    results = benchmark(cohort, tiny("one"), tmp_path / "out", seeds=1)
    models = [load_tensors(folder / "one/seed_0/run/model.pt") for folder in (tmp_path / "out", first[1])]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[1])
    assert results.rows[0].finished


def test_a_killed_process_is_a_failure_with_a_reason(
    cohort: Cohort, tiny: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch.cuda.is_available():
        pytest.skip("the kill is patched into forked processes, which CUDA forbids")
    monkeypatch.setitem(module.STAGES, "predict", lambda _: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(InputError, match=r"every training failed; the first: one: .*killed by signal 9"):
        benchmark(cohort, tiny("one"), tmp_path / "out", seeds=1)


def test_a_fault_of_a_detector_is_one_line_and_its_trace_is_in_the_log(
    cohort: Cohort, tiny: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch.cuda.is_available():
        pytest.skip("the fault is patched into forked processes, which CUDA forbids")

    def faulty(_: object) -> None:
        raise ZeroDivisionError("no\nluck")

    monkeypatch.setitem(module.STAGES, "fit", faulty)
    with pytest.raises(InputError, match=r"ZeroDivisionError: no \(in full in .*fit\.log\)"):
        benchmark(cohort, tiny("one"), tmp_path / "out", seeds=1)
    assert "Traceback" in (tmp_path / "out/one/seed_0/fit.log").read_text()


def _without(cohort: Cohort, split: Split) -> Cohort:
    return Cohort("less", tuple(image for image in cohort.images if image.split is not split))


def _unlabelled(image: CohortImage) -> CohortImage:
    return CohortImage(image.path, image.split) if image.split is Split.TEST else image


def test_a_test_set_without_labels_is_refused(cohort: Cohort, tiny: Plan, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no image in the split test"):
        benchmark(_without(cohort, Split.TEST), tiny("one"), tmp_path / "a")
    unlabelled = Cohort("blind", tuple(map(_unlabelled, cohort.images)))
    with pytest.raises(InputError, match="blind: the test set needs labels"):
        benchmark(unlabelled, tiny("one"), tmp_path / "b")


def test_a_folder_with_other_things_is_refused(cohort: Cohort, tiny: Plan, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="not empty and not a benchmark"):
        benchmark(cohort, tiny("one"), tmp_path)


def test_two_benchmarks_in_one_folder_are_refused(cohort: Cohort, tiny: Plan, tmp_path: Path) -> None:
    with locked(tmp_path / "out", "benchmark"), pytest.raises(InputError, match="benchmark is at work there, process"):
        benchmark(cohort, tiny("one"), tmp_path / "out")


@pytest.mark.parametrize("numbers", [{"seeds": 0}, {"workers": 0}])
def test_no_seeds_or_workers_are_refused(numbers: dict[str, int], cohort: Cohort, tiny: Plan, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give 1 or more"):
        benchmark(cohort, tiny("one"), tmp_path / "out", **numbers)


def test_the_papers_cohorts_are_known_by_name() -> None:
    assert paper_cohort(Cohort("COVIDx", ())) == "covidx"
    assert paper_cohort(Cohort("covid", ())) is None
