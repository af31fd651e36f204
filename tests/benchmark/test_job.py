"""One job trains, scores and measures; time adds up over processes, and memory is the process's own."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from healthygan import evaluate
from healthygan.benchmark.job import Job, Stopwatch, fit, predict
from healthygan.common.errors import InputError
from healthygan.common.tensors import load_tensors, save_tensors
from healthygan.data.cohort import Cohort, Split
from healthygan.data.store import ImageStore
from healthygan.detectors import prediction
from healthygan.runs import train as workflow
from healthygan.runs.config import load_config


@pytest.fixture(scope="module")
def done(manifest: Path, tiny_settings: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A job whose two stages ran in this process."""
    config = load_config("small", tiny_settings)
    job = Job("tiny, seed 0", config, tmp_path_factory.mktemp("job"), manifest, (0, 9), 1, False)
    assert job.fitted() is None and job.predicted() is None
    fit(job)
    assert job.fitted() is not None and job.predicted() is None
    predict(job)
    return job


def test_scores_and_maps_are_those_of_the_run(done: Job) -> None:
    found = done.predicted()
    assert found is not None and found.maps is not None
    detector, config, _ = workflow.load(done.run, "cpu")
    store = ImageStore.build(Cohort.from_manifest(done.cohort).paths(Split.TEST), config.preprocessing)
    again = prediction.predict(detector, store, np.arange(len(store)))
    assert again.difference is not None
    np.testing.assert_allclose(found.scores, again.score.double().numpy(), rtol=1e-6)
    np.testing.assert_allclose(found.maps, again.difference[[0, 9], 0].numpy(), atol=1e-6)
    assert found.key == store.key
    assert found.numbers == sum(weight.numel() for weight in detector.state_dict().values())


def test_the_maps_pixel_auroc_is_the_evaluation_s(done: Job, tmp_path: Path) -> None:
    found = done.predicted()
    assert found is not None and found.pixel_auroc is not None
    assert found.pixel_auroc == pytest.approx(evaluate(done.run, None, tmp_path, device="cpu").pixel_auroc, abs=1e-6)


def test_costs_are_measured(done: Job) -> None:
    trained, found = done.fitted(), done.predicted()
    assert trained is not None and found is not None
    for cost in (trained, found.cost):
        assert cost.seconds > 0 and cost.whole
        assert cost.memory >= cost.libraries > 50


def test_a_damaged_prediction_counts_as_none(done: Job, tmp_path: Path) -> None:
    job = Job("copy", done.config, tmp_path, done.cohort, done.shown, 1, False)
    (tmp_path / "predict.npz").write_bytes((done.folder / "predict.npz").read_bytes()[:500])
    assert job.predicted() is None


def test_scores_that_are_not_finite_are_refused(done: Job, tmp_path: Path) -> None:
    job = replace(done, folder=Path(shutil.copytree(done.folder, tmp_path / "job")))
    save_tensors(job.run.model, {name: part * float("nan") for name, part in load_tensors(job.run.model).items()})
    with pytest.raises(InputError, match=r"model\.pt: gives scores that are not finite"):
        predict(job)


def test_time_adds_up_over_stops(tmp_path: Path) -> None:
    path = tmp_path / "fit.json"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), Stopwatch(path) as clock:
            clock._start -= 10
            raise KeyboardInterrupt
    with Stopwatch(path) as clock:
        clock._start -= 5
    clock.finish()
    kept = json.loads(path.read_text())
    assert kept["finished"] and kept["cost"]["whole"]
    assert kept["cost"]["seconds"] == pytest.approx(25, abs=1)


def test_time_lost_with_a_killed_process_is_told(tmp_path: Path) -> None:
    path = tmp_path / "fit.json"
    Stopwatch(path).__enter__()  # and never left
    with Stopwatch(path) as clock:
        pass
    clock.finish()
    assert json.loads(path.read_text())["cost"]["whole"] is False


GROW = """
import numpy as np
from healthygan.benchmark.job import peak_memory

before = peak_memory()
array = np.ones(1000 * (1 << 20), dtype=np.uint8)
grown = peak_memory() - before
del array
print(grown, peak_memory() - before)
"""


def test_peak_memory_grows_with_what_is_used_and_stays() -> None:
    # In a process of its own: a peak that earlier tests reached would hide this one's.
    found = subprocess.run([sys.executable, "-c", GROW], capture_output=True, text=True, check=True)
    grown, after = map(float, found.stdout.split())
    assert 600 < grown < 1060  # importing may have peaked above what it kept
    assert after > grown - 5  # the kernel counts pages in batches
