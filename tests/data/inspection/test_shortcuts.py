"""What gives images away is measured: sources, columns, and what their files are like."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from healthygan.common.errors import InputError
from healthygan.data.cohort import CohortImage, Label, Split
from healthygan.data.inspection.inspect import Inspection, inspect_cohort
from healthygan.data.inspection.shortcuts import TRAINING_SETS
from healthygan.data.preprocessing import Preprocessing

HEALTHY, MIXED, VALIDATION, TEST = Split
WELL, ILL = Label.HEALTHY, Label.DISEASED
SMALL = Preprocessing(size=32)


def aucs(inspection: Inspection, groups: str) -> dict[str, float]:
    return {shortcut.name: shortcut.auc for shortcut in inspection.shortcuts if shortcut.groups == groups}


def test_auc_of_the_source_on_test_is_learned_from_the_training_sets_alone(
    picture, cohort, warning_about, tmp_path: Path
) -> None:
    path = picture(tmp_path / "a.png")

    def of(split: Split, label: Label | None, *sources: str) -> list[CohortImage]:
        return [CohortImage(path, split, label, "p", source) for source in sources]

    inspected = inspect_cohort(
        cohort(
            of(HEALTHY, WELL, "north", "north", "north", "south"),  # scores: north 1/4, south 3/4, new 1/2
            of(MIXED, None, "north", "south", "south", "south"),
            of(TEST, WELL, "north", "north", "south"),
            of(TEST, ILL, "south", "south", "new"),
        )
    )

    # Of the 9 pairs on test, each "south" wins 2 and ties 1, "new" wins 2 and loses 1.
    assert aucs(inspected, "test labels")["source"] == pytest.approx(7 / 9)
    # Of the 16 pairs of the training sets, 9 are won and 3 + 3 are ties.
    assert aucs(inspected, TRAINING_SETS)["source"] == pytest.approx(12 / 16)
    # By rarity in the healthy set "new" wins all 3; asked only whether it is "north", it ties with "south".
    assert aucs(inspected, "test labels")["source (rare in healthy)"] == pytest.approx(8 / 9)
    assert aucs(inspected, "test labels")["source (not north)"] == pytest.approx(7.5 / 9)
    warning = warning_about(inspected, "source alone")
    best = 'test labels AUC 0.89 by "rare in healthy" (3 and 3 images)'
    assert f"{TRAINING_SETS} AUC 0.75 (4 and 4 images), {best}" in warning


def test_a_column_named_with_control_is_looked_at_too(picture, cohort, printed, tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")

    def of(split: Split, device: str) -> list[CohortImage]:
        return [CohortImage(path, split, None, "p", more={"device": device})]

    study = cohort(of(HEALTHY, "old"), of(MIXED, "new"))
    assert "device" not in aucs(inspect_cohort(study), TRAINING_SETS)
    inspected = inspect_cohort(study, control=["device"])
    assert aucs(inspected, TRAINING_SETS)["device"] == 1
    assert "device (not old)" in printed(inspected)
    with pytest.raises(InputError, match=r"control=colour: .*its columns are device, source"):
        inspect_cohort(study, control=["colour"])


def test_source_is_not_measured_where_none_is_given(images, cohort, printed, tmp_path: Path) -> None:
    inspected = inspect_cohort(
        cohort(images(tmp_path, HEALTHY, WELL, [(8, 8)]), images(tmp_path, MIXED, None, [(8, 8)]))
    )

    assert "source" not in aucs(inspected, TRAINING_SETS)
    assert "source " not in printed(inspected)


def test_size_and_aspect_count_whichever_way_they_point(images, cohort, warning_about, tmp_path: Path) -> None:
    well, ill = [(9, 9), (12, 10), (10, 12)], [(6, 6), (8, 8), (11, 10)]

    inspected = inspect_cohort(
        cohort(images(tmp_path, TEST, WELL, well), images(tmp_path, TEST, ILL, ill)), preprocessing=SMALL
    )

    areas = [width * height for width, height in well + ill]
    aspects = [width / height for width, height in well + ill]
    truth = [0, 0, 0, 1, 1, 1]
    found = aucs(inspected, "test labels")
    assert roc_auc_score(truth, areas) < 0.5  # the diseased are the smaller ones
    assert found["image size"] == pytest.approx(1 - roc_auc_score(truth, areas))
    assert found["aspect"] == pytest.approx(max(roc_auc_score(truth, aspects), 1 - roc_auc_score(truth, aspects)))
    assert "test labels AUC 0.89 (3 and 3 images)" in warning_about(inspected, "image size alone")


def test_format_that_follows_the_label_is_found_and_warned_of(images, cohort, warning_about, tmp_path: Path) -> None:
    inspected = inspect_cohort(
        cohort(
            images(tmp_path, VALIDATION, WELL, [(8, 8)] * 4, suffix=".jpg"),
            images(tmp_path, VALIDATION, ILL, [(8, 8)] * 3, suffix=".png"),
            images(tmp_path, TEST, WELL, [(8, 8)] * 2, suffix=".jpg"),
            images(tmp_path, TEST, ILL, [(8, 8)] * 2, suffix=".jpg"),
        )
    )

    assert aucs(inspected, "validation labels")["format"] == 1.0
    assert aucs(inspected, "test labels")["format"] == 0.5
    assert "validation labels AUC 1.00 (4 and 3 images); a detector may" in warning_about(inspected, "format alone")


def test_bit_depth_that_follows_the_label_in_part_is_measured(images, cohort, tmp_path: Path) -> None:
    part = images(tmp_path, TEST, WELL, [(8, 8)] * 4) + images(tmp_path, TEST, ILL, [(8, 8)] * 4)
    for number in (0, 4, 5, 6):  # 16 bits: one healthy image, three diseased ones
        Image.fromarray(np.full((8, 8), number, np.uint16)).save(part[number].path)

    inspected = inspect_cohort(cohort(part))

    # Of the 16 pairs 9 are won and 6 are ties.
    assert aucs(inspected, "test labels")["bit depth"] == pytest.approx(12 / 16)


def test_labels_of_the_mixed_set_are_counted_but_not_compared(images, cohort, printed, tmp_path: Path) -> None:
    inspected = inspect_cohort(
        cohort(images(tmp_path, MIXED, WELL, [(8, 8)] * 2), images(tmp_path, MIXED, ILL, [(9, 9)] * 2))
    )

    assert inspected.shortcuts == ()
    assert "2 *" in printed(inspected)
    assert "for measuring only" in printed(inspected)
