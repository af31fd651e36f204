"""CSV files that spreadsheets open without running anything, and that come back as they were.

A cell that begins with = + - @, a tab or a line break (or a full-width one of these signs) is taken for a formula by
spreadsheets. The names and ids of others' files may hold such a thing, so it gets a ' in front, as OWASP recommends
(CSV Injection, https://owasp.org/www-community/attacks/CSV_Injection); numbers stay numbers. To be exact in return, a
cell that looks as if it had got one gets another. Who reads these files with other tools takes one ' off such cells.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from typing import Protocol

FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(inf|nan)", re.ASCII | re.IGNORECASE)
QUOTE = "'"


def defused(cell: object) -> object:
    """A cell as it is written: text that a spreadsheet would run has a ' in front."""
    if cell is None or isinstance(cell, int | float):
        return cell
    text = str(cell)
    return QUOTE + text if _is_formula(text) else text


def restored(cell: str) -> str:
    """The text that ``defused`` was given."""
    return cell[1:] if cell.startswith(QUOTE) and _is_formula(cell[1:]) else cell


def _is_formula(text: str) -> bool:
    return FORMULA.match(text) is not None and NUMBER.fullmatch(text) is None


class Target(Protocol):
    """An open text file."""

    def write(self, text: str, /) -> object: ...


class CsvWriter:
    """Writes rows of a CSV file, each cell ``defused``.

    Args:
        file: opened with ``newline=""``.
        lineterminator: after each row.
    """

    def __init__(self, file: Target, lineterminator: str = "\r\n") -> None:
        self._writer = csv.writer(file, lineterminator=lineterminator)

    def writerow(self, cells: Iterable[object]) -> None:
        """Write one row."""
        self._writer.writerow([defused(cell) for cell in cells])

    def writerows(self, rows: Iterable[Iterable[object]]) -> None:
        """Write several."""
        for row in rows:
            self.writerow(row)


def csv_rows(lines: Iterable[str], *, strict: bool = False) -> Iterator[list[str]]:
    """The rows that ``CsvWriter`` wrote, or anyone else.

    Args:
        lines: a text file opened with ``newline=""``.
        strict: as of ``csv.reader``.

    Raises:
        csv.Error: a row is no CSV.
    """
    for row in csv.reader(lines, strict=strict):
        yield [restored(cell) for cell in row]


def csv_records(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """The rows below a header, by its names; cells that are missing are left out.

    Raises:
        csv.Error: a row is no CSV.
    """
    rows = csv_rows(lines)
    header = next(rows, [])
    for row in rows:
        if row:
            yield dict(zip(header, row, strict=False))
