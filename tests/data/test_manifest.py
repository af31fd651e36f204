"""A manifest is read as spreadsheets write it, and what is none is refused with its line."""

from pathlib import Path

import pytest

from healthygan.data.cohort import Cohort, Split


def test_byte_order_mark_windows_line_ends_blank_rows_and_quoted_commas_are_read(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes('\ufeffpath,split\r\n"a, left.png",mixed\r\n,\r\n\r\nü.png,healthy\r\n'.encode())

    cohort = Cohort.from_manifest(path)

    assert cohort.name == "list"
    assert cohort.paths(Split.MIXED) == (tmp_path / "a, left.png",)
    assert cohort.paths(Split.HEALTHY) == (tmp_path / "ü.png",)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Path,split", "the column 'path' is missing (did you mean 'Path'?)"),
        ("path,spilt", "the column 'split' is missing (did you mean 'spilt'?)"),
        ("file,group", "the column 'path' is missing; found file, group"),
        ("path;split", "not separated by commas"),
        ("path,split,split", "the column 'split' is there twice"),
    ],
)
def test_bad_header_is_refused(refusal, write_manifest, tmp_path: Path, header: str, expected: str) -> None:
    path = write_manifest(tmp_path, header=header)

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
def test_file_that_is_no_manifest_is_refused(refusal, tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "manifest.csv"
    path.write_bytes(content)

    assert expected in refusal(path)


def test_missing_manifest_is_refused(refusal, tmp_path: Path) -> None:
    assert "cannot be read (No such file" in refusal(tmp_path / "none.csv")
