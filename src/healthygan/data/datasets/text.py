"""Reading the lists and tables that data sets are published with, packed or not."""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from healthygan.common.csv_text import restored
from healthygan.common.errors import Argument, InputError
from healthygan.common.messages import hint

LARGEST = 1_000_000_000
"""Unpacked bytes of a table beyond which it is none."""


def read_text(path: Path) -> str:
    """The UTF-8 text of a plain or gzip file.

    Raises:
        InputError: it cannot be read, is damaged, too large or no text.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as stream:
            content = stream.read(LARGEST + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); correct the path") from error
    except (EOFError, zlib.error) as error:
        raise InputError(f"{path}: damaged ({error}); copy it again") from error
    if len(content) > LARGEST:
        raise InputError(f"{path}: more than {LARGEST:,} bytes unpacked; give the table alone")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text (byte {error.start}); save it as 'CSV UTF-8'") from error
    if "\0" in text:
        raise InputError(f"{path}: is not a text file; give the list as it is published")
    return text


def read_table(path: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """The rows of a comma-separated table that has ``columns``, by column.

    Raises:
        InputError: a column is missing, a row is too short, or the file cannot be read; names the line.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    try:
        header = [restored(name).strip() for name in next(reader, [])]
        for name in columns:
            if name not in header:
                found = ", ".join(header[:12]) or "nothing"
                raise InputError(f"{path}: the column {name!r} is missing{hint(name, header)}; found {found}")
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) < len(header):
                raise InputError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells where the header has {len(header)}; mend it"
                )
            yield dict(zip(header, map(restored, cells), strict=False))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not valid CSV ({error}); mend that line") from error


def check_pattern(name: str, text: str | None) -> re.Pattern[str] | None:
    """Check a regular expression that the argument ``name`` gave; none for none.

    Raises:
        InputError: it is no regular expression.
    """
    try:
        return None if text is None else re.compile(text)
    except re.error as error:
        raise InputError(Argument(name, text), f": not a regular expression ({error}); correct it") from error


def compile_pattern(name: str, text: str | None) -> re.Pattern[str] | None:
    """Check an expression whose first group is the ``name``; none for none.

    Raises:
        InputError: it is no regular expression, or has no group.
    """
    pattern = check_pattern(name, text)
    if pattern is not None and not pattern.groups:
        raise InputError(Argument(name, text), f": has no group; put the part that tells the {name} in brackets")
    return pattern


def first_group(pattern: re.Pattern[str] | None, text: str) -> str | None:
    """What the expression's first group finds in ``text``."""
    match = pattern.search(text) if pattern else None
    return match[1] or None if match else None
