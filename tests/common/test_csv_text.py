"""Cells that a spreadsheet would run are defused, numbers stay numbers, and everything comes back as it was."""

import csv
import io
import random

import pytest

from healthygan.common.csv_text import CsvWriter, csv_records, csv_rows, defused, restored

FORMULAS = [
    '=HYPERLINK("http://x")',
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\tx",
    "\rx",
    "\nx",
    "＝1",
    "＋1",
    "－1",
    "＠x",
    "-",
    "=",
]
HARMLESS = ["a.png", "/data/=a.png", "", "a=b", "'quoted'", "patient -1", " =1"]
NUMBERS = ["-1", "+1.5", "-.5", "-1e-9", "-2.", "-inf", "-nan", "0.25"]


@pytest.mark.parametrize("text", FORMULAS)
def test_what_a_spreadsheet_would_run_has_a_quote_in_front(text: str) -> None:
    assert defused(text) == "'" + text


@pytest.mark.parametrize("cell", [*HARMLESS, *NUMBERS, -1, -0.5, None])
def test_harmless_text_and_numbers_stay(cell: object) -> None:
    assert defused(cell) == cell


def test_everything_comes_back_as_it_was() -> None:
    draw = random.Random(0)
    made = ["".join(draw.choices("'=+-@\t\r\n1.e,\"; a猫", k=draw.randrange(6))) for _ in range(5000)]
    texts = [*FORMULAS, *HARMLESS, *NUMBERS, "'=x", "''=x", "'-1", "'-1x", "'", *made]
    assert [restored(str(defused(text))) for text in texts] == texts
    file = io.StringIO(newline="")
    CsvWriter(file).writerows([text, "x"] for text in texts)
    rows = csv_rows(io.StringIO(file.getvalue(), newline=""))
    # A carriage return inside a cell is quoted, and so kept.
    assert [row[0] for row in rows] == texts


def test_records_go_by_the_header_which_is_defused_too() -> None:
    file = io.StringIO(newline="")
    CsvWriter(file).writerows([("path", "=age"), ("-a.png", -3), ("b.png", "@x")])
    assert file.getvalue() == "path,'=age\r\n'-a.png,-3\r\nb.png,'@x\r\n"
    records = csv_records(io.StringIO(file.getvalue(), newline=""))
    assert list(records) == [{"path": "-a.png", "=age": "-3"}, {"path": "b.png", "=age": "@x"}]


def test_a_file_without_rows_has_no_records() -> None:
    assert list(csv_records([])) == []


def test_strict_reading_refuses_what_is_no_csv() -> None:
    with pytest.raises(csv.Error):
        list(csv_rows(['a,"b"c\n'], strict=True))
