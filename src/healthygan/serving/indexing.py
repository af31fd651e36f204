"""From ``scores.csv`` to rows that can be sorted, searched and turned over page by page."""

import csv
import hashlib
import json
import os
import secrets
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.sqlite import insert

from healthygan.common.errors import InputError
from healthygan.common.files import content_hash
from healthygan.serving.database import CASES, FACTS, Database
from healthygan.serving.scored_folder import ScoredFolder

AT_ONCE = 2_000
BOX = ("top", "left", "height", "width")

Row = dict[str, Any]


def index(folder: ScoredFolder, database: Database) -> int:
    """Bring the table into the database unless it is there already; gives the number of cases.

    Cases keep their number, their verdicts and their place in the random order when the pile was scored anew.

    Raises:
        InputError: the table is damaged.
    """
    regions = folder.table.with_name("regions.csv")
    state = content_hash(folder.table) + (content_hash(regions) if regions.exists() else "")
    with database.write() as connection:
        if fact(connection, "indexed") != state:
            seed = fact(connection, "seed") or secrets.token_hex(8)
            _fill(connection, folder, regions, seed)
            _note(connection, seed=seed, indexed=state)
        listed = connection.scalar(select(func.count()).where(CASES.c.place > 0))
    return int(listed or 0)


def fact(connection: Connection, name: str) -> str | None:
    """What is noted under a name."""
    return connection.scalar(select(FACTS.c.value).where(FACTS.c.name == name))


def _note(connection: Connection, **facts: str) -> None:
    for name, value in facts.items():
        row = insert(FACTS).values(name=name, value=value)
        connection.execute(row.on_conflict_do_update(index_elements=["name"], set_={"value": value}))


def _fill(connection: Connection, folder: ScoredFolder, regions: Path, seed: str) -> None:
    connection.execute(update(CASES).values(place=0, regions="[]"))
    insertion = insert(CASES)
    kept = {"id", "path", "frame", "draw"}
    renewed = {column.name: insertion.excluded[column.name] for column in CASES.c if column.name not in kept}
    upsert = insertion.on_conflict_do_update(index_elements=["path", "frame"], set_=renewed)
    table = _rows(folder.table, seed)
    while rows := list(islice(table, AT_ONCE)):
        connection.execute(upsert, rows)
    if regions.exists():
        for (path, frame), boxes in _regions(regions).items():
            here = (CASES.c.path == path) & (CASES.c.frame == frame)
            connection.execute(update(CASES).where(here).values(regions=json.dumps(boxes)))
    connection.exec_driver_sql("ANALYZE")


def _rows(table: Path, seed: str) -> Iterator[Row]:
    place, above = 0, _Above()
    try:
        with table.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            for place, row in enumerate(csv.DictReader(file), start=1):
                yield above.counted(_row(place, row, seed))
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(f"{table}: damaged behind row {place} ({error}); score the pile again") from error
    if not place:
        raise InputError(f"{table}: lists no image; score the pile again")


class _Above:
    """Counts of the rows so far."""

    def __init__(self) -> None:
        self._units: dict[str, int] = {}
        self._flagged: float | None = None
        self._expected: float | None = None

    def counted(self, row: Row) -> Row:
        """The row with what it and those above it come to."""
        best = self._units.setdefault(row["unit"], row["place"])
        self._flagged = _sum(self._flagged, row["flagged"])
        self._expected = _sum(self._expected, row["probability"])
        counts = {"units_above": len(self._units), "flagged_above": self._flagged, "expected_above": self._expected}
        return {**row, "unit_place": best, **counts}


def _sum(total: float | None, further: float | None) -> float | None:
    return total if further is None else (total or 0) + further


def _row(place: int, row: dict[str, str], seed: str) -> Row:
    path, frame = os.fsencode(row["path"]), int(row["frame"] or 0)
    patient = _shown(row.get("patient_id") or "")
    return {
        "path": path,
        "frame": frame,
        "name": _shown(Path(row["path"]).name),
        "shown_path": _shown(row["path"]),
        "place": place,
        "rank": int(row["rank"]),
        "score": float(row["score"]),
        "p_value": _number(row.get("p_value")),
        "probability": _number(row.get("probability")),
        "flagged": _number(row.get("flagged")),
        "worklist": _number(row.get("worklist")),
        "patient": patient,
        "remark": _shown(row.get("remark") or ""),
        "unit": f"patient {patient}" if patient else f"file {_shown(row['path'])}",
        "words": "\n".join((_shown(row["path"]), patient, _shown(row.get("remark") or ""))).lower(),
        "draw": hashlib.blake2b(b"%s %d %s" % (seed.encode(), frame, path), digest_size=16).digest(),
        "regions": "[]",
    }


def _regions(path: Path) -> dict[tuple[bytes, int], list[dict[str, int]]]:
    """Boxes of the regions of each frame, in pixels of the networks' images."""
    boxes: dict[tuple[bytes, int], list[dict[str, int]]] = defaultdict(list)
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        for row in csv.DictReader(file):
            boxes[os.fsencode(row["path"]), int(row["frame"])].append({side: int(row[side]) for side in BOX})
    return boxes


def _number(cell: str | None) -> float | None:
    return float(cell) if cell else None


def _shown(text: str) -> str:
    """Text that any page can hold: bytes that are no UTF-8 become "?"."""
    return text.encode("utf-8", "replace").decode()
