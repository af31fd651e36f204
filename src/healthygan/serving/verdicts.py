"""What readers find: a log that is only added to, and what it comes to."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, Row, Select, and_, delete, func, select
from sqlalchemy.dialects.sqlite import insert

from healthygan.serving.database import CURRENT, OPENINGS, VERDICTS

KINDS = ("healthy", "diseased", "unsure", "not assessable")
WITHDRAWN = "withdrawn"
LONGEST_NOTE = 4_000
MOST_MARKS = 50

Coordinate = Field(ge=-1e6, le=1e6, allow_inf_nan=False)


class Mark(BaseModel):
    """A box, or a point where it has no size, in pixels of the image as it is in its file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    x: float = Coordinate
    y: float = Coordinate
    width: float = Field(0.0, ge=0, le=1e6, allow_inf_nan=False)
    height: float = Field(0.0, ge=0, le=1e6, allow_inf_nan=False)


class Verdict(BaseModel):
    """What a reader says of a case."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["healthy", "diseased", "unsure", "not assessable"]
    note: str = Field("", max_length=LONGEST_NOTE)
    marks: tuple[Mark, ...] = Field((), max_length=MOST_MARKS)


@dataclass(frozen=True)
class Progress:
    """How far a reader is."""

    read: int
    diseased: int


def record(
    connection: Connection, case_id: int, reader: str, verdict: Verdict, model: str, time: str | None = None
) -> int:
    """Add a verdict; gives its number.

    Args:
        model: hash of the model whose ranking was read.
        time: when it was given, where that is not now.
    """
    marks = json.dumps([mark.model_dump() for mark in verdict.marks])
    opening = insert(OPENINGS).values(case_id=case_id, reader=reader, at_random=0)
    connection.execute(opening.on_conflict_do_nothing())
    drawn = select(OPENINGS.c.at_random).where(OPENINGS.c.case_id == case_id, OPENINGS.c.reader == reader)
    added = _add(
        connection,
        case_id=case_id,
        reader=reader,
        kind=verdict.kind,
        note=verdict.note,
        marks=marks,
        time=time or now(),
        model=model,
        drawn=connection.scalar(drawn),
    )
    _now_current(connection, case_id, reader, added, verdict.kind)
    return added


def withdraw_last(connection: Connection, reader: str, model: str) -> int | None:
    """Undo a reader's last verdict that still stands: the one before it on that case stands again.

    Returns:
        The case; None where nothing stands.
    """
    standing = select(CURRENT.c.case_id, CURRENT.c.verdict_id).where(CURRENT.c.reader == reader)
    last = connection.execute(standing.order_by(CURRENT.c.verdict_id.desc()).limit(1)).first()
    if last is None:
        return None
    case_id = int(last.case_id)
    _add(
        connection,
        case_id=case_id,
        reader=reader,
        kind=WITHDRAWN,
        note="",
        marks="[]",
        time=now(),
        model=model,
        drawn=0,
        withdraws=last.verdict_id,
    )
    before = connection.execute(_standing(case_id, reader)).first()
    if before is None:
        connection.execute(delete(CURRENT).where(CURRENT.c.case_id == case_id, CURRENT.c.reader == reader))
    else:
        _now_current(connection, case_id, reader, before.id, before.kind)
    return case_id


def own(connection: Connection, case_id: int, reader: str) -> Row[Any] | None:
    """A reader's verdict on a case that stands."""
    return connection.execute(_standing(case_id, reader)).first()


def of_others(connection: Connection, case_id: int, reader: str, blind: bool) -> Sequence[Row[Any]]:
    """What others say of a case; nothing before the reader's own verdict where reading is blind."""
    if blind and own(connection, case_id, reader) is None:
        return []
    here = and_(CURRENT.c.verdict_id == VERDICTS.c.id, CURRENT.c.case_id == case_id, CURRENT.c.reader != reader)
    return list(connection.execute(select(VERDICTS).join(CURRENT, here).order_by(VERDICTS.c.reader)))


def progress(connection: Connection, reader: str) -> Progress:
    """How many cases a reader has read, and how many of them are diseased."""
    rows = select(CURRENT.c.kind, func.count()).where(CURRENT.c.reader == reader).group_by(CURRENT.c.kind)
    by_kind = {kind: number for kind, number in connection.execute(rows)}
    return Progress(sum(by_kind.values()), by_kind.get("diseased", 0))


def now() -> str:
    """The time, to the millisecond, UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _standing(case_id: int, reader: str) -> Select[Any]:
    withdrawn = select(VERDICTS.c.withdraws).where(VERDICTS.c.withdraws.is_not(None))
    rows = select(VERDICTS).where(VERDICTS.c.case_id == case_id, VERDICTS.c.reader == reader)
    stands = (VERDICTS.c.kind != WITHDRAWN, VERDICTS.c.id.not_in(withdrawn))
    return rows.where(*stands).order_by(VERDICTS.c.id.desc()).limit(1)


def _add(connection: Connection, **values: object) -> int:
    added = connection.execute(insert(VERDICTS).values(values)).inserted_primary_key
    assert added is not None
    return int(added[0])


def _now_current(connection: Connection, case_id: int, reader: str, verdict_id: int, kind: str) -> None:
    row = insert(CURRENT).values(case_id=case_id, reader=reader, verdict_id=verdict_id, kind=kind)
    renewed = {"verdict_id": verdict_id, "kind": kind}
    connection.execute(row.on_conflict_do_update(index_elements=["case_id", "reader"], set_=renewed))
