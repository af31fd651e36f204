"""Cohorts are read as written, and what would spoil a study is refused with one line that says where."""

import os
from pathlib import Path

import pytest
from PIL import Image

from healthygan.data import cohort as cohort_module
from healthygan.data.cohort import Cohort, CohortImage, Label, Split, load_cohort, same_bytes, verify
from healthygan.errors import InputError


def png(path: Path, value: int = 0) -> Path:
    """A tiny grey PNG; equal values give equal bytes, different ones different bytes of the same size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4), value).save(path)
    return path


def manifest(folder: Path, *rows: str, header: str = "path,split,label,patient_id,source,mask") -> Path:
    path = folder / "manifest.csv"
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        Cohort.from_manifest(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder with two images in healthy and two in mixed, all different."""
    for number, name in enumerate(("healthy/a", "healthy/b", "mixed/c", "mixed/d")):
        png(tmp_path / f"{name}.png", number)
    return tmp_path


# reading a manifest


def test_manifest_gives_every_column_and_none_where_a_cell_is_empty(tmp_path: Path) -> None:
    path = manifest(tmp_path, "a.png,test,diseased,p1,north,masks/a.png", "/else/b.png,mixed,,,,")

    cohort = Cohort.from_manifest(path)

    assert cohort.name == tmp_path.name
    assert cohort.images == (
        CohortImage(tmp_path / "a.png", Split.TEST, Label.DISEASED, "p1", "north", tmp_path / "masks/a.png"),
        CohortImage(Path("/else/b.png"), Split.MIXED, None, None, None, None),
    )


def test_manifest_needs_only_path_and_split_in_any_order_and_keeps_further_columns(tmp_path: Path) -> None:
    path = manifest(tmp_path, "x,mixed,a.png", ",healthy,b.png", header="age, split ,path")

    read = Cohort.from_manifest(path)

    assert read.images[0] == CohortImage(tmp_path / "a.png", Split.MIXED, more={"age": "x"})
    assert (read.column("age", Split.MIXED), read.column("age", Split.HEALTHY)) == (["x"], [None])
    read.write_manifest(tmp_path / "again.csv")
    assert Cohort.from_manifest(tmp_path / "again.csv").images == read.images


def test_healthy_split_is_healthy_even_without_labels(tmp_path: Path) -> None:
    path = manifest(tmp_path, "a.png,healthy", header="path,split")

    assert Cohort.from_manifest(path).images[0].label is Label.HEALTHY


