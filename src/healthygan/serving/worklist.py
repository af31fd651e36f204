"""The ranked pile as a reader asks for it: filtered, sorted, page by page; and what stands before and behind a case."""

from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import ColumnElement, Connection, Row, Select, and_, case, func, or_, select

from healthygan.serving.database import CASES, CURRENT, P_VALUE, PROBABILITY
from healthygan.serving.verdicts import KINDS

PAGE = 50
CUTS = 1000
"""Steps of the threshold's slider."""
Sort = Literal["rank", "score", "p_value", "probability", "patient", "name", "remark", "verdict"]
CHOICES = ("any", "unread", "read", *KINDS)


class Wanted(BaseModel):
    """What a reader asks for, as it stands in an address."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sort: Sort = "rank"
    down: bool = False
    search: str = Field("", max_length=200)
    verdict: str = Field("any", max_length=20)
    flagged: Literal["any", "yes", "no"] = "any"
    worklist: bool = False
    remark: str = Field("any", max_length=300)
    cut: int = Field(CUTS, ge=0, le=CUTS)
    group: bool = False
    page: int = Field(1, ge=1, le=1_000_000)

    def query(self, **changes: object) -> str:
        """The same with some changes, as the end of an address; what is as usual is left out."""
        values = {**self.model_dump(), **changes}
        usual = Wanted().model_dump()
        shown = {name: int(v) if isinstance(v, bool) else v for name, v in values.items() if v != usual.get(name)}
        return urlencode(shown)


@dataclass(frozen=True)
class Page:
    """Some rows, and how many there are in all."""

    rows: list[Row[Any]]
    total: int
    number: int

    @property
    def pages(self) -> int:
        """At least 1."""
        return max(1, -(-self.total // PAGE))


@dataclass(frozen=True)
class Counts:
    """What a threshold implies."""

    images: int
    units: int
    flagged: int | None
    read: int
    diseased: int
    expected: float | None
    """Diseased images to expect, where the table holds probabilities."""
    score: float | None
    """The lowest score above the threshold."""


def page(connection: Connection, wanted: Wanted, reader: str) -> Page:
    """The rows of one page; behind the last page there is the last one."""
    chosen = _chosen(connection, wanted, reader)
    total = _total(connection, wanted, chosen)
    number = min(wanted.page, max(1, -(-total // PAGE)))
    # First which, from an index alone, and then all that is known of these few.
    some = chosen.order_by(*_order(wanted)).limit(PAGE).offset((number - 1) * PAGE)
    numbers = list(connection.scalars(some))
    rows = {row.id: row for row in connection.execute(_shown(reader).where(CASES.c.id.in_(numbers)))}
    return Page([rows[number] for number in numbers], total, number)


def neighbour(connection: Connection, wanted: Wanted, reader: str, case_id: int, behind: bool) -> int | None:
    """The case right behind another one, or before it, in the order asked for; None at the end."""
    key, place = _key(wanted), CASES.c.place
    here = connection.execute(_with_key(select(key, place), wanted, reader).where(CASES.c.id == case_id)).first()
    if here is None:
        return None
    value, at = here
    rising = behind != wanted.down
    further = or_(key > value if rising else key < value, and_(key == value, place > at if behind else place < at))
    order = (key.asc() if rising else key.desc(), place.asc() if behind else place.desc())
    rows = _chosen(connection, wanted, reader).where(further).order_by(*order)
    following: int | None = connection.scalar(rows.limit(1))
    return following


def counts(connection: Connection, cut: int, reader: str) -> Counts:
    """What the slider's place implies."""
    place = last_place(connection, cut)
    last = connection.execute(select(CASES).where(CASES.c.place == place)).one()
    read = select(func.count(), func.coalesce(func.sum(case((CURRENT.c.kind == "diseased", 1), else_=0)), 0))
    read = read.join(CASES, CASES.c.id == CURRENT.c.case_id).where(CURRENT.c.reader == reader)
    own, diseased = connection.execute(read.where(CASES.c.place > 0, CASES.c.place <= place)).one()
    return Counts(place, last.units_above, last.flagged_above, own, int(diseased), last.expected_above, last.score)


