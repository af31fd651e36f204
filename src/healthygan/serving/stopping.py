"""How much is left to find, as far as the cases drawn at random can tell."""

from dataclasses import dataclass
from importlib import import_module

from sqlalchemy import Connection, func, select

from healthygan.serving.database import CASES, CURRENT, OPENINGS

AWAITED = -1
CODES = {"healthy": 0, "diseased": 1, "unsure": 2, "not assessable": 2}
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Reading:
    """What one reader's reading came to, in the order in which the cases were opened; all that a bound may rest on."""

    cases: int
    """In the pile."""
    verdicts: tuple[int, ...]
    """-1 awaited, 0 healthy, 1 diseased, 2 unsure or not assessable."""
    at_random: tuple[bool, ...]
    """Whether each was drawn from all cases that were not opened then."""


@dataclass(frozen=True)
class StoppingSummary:
    """What the panel shows."""

    diseased: int
    """Found."""
    left: float
    """Diseased cases estimated to be left."""
    most_left: float
    """With the confidence not more than these are left."""
    recall_bound: float
    """With the confidence at least this share of the diseased is found, in [0, 1]."""
    confidence: float
    rests_on: str
    """The evidence, in words."""


def reading_of(connection: Connection, reader: str) -> Reading:
    """What a reader has done so far."""
    cases = connection.scalar(select(func.count()).where(CASES.c.place > 0)) or 0
    own = (CURRENT.c.case_id == OPENINGS.c.case_id) & (CURRENT.c.reader == OPENINGS.c.reader)
    rows = select(OPENINGS.c.at_random, CURRENT.c.kind).join(CASES, CASES.c.id == OPENINGS.c.case_id)
    rows = rows.join(CURRENT, own, isouter=True).where(OPENINGS.c.reader == reader, CASES.c.place > 0)
    opened = list(connection.execute(rows.order_by(OPENINGS.c.id)))
    return Reading(
        cases,
        tuple(CODES[row.kind] if row.kind else AWAITED for row in opened),
        tuple(bool(row.at_random) for row in opened),
    )


def stopping_summary(reading: Reading) -> StoppingSummary | None:
    """The bound for a reading; None before the first random draw, or where nothing is installed that computes it."""
    if not any(reading.at_random):
        return None
    try:
        statistics = import_module("healthygan.stats.stopping")
    except ModuleNotFoundError:
        return None
    import numpy as np

    verdicts, at_random = np.array(reading.verdicts, np.int8), np.array(reading.at_random, np.bool_)
    told = statistics.stopping(reading.cases, verdicts, at_random, confidence=CONFIDENCE)
    return StoppingSummary(
        told.found, told.left, told.left_interval.high, told.recall_lower_bound, told.confidence, told.rests_on
    )