def test_byte_order_mark_windows_line_ends_blank_rows_and_quoted_commas_are_read(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes('\ufeffpath,split\r\n"a, left.png",mixed\r\n,\r\n\r\nü.png,healthy\r\n'.encode())

    cohort = Cohort.from_manifest(path)

    assert cohort.name == "list"
    assert cohort.paths(Split.MIXED) == (tmp_path / "a, left.png",)
    assert cohort.paths(Split.HEALTHY) == (tmp_path / "ü.png",)


def test_relative_paths_may_leave_the_folder_of_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    path = manifest(tmp_path / "lists", "../a.png,mixed,,,,")

    assert Cohort.from_manifest(path).paths(Split.MIXED) == (tmp_path.resolve() / "a.png",)


def test_relative_manifest_gives_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest(tmp_path, "a.png,mixed,,,,")
    monkeypatch.chdir(tmp_path)

    assert Cohort.from_manifest(Path("manifest.csv")).paths(Split.MIXED) == (tmp_path / "a.png",)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("b.png,tset,,,,", "unknown split 'tset' (nearest: 'test'); use healthy, mixed, validation, test"),
        ("b.png,Mixed,,,,", "unknown split 'Mixed' (nearest: 'mixed')"),
        ("b.png,,,,,", "unknown split ''; use healthy"),
        ("b.png,test,disease,,,", "unknown label 'disease' (nearest: 'diseased'); use healthy, diseased"),
        ("b.png,test,1,,,", "unknown label '1'; use healthy, diseased"),
        ("b.png,healthy,diseased,,,", "b.png: is labelled diseased but stands in the healthy split"),
        (" ,mixed,,,,", "the path is empty"),
        ("./a.png,mixed,,,,", "a.png is listed before, in line 2"),
        ("b.png,mixed", "2 cells where the header has 6"),
        ("a,b.png,mixed,,,,", "7 cells where the header has 6; quote cells that contain a comma"),
        ('"b.png,mixed,,,,', "not valid CSV"),
    ],
)
def test_bad_row_is_refused_with_file_and_line(tmp_path: Path, row: str, expected: str) -> None:
    path = manifest(tmp_path, "a.png,healthy,healthy,,,", row)

    message = refusal(path)

    assert message.startswith(f"{path}, line ")
    assert expected in message
    if not row.startswith('"'):  # an open quotation mark is noticed only where the file ends
        assert message.startswith(f"{path}, line 3: ")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Path,split", "the column 'path' is missing (nearest: 'Path')"),
        ("path,spilt", "the column 'split' is missing (nearest: 'spilt')"),
        ("file,group", "the column 'path' is missing; found file, group"),
        ("path;split", "not separated by commas"),
        ("path,split,split", "the column 'split' is there twice"),
    ],
)
def test_bad_header_is_refused(tmp_path: Path, header: str, expected: str) -> None:
    path = manifest(tmp_path, header=header)

    message = refusal(path)

    assert message.startswith(f"{path}, line 1: ")
    assert expected in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the column 'path' is missing; found nothing"),
        (
            "path,split\nä.png,mixed\n".encode("latin-1"),
            "is not UTF-8 text (byte 11); save it as 'CSV UTF-8'",
        ),
        ("path,split\n".encode("utf-16"), "is not UTF-8 text"),
        (b"path,split\na\0.png,mixed\n", "is not a text file"),
    ],
)
def test_file_that_is_no_manifest_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "manifest.csv"
    path.write_bytes(content)

    assert expected in refusal(path)


def test_missing_manifest_is_refused(tmp_path: Path) -> None:
    assert "cannot be read (No such file" in refusal(tmp_path / "none.csv")


# reading folders


def test_folders_are_scanned_recursively_sorted_and_only_for_visible_images(small: Path) -> None:
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
def test_subfolders_label_the_files_in_them_and_no_other_files(small: Path, split: Split) -> None:
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


