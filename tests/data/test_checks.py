"""What would spoil a study is refused with one line that says where."""

from pathlib import Path

import pytest
from PIL import Image

from fixtures.pictures import textured
from healthygan.common.errors import InputError
from healthygan.data import checks
from healthygan.data.checks import check_near_duplicates, same_bytes, verify
from healthygan.data.cohort import Cohort, CohortImage, Split, load_cohort


def test_sound_cohort_passes(small: Path) -> None:
    verify(load_cohort(small))


def test_empty_split_is_refused_only_where_it_is_needed(small: Path) -> None:
    cohort = Cohort("study", load_cohort(small).split(Split.HEALTHY))

    verify(cohort, needs=(Split.HEALTHY,))
    with pytest.raises(InputError, match=r"^study: no image in the split mixed;"):
        verify(cohort)
    with pytest.raises(InputError, match=r"the split mixed, test;"):
        verify(cohort, needs=(Split.MIXED, Split.TEST))


def test_missing_files_and_masks_are_refused_together_with_their_count(write_manifest, small: Path) -> None:
    rows = [f"none{number}.png,test,,,," for number in range(4)]
    path = write_manifest(small, "healthy/a.png,healthy,,,,", "mixed/c.png,mixed,,,,mixed", *rows)

    with pytest.raises(InputError) as caught:
        verify(Cohort.from_manifest(path))

    # The first mask given is a folder; of the five bad names three are shown.
    assert "5 of 7 files missing or not readable" in str(caught.value)
    assert f"{small}/mixed, {small}/none0.png, {small}/none1.png and 2 more" in str(caught.value)


def test_patient_in_two_splits_is_refused_with_both_names(write_manifest, small: Path) -> None:
    path = write_manifest(
        small,
        "healthy/a.png,healthy,,p1,,",
        "healthy/b.png,healthy,,p1,,",
        "mixed/c.png,mixed,,p2,,",
        "mixed/d.png,mixed,,p1,,",
    )

    with pytest.raises(InputError) as caught:
        verify(Cohort.from_manifest(path))

    message = str(caught.value)
    assert (
        f"1 patient(s) in two splits: 'p1' ({small}/healthy/a.png in healthy, {small}/mixed/d.png in mixed)" in message
    )


def test_same_bytes_in_two_splits_are_refused_with_both_names(png, small: Path) -> None:
    png(small / "mixed/copy.png", 1)  # as healthy/b.png

    with pytest.raises(InputError) as caught:
        verify(load_cohort(small))

    both = f"({small}/healthy/b.png in healthy, {small}/mixed/copy.png in mixed)"
    assert f"1 image(s) with the same bytes in two splits: {both}" in str(caught.value)


def test_copies_within_a_split_are_grouped_but_not_refused(png, small: Path) -> None:
    png(small / "mixed/copy.png", 3)  # as mixed/d.png
    cohort = load_cohort(small)

    verify(cohort)

    assert [[image.path.name for image in group] for group in same_bytes(cohort.images)] == [["copy.png", "d.png"]]


def test_empty_files_do_not_count_as_copies(small: Path) -> None:
    (small / "healthy/empty.png").touch()
    (small / "mixed/empty.png").touch()

    verify(load_cohort(small))


def test_only_files_equal_in_size_and_beginning_are_read_whole(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beginning = bytes(checks.BEGINNING_BYTES)
    for name, content in {
        "healthy/1.png": beginning + b"1",
        "mixed/2.png": beginning + b"2",
        "mixed/3.png": beginning + b"longer",
        "mixed/4.png": b"x" + beginning,
    }.items():
        (small / name).write_bytes(content)
    read: list[str] = []
    content_hash = checks.content_hash
    monkeypatch.setattr(checks, "content_hash", lambda path: (read.append(path.name), content_hash(path))[1])

    assert same_bytes(load_cohort(small).images) == []
    assert sorted(read) == ["1.png", "2.png"]


def test_file_that_vanishes_while_comparing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.png: cannot be read \(No such file"):
        same_bytes([CohortImage(tmp_path / "gone.png", Split.MIXED)])


def textured_cohort(folder: Path, *files: tuple[str, Split, int]) -> Cohort:
    """Pictures by name, split and seed; one seed is one picture."""
    for name, _, seed in files:
        Image.fromarray(textured(seed)).save(folder / name)
    return Cohort("study", tuple(CohortImage(folder / name, split) for name, split, _ in files))


@pytest.mark.parametrize("other", [Split.MIXED, Split.VALIDATION, Split.TEST])
def test_same_pixels_in_other_bytes_are_refused_where_a_split_trains(other: Split, tmp_path: Path) -> None:
    cohort = textured_cohort(tmp_path, ("a.png", Split.HEALTHY, 1), ("b.tif", other, 1), ("c.png", Split.MIXED, 2))

    with pytest.raises(InputError) as caught:
        check_near_duplicates(cohort)

    both = f"({tmp_path}/a.png in healthy, {tmp_path}/b.tif in {other})"
    assert str(caught.value) == (
        f"study: 1 image(s) with the same pixels in two splits: {both}; keep each image in one split"
    )


def test_same_pixels_where_nothing_trains_are_warned_of(tmp_path: Path) -> None:
    cohort = textured_cohort(tmp_path, ("a.png", Split.TEST, 1), ("b.tif", Split.VALIDATION, 1))

    (warning,) = check_near_duplicates(cohort)

    assert warning.startswith("validation and test: 1 pair(s) of near-duplicates, ")
    assert warning.endswith(": b.tif = a.png; keep each picture in one split")


def test_near_duplicates_are_warned_of_by_pair_of_splits(tmp_path: Path) -> None:
    cohort = textured_cohort(
        tmp_path,
        *((f"h{seed}.png", Split.HEALTHY, seed) for seed in range(5)),
        *((f"t{seed}.jpg", Split.TEST, seed) for seed in range(4)),
        ("h4.jpg", Split.HEALTHY, 4),
    )

    within, across = check_near_duplicates(cohort)

    assert within.startswith("healthy: 1 pair(s)") and "h4.png = h4.jpg; keep one of each" in within
    assert across.startswith("healthy and test: 4 pair(s)")
    assert "h0.png = t0.jpg, h1.png = t1.jpg, h2.png = t2.jpg and 1 more;" in across


def test_a_cohort_without_near_duplicates_is_not_warned_of(tmp_path: Path) -> None:
    files = [(f"{seed}.png", list(Split)[seed % 4], seed) for seed in range(12)]

    assert check_near_duplicates(textured_cohort(tmp_path, *files)) == ()
