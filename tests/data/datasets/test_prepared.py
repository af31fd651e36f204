"""What is written: a manifest that never takes another's place, and every name that does not fit."""

from pathlib import Path

import pytest

from fixtures.covidx import SMALL, small
from healthygan.common.errors import InputError
from healthygan.data.cohort import Label, Split
from healthygan.data.datasets.covidx import prepare_covidx
from healthygan.data.datasets.prepared import Prepared


def test_missing_extra_and_doubled_files_are_listed_by_name(tmp_path: Path) -> None:
    images, listing = small(tmp_path)
    (images / "deep" / "n3.png").unlink()
    (images / "other.png").write_bytes(b"x")
    whole = {(Split.HEALTHY, Label.HEALTHY): 13}

    def prepared(**options: bool) -> Prepared:
        return prepare_covidx(images, listing, tmp_path / "m.csv", official=False, amounts=whole, **options)

    with pytest.raises(InputError, match=r"1 listed image\(s\) missing: n3\.png .*kaggle.*allow_missing=True"):
        prepared()
    assert not (tmp_path / "m.csv").exists()
    told = prepared(allow_missing=True)
    assert len(told.cohort.images) == 12
    assert (tmp_path / "m.problems.txt").read_text() == "missing: n3.png\nin no list: other.png\n"
    assert sum("n3.png" in line or "other.png" in line for line in told.warnings) == 2
    (images / "n4.png").write_bytes(b"y")
    with pytest.raises(InputError, match=r"several files each: n4\.png"):
        prepared(allow_missing=True)


def test_a_manifest_that_says_something_else_is_not_overwritten(tmp_path: Path) -> None:
    images, listing = small(tmp_path)
    for _ in range(2):  # the same again is no harm
        prepare_covidx(images, listing, tmp_path / "m.csv", official=False, amounts=SMALL)
    before = (tmp_path / "m.csv").read_bytes()
    with pytest.raises(InputError, match=r"m\.csv: exists and holds another cohort"):
        prepare_covidx(images, listing, tmp_path / "m.csv", official=False, amounts=SMALL, seed=1)
    assert (tmp_path / "m.csv").read_bytes() == before
    with pytest.raises(InputError, match=r"ends in \.csv"):
        prepare_covidx(images, listing, tmp_path / "m.txt", official=False, amounts=SMALL)
