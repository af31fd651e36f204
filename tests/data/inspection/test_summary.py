"""Each split is counted: labels, patients, sources, sizes, formats, copies, files that cannot be read."""

from pathlib import Path

import numpy as np
from PIL import Image

from healthygan.data.cohort import Cohort, CohortImage, Label, Split
from healthygan.data.inspection.inspect import inspect_cohort

HEALTHY, MIXED, VALIDATION, TEST = Split
WELL, ILL = Label.HEALTHY, Label.DISEASED


def test_each_split_is_counted_by_label_patient_and_source(picture, tmp_path: Path) -> None:
    files = [picture(tmp_path / f"{number}.png", number) for number in range(6)]
    inspected = inspect_cohort(
        Cohort(
            "study",
            (
                CohortImage(files[0], MIXED, WELL, "p1", "north"),
                CohortImage(files[1], MIXED, ILL, "p1", "north"),
                CohortImage(files[2], MIXED, ILL, "p2", "south"),
                CohortImage(files[3], MIXED, None, None, None),
                CohortImage(files[4], HEALTHY, WELL, "p3", "south"),
            ),
        )
    )

    healthy, mixed = inspected.splits
    assert (healthy.split, mixed.split) == (HEALTHY, MIXED)
    assert mixed.images == 4
    assert mixed.labels == {WELL: 1, ILL: 2, None: 1}
    assert (mixed.patients, mixed.without_patient) == (2, 1)
    assert mixed.sources == {"north": 2, "south": 1, "unknown": 1}
    assert (healthy.images, healthy.patients, healthy.frames) == (1, 1, 1)


def test_sizes_are_given_as_smallest_median_and_largest_by_area(images, cohort, tmp_path: Path) -> None:
    part = images(tmp_path, HEALTHY, WELL, [(9, 9), (4, 5), (30, 2), (9, 9), (20, 10)])

    (summary,) = inspect_cohort(cohort(part)).splits

    assert summary.sizes == ((4, 5), (9, 9), (20, 10))  # areas 20, 60, 81, 81, 200
    assert summary.distinct_sizes == 4


def test_formats_bit_depths_and_channels_are_counted(cohort, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "colour.png")
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(tmp_path / "deep.png")
    Image.new("L", (8, 8)).save(tmp_path / "grey.jpg")
    part = [CohortImage(path, HEALTHY, WELL) for path in sorted(tmp_path.iterdir())]

    (summary,) = inspect_cohort(cohort(part)).splits

    assert sorted(summary.formats.values()) == [1, 2]
    assert summary.bit_depths == {8: 2, 16: 1}
    assert summary.channels == {1: 2, 3: 1}


def test_copies_within_a_split_are_named(picture, images, cohort, warning_about, tmp_path: Path) -> None:
    part = images(tmp_path, HEALTHY, WELL, [(8, 8)] * 3)
    copy = CohortImage(picture(tmp_path / "copy.png", 1), HEALTHY, WELL, "p")

    inspected = inspect_cohort(cohort(part, [copy]))

    assert inspected.splits[0].copies == ((part[1].path, copy.path),)
    assert f"1 file(s) copy another one: {part[1].path.name} = copy.png;" in warning_about(inspected, "healthy: 1 f")


def test_unreadable_files_are_counted_named_and_left_out_of_the_sizes(
    images, cohort, warning_about, tmp_path: Path
) -> None:
    part = images(tmp_path, HEALTHY, WELL, [(8, 8)] * 2)
    bad = [CohortImage(tmp_path / f"bad{number}.png", HEALTHY, WELL, "p") for number in range(5)]
    for image in bad[1:]:
        image.path.write_bytes(b"no image")

    inspected = inspect_cohort(cohort(part, bad))

    (summary,) = inspected.splits
    assert list(summary.unreadable) == [image.path for image in bad]
    assert (summary.images, summary.frames, summary.distinct_sizes) == (7, 2, 1)
    warning = warning_about(inspected, "healthy: 5 of 7 files cannot be read and will be skipped: ")
    assert all(name in warning for name in ("bad0.png", "bad1.png", "bad2.png", "and 2 more"))