def last_place(connection: Connection, cut: int) -> int:
    """The last image above the slider's place: finer at the top, where readers work."""
    highest = connection.scalar(select(func.max(CASES.c.place))) or 0
    return highest if cut >= CUTS else max(1, round(highest ** (cut / CUTS)))


def remarks(connection: Connection) -> list[str]:
    """The most frequent remarks, to choose from."""
    shown = select(CASES.c.remark).where(CASES.c.remark != "", CASES.c.place > 0).group_by(CASES.c.remark)
    return list(connection.scalars(shown.order_by(func.count().desc()).limit(20)))


def of_file(connection: Connection, path: bytes, reader: str) -> list[Row[Any]]:
    """All frames of a file, in order."""
    rows = _shown(reader).where(CASES.c.path == path, CASES.c.place > 0)
    return list(connection.execute(rows.order_by(CASES.c.frame)))


def of_unit(connection: Connection, unit: str, reader: str, most: int = 24) -> list[Row[Any]]:
    """A patient's images, the highest score first."""
    rows = _shown(reader).where(CASES.c.unit == unit, CASES.c.place > 0)
    return list(connection.execute(rows.order_by(CASES.c.place).limit(most)))


def _shown(reader: str) -> Select[Any]:
    """All that is known of cases, and the reader's own verdict."""
    return _joined(select(CASES, CURRENT.c.kind), reader)


def _joined(columns: Select[Any], reader: str) -> Select[Any]:
    own = and_(CURRENT.c.case_id == CASES.c.id, CURRENT.c.reader == reader)
    return columns.select_from(CASES.outerjoin(CURRENT, own))


def _with_key(columns: Select[Any], wanted: Wanted, reader: str) -> Select[Any]:
    """Verdicts are looked up where they are sorted by, and only there."""
    return _joined(columns, reader) if wanted.sort == "verdict" else columns


def _chosen(connection: Connection, wanted: Wanted, reader: str) -> Select[Any]:
    """Numbers of the cases that the filters leave."""
    shown: list[ColumnElement[bool]] = [CASES.c.place > 0]
    if wanted.cut < CUTS:
        shown.append(CASES.c.place <= last_place(connection, wanted.cut))
    if wanted.search:
        shown.append(func.instr(CASES.c.words, wanted.search.lower()) > 0)
    if wanted.flagged != "any":
        shown.append(CASES.c.flagged == (wanted.flagged == "yes"))
    if wanted.worklist:
        shown.append(CASES.c.worklist == 1)
    if wanted.remark == "some":
        shown.append(CASES.c.remark != "")
    elif wanted.remark != "any":
        shown.append(CASES.c.remark == ("" if wanted.remark == "none" else wanted.remark))
    own = select(CURRENT.c.case_id).where(CURRENT.c.reader == reader)
    if wanted.verdict in ("unread", "read"):
        shown.append(CASES.c.id.not_in(own) if wanted.verdict == "unread" else CASES.c.id.in_(own))
    elif wanted.verdict in KINDS:
        shown.append(CASES.c.id.in_(own.where(CURRENT.c.kind == wanted.verdict)))
    return _with_key(select(CASES.c.id), wanted, reader).where(*shown)


def _total(connection: Connection, wanted: Wanted, chosen: Select[Any]) -> int:
    unfiltered = Wanted(sort=wanted.sort, down=wanted.down, group=wanted.group, page=wanted.page, cut=wanted.cut)
    if wanted == unfiltered:
        return last_place(connection, wanted.cut)
    return connection.scalar(chosen.with_only_columns(func.count())) or 0


def _key(wanted: Wanted) -> ColumnElement[Any]:
    """What is sorted by; never NULL."""
    match wanted.sort:
        case "rank":
            return CASES.c.unit_place if wanted.group else CASES.c.place
        case "score":
            return -CASES.c.place  # the table is sorted by it
        case "patient" | "name" | "remark":
            return CASES.c[wanted.sort]
        case "p_value":
            return P_VALUE
        case "probability":
            return PROBABILITY
        case "verdict":
            return func.coalesce(CURRENT.c.kind, "")


def _order(wanted: Wanted) -> tuple[ColumnElement[Any], ...]:
    if wanted.sort == "score":
        return ((CASES.c.place.asc() if wanted.down else CASES.c.place.desc()),)
    key = _key(wanted)
    return (key.desc() if wanted.down else key.asc(), CASES.c.place.asc())
