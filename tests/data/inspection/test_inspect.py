"""What ``train`` would refuse is told by a look at the cohort too, in the same words."""

from pathlib import Path

import pytest
from PIL import Image

from fixtures.pictures import textured
from healthygan.common.errors import InputError
from healthygan.data.checks import verify
from healthygan.data.cohort import Cohort, CohortImage, Label, Split
from healthygan.data.inspection.inspect import inspect_cohort

HEALTHY, MIXED, TEST = Split.HEALTHY, Split.MIXED, Split.TEST


def refusal_of(cohort: Cohort) -> str:
    with pytest.raises(InputError) as caught:
        verify(cohort)
    return str(caught.value)


def test_a_sound_cohort_has_no_refusal(images, cohort, tmp_path: Path) -> None:
    sound = cohort(images(tmp_path, HEALTHY, Label.HEALTHY, [(8, 8)]), images(tmp_path, MIXED, None, [(8, 8)]))

    assert inspect_cohort(sound).refusal is None


@pytest.mark.parametrize("fault", ["same bytes", "same patient", "missing files", "no mixed image"])
def test_what_train_refuses_is_told_with_all_that_can_be_counted(fault: str, picture, tmp_path: Path) -> None:
    value = 1 if fault == "same bytes" else 2
    patient = "p" if fault == "same patient" else "q"
    pile = CohortImage(picture(tmp_path / "b.png", value), MIXED, None, patient)
    study = Cohort("study", (CohortImage(picture(tmp_path / "a.png", 1), HEALTHY, Label.HEALTHY, "p"), pile))
    if fault == "missing files":
        for image in study.images:
            image.path.unlink()
    if fault == "no mixed image":
        study = Cohort("study", study.images[:1])

    inspection = inspect_cohort(study)

    assert str(inspection.refusal) == refusal_of(study)
    assert sum(summary.images for summary in inspection.splits) == len(study.images)


def test_pictures_made_anew_are_listed_with_both_splits_and_warned_of(printed, warning_about, tmp_path: Path) -> None:
    for name in ("a.png", "b.jpg"):
        Image.fromarray(textured(1)).save(tmp_path / name)
    study = Cohort("study", (CohortImage(tmp_path / "a.png", HEALTHY), CohortImage(tmp_path / "b.jpg", TEST)))

    inspection = inspect_cohort(study)

    assert "a.png = b.jpg" in warning_about(inspection, "healthy and test: 1 pair(s) of near-duplicates")
    page = printed(inspection)
    assert "Pictures in two splits, in other bytes: 1" in page
    assert "near" in page


def test_same_pixels_in_other_bytes_are_the_refusal(tmp_path: Path) -> None:
    for name in ("a.png", "b.tif"):
        Image.fromarray(textured(1)).save(tmp_path / name)
    study = Cohort("study", (CohortImage(tmp_path / "a.png", HEALTHY), CohortImage(tmp_path / "b.tif", MIXED)))

    assert "1 image(s) with the same pixels in two splits" in str(inspect_cohort(study).refusal)
