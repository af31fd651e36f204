"""Frames, images and patients: who is counted, and that every promise is made to what is judged."""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from healthygan.common.run_folder import Run
from healthygan.data.cohort import Cohort, CohortImage, Label, Split
from healthygan.evaluation.evaluate import evaluate
from healthygan.evaluation.result import to_json
from healthygan.inference.score import score
from healthygan.runs.aggregation import Units, count_units, patient_of
from healthygan.runs.config import SelectionConfig, load_config
from healthygan.runs.partition import Partition, partition_cohort
from healthygan.runs.reference import load_reference
from healthygan.runs.selection import Selection
from healthygan.runs.train import select, train
from healthygan.stats.conformal import healthy_needed, p_values, threshold_for_specificity

PATIENT, IMAGE = SelectionConfig(unit="patient", patient_score="max"), SelectionConfig()  # type: ignore[call-arg]
ILL, WELL = Label.DISEASED, Label.HEALTHY


def frames(*images: tuple[str | None, Label | None]) -> list[CohortImage]:
    return [
        CohortImage(Path(f"/{number}.png"), Split.TEST, label, patient)
        for number, (patient, label) in enumerate(images)
    ]


FIVE = frames(("b", WELL), ("a", WELL), ("b", ILL), ("a", None), (None, WELL))
SCORES = np.array([1.0, 5.0, 3.0, 4.0, 2.0])


def test_patients_are_judged_by_all_their_frames_and_an_unknown_one_stands_for_itself() -> None:
    units = Units(FIVE, PATIENT)
    assert units.groups() == ["/4.png", "a", "b"] and len(units) == count_units(FIVE, PATIENT) == 3
    assert units.scores(SCORES).tolist() == [2, 5, 3]
    assert units.labels() == [WELL, None, ILL] and units.diseased().tolist() == [False, False, True]
    assert units.highest(SCORES).tolist() == [4, 1, 2]
    assert units.spread(np.array([0.1, 0.2, 0.3])).tolist() == [0.3, 0.2, 0.3, 0.2, 0.1]


def test_images_are_judged_as_they_are() -> None:
    units = Units(FIVE, IMAGE)
    assert len(units) == count_units(FIVE, IMAGE) == 5 and units.noun == "images"
    for values in (units.scores(SCORES), units.spread(SCORES)):
        assert values.tolist() == SCORES.tolist()
    assert units.labels() == [image.label for image in FIVE] and units.highest(SCORES).tolist() == [0, 1, 2, 3, 4]
    assert units.patient_scores(SCORES).tolist() == [2, 4.5, 2, 4.5, 2]


def parts_of(cohort: Cohort, *settings: str) -> Partition:
    config = load_config("small", settings)
    return partition_cohort(cohort, config.selection, config.early_stopping_share)


def test_held_out_patients_are_counted_as_patients() -> None:
    healthy = [CohortImage(Path(f"/h{n}.png"), Split.HEALTHY, WELL, f"h{n // 5}") for n in range(200)]
    mixed = [CohortImage(Path(f"/m{n}.png"), Split.MIXED, None, f"m{n // 5}") for n in range(100)]
    cohort = Cohort("volumes", (*healthy, *mixed))
    settings = ("selection.rule=last", "selection.specificity=0.9", "selection.holdout=0.05")
    settings += ("selection.choice_holdout=0.2",)
    by_patient = parts_of(cohort, *settings, "selection.unit=patient")
    count = len({patient_of(image) for image in by_patient.threshold})
    assert count == healthy_needed(0.9) == 9 and len(by_patient.threshold) == 45
    assert len({patient_of(image) for image in by_patient.choice_mixed}) == 4
    assert len(parts_of(cohort, *settings).threshold) == 10


