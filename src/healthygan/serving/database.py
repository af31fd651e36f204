"""One SQLite file a scored folder: an index of its table, and the verdicts, which are only ever added to."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    create_engine,
    event,
    func,
    literal_column,
)
from sqlalchemy.exc import DatabaseError

from healthygan.common.errors import InputError

TABLES = MetaData()

FACTS = Table(
    "facts",
    TABLES,
    Column("name", String, primary_key=True),
    Column("value", String, nullable=False),
)
"""What is known of the whole: the hash of the table that was indexed, the seed of the random order."""

CASES = Table(
    "cases",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("path", LargeBinary, nullable=False),  # as bytes: names of files need not be UTF-8
    Column("frame", Integer, nullable=False),
    Column("name", String, nullable=False),
    Column("shown_path", String, nullable=False),
    Column("place", Integer, nullable=False),  # 1, 2, ... in the table; 0 once it is no longer there
    Column("rank", Integer, nullable=False),
    Column("score", Float, nullable=False),
    Column("p_value", Float),
    Column("probability", Float),
    Column("flagged", Integer),
    Column("worklist", Integer),
    Column("patient", String, nullable=False),
    Column("remark", String, nullable=False),
    Column("unit", String, nullable=False, index=True),  # the patient, or the file where none is known
    Column("unit_place", Integer, nullable=False),  # the best place of the unit's images
    Column("words", String, nullable=False),  # what is searched: path, patient and remark in lower case
    # Of this place and those above it, so that a threshold's counts are looked up and not counted:
    Column("units_above", Integer, nullable=False),
    Column("flagged_above", Integer),
    Column("expected_above", Float),
    Column("draw", LargeBinary, nullable=False, index=True),  # its place in the seeded random order
    Column("regions", String, nullable=False, default="[]"),
    UniqueConstraint("path", "frame"),
)
"""A row a frame. Its number stays when the pile is scored anew, and is all that a page ever names it by."""

PROBABILITY = func.coalesce(CASES.c.probability, literal_column("2.0"))
P_VALUE = func.coalesce(CASES.c.p_value, literal_column("2.0"))
"""Never NULL, which no comparison finds."""
for _name, _keys in {
    "place_words": (CASES.c.place, CASES.c.words),
    "by_unit": (CASES.c.unit_place, CASES.c.place),
    "by_patient": (CASES.c.patient, CASES.c.place),
    "by_name": (CASES.c.name, CASES.c.place),
    "by_remark": (CASES.c.remark, CASES.c.place),
    "by_p_value": (P_VALUE, CASES.c.place),
    "by_probability": (PROBABILITY, CASES.c.place),
    "by_flag": (CASES.c.flagged, CASES.c.place),
}.items():
    Index(f"cases_{_name}", *_keys)

VERDICTS = Table(
    "verdicts",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("case_id", Integer, nullable=False),
    Column("reader", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("note", String, nullable=False),
    Column("marks", String, nullable=False),
    Column("time", String, nullable=False),
    Column("model", String, nullable=False),
    Column("drawn", Integer, nullable=False),
    Column("withdraws", Integer, index=True),
)
"""The log. A row that withdraws another one is how undo is written."""

CURRENT = Table(
    "current",
    TABLES,
    Column("case_id", Integer, primary_key=True),
    Column("reader", String, primary_key=True),
    Column("verdict_id", Integer, nullable=False),
    Column("kind", String, nullable=False),
)
"""What the log comes to: each reader's last verdict on each case that was not withdrawn."""

OPENINGS = Table(
    "openings",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("case_id", Integer, nullable=False),
    Column("reader", String, nullable=False),
    Column("at_random", Integer, nullable=False),
    UniqueConstraint("reader", "case_id"),
)
"""The order in which a reader came to the cases: one drawn at random when it was drawn, others with their verdict."""

APPEND_ONLY = """
CREATE TRIGGER IF NOT EXISTS verdicts_no_{verb} BEFORE {verb} ON verdicts
BEGIN SELECT RAISE(ABORT, 'verdicts are only added to'); END
"""


class Database:
    """Connections that read, and one at a time that writes; what a write returned is on the disk.

    Args:
        path: of the file, made where it is missing.

    Raises:
        InputError: the folder cannot be written, or the file is no database.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._engine = _engine(path)
        self._writer = self._engine.execution_options(begin="BEGIN IMMEDIATE")
        try:
            TABLES.create_all(self._engine)
            with self.write() as connection:
                for verb in ("UPDATE", "DELETE"):
                    connection.exec_driver_sql(APPEND_ONLY.format(verb=verb))
        except DatabaseError as error:
            raise InputError(
                f"{path}: cannot be used ({error.orig}); make the folder writable, or put the file aside if damaged"
            ) from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view."""
        with self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """All of it is kept, or nothing where the block raises."""
        with self._lock, self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()


def _engine(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 30}, pool_size=8, max_overflow=32)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not by Python's driver
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "cache_size=-8000"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))

    return engine
