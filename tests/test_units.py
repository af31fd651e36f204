"""A patient's score is what the settings say, and then patients are counted everywhere."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from healthygan import evaluate, load_config, score
from healthygan.config import SelectionConfig
from healthygan.data.cohort import Cohort, CohortImage, Label, Split
from healthygan.metrics import patient_scores
from healthygan.run import Run
from healthygan.units import Units
from healthygan.workflow import held_out, train

VALUES = np.array([1.0, 9.0, 2.0, 4.0, 3.0, 6.0])
PATIENTS = ["b", "a", "b", "b", "a", "c"]


@pytest.mark.parametrize(
    ("how", "top", "expected"),
    [
        ("mean", 5, [6, 7 / 3, 6]),
        ("max", 5, [9, 4, 6]),
        ("top", 1, [9, 4, 6]),
        ("top", 2, [6, 3, 6]),
        ("top", 9, [6, 7 / 3, 6]),
    ],
)
def test_a_patients_score(how, top: int, expected: list[float]) -> None:
    names, found = patient_scores(VALUES, PATIENTS, how, top)
    assert names == ["a", "b", "c"]
    assert found == pytest.approx(expected)


def test_a_top_of_none_is_refused() -> None:
    with pytest.raises(ValueError, match="top 0"):
        patient_scores(VALUES, PATIENTS, "top", 0)


def test_units_are_patients_and_a_file_without_one_stands_for_itself() -> None:
    images = [
        CohortImage(Path(f"/{n}.png"), Split.TEST, Label.DISEASED if n == 2 else Label.HEALTHY, patient)
        for n, patient in enumerate(["p", None, "p", None])
    ]
    frames = [*images, images[3]]
    units = Units(frames, SelectionConfig(unit="patient", patient_score="max"))
    assert units.groups() == ["/1.png", "/3.png", "p"]
    assert units.scores(np.array([1.0, 2, 3, 4, 5])).tolist() == [2, 5, 3]
    assert units.diseased().tolist() == [False, False, True]
    plain = Units(frames, SelectionConfig())
    assert plain.diseased().tolist() == [False, False, True, False, False] and plain.noun == "images"


@pytest.fixture(scope="module")
def by_patient(cohort_factory, tiny_settings: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Run:
    manifest = cohort_factory(tmp_path_factory.mktemp("cohort"), seed=8)
    settings = (*tiny_settings, "selection.unit=patient", "selection.patient_score=max", "selection.specificity=0.5")
    return train(load_config("small", settings), Cohort.from_manifest(manifest), tmp_path_factory.mktemp("runs") / "r")


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_evaluation_counts_patients(by_patient: Run, tmp_path: Path) -> None:
    found = evaluate(by_patient, None, tmp_path, device="cpu")
    rows = _rows(tmp_path / "scores.csv")
    best: dict[str, float] = {}
    for row in rows:
        best[row["patient_id"]] = max(best.get(row["patient_id"], 0), float(row["score"]))
    assert len(rows) == 16 and len(best) == 8
    assert found.performance is not None
    expected = roc_auc_score(["diseased" in patient for patient in best], list(best.values()))
    assert found.performance.auc == found.performance.auc_by_patient == pytest.approx(expected, abs=1e-9)
    rates = found.performance.paper_rates
    assert rates.tp + rates.fn == 4 and rates.tn + rates.fp == 4
    assert all(0 <= area <= 1 for area in found.controls.values())
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert (written["unit"], written["patients"], written["diseased"]) == ("patients", 8, 4)
    assert "one healthy patient picked at random" in (tmp_path / "report.html").read_text()


def test_the_threshold_comes_from_healthy_patients(by_patient: Run) -> None:
    # Six healthy validation images of three patients.
    assert by_patient.load_decision().threshold_rule == "specificity 0.5 on 3 held-out healthy patients"


def test_scoring_flags_whole_patients(by_patient: Run, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    shutil.copytree(by_patient.path, run.path)
    done = score(run, [run.cohort], tmp_path / "once", overlays=False, device="cpu")
    rows = _rows(done.table)
    of_patient = {row["patient_id"]: float(row["patient_score"]) for row in rows}
    for row in rows:
        assert float(row["score"]) <= of_patient[row["patient_id"]] + 1e-9
    threshold = float(np.median(list(of_patient.values())))
    run.save_decision(run.load_decision().model_copy(update={"threshold": threshold}))
    done = score(run, [run.cohort], tmp_path / "again", overlays=False, device="cpu")
    flags = {row["patient_id"]: row["flagged"] for row in _rows(done.table)}
    for row in _rows(done.table):
        assert row["flagged"] == flags[row["patient_id"]]
    assert done.flagged == sum(flag == "1" for flag in flags.values()) and done.unit == "patient"


def test_enough_healthy_patients_are_held_out_not_just_images() -> None:
    images = tuple(
        CohortImage(Path(f"/{patient}_{n}.png"), Split.HEALTHY, Label.HEALTHY, f"p{patient}")
        for patient in range(40)
        for n in range(5)
    )
    config = load_config("small", ["selection.unit=patient", "selection.holdout=0.01"])
    _, kept = held_out(Cohort("c", images), config)
    assert len({image.patient_id for image in kept}) == 9  # of specificity 0.9
