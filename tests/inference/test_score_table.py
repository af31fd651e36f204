"""scores.csv: the order, equal scores, patients, and names that are not UTF-8."""

import csv
from pathlib import Path

import numpy as np

from healthygan.data.cohort import CohortImage, Split
from healthygan.inference.score_table import write_scores
from healthygan.runs.aggregation import Units
from healthygan.runs.config import SelectionConfig

SCORES = np.array([0.2, 0.5, 0.1, 0.5])
FRAMES = [
    CohortImage(Path(name), Split.TEST, patient_id=patient)
    for name, patient in (("a.png", "one"), ("b.png", "two"), ("c.png", None), ("d.png", "one"))
]


def written(path: Path, selection: SelectionConfig, p_values: np.ndarray | None) -> list[dict[str, str]]:
    write_scores(path, Units(FRAMES, selection), [0] * 4, SCORES, p_values, {"label": ["w", "x", "y", "z"]})
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_rows_fall_and_equal_scores_share_the_better_rank(tmp_path: Path) -> None:
    rows = written(tmp_path / "s.csv", SelectionConfig(), np.array([0.5, 0.25, 1.0, 0.25]))
    assert list(rows[0]) == ["rank", "path", "frame", "score", "p_value", "label", "patient_id", "patient_score"]
    assert [(row["rank"], row["path"], row["label"]) for row in rows] == [
        ("1", "b.png", "x"),
        ("1", "d.png", "z"),
        ("3", "a.png", "w"),
        ("4", "c.png", "y"),
    ]
    assert [row["p_value"] for row in rows] == ["0.25", "0.25", "0.5", "1"]


def test_a_patient_s_score_is_that_of_all_images_and_an_unknown_one_has_none(tmp_path: Path) -> None:
    rows = written(tmp_path / "s.csv", SelectionConfig(), None)
    assert {row["path"]: row["patient_score"] for row in rows} == {
        "a.png": "0.350000",
        "b.png": "0.500000",
        "c.png": "",
        "d.png": "0.350000",
    }
    assert {row["p_value"] for row in rows} == {""}


def test_where_patients_are_judged_the_p_value_is_theirs_and_a_file_stands_for_an_unknown_one(tmp_path: Path) -> None:
    by_patient = SelectionConfig(unit="patient", patient_score="max")
    p_values = np.array([0.9, 0.1, 0.2])  # of c.png, one, two: in the order of their names
    rows = {row["path"]: row for row in written(tmp_path / "s.csv", by_patient, p_values)}
    assert [rows[name]["p_value"] for name in ("a.png", "b.png", "c.png", "d.png")] == ["0.1", "0.2", "0.9", "0.1"]
    assert (rows["a.png"]["patient_score"], rows["c.png"]["patient_score"]) == ("0.500000", "0.100000")


def test_a_name_that_is_not_utf_8_is_written_as_it_is(tmp_path: Path) -> None:
    units = Units([CohortImage(Path("\udce9.png"), Split.TEST)], SelectionConfig())
    write_scores(tmp_path / "s.csv", units, [0], np.array([0.5]), None, {})
    assert b"1,\xe9.png,0,0.500000" in (tmp_path / "s.csv").read_bytes()
