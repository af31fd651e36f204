"""A manifest's rows: its CSV text read strictly, every fault told with its line."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from healthygan.common.csv_text import restored
from healthygan.common.errors import InputError
from healthygan.common.messages import hint

MANIFEST_NAME = "manifest.csv"
REQUIRED_COLUMNS = ("path", "split")
COLUMNS = (*REQUIRED_COLUMNS, "label", "patient_id", "source", "mask")


def manifest_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The line number and the cells by column of each row that is not blank."""
    reader = csv.reader(io.StringIO(_manifest_text(path), newline=""), strict=True)
    try:
        header = [restored(name).strip() for name in next(reader, [])]
        _check_header(path, header)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise InputError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells where the header has {len(header)}; "
                    "quote cells that contain a comma"
                )
            yield reader.line_num, dict(zip(header, map(restored, cells), strict=True))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not valid CSV ({error}); mend that line") from error


def _manifest_text(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a manifest in CSV format") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text (byte {error.start}); save it as 'CSV UTF-8'") from error
    if "\0" in text:
        raise InputError(f"{path}: is not a text file; give a manifest in CSV format")
    return text


def _check_header(path: Path, header: Sequence[str]) -> None:
    where = f"{path}, line 1"
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        raise InputError(f"{where}: the columns are not separated by commas; save the file as comma-separated CSV")
    for column in REQUIRED_COLUMNS:
        if column not in header:
            found = ", ".join(header) or "nothing"
            raise InputError(
                f"{where}: the column '{column}' is missing{hint(column, header)}; found {found}; "
                f"the first line must name the columns {', '.join(COLUMNS)} (the first two are required)"
            )
    for column in COLUMNS:
        if header.count(column) > 1:
            raise InputError(f"{where}: the column '{column}' is there twice; remove one of the two")
