"""Verdicts as CSV, out and in. Cells that a spreadsheet would take for a formula are neutralised."""

import csv
import io
import json
import os
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, Row, select

from healthygan.common.errors import InputError
from healthygan.serving.database import CASES, CURRENT, VERDICTS
from healthygan.serving.verdicts import WITHDRAWN, Mark, Verdict, record

COLUMNS = (
    *("path", "frame", "patient_id", "rank", "score", "reader", "verdict", "note", "marks", "time", "model"),
    *("drawn", "withdrawn"),
)
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
MARKS = TypeAdapter(tuple[Mark, ...])


def export_csv(connection: Connection, reader: str, blind: bool) -> Iterator[str]:
    """The whole log in lines of CSV, oldest first; where reading is blind, of others only what the reader may see."""
    withdrawn = set(connection.scalars(select(VERDICTS.c.withdraws).where(VERDICTS.c.withdraws.is_not(None))))
    rows = select(VERDICTS, CASES.c.path, CASES.c.frame, CASES.c.patient, CASES.c.rank, CASES.c.score)
    rows = rows.join(CASES, CASES.c.id == VERDICTS.c.case_id).where(VERDICTS.c.kind != WITHDRAWN)
    if blind:
        read = select(CURRENT.c.case_id).where(CURRENT.c.reader == reader)
        rows = rows.where((VERDICTS.c.reader == reader) | VERDICTS.c.case_id.in_(read))
    yield _line(COLUMNS)
    for row in connection.execute(rows.order_by(VERDICTS.c.id)):
        yield _line(_cells(row, row.id in withdrawn))


def _cells(row: Row[Any], withdrawn: bool) -> tuple[object, ...]:
    place = (neutral(os.fsdecode(row.path)), row.frame, neutral(row.patient), row.rank, f"{row.score:.6f}")
    found = (neutral(row.reader), row.kind, neutral(row.note), row.marks)
    return (*place, *found, row.time, neutral(row.model), row.drawn, int(withdrawn))


def _line(cells: tuple[object, ...]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells)
    return buffer.getvalue()


def neutral(cell: str) -> str:
    """The cell, with an apostrophe before it where a spreadsheet would compute it, or would drop one it has."""
    return f"'{cell}" if cell.startswith((*FORMULA, "'")) else cell


def restored(cell: str) -> str:
    """What ``neutral`` was given."""
    return cell[1:] if cell.startswith("'") else cell


def import_csv(connection: Connection, content: str, reader: str, model: str) -> int:
    """Add the verdicts of a CSV file with the columns path and verdict and, where known, those of ``COLUMNS``.

    Cases are found by path and frame among those of the table; none is opened. A verdict that is there already (of
    one reader and time) or was withdrawn is left out.

    Args:
        reader: whose the verdicts are where the file names nobody.

    Returns:
        How many were added.

    Raises:
        InputError: a row names no case of this pile, or holds no verdict; nothing is added then.
    """
    cases = {
        (row.path, row.frame): row.id for row in connection.execute(select(CASES.c.path, CASES.c.frame, CASES.c.id))
    }
    kept = connection.execute(select(VERDICTS.c.case_id, VERDICTS.c.reader, VERDICTS.c.time))
    known = {tuple(row) for row in kept}
    added = 0
    rows = csv.DictReader(io.StringIO(content, newline=""))
    if not {"path", "verdict"} <= set(rows.fieldnames or ()):
        raise InputError("the file lacks the column path or verdict; import what was exported here")
    for number, row in enumerate(rows, start=2):
        try:
            case_id = cases[os.fsencode(restored(row["path"])), int(row.get("frame") or 0)]
            verdict = _verdict(row)
            time = row.get("time") or None
            if time is not None:
                datetime.fromisoformat(time)  # so that no cell of another kind comes out again
            whose = named(restored(row.get("reader") or "")) or reader
        except (KeyError, ValueError, ValidationError, TypeError) as error:
            raise InputError(
                f"line {number}: no case of this pile, or no verdict; correct it and import again"
            ) from error
        if row.get("withdrawn") == "1" or (case_id, whose, time) in known:
            continue
        record(connection, case_id, whose, verdict, restored(row.get("model") or model)[:64], time)
        added += 1
    return added


def _verdict(row: dict[str, str]) -> Verdict:
    marks = MARKS.validate_python(json.loads(row.get("marks") or "[]"))
    return Verdict.model_validate({"kind": row["verdict"], "note": restored(row.get("note") or ""), "marks": marks})


def named(name: str) -> str:
    """A reader's name as it is kept: one line of printable characters, 60 at most; empty where nothing is left."""
    return "".join(letter for letter in " ".join(name.split()) if letter.isprintable())[:60].strip()