def test_linked_folders_are_followed_once(small: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    png(elsewhere / "e.png", 9)
    (small / "mixed/link").symlink_to(elsewhere)
    (small / "mixed/again").symlink_to(elsewhere)
    (small / "mixed/loop").symlink_to(small / "mixed")

    cohort = Cohort.from_folders(small / "healthy", small / "mixed")

    assert [path.name for path in cohort.paths(Split.MIXED)] == ["e.png", "c.png", "d.png"]


def test_diseased_subfolder_of_the_healthy_folder_is_refused(small: Path) -> None:
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


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may list any folder")
def test_folder_that_cannot_be_listed_is_refused(small: Path) -> None:
    png(small / "mixed/locked/x.png")
    (small / "mixed/locked").chmod(0)
    try:
        with pytest.raises(InputError, match=r"locked: cannot be listed"):
            Cohort.from_folders(small / "healthy", small / "mixed")
    finally:
        (small / "mixed/locked").chmod(0o755)


# finding out what was given


def test_location_may_be_a_manifest_a_folder_with_one_or_a_folder_of_splits(small: Path) -> None:
    by_folders = load_cohort(small)
    assert [len(by_folders.paths(split)) for split in Split] == [2, 2, 0, 0]
    png(small / "test/diseased/t.png", 7)
    assert [image.label for image in load_cohort(small).split(Split.TEST)] == [Label.DISEASED]

    path = manifest(small, "mixed/c.png,mixed,,p,,")
    assert load_cohort(small) == load_cohort(path) == Cohort.from_manifest(path)


def test_single_folders_are_read_without_a_location(small: Path) -> None:
    given = load_cohort(None, healthy=small / "healthy", mixed=small / "mixed")

    assert given == Cohort.from_folders(small / "healthy", small / "mixed")


def test_whatever_is_no_cohort_is_refused_with_the_three_ways(small: Path) -> None:
    ways = r"manifest \(\.csv\).*healthy/ and mixed/ in it.*--healthy and --mixed"
    cases = [
        (small / "mixed", "holds no cohort"),
        (small / "none", "does not exist"),
        (small / "mixed/c.png", "no cohort"),
    ]
    for location, reason in cases:
        with pytest.raises(InputError, match=f"{location.name}: .*{reason}; .*{ways}"):
            load_cohort(location)
    with pytest.raises(InputError, match=f"^--healthy and --mixed not given; .*{ways}"):
        load_cohort(None)
    with pytest.raises(InputError, match=r"^--mixed not given"):
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


def test_name_that_is_not_utf8_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    images = (CohortImage(tmp_path / os.fsdecode(b"\xff.png"), Split.MIXED),)

    with pytest.raises(InputError, match=r"not valid UTF-8; rename the file"):
        Cohort("x", images).write_manifest(tmp_path / "manifest.csv")
    assert not list(tmp_path.iterdir())


# verifying


def test_sound_cohort_passes(small: Path) -> None:
    verify(load_cohort(small))


def test_empty_split_is_refused_only_where_it_is_needed(small: Path) -> None:
    cohort = Cohort("study", load_cohort(small).split(Split.HEALTHY))

    verify(cohort, needs=(Split.HEALTHY,))
    with pytest.raises(InputError, match=r"^study: no image in the split mixed;"):
        verify(cohort)
    with pytest.raises(InputError, match=r"the split mixed, test;"):
        verify(cohort, needs=(Split.MIXED, Split.TEST))


def test_missing_files_and_masks_are_refused_together_with_their_count(small: Path) -> None:
    rows = [f"none{number}.png,test,,,," for number in range(4)]
    path = manifest(small, "healthy/a.png,healthy,,,,", "mixed/c.png,mixed,,,,mixed", *rows)

    with pytest.raises(InputError) as caught:
        verify(Cohort.from_manifest(path))

    # The first mask given is a folder; of the five bad names three are shown.
    assert "5 of 7 files missing or not readable" in str(caught.value)
    assert f"{small}/mixed, {small}/none0.png, {small}/none1.png and 2 more" in str(caught.value)


def test_patient_in_two_splits_is_refused_with_both_names(small: Path) -> None:
    path = manifest(
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


def test_same_bytes_in_two_splits_are_refused_with_both_names(small: Path) -> None:
    png(small / "mixed/copy.png", 1)  # as healthy/b.png

    with pytest.raises(InputError) as caught:
        verify(load_cohort(small))

    both = f"({small}/healthy/b.png in healthy, {small}/mixed/copy.png in mixed)"
    assert f"1 image(s) with the same bytes in two splits: {both}" in str(caught.value)


def test_copies_within_a_split_are_grouped_but_not_refused(small: Path) -> None:
    png(small / "mixed/copy.png", 3)  # as mixed/d.png
    cohort = load_cohort(small)

    verify(cohort)

    assert [[image.path.name for image in group] for group in same_bytes(cohort.images)] == [["copy.png", "d.png"]]


def test_empty_files_do_not_count_as_copies(small: Path) -> None:
    (small / "healthy/empty.png").touch()
    (small / "mixed/empty.png").touch()

    verify(load_cohort(small))


def test_only_files_equal_in_size_and_beginning_are_read_whole(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beginning = bytes(cohort_module.BEGINNING_BYTES)
    for name, content in {
        "healthy/1.png": beginning + b"1",
        "mixed/2.png": beginning + b"2",
        "mixed/3.png": beginning + b"longer",
        "mixed/4.png": b"x" + beginning,
    }.items():
        (small / name).write_bytes(content)
    read: list[str] = []
    content_hash = cohort_module.content_hash
    monkeypatch.setattr(cohort_module, "content_hash", lambda path: (read.append(path.name), content_hash(path))[1])

    assert same_bytes(load_cohort(small).images) == []
    assert sorted(read) == ["1.png", "2.png"]


def test_file_that_vanishes_while_comparing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.png: cannot be read \(No such file"):
        same_bytes([CohortImage(tmp_path / "gone.png", Split.MIXED)])
