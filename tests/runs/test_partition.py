"""Who is held out: whole patients, no image for two uses, the same for every training seed."""

from pathlib import Path

import pytest

from healthygan.common.errors import InputError
from healthygan.data.cohort import Cohort, CohortImage, Label, Split
from healthygan.runs.config import load_config
from healthygan.runs.partition import Partition, partition_cohort


def cohort(validation: bool = True) -> Cohort:
    """Two images a patient: 100 healthy, 60 mixed, and 40 + 20 of validation."""
    counts = {(Split.HEALTHY, Label.HEALTHY): 100, (Split.MIXED, None): 60}
    if validation:
        counts |= {(Split.VALIDATION, Label.HEALTHY): 40, (Split.VALIDATION, Label.DISEASED): 20}
    images = [
        CohortImage(Path(f"/{split}/{label}/{number}.png"), split, label, f"{split} {label} {number // 2}")
        for (split, label), count in counts.items()
        for number in range(count)
    ]
    return Cohort("tiny", tuple(images))


def parts_of(whole: Cohort, *settings: str) -> Partition:
    config = load_config("small", settings)
    return partition_cohort(whole, config.selection, config.early_stopping_share)


def patients_of(parts: Partition) -> dict[str, set[str]]:
    return {name: {str(image.patient_id) for image in images} for name, images in vars(parts).items()}


@pytest.mark.parametrize("validation", [True, False])
@pytest.mark.parametrize("rule", ["last", "validation_auc", "fid", "aucp"])
def test_no_patient_has_two_uses_but_for_labels_that_choose_nothing(validation: bool, rule: str) -> None:
    whole = cohort(validation)
    parts = parts_of(whole, f"selection.rule={rule}")
    patients = patients_of(parts)
    if rule != "validation_auc":
        # Nothing is chosen by the validation labels: all its healthy images may keep the promise.
        patients.pop("validation")
    uses = list(patients.values())
    assert sum(map(len, uses)) == len(set().union(*uses))
    kept = sum(len(images) for name, images in vars(parts).items() if name in patients)
    assert kept == len(whole.images) - (20 if validation and rule != "validation_auc" else 0)


def test_shares_are_of_each_set_and_the_threshold_has_what_its_promise_needs() -> None:
    parts = parts_of(cohort(validation=False), "selection.specificity=0.95", "selection.choice_holdout=0.2")
    assert len(parts.threshold) == 20  # 19 are needed, patients have two
    assert len(parts.choice_healthy) == 16 and len(parts.choice_mixed) == 12
    assert len(parts.healthy) == 64 and len(parts.mixed) == 48 and not parts.early_stopping_healthy


def test_half_of_the_healthy_validation_patients_choose_where_labels_choose() -> None:
    parts = parts_of(cohort(), "selection.rule=validation_auc")
    assert len(parts.threshold) == 20
    assert sorted(image.label or "" for image in parts.validation) == ["diseased"] * 20 + ["healthy"] * 20
    other = parts_of(cohort(), "selection.rule=aucp")
    assert len(other.threshold) == 40 and len(other.validation) == 60


def test_the_trainings_seed_moves_nobody_and_the_selections_seed_does() -> None:
    first, same, other = (
        parts_of(cohort(), setting) for setting in ("training.seed=0", "training.seed=5", "selection.seed=5")
    )
    assert first == same
    assert first.choice_healthy != other.choice_healthy and first.choice_mixed != other.choice_mixed


def test_labels_of_the_mixed_set_move_nobody() -> None:
    def relabelled(number: int, image: CohortImage) -> CohortImage:
        label = (Label.HEALTHY, Label.DISEASED)[number % 2] if image.split is Split.MIXED else image.label
        return CohortImage(image.path, image.split, label, image.patient_id)

    whole = cohort()
    other = Cohort("tiny", tuple(relabelled(number, image) for number, image in enumerate(whole.images)))
    one, two = (parts_of(each, "selection.rule=aucp") for each in (whole, other))
    assert [[image.path for image in part] for part in vars(one).values()] == [
        [image.path for image in part] for part in vars(two).values()
    ]


def test_mixed_images_leave_their_labels_and_masks_behind_and_the_others_keep_theirs() -> None:
    """However little or much the manifest tells of them: no code after the partition has a mixed label to read."""
    healthy = tuple(CohortImage(Path(f"/h{n}.png"), Split.HEALTHY, Label.HEALTHY, f"h{n}") for n in range(20))
    mixed = tuple(
        CohortImage(Path(f"/m{n}.png"), Split.MIXED, label, f"m{n}", "site", Path(f"/mask{n}.png"), {"age": "50"})
        for n, label in enumerate([Label.HEALTHY, Label.DISEASED] * 10)
    )
    parts = parts_of(Cohort("told", healthy + mixed), "selection.rule=aucp")
    pile = (*parts.mixed, *parts.choice_mixed)
    assert parts.choice_mixed and {image.path for image in pile} == {image.path for image in mixed}
    for image in pile:
        assert image.label is None and image.mask is None
        assert image.patient_id and (image.source, image.more) == ("site", {"age": "50"})
    assert all(image.label is Label.HEALTHY for image in (*parts.healthy, *parts.choice_healthy, *parts.threshold))


def test_a_detector_that_stops_early_gets_whole_healthy_patients_of_its_own() -> None:
    settings = load_config("small").selection
    parts = partition_cohort(cohort(validation=False), settings, early_stopping_share=0.25)
    plain = partition_cohort(cohort(validation=False), settings, early_stopping_share=None)
    assert len(parts.early_stopping_healthy) == 20 and not plain.early_stopping_healthy
    assert {*parts.healthy} | {*parts.early_stopping_healthy} == {*plain.healthy}
    assert len(parts.healthy) + 20 == len(plain.healthy)


def test_early_stopping_on_a_single_healthy_patient_is_refused() -> None:
    healthy = tuple(CohortImage(Path(f"/{n}.png"), Split.HEALTHY, None, "one") for n in range(9))
    mixed = tuple(CohortImage(Path(f"/m{n}.png"), Split.MIXED) for n in range(9))
    with pytest.raises(InputError, match="one patient alone is left; add healthy images"):
        partition_cohort(Cohort("one", healthy + mixed), load_config("small").selection, early_stopping_share=0.5)


def test_nothing_is_held_out_where_nothing_is_wanted() -> None:
    parts = parts_of(cohort(validation=False), "selection.holdout=0", "selection.choice_holdout=0")
    assert len(parts.healthy) == 100 and len(parts.mixed) == 60
    assert not (parts.threshold or parts.choice_healthy or parts.choice_mixed or parts.validation)


def test_a_single_patient_is_never_taken_out_of_training() -> None:
    images = tuple(CohortImage(Path(f"/{n}.png"), Split.HEALTHY, Label.HEALTHY, "one") for n in range(30))
    mixed = tuple(CohortImage(Path(f"/m{n}.png"), Split.MIXED, None, "two") for n in range(30))
    parts = parts_of(Cohort("one", images + mixed))
    assert len(parts.healthy) == len(parts.mixed) == 30 and not parts.threshold
