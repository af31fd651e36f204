"""Folders are walked through links, each once; one that cannot be listed is refused."""

import os
from pathlib import Path

import pytest

from healthygan.common.errors import InputError
from healthygan.data.cohort import Cohort, Split


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
