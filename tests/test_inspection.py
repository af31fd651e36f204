"""An inspection counts what is there, measures what gives images away, and warns of what to mend."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from sklearn.metrics import roc_auc_score

from healthygan import inspection as inspection_module
from healthygan.controls import share_scores
from healthygan.data.cohort import Cohort, CohortImage, Label, Split
from healthygan.data.preprocessing import Preprocessing
from healthygan.errors import InputError
from healthygan.inspection import TRAINING_SETS, Inspection, inspect_cohort

HEALTHY, MIXED, VALIDATION, TEST = Split
WELL, ILL = Label.HEALTHY, Label.DISEASED
SMALL = Preprocessing(size=32)


def picture(path: Path, value: int = 0, size: tuple[int, int] = (8, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)
    return path


def images(
    folder: Path,
    split: Split,
    label: Label | None,
    sizes: Iterable[tuple[int, int]],
    suffix: str = ".png",
    patient_ids: bool = True,
) -> list[CohortImage]:
    """One image a size (width, height), each of its own patient and with bytes of its own within a split."""
    first = {WELL: 0, ILL: 100, None: 200}[label]
    return [
        CohortImage(
            picture(folder / f"{split}-{label}-{number}{suffix}", first + number, size),
            split,
            label,
            f"{split}-{label}-{number}" if patient_ids else None,
        )
        for number, size in enumerate(sizes)
    ]


def cohort(*parts: list[CohortImage]) -> Cohort:
    return Cohort("study", tuple(image for part in parts for image in part))


def aucs(inspection: Inspection, groups: str) -> dict[str, float]:
    return {shortcut.name: shortcut.auc for shortcut in inspection.shortcuts if shortcut.groups == groups}


def warning_about(inspection: Inspection, beginning: str) -> str:
    found = [warning for warning in inspection.warnings if warning.startswith(beginning)]
    assert len(found) == 1, inspection.warnings
    assert "\n" not in found[0]
    return found[0]


def printed(inspection: Inspection) -> str:
    console = Console(width=100)
    with console.capture() as captured:
        inspection.print(console)
    return captured.get()


# what is there


def test_each_split_is_counted_by_label_patient_and_source(tmp_path: Path) -> None:
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


def test_sizes_are_given_as_smallest_median_and_largest_by_area(tmp_path: Path) -> None:
    part = images(tmp_path, HEALTHY, WELL, [(9, 9), (4, 5), (30, 2), (9, 9), (20, 10)])

    (summary,) = inspect_cohort(cohort(part)).splits

    assert summary.sizes == ((4, 5), (9, 9), (20, 10))  # areas 20, 60, 81, 81, 200
    assert summary.distinct_sizes == 4


def test_formats_bit_depths_and_channels_are_counted(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "colour.png")
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(tmp_path / "deep.png")
    Image.new("L", (8, 8)).save(tmp_path / "grey.jpg")
    part = [CohortImage(path, HEALTHY, WELL) for path in sorted(tmp_path.iterdir())]

    (summary,) = inspect_cohort(cohort(part)).splits

    assert sorted(summary.formats.values()) == [1, 2]
    assert summary.bit_depths == {8: 2, 16: 1}
    assert summary.channels == {1: 2, 3: 1}


def test_copies_within_a_split_are_named(tmp_path: Path) -> None:
    part = images(tmp_path, HEALTHY, WELL, [(8, 8)] * 3)
    copy = CohortImage(picture(tmp_path / "copy.png", 1), HEALTHY, WELL, "p")

    inspected = inspect_cohort(cohort(part, [copy]))

    assert inspected.splits[0].copies == ((part[1].path, copy.path),)
    assert f"1 file(s) copy another one: {part[1].path.name} = copy.png;" in warning_about(inspected, "healthy: 1 f")


def test_unreadable_files_are_counted_named_and_left_out_of_the_sizes(tmp_path: Path) -> None:
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


def test_split_without_any_readable_file_can_be_shown(tmp_path: Path) -> None:
    inspected = inspect_cohort(Cohort("study", (CohortImage(tmp_path / "none.png", TEST, ILL),)))

    assert inspected.splits[0].sizes == ()
    assert inspected.shortcuts == ()
    assert "different sizes" in printed(inspected)


# what gives images away


def test_source_score_compares_its_share_in_both_training_sets() -> None:
    scores = share_scores(healthy=["a", "a", "a", "b"], mixed=["a", "b", "c", "c", "c", "c", "c", "c"])

    # a: 1/8 in mixed, 3/4 in healthy; b: 1/8 and 1/4; c: in mixed only.
    assert scores == pytest.approx({"a": 1 / 7, "b": 1 / 3, "c": 1.0})


def test_auc_of_the_source_on_test_is_learned_from_the_training_sets_alone(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")

    def of(split: Split, label: Label | None, *sources: str) -> list[CohortImage]:
        return [CohortImage(path, split, label, "p", source) for source in sources]

    inspected = inspect_cohort(
        cohort(
            of(HEALTHY, WELL, "north", "north", "north", "south"),  # scores: north 1/4, south 3/4, new 1/2
            of(MIXED, None, "north", "south", "south", "south"),
            of(TEST, WELL, "north", "north", "south"),
            of(TEST, ILL, "south", "south", "new"),
        )
    )

    # Of the 9 pairs on test, each "south" wins 2 and ties 1, "new" wins 2 and loses 1.
    assert aucs(inspected, "test labels")["source"] == pytest.approx(7 / 9)
    # Of the 16 pairs of the training sets, 9 are won and 3 + 3 are ties.
    assert aucs(inspected, TRAINING_SETS)["source"] == pytest.approx(12 / 16)
    # By rarity in the healthy set "new" wins all 3; asked only whether it is "north", it ties with "south".
    assert aucs(inspected, "test labels")["source (rare in healthy)"] == pytest.approx(8 / 9)
    assert aucs(inspected, "test labels")["source (not north)"] == pytest.approx(7.5 / 9)
    warning = warning_about(inspected, "source alone")
    best = 'test labels AUC 0.89 by "rare in healthy" (3 and 3 images)'
    assert f"{TRAINING_SETS} AUC 0.75 (4 and 4 images), {best}" in warning


def test_a_column_named_with_control_is_looked_at_too(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")

    def of(split: Split, device: str) -> list[CohortImage]:
        return [CohortImage(path, split, None, "p", more={"device": device})]

    study = cohort(of(HEALTHY, "old"), of(MIXED, "new"))
    assert "device" not in aucs(inspect_cohort(study), TRAINING_SETS)
    inspected = inspect_cohort(study, control=["device"])
    assert aucs(inspected, TRAINING_SETS)["device"] == 1
    assert "device (not old)" in printed(inspected)
    with pytest.raises(InputError, match=r"--control colour: .*its columns are device, source"):
        inspect_cohort(study, control=["colour"])


def test_source_is_not_measured_where_none_is_given(tmp_path: Path) -> None:
    inspected = inspect_cohort(
        cohort(images(tmp_path, HEALTHY, WELL, [(8, 8)]), images(tmp_path, MIXED, None, [(8, 8)]))
    )

    assert "source" not in aucs(inspected, TRAINING_SETS)
    assert "source " not in printed(inspected)


def test_source_found_in_the_mixed_set_only_is_named(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    inspected = inspect_cohort(
        Cohort("study", (CohortImage(path, HEALTHY, WELL, "p", "n"), CohortImage(path, MIXED, None, "q", "s")))
    )

    assert "(only in the mixed set: s)" in warning_about(inspected, "source alone")


def test_size_and_aspect_count_whichever_way_they_point(tmp_path: Path) -> None:
    well, ill = [(9, 9), (12, 10), (10, 12)], [(6, 6), (8, 8), (11, 10)]

    inspected = inspect_cohort(
        cohort(images(tmp_path, TEST, WELL, well), images(tmp_path, TEST, ILL, ill)), preprocessing=SMALL
    )

    areas = [width * height for width, height in well + ill]
    aspects = [width / height for width, height in well + ill]
    truth = [0, 0, 0, 1, 1, 1]
    found = aucs(inspected, "test labels")
    assert roc_auc_score(truth, areas) < 0.5  # the diseased are the smaller ones
    assert found["image size"] == pytest.approx(1 - roc_auc_score(truth, areas))
    assert found["aspect"] == pytest.approx(max(roc_auc_score(truth, aspects), 1 - roc_auc_score(truth, aspects)))
    assert "test labels AUC 0.89 (3 and 3 images)" in warning_about(inspected, "image size alone")


def test_format_that_follows_the_label_is_found_and_warned_of(tmp_path: Path) -> None:
    inspected = inspect_cohort(
        cohort(
            images(tmp_path, VALIDATION, WELL, [(8, 8)] * 4, suffix=".jpg"),
            images(tmp_path, VALIDATION, ILL, [(8, 8)] * 3, suffix=".png"),
            images(tmp_path, TEST, WELL, [(8, 8)] * 2, suffix=".jpg"),
            images(tmp_path, TEST, ILL, [(8, 8)] * 2, suffix=".jpg"),
        )
    )

    assert aucs(inspected, "validation labels")["format"] == 1.0
    assert aucs(inspected, "test labels")["format"] == 0.5
    assert "validation labels AUC 1.00 (4 and 3 images); a detector may" in warning_about(inspected, "format alone")


def test_bit_depth_that_follows_the_label_in_part_is_measured(tmp_path: Path) -> None:
    part = images(tmp_path, TEST, WELL, [(8, 8)] * 4) + images(tmp_path, TEST, ILL, [(8, 8)] * 4)
    for number in (0, 4, 5, 6):  # 16 bits: one healthy image, three diseased ones
        Image.fromarray(np.full((8, 8), number, np.uint16)).save(part[number].path)

    inspected = inspect_cohort(cohort(part))

    # Of the 16 pairs 9 are won and 6 are ties.
    assert aucs(inspected, "test labels")["bit depth"] == pytest.approx(12 / 16)


def test_labels_of_the_mixed_set_are_counted_but_not_compared(tmp_path: Path) -> None:
    inspected = inspect_cohort(
        cohort(images(tmp_path, MIXED, WELL, [(8, 8)] * 2), images(tmp_path, MIXED, ILL, [(9, 9)] * 2))
    )

    assert inspected.shortcuts == ()
    assert "2 *" in printed(inspected)
    assert "for measuring only" in printed(inspected)


# warnings


def sound(folder: Path, patient_ids: bool = True) -> Cohort:
    """A cohort that there is nothing to say against."""
    same = (8, 8)
    return cohort(
        images(folder, HEALTHY, WELL, [same] * 100, patient_ids=patient_ids),
        images(folder, MIXED, WELL, [same] * 50),
        images(folder, MIXED, ILL, [same] * 50),
        images(folder, TEST, WELL, [same] * 5),
        images(folder, TEST, ILL, [same] * 5),
    )


def without(cohort: Cohort, split: Split, label: Label) -> Cohort:
    return Cohort(cohort.name, tuple(i for i in cohort.images if (i.split, i.label) != (split, label)))


def test_sound_cohort_gives_no_warning(tmp_path: Path) -> None:
    inspected = inspect_cohort(sound(tmp_path))

    assert inspected.warnings == ()
    assert "Warnings: none" in printed(inspected)


def test_few_images_are_warned_of(tmp_path: Path) -> None:
    whole = sound(tmp_path)

    inspected = inspect_cohort(Cohort("study", whole.images[1:]))

    assert "only 99 images" in warning_about(inspected, "healthy: ")


def test_missing_patient_ids_are_warned_of(tmp_path: Path) -> None:
    inspected = inspect_cohort(sound(tmp_path, patient_ids=False))

    assert "100 of 210 images have no patient id" in warning_about(inspected, "patients: ")
    assert "unknown" in printed(inspected)


def test_mixed_set_of_almost_one_kind_is_warned_of(tmp_path: Path) -> None:
    inspected = inspect_cohort(without(sound(tmp_path), MIXED, WELL))

    assert "100% of the labelled images are diseased" in warning_about(inspected, "mixed: 100%")


def test_test_split_that_measures_little_is_warned_of(tmp_path: Path) -> None:
    whole = sound(tmp_path)
    training = Cohort("study", tuple(image for image in whole.images if image.split is not TEST))
    unlabelled = images(tmp_path, TEST, None, [(8, 8)])

    assert "no images" in warning_about(inspect_cohort(training), "test: ")
    assert "no labels" in warning_about(inspect_cohort(cohort(list(training.images), unlabelled)), "test: ")
    assert "no diseased images" in warning_about(inspect_cohort(without(whole, TEST, ILL)), "test: ")
    assert "no healthy images" in warning_about(inspect_cohort(without(whole, TEST, WELL)), "test: ")


def test_test_split_with_another_share_of_diseased_is_warned_of(tmp_path: Path) -> None:
    inspected = inspect_cohort(
        cohort(list(sound(tmp_path).images), images(tmp_path / "more", TEST, WELL, [(9, 9)] * 30))
    )

    assert "12% are diseased, in the mixed set 50%" in warning_about(inspected, "test: ")  # 5 of 40


# the printed page


def test_names_with_square_brackets_are_printed_as_they_are(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    bad = CohortImage(tmp_path / "[red]none[/].png", HEALTHY, WELL, "p", None)

    page = printed(inspect_cohort(Cohort("[bold]x", (CohortImage(path, HEALTHY, WELL, "p", "[blue]s"), bad))))

    assert "Cohort [bold]x" in page
    assert "source [blue]s" in page
    assert "[red]none[/].png" in page


def test_sources_beyond_a_dozen_are_summed_up(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    many = tuple(CohortImage(path, HEALTHY, WELL, "p", f"s{number}") for number in range(15))

    page = printed(inspect_cohort(Cohort("study", many)))

    assert page.count("source s") == 12
    assert "and 3 further sources" in page


# the contact sheet


def test_contact_sheet_has_a_row_of_evenly_spaced_images_a_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = images(tmp_path, HEALTHY, WELL, [(8, 8)] * 15)
    two = images(tmp_path, TEST, None, [(8, 8)] * 2)
    drawn: list[Path] = []
    read_frames = inspection_module.read_frames
    monkeypatch.setattr(
        inspection_module,
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


def test_contact_sheet_shows_the_image_in_its_place(tmp_path: Path) -> None:
    white = picture(tmp_path / "white.png", 255)
    black = picture(tmp_path / "black.png", 0)
    for name, path in (("w", white), ("b", black)):
        inspect_cohort(Cohort("study", (CohortImage(path, HEALTHY, WELL),)), SMALL, tmp_path / f"sheet-{name}.png")

    with Image.open(tmp_path / "sheet-w.png") as one, Image.open(tmp_path / "sheet-b.png") as other:
        differ = np.any(np.asarray(one) != np.asarray(other), axis=2)

    side = inspection_module.TILE * inspection_module.DOTS_PER_INCH
    rows, columns = np.nonzero(differ[: -int(side / 4)])
    left = inspection_module.MARGIN * inspection_module.DOTS_PER_INCH
    assert columns.min() == pytest.approx(left, abs=2)
    assert columns.max() == pytest.approx(left + side, abs=2)
    assert rows.max() - rows.min() >= side - 2


def test_file_that_breaks_only_when_decoded_is_marked_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "torn.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])

    inspected = inspect_cohort(Cohort("study", (CohortImage(path, HEALTHY, WELL, "p"),)), SMALL, tmp_path / "sheet.png")

    assert list(inspected.splits[0].unreadable) == [path]
    assert "torn.png" in warning_about(inspected, "healthy: 1 of 1 files cannot be read")


def test_file_name_with_dollar_signs_can_be_drawn(tmp_path: Path) -> None:
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
    assert reds >= (inspection_module.TILE * inspection_module.DOTS_PER_INCH - 2) ** 2


def test_contact_sheet_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    study = cohort(images(tmp_path, HEALTHY, WELL, [(8, 8)]))
    (tmp_path / "file").touch()

    with pytest.raises(InputError, match=r"sheet\.pdf: a contact sheet is a PNG"):
        inspect_cohort(study, SMALL, tmp_path / "sheet.pdf")
    with pytest.raises(InputError, match=r"file/sheet\.png: cannot be written"):
        inspect_cohort(study, SMALL, tmp_path / "file" / "sheet.png")
