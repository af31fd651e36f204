"""Folders are walked through links, each once; one that cannot be listed is refused."""

import os
from pathlib import Path

import pytest

from healthygan.common.errors import InputError
from healthygan.data.cohort import Cohort, Split
from healthygan.data.folders import describe_skipped, scan
from healthygan.data.inspection.inspect import inspect_cohort


def test_linked_folders_are_followed_once(png, small: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    png(elsewhere / "e.png", 9)
    (small / "mixed/link").symlink_to(elsewhere)
    (small / "mixed/again").symlink_to(elsewhere)
    (small / "mixed/loop").symlink_to(small / "mixed")

    cohort = Cohort.from_folders(small / "healthy", small / "mixed")

    assert [path.name for path in cohort.paths(Split.MIXED)] == ["e.png", "c.png", "d.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may list any folder")
def test_folder_that_cannot_be_listed_is_refused(png, small: Path) -> None:
    png(small / "mixed/locked/x.png")
    (small / "mixed/locked").chmod(0)
    try:
        with pytest.raises(InputError, match=r"locked: cannot be listed"):
            Cohort.from_folders(small / "healthy", small / "mixed")
    finally:
        (small / "mixed/locked").chmod(0o755)


def test_files_that_are_no_images_are_counted_by_kind(png, tmp_path: Path) -> None:
    png(tmp_path / "a.png")
    for name in ("b.MHA", "c.mha", "d.mgz", "sub/notes.txt", "README", "1.2.3", "DICOMDIR", ".hidden.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"something else")
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    scanned = scan(tmp_path)
    assert scanned.images == (tmp_path / "a.png",)
    assert scanned.skipped == {".mha": 2, ".mgz": 1, ".txt": 1, "without a suffix": 2, "DICOMDIR": 1}
    told = describe_skipped(scanned.skipped)
    assert told.startswith("7 files beside the images are of no kind that is read: 2 .mha, 2 without a suffix, 1 ")


def test_nothing_is_said_where_nothing_is_skipped(png, tmp_path: Path) -> None:
    png(tmp_path / "a.png")
    assert describe_skipped(scan(tmp_path).skipped) == ""


def test_only_the_commonest_kinds_are_named() -> None:
    told = describe_skipped({f".{letter}": 9 - n for n, letter in enumerate("abcdefgh")})
    assert told.endswith("9 .a, 8 .b, 7 .c, 6 .d, 5 .e, 4 .f, 2 further kinds")


def test_cohort_from_folders_and_its_inspection_tell_of_skipped_files(small: Path) -> None:
    (small / "mixed/x.mha").touch()
    (small / "healthy/y.txt").touch()
    cohort = Cohort.from_folders(small / "healthy", small / "mixed")
    assert cohort.skipped == {".mha": 1, ".txt": 1}
    first, *_ = inspect_cohort(cohort).warnings
    assert first.startswith("2 files beside the images are of no kind that is read: 1 .")


def test_folder_of_other_files_alone_is_refused_by_their_kinds(small: Path) -> None:
    (small / "mgz").mkdir()
    (small / "mgz/a.mgz").touch()
    with pytest.raises(InputError, match=r"mgz: holds no image file \(1 files beside .*: 1 \.mgz\); put the mixed"):
        Cohort.from_folders(small / "healthy", small / "mgz")