def test_no_image_of_a_diseased_patient_carries_the_patients_threshold() -> None:
    labels = ((WELL, WELL), (WELL, ILL), (ILL, ILL), (WELL, WELL))
    validation = [
        CohortImage(Path(f"/v{patient}{n}.png"), Split.VALIDATION, label, f"v{patient}")
        for patient, pair in enumerate(labels)
        for n, label in enumerate(pair)
    ]
    trained = [CohortImage(Path(f"/{split}{n}.png"), split) for split in (Split.HEALTHY, Split.MIXED) for n in range(9)]
    cohort = Cohort("torn", (*trained, *validation))
    parts = parts_of(cohort, "selection.rule=last", "selection.unit=patient")
    assert {image.patient_id for image in parts.threshold} == {"v0", "v3"}
    assert len(parts.validation) == 8
    choosing = parts_of(cohort, "selection.rule=validation_auc", "selection.unit=patient")
    # A patient has one use, healthy slices of the diseased included.
    assert len(choosing.threshold) == 2 and len(choosing.validation) == 6
    assert not {patient_of(i) for i in choosing.threshold} & {patient_of(i) for i in choosing.validation}


@pytest.fixture(scope="module")
def by_patient(cohort_factory, tiny_settings: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Run:
    settings = ("selection.unit=patient", "selection.patient_score=max", "selection.rule=aucp")
    settings += ("selection.choice_holdout=0.3", "selection.specificity=0.5")
    cohort = Cohort.from_manifest(cohort_factory(tmp_path_factory.mktemp("cohort"), seed=31))
    return train(load_config("small", (*tiny_settings, *settings)), cohort, tmp_path_factory.mktemp("runs") / "run")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def highest_of(rows: list[dict[str, str]]) -> dict[str, float]:
    highest: dict[str, float] = defaultdict(lambda: -np.inf)
    for row in rows:
        highest[row["patient_id"]] = max(highest[row["patient_id"]], float(row["score"]))
    return dict(sorted(highest.items()))


def held_out(run: Run, use: str) -> np.ndarray:
    return np.array(list(highest_of([row for row in rows_of(run.held_out) if row["use"] == use]).values()))


def test_reference_threshold_and_choice_are_of_patients(by_patient: Run) -> None:
    reference = load_reference(by_patient, load_config(by_patient.config).selection)
    healthy = held_out(by_patient, "threshold")
    assert reference.noun == "patients" and len(healthy) == 3
    assert reference.threshold == pytest.approx(healthy)
    assert reference.choice_mixed == pytest.approx(held_out(by_patient, "choice_mixed"))
    decision = by_patient.load_decision()
    assert decision.threshold == pytest.approx(threshold_for_specificity(healthy, 0.5))
    assert decision.threshold_rule == "specificity 0.5 on 3 held-out healthy patients"
    selection = Selection.load(by_patient.selection)
    assert selection is not None
    known, unknown = held_out(by_patient, "choice_healthy"), held_out(by_patient, "choice_mixed")
    labels = [0] * len(known) + [1] * len(unknown)
    expected = roc_auc_score(labels, np.concatenate([known, unknown]))
    assert selection.curves[0].values[selection.chosen] == pytest.approx(expected)
    assert f"only {len(known)} healthy and {len(unknown)} mixed held-out patients" in selection.rule


@pytest.fixture(scope="module")
def pile(cohort_factory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Patients that no run has seen."""
    path: Path = cohort_factory(tmp_path_factory.mktemp("pile"), seed=34)
    return path


def test_p_values_flags_and_the_worklist_are_of_patients(by_patient: Run, pile: Path, tmp_path: Path) -> None:
    done = score(by_patient, [pile], tmp_path, overlays=False, device="cpu", fdr=0.9)
    rows = rows_of(tmp_path / "scores.csv")
    highest = highest_of(rows)
    expected = dict(
        zip(highest, p_values(np.array(list(highest.values())), held_out(by_patient, "threshold")), strict=True)
    )
    threshold = by_patient.load_decision().threshold
    assert threshold is not None
    for row in rows:
        patient = row["patient_id"]
        assert float(row["patient_score"]) == pytest.approx(highest[patient], abs=2e-6)
        assert float(row["p_value"]) == pytest.approx(expected[patient])
        assert row["flagged"] == str(int(highest[patient] >= threshold))
    for mark, count in (("flagged", done.flagged), ("worklist", done.listed)):
        of_patient = {(row["patient_id"], row[mark]) for row in rows}
        assert len(of_patient) == len(highest)
        assert sum(marked == "1" for _, marked in of_patient) == count
    assert done.noun == "patients" and done.listed


def test_a_patient_of_whom_the_run_has_seen_one_image_gets_no_promise(
    by_patient: Run, pile: Path, tmp_path: Path
) -> None:
    images = Cohort.from_manifest(pile).images
    seen = images[0]
    seen.path.write_bytes(Cohort.from_manifest(by_patient.cohort).paths(Split.MIXED)[0].read_bytes())
    score(by_patient, [pile], tmp_path, overlays=False, device="cpu", fdr=0.9)
    empty = {row["patient_id"] for row in rows_of(tmp_path / "scores.csv") if not row["p_value"]}
    assert empty == {seen.patient_id}


def test_an_empty_worklist_of_patients_counts_patients(by_patient: Run, cohort_factory, tmp_path: Path) -> None:
    done = score(
        by_patient, [cohort_factory(tmp_path / "pile", seed=33)], tmp_path, overlays=False, device="cpu", fdr=0.01
    )
    assert done.listed == 0
    assert any("with 3 held-out healthy patients" in text and "of 26 patients" in text for text in done.warnings)


def test_a_report_is_of_patients_throughout(by_patient: Run, tmp_path: Path) -> None:
    evaluation = evaluate(by_patient, None, tmp_path, device="cpu")
    rows = rows_of(tmp_path / "scores.csv")
    highest = highest_of(rows)
    labels = ["diseased" in patient for patient in highest]
    assert evaluation.performance is not None and to_json(evaluation)["patients"] == len(highest) == 8
    assert evaluation.performance.auc == pytest.approx(roc_auc_score(labels, list(highest.values())))
    expected = p_values(np.array(list(highest.values())), held_out(by_patient, "threshold"))
    for patient, p_value in zip(highest, expected, strict=True):
        own = [row for row in rows if row["patient_id"] == patient]
        assert [float(row["p_value"]) for row in own] == pytest.approx([p_value] * 2)
        assert [float(row["patient_score"]) for row in own] == pytest.approx([highest[patient]] * 2, abs=2e-6)
    assert any("only 4 diseased patients" in text for text in evaluation.warnings)
    shown = [case for cases in evaluation.cases.values() for case in cases]
    assert {case.name.split(":")[0] for case in shown} == set(highest)
    order = sorted(highest, key=lambda patient: -highest[patient])
    for case in shown:
        patient, name = case.name.split(": ")
        assert case.score == pytest.approx(highest[patient], abs=1e-6) and order[case.rank - 1] == patient
        best = max((row for row in rows if row["patient_id"] == patient), key=lambda row: float(row["score"]))
        assert Path(best["path"]).name == name
    page = (tmp_path / "report.html").read_text()
    assert "Highest-scored diseased patients" in page and "the image with the highest score" in page


def test_the_labels_auc_of_a_candidate_is_of_patients(by_patient: Run, tmp_path: Path) -> None:
    selection = select(by_patient, measure=True, device="cpu")
    evaluated = evaluate(by_patient, None, tmp_path, device="cpu")
    assert selection.test_auc is not None and evaluated.performance is not None
    assert selection.test_auc[selection.chosen] == pytest.approx(evaluated.performance.auc)


def test_runs_that_judge_patients_are_compared_by_the_patients_own_scores(by_patient: Run, tmp_path: Path) -> None:
    evaluation = evaluate(by_patient, None, tmp_path, against=by_patient, device="cpu")
    assert evaluation.performance is not None and evaluation.comparison is not None
    assert evaluation.comparison.first == evaluation.comparison.second == pytest.approx(evaluation.performance.auc)
