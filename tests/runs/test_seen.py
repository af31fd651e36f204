"""What a run has seen is known by its content, wherever the file lies now."""

import csv
import shutil
from pathlib import Path

import pytest

from healthygan.common.errors import InputError
from healthygan.common.run_folder import Run
from healthygan.data.cohort import Cohort, Split
from healthygan.runs.seen import Overlap, find_seen, save_seen

SEEN = (Split.HEALTHY, Split.MIXED, Split.VALIDATION)


@pytest.fixture
def run(cohort_factory, tmp_path: Path) -> Run:
    """A folder that knows its cohort and nothing else."""
    run = Run(tmp_path / "run")
    cohort = Cohort.from_manifest(cohort_factory(tmp_path / "cohort", seed=8))
    cohort.write_manifest(run.cohort)
    save_seen(run, cohort)
    return run


def images_of(run: Run, split: Split) -> list[Path]:
    return [*Cohort.from_manifest(run.cohort).paths(split)]


def test_training_keeps_a_hash_of_every_image_but_the_test_sets(finished_run) -> None:
    run, cohort = finished_run
    with run.seen.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["split"] for row in rows] == [image.split for image in cohort.images if image.split in SEEN]
    assert len({row["hash"] for row in rows}) == len(rows)


def test_copies_under_other_names_are_known_and_the_test_set_is_new(run: Run, tmp_path: Path) -> None:
    copies, splits = [], []
    for split in Split:
        for number, path in enumerate(images_of(run, split)):
            copies.append(tmp_path / f"{split}_{number}.png")
            splits.append(split if split in SEEN else None)
            shutil.copyfile(path, copies[-1])
    overlap = find_seen(run, copies)
    assert overlap == Overlap(tuple(splits)) and overlap.count == len(splits) - len(images_of(run, Split.TEST))


def test_an_image_as_large_as_a_seen_one_is_not_taken_for_it(run: Run, tmp_path: Path) -> None:
    content = bytearray(images_of(run, Split.MIXED)[0].read_bytes())
    content[-1] ^= 1
    (tmp_path / "other.png").write_bytes(content)
    assert find_seen(run, [tmp_path / "other.png", tmp_path / "gone.png"]) == Overlap((None, None))


def test_a_run_without_hashes_is_compared_with_its_cohorts_files(run: Run, tmp_path: Path) -> None:
    run.seen.unlink()
    healthy, mixed = images_of(run, Split.HEALTHY), images_of(run, Split.MIXED)
    shutil.copyfile(mixed[0], tmp_path / "copy.png")
    healthy[0].unlink()
    asked = [tmp_path / "copy.png", *images_of(run, Split.TEST)]
    overlap = find_seen(run, asked)
    assert overlap.splits == (Split.MIXED, *[None] * (len(asked) - 1)) and overlap.unchecked == 1


def test_a_damaged_list_is_named(run: Run) -> None:
    run.seen.write_text("size,hash,split\n12,ab,nowhere\n")
    with pytest.raises(InputError, match=r"seen\.csv: damaged"):
        find_seen(run, images_of(run, Split.TEST))
