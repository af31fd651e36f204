"""What is to be mended is warned of, and a sound cohort is not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from healthygan.data.cohort import Cohort, CohortImage, Label, Split
from healthygan.data.inspection.inspect import inspect_cohort

HEALTHY, MIXED, VALIDATION, TEST = Split
WELL, ILL = Label.HEALTHY, Label.DISEASED


@pytest.fixture
def sound(images, cohort) -> Callable[..., Cohort]:
    """Makes a cohort that there is nothing to say against."""

    def make(folder: Path, patient_ids: bool = True) -> Cohort:
        same = (8, 8)
        return cohort(
            images(folder, HEALTHY, WELL, [same] * 100, patient_ids=patient_ids),
            images(folder, MIXED, WELL, [same] * 50),
            images(folder, MIXED, ILL, [same] * 50),
            images(folder, TEST, WELL, [same] * 5),
            images(folder, TEST, ILL, [same] * 5),
        )

    return make


def without(cohort: Cohort, split: Split, label: Label) -> Cohort:
    return Cohort(cohort.name, tuple(i for i in cohort.images if (i.split, i.label) != (split, label)))


def test_source_found_in_the_mixed_set_only_is_named(picture, warning_about, tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    inspected = inspect_cohort(
        Cohort("study", (CohortImage(path, HEALTHY, WELL, "p", "n"), CohortImage(path, MIXED, None, "q", "s")))
    )

    assert "(only in the mixed set: s)" in warning_about(inspected, "source alone")


def test_a_source_that_gives_test_labels_away_is_warned_of_without_a_healthy_set(
    picture, warning_about, tmp_path: Path
) -> None:
    path = picture(tmp_path / "a.png")
    images = [
        CohortImage(path, MIXED, None, "p", "s"),
        *(CohortImage(path, TEST, WELL, f"w{number}", "n") for number in range(5)),
        *(CohortImage(path, TEST, ILL, f"i{number}", "s") for number in range(5)),
    ]
    inspected = inspect_cohort(Cohort("study", tuple(images)))

    assert "use the same sources" in warning_about(inspected, "source alone")


def test_sound_cohort_gives_no_warning(printed, sound, tmp_path: Path) -> None:
    inspected = inspect_cohort(sound(tmp_path))

    assert inspected.warnings == ()
    assert "Warnings: none" in printed(inspected)


def test_few_images_are_warned_of(warning_about, sound, tmp_path: Path) -> None:
    whole = sound(tmp_path)

    inspected = inspect_cohort(Cohort("study", whole.images[1:]))

    assert "only 99 images" in warning_about(inspected, "healthy: ")


def test_missing_patient_ids_are_warned_of(warning_about, printed, sound, tmp_path: Path) -> None:
    inspected = inspect_cohort(sound(tmp_path, patient_ids=False))

    assert "100 of 210 images have no patient id" in warning_about(inspected, "patients: ")
    assert "unknown" in printed(inspected)


def test_mixed_set_of_almost_one_kind_is_warned_of(warning_about, sound, tmp_path: Path) -> None:
    inspected = inspect_cohort(without(sound(tmp_path), MIXED, WELL))

    assert "100% of the labelled images are diseased" in warning_about(inspected, "mixed: 100%")


def test_test_split_that_measures_little_is_warned_of(images, cohort, warning_about, sound, tmp_path: Path) -> None:
    whole = sound(tmp_path)
    training = Cohort("study", tuple(image for image in whole.images if image.split is not TEST))
    unlabelled = images(tmp_path, TEST, None, [(8, 8)])

    assert "no images" in warning_about(inspect_cohort(training), "test: ")
    assert "no labels" in warning_about(inspect_cohort(cohort(list(training.images), unlabelled)), "test: ")
    assert "no diseased images" in warning_about(inspect_cohort(without(whole, TEST, ILL)), "test: ")
    assert "no healthy images" in warning_about(inspect_cohort(without(whole, TEST, WELL)), "test: ")


def test_test_split_with_another_share_of_diseased_is_warned_of(
    images, cohort, warning_about, sound, tmp_path: Path
) -> None:
    inspected = inspect_cohort(
        cohort(list(sound(tmp_path).images), images(tmp_path / "more", TEST, WELL, [(9, 9)] * 30))
    )

    assert "12% are diseased, in the mixed set 50%" in warning_about(inspected, "test: ")  # 5 of 40
