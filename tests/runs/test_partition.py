"""Who is held out: whole patients, no image for two uses, the same for every training seed."""

from pathlib import Path

import pytest

from healthygan.data.cohort import Cohort, CohortImage, Label, Split
from healthygan.runs.config import Config, load_config
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


def config(*settings: str) -> Config:
    return load_config("small", settings)


def parts_of(found: Partition) -> dict[str, set[str]]:
    return {name: {str(image.patient_id) for image in images} for name, images in vars(found).items()}


@pytest.mark.parametrize("validation", [True, False])
@pytest.mark.parametrize("rule", ["last", "validation_auc", "fid", "aucp"])
def test_no_patient_has_two_uses_but_for_labels_that_choose_nothing(validation: bool, rule: str) -> None:
    whole = cohort(validation)
    found = partition_cohort(whole, config(f"selection.rule={rule}"))
    patients = parts_of(found)
    if rule != "validation_auc":
        # Nothing is chosen by the validation labels: all its healthy images may keep the promise.
        patients.pop("validation")
    uses = list(patients.values())
    assert sum(map(len, uses)) == len(set().union(*uses))
    kept = sum(len(images) for name, images in vars(found).items() if name in patients)
    assert kept == len(whole.images) - (20 if validation and rule != "validation_auc" else 0)


def test_shares_are_of_each_set_and_the_threshold_has_what_its_promise_needs() -> None:
    found = partition_cohort(
        cohort(validation=False), config("selection.specificity=0.95", "selection.choice_holdout=0.2")
    )
    assert len(found.threshold) == 20  # 19 are needed, patients have two
    assert len(found.choice_healthy) == 16 and len(found.choice_mixed) == 12
    assert len(found.healthy) == 64 and len(found.mixed) == 48 and not found.early_stopping_healthy


def test_half_of_the_healthy_validation_patients_choose_where_labels_choose() -> None:
    found = partition_cohort(cohort(), config("selection.rule=validation_auc"))
    assert len(found.threshold) == 20
    assert sorted(image.label or "" for image in found.validation) == ["diseased"] * 20 + ["healthy"] * 20
    other = partition_cohort(cohort(), config("selection.rule=aucp"))
    assert len(other.threshold) == 40 and len(other.validation) == 60


def test_the_trainings_seed_moves_nobody_and_the_selections_seed_does() -> None:
    first, same, other = (
        partition_cohort(cohort(), config(setting))
        for setting in ("training.seed=0", "training.seed=5", "selection.seed=5")
    )
    assert first == same
    assert first.choice_healthy != other.choice_healthy and first.choice_mixed != other.choice_mixed


def test_labels_of_the_mixed_set_move_nobody() -> None:
    def relabelled(number: int, image: CohortImage) -> CohortImage:
        label = (Label.HEALTHY, Label.DISEASED)[number % 2] if image.split is Split.MIXED else image.label
        return CohortImage(image.path, image.split, label, image.patient_id)

    whole = cohort()
    other = Cohort("tiny", tuple(relabelled(number, image) for number, image in enumerate(whole.images)))
    one, two = (partition_cohort(each, config("selection.rule=aucp")) for each in (whole, other))
    assert [[image.path for image in part] for part in vars(one).values()] == [
        [image.path for image in part] for part in vars(two).values()
    ]


def test_nothing_is_held_out_where_nothing_is_wanted() -> None:
    found = partition_cohort(cohort(validation=False), config("selection.holdout=0", "selection.choice_holdout=0"))
    assert len(found.healthy) == 100 and len(found.mixed) == 60
    assert not (found.threshold or found.choice_healthy or found.choice_mixed or found.validation)


def test_a_single_patient_is_never_taken_out_of_training() -> None:
    images = tuple(CohortImage(Path(f"/{n}.png"), Split.HEALTHY, Label.HEALTHY, "one") for n in range(30))
    mixed = tuple(CohortImage(Path(f"/m{n}.png"), Split.MIXED, None, "two") for n in range(30))
    found = partition_cohort(Cohort("one", images + mixed), config())
    assert len(found.healthy) == len(found.mixed) == 30 and not found.threshold
