"""What would spoil a study is refused with one line that says where."""

from pathlib import Path

import pytest

from healthygan.common.errors import InputError
from healthygan.data import checks
from healthygan.data.checks import same_bytes, verify
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
