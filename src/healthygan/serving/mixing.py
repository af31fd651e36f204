"""Which case comes next: from the top of the ranking, with cases drawn at random mixed in.

The random ones are what an honest bound on the diseased that are left rests on: whatever the ranking is worth, each
is drawn from all cases that their reader had not opened by then.
"""

from sqlalchemy import ColumnElement, Connection, Table, func, insert, select

from healthygan.serving.database import CASES, CURRENT, OPENINGS

SHARE = 0.1
"""Of the cases read that are drawn at random, unless told otherwise."""


def next_case(connection: Connection, reader: str, share: float = SHARE) -> int | None:
    """The case to read next; None when all are read. Draws where one is due, so this writes.

    A case that was drawn comes again until it is read: whoever could skip it would make the sample a choice.

    Args:
        share: of the cases read that are drawn at random, in [0, 1].
    """
    pending = select(OPENINGS.c.case_id).join(CASES, CASES.c.id == OPENINGS.c.case_id)
    pending = pending.where(OPENINGS.c.reader == reader, OPENINGS.c.at_random == 1, CASES.c.place > 0)
    waiting = connection.scalar(pending.where(~_has(CURRENT, reader)).order_by(OPENINGS.c.id).limit(1))
    if waiting is not None:
        return int(waiting)
    own = select(func.count(), func.coalesce(func.sum(OPENINGS.c.at_random), 0)).where(OPENINGS.c.reader == reader)
    opened, drawn = connection.execute(own).one()
    if drawn < int(share * (opened + 1) + 1e-9):
        return _draw(connection, reader)
    return _first(connection, ~_has(CURRENT, reader), CASES.c.place)


def _draw(connection: Connection, reader: str) -> int | None:
    """The first case of the seeded random order that was not opened: each of them is as likely as any other."""
    case_id = _first(connection, ~_has(OPENINGS, reader), CASES.c.draw)
    if case_id is None:
        return _first(connection, ~_has(CURRENT, reader), CASES.c.place)
    connection.execute(insert(OPENINGS).values(case_id=case_id, reader=reader, at_random=1))
    return case_id


def _first(connection: Connection, condition: ColumnElement[bool], order: ColumnElement[int]) -> int | None:
    return connection.scalar(select(CASES.c.id).where(CASES.c.place > 0, condition).order_by(order).limit(1))


def _has(table: Table, reader: str) -> ColumnElement[bool]:
    """Whether a reader has a row on the case."""
    return select(table.c.case_id).where(table.c.case_id == CASES.c.id, table.c.reader == reader).exists()
