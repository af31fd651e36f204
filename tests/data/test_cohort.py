"""Cohorts are read as written, from manifests and folders, and written as they are read."""

import os
from pathlib import Path

import pytest

from healthygan.common.errors import InputError
from healthygan.data.cohort import Cohort, CohortImage, Label, Split, load_cohort

# reading a manifest


def test_manifest_gives_every_column_and_none_where_a_cell_is_empty(write_manifest, tmp_path: Path) -> None:
    path = write_manifest(tmp_path, "a.png,test,diseased,p1,north,masks/a.png", "/else/b.png,mixed,,,,")

    cohort = Cohort.from_manifest(path)

    assert cohort.name == tmp_path.name
    assert cohort.images == (
        CohortImage(tmp_path / "a.png", Split.TEST, Label.DISEASED, "p1", "north", tmp_path / "masks/a.png"),
        CohortImage(Path("/else/b.png"), Split.MIXED, None, None, None, None),
    )


def test_manifest_needs_only_path_and_split_in_any_order_and_keeps_further_columns(
    write_manifest, tmp_path: Path
) -> None:
    path = write_manifest(tmp_path, "x,mixed,a.png", ",healthy,b.png", header="age, split ,path")

    read = Cohort.from_manifest(path)

    assert read.images[0] == CohortImage(tmp_path / "a.png", Split.MIXED, more={"age": "x"})
    assert (read.column("age", Split.MIXED), read.column("age", Split.HEALTHY)) == (["x"], [None])
    read.write_manifest(tmp_path / "again.csv")
    assert Cohort.from_manifest(tmp_path / "again.csv").images == read.images


def test_healthy_split_is_healthy_even_without_labels(write_manifest, tmp_path: Path) -> None:
    path = write_manifest(tmp_path, "a.png,healthy", header="path,split")

    assert Cohort.from_manifest(path).images[0].label is Label.HEALTHY


def test_relative_paths_may_leave_the_folder_of_the_manifest(write_manifest, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    path = write_manifest(tmp_path / "lists", "../a.png,mixed,,,,")

    assert Cohort.from_manifest(path).paths(Split.MIXED) == (tmp_path.resolve() / "a.png",)


def test_relative_manifest_gives_absolute_paths(
    write_manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_manifest(tmp_path, "a.png,mixed,,,,")
    monkeypatch.chdir(tmp_path)

    assert Cohort.from_manifest(Path("manifest.csv")).paths(Split.MIXED) == (tmp_path / "a.png",)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("b.png,tset,,,,", "unknown split 'tset' (did you mean 'test'?); use healthy, mixed, validation, test"),
        ("b.png,Mixed,,,,", "unknown split 'Mixed' (did you mean 'mixed'?)"),
        ("b.png,,,,,", "unknown split ''; use healthy"),
        ("b.png,test,disease,,,", "unknown label 'disease' (did you mean 'diseased'?); use healthy, diseased"),
        ("b.png,test,1,,,", "unknown label '1'; use healthy, diseased"),
        ("b.png,healthy,diseased,,,", "b.png: is labelled diseased but stands in the healthy split"),
        (" ,mixed,,,,", "the path is empty"),
        ("./a.png,mixed,,,,", "a.png is listed before, in line 2"),
        ("b.png,mixed", "2 cells where the header has 6"),
        ("a,b.png,mixed,,,,", "7 cells where the header has 6; quote cells that contain a comma"),
        ('"b.png,mixed,,,,', "not valid CSV"),
    ],
)
def test_bad_row_is_refused_with_file_and_line(
    refusal, write_manifest, tmp_path: Path, row: str, expected: str
) -> None:
    path = write_manifest(tmp_path, "a.png,healthy,healthy,,,", row)

    message = refusal(path)

    assert message.startswith(f"{path}, line ")
    assert expected in message
    if not row.startswith('"'):  # an open quotation mark is noticed only where the file ends
        assert message.startswith(f"{path}, line 3: ")


# reading folders


def test_folders_are_scanned_recursively_sorted_and_only_for_visible_images(png, small: Path) -> None:
    png(small / "healthy/0/z.PNG")
    png(small / "healthy/.hidden.png")
    png(small / "healthy/.thumbnails/a.png")
    (small / "healthy/notes.txt").write_text("x")

    cohort = Cohort.from_folders(small / "healthy", small / "mixed")

    assert cohort.name == small.name
    assert cohort.paths(Split.HEALTHY) == tuple(small / "healthy" / n for n in ("0/z.PNG", "a.png", "b.png"))
    assert {image.label for image in cohort.split(Split.HEALTHY)} == {Label.HEALTHY}
    assert all(image.patient_id is None and image.source is None for image in cohort.images)


@pytest.mark.parametrize("split", [Split.MIXED, Split.VALIDATION, Split.TEST])
def test_subfolders_label_the_files_in_them_and_no_other_files(png, small: Path, split: Split) -> None:
    folder = small / split / "more"
    png(folder / "loose.png")
    png(folder / "diseased/deep/d.png")
    png(folder / "Healthy/h.png")
    png(folder / "ward/diseased/w.png")
    folders = {Split.HEALTHY: small / "healthy", Split.MIXED: small / "mixed"} | {split: folder}

    cohort = Cohort.from_folders(**{str(key): value for key, value in folders.items()})

    assert {image.path.name: image.label for image in cohort.split(split)} == {
        "loose.png": None,
        "d.png": Label.DISEASED,
        "h.png": Label.HEALTHY,
        "w.png": None,
    }


