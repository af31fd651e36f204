"""The contact sheet shows evenly spaced images of every split, and marks what cannot be decoded."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from healthygan.common.errors import InputError
from healthygan.data.cohort import Cohort, CohortImage, Label, Split
from healthygan.data.inspection import contact_sheet
from healthygan.data.inspection.inspect import inspect_cohort
from healthygan.data.preprocessing import Preprocessing

HEALTHY, TEST, WELL = Split.HEALTHY, Split.TEST, Label.HEALTHY
SMALL = Preprocessing(size=32)


def test_contact_sheet_has_a_row_of_evenly_spaced_images_a_split(
    images, cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = images(tmp_path, HEALTHY, WELL, [(8, 8)] * 15)
    two = images(tmp_path, TEST, None, [(8, 8)] * 2)
    drawn: list[Path] = []
    read_frames = contact_sheet.read_frames
    monkeypatch.setattr(
        contact_sheet,
        "read_frames",
        lambda path, options: (drawn.append(path), read_frames(path, options))[1],
    )

    one_row = inspect_cohort(cohort(many), SMALL, tmp_path / "one.png")
    assert sorted(drawn) == sorted(image.path for image in many[::2])
    drawn.clear()
    inspect_cohort(cohort(many, two), SMALL, tmp_path / "sheets" / "two.png")
    assert sorted(drawn) == sorted(image.path for image in [*many[::2], *two])

    assert one_row.contact_sheet == tmp_path / "one.png"
    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "sheets" / "two.png") as other:
        assert one.format == other.format == "PNG"
        assert one.width == other.width
        assert one.height < other.height


def test_contact_sheet_shows_the_image_in_its_place(picture, tmp_path: Path) -> None:
    white = picture(tmp_path / "white.png", 255)
    black = picture(tmp_path / "black.png", 0)
    for name, path in (("w", white), ("b", black)):
        inspect_cohort(Cohort("study", (CohortImage(path, HEALTHY, WELL),)), SMALL, tmp_path / f"sheet-{name}.png")

    with Image.open(tmp_path / "sheet-w.png") as one, Image.open(tmp_path / "sheet-b.png") as other:
        differ = np.any(np.asarray(one) != np.asarray(other), axis=2)

    side = contact_sheet.TILE * contact_sheet.DOTS_PER_INCH
    rows, columns = np.nonzero(differ[: -int(side / 4)])
    left = contact_sheet.MARGIN * contact_sheet.DOTS_PER_INCH
    assert columns.min() == pytest.approx(left, abs=2)
    assert columns.max() == pytest.approx(left + side, abs=2)
    assert rows.max() - rows.min() >= side - 2


def test_file_that_breaks_only_when_decoded_is_marked_and_counted(warning_about, tmp_path: Path) -> None:
    path = tmp_path / "torn.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])

    inspected = inspect_cohort(Cohort("study", (CohortImage(path, HEALTHY, WELL, "p"),)), SMALL, tmp_path / "sheet.png")

    assert list(inspected.splits[0].unreadable) == [path]
    assert "torn.png" in warning_about(inspected, "healthy: 1 of 1 files cannot be read")


def test_file_name_with_dollar_signs_can_be_drawn(picture, tmp_path: Path) -> None:
    path = picture(tmp_path / "$\\frac$ and a name that is longer than any caption may be.png")

    inspect_cohort(Cohort("a $ b $", (CohortImage(path, HEALTHY, WELL),)), SMALL, tmp_path / "sheet.png")

    assert (tmp_path / "sheet.png").is_file()


def test_contact_sheet_draws_colour(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / "red.png")

    inspect_cohort(
        Cohort("study", (CohortImage(tmp_path / "red.png", HEALTHY, WELL),)),
        Preprocessing(size=32, channels=3),
        tmp_path / "sheet.png",
    )

    with Image.open(tmp_path / "sheet.png") as sheet:
        reds = np.all(np.asarray(sheet.convert("RGB")) == (255, 0, 0), axis=2).sum()
    assert reds >= (contact_sheet.TILE * contact_sheet.DOTS_PER_INCH - 2) ** 2


def test_contact_sheet_that_cannot_be_written_is_refused(images, cohort, tmp_path: Path) -> None:
    study = cohort(images(tmp_path, HEALTHY, WELL, [(8, 8)]))
    (tmp_path / "file").touch()

    with pytest.raises(InputError, match=r"sheet\.pdf: a contact sheet is a PNG"):
        inspect_cohort(study, SMALL, tmp_path / "sheet.pdf")
    with pytest.raises(InputError, match=r"file/sheet\.png: cannot be written"):
        inspect_cohort(study, SMALL, tmp_path / "file" / "sheet.png")