def test_diseased_subfolder_of_the_healthy_folder_is_refused(png, small: Path) -> None:
    png(small / "healthy/diseased/x.png")

    with pytest.raises(InputError, match=r"diseased/x\.png: is labelled diseased but stands in the healthy split"):
        Cohort.from_folders(small / "healthy", small / "mixed")


def test_missing_empty_and_nested_folders_are_refused(small: Path) -> None:
    (small / "empty").mkdir()

    with pytest.raises(InputError, match=r"none: is not a folder"):
        Cohort.from_folders(small / "healthy", small / "none")
    with pytest.raises(InputError, match=r"empty: holds no image file; put the test images there"):
        Cohort.from_folders(small / "healthy", small / "mixed", test=small / "empty")
    with pytest.raises(InputError, match=r"one lies within the other"):
        Cohort.from_folders(small / "healthy", small)
    with pytest.raises(InputError, match=r"one lies within the other"):
        Cohort.from_folders(small / "healthy", small / "mixed" / ".." / "healthy")


# finding out what was given


def test_location_may_be_a_manifest_a_folder_with_one_or_a_folder_of_splits(write_manifest, png, small: Path) -> None:
    by_folders = load_cohort(small)
    assert [len(by_folders.paths(split)) for split in Split] == [2, 2, 0, 0]
    png(small / "test/diseased/t.png", 7)
    assert [image.label for image in load_cohort(small).split(Split.TEST)] == [Label.DISEASED]

    path = write_manifest(small, "mixed/c.png,mixed,,p,,")
    assert load_cohort(small) == load_cohort(path) == Cohort.from_manifest(path)


def test_single_folders_are_read_without_a_location(small: Path) -> None:
    given = load_cohort(None, healthy=small / "healthy", mixed=small / "mixed")

    assert given == Cohort.from_folders(small / "healthy", small / "mixed")


def test_whatever_is_no_cohort_is_refused_with_the_three_ways(small: Path) -> None:
    ways = r"manifest \(\.csv\).*healthy/ and mixed/ in it.*healthy and mixed with"
    cases = [
        (small / "mixed", "holds no cohort"),
        (small / "none", "does not exist"),
        (small / "mixed/c.png", "no cohort"),
    ]
    for location, reason in cases:
        with pytest.raises(InputError, match=f"{location.name}: .*{reason}; .*{ways}"):
            load_cohort(location)
    with pytest.raises(InputError, match=f"^healthy and mixed not given; .*{ways}"):
        load_cohort(None)
    with pytest.raises(InputError, match=r"^mixed not given"):
        load_cohort(None, healthy=small / "healthy")
    with pytest.raises(InputError, match=r"give one or the other"):
        load_cohort(small, test=small / "test")


# writing a manifest


def test_written_manifest_reads_back_as_the_same_cohort(tmp_path: Path) -> None:
    images = (
        CohortImage(tmp_path / "in/a, 1.png", Split.TEST, Label.DISEASED, "p,1", 'the "north"', tmp_path / "m.png"),
        CohortImage(tmp_path / " spaced .png", Split.HEALTHY, Label.HEALTHY),
        CohortImage(Path("/outside/ü.png"), Split.MIXED),
    )
    path = tmp_path / "manifest.csv"

    Cohort(tmp_path.name, images).write_manifest(path)

    assert Cohort.from_manifest(path) == Cohort(tmp_path.name, images)
    assert "\nin" not in path.read_text() and '\n"in/a, 1.png",test,' in path.read_text()
    assert str(tmp_path) not in path.read_text()
    assert list(tmp_path.iterdir()) == [path]


def test_a_written_manifest_runs_nothing_in_a_spreadsheet_and_reads_back_the_same(tmp_path: Path) -> None:
    images = (
        CohortImage(tmp_path / "=a.png", Split.TEST, Label.DISEASED, "@SUM(1)", "+x", more={"age": "-3", "=b": "-y"}),
        CohortImage(tmp_path / "'-a.png", Split.TEST, Label.HEALTHY, "-7", "'=x", more={"=b": "2"}),
    )
    path = tmp_path / "manifest.csv"

    Cohort(tmp_path.name, images).write_manifest(path)

    assert Cohort.from_manifest(path) == Cohort(tmp_path.name, images)
    assert path.read_text().splitlines() == [
        "path,split,label,patient_id,source,mask,age,'=b",
        "'=a.png,test,diseased,'@SUM(1),'+x,,-3,'-y",
        "''-a.png,test,healthy,-7,''=x,,,2",
    ]


def test_name_that_is_not_utf8_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    images = (CohortImage(tmp_path / os.fsdecode(b"\xff.png"), Split.MIXED),)

    with pytest.raises(InputError, match=r"not valid UTF-8; rename the file"):
        Cohort("x", images).write_manifest(tmp_path / "manifest.csv")
    assert not list(tmp_path.iterdir())
