"""What readers look at: the worklist, a case, how far they are."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from sqlalchemy import Row, select
from starlette.responses import PlainTextResponse, Response

from healthygan.serving import verdicts, worklist
from healthygan.serving.agreement import agreements
from healthygan.serving.database import CASES
from healthygan.serving.desk import Desk
from healthygan.serving.rendering import page, session_of
from healthygan.serving.stopping import reading_of, stopping_summary
from healthygan.serving.verdicts import KINDS
from healthygan.serving.worklist import Wanted

Asked = Annotated[Wanted, Query()]
COLUMNS = {
    "rank": "rank",
    "score": "score",
    "p_value": "p-value",
    "probability": "probability",
    "patient": "patient",
    "name": "file",
    "remark": "remark",
    "verdict": "verdict",
}
FALLING = ("score", "probability")
"""Columns that are sorted the greatest first at first."""


def pages(desk: Desk) -> APIRouter:
    """Routes."""
    router = APIRouter()

    @router.get("/")
    def list_cases(request: Request, wanted: Asked) -> Response:
        reader = session_of(request).reader
        if not reader:
            return page(request, "name.html")
        with desk.database.read() as connection:
            context: dict[str, object] = {
                "desk": desk,
                "choices": worklist.CHOICES,
                "falling": FALLING,
                "cuts": worklist.CUTS,
                "wanted": wanted,
                "page": worklist.page(connection, wanted, reader),
                "counts": worklist.counts(connection, wanted.cut, reader),
                "progress": verdicts.progress(connection, reader),
                "remarks": worklist.remarks(connection),
                **_filled(connection.execute(select(CASES).where(CASES.c.place > 0).limit(1)).one()),
            }
        template = "results.html" if "hx-request" in request.headers else "worklist.html"
        return page(request, template, context)

    @router.get("/progress")
    def how_far(request: Request) -> Response:
        reader = session_of(request).reader
        with desk.database.read() as connection:
            reading = reading_of(connection, reader)
            shared = agreements(connection, reader)
        return page(request, "progress.html", {"agreements": shared, "stopping": stopping_summary(reading)})

    @router.get("/case/{case_id}")
    def show_case(request: Request, case_id: int, wanted: Asked, queue: bool = False) -> Response:
        reader = session_of(request).reader
        if not reader:
            return page(request, "name.html")
        context = _case(desk, case_id, wanted, reader)
        if context is None:
            return PlainTextResponse("no such case", 404)
        context |= {"desk": desk, "wanted": wanted, "queue": queue, "kinds": KINDS}
        return page(request, "case.html", context)

    return router


def _filled(row: Row[Any]) -> dict[str, object]:
    """What the table has something for, as its first row tells: columns with their titles, and marks."""
    missing = {name for name in ("p_value", "probability", "flagged", "worklist") if getattr(row, name) is None}
    return {
        "columns": {name: title for name, title in COLUMNS.items() if name not in missing},
        "marks": {"flagged", "worklist"} - missing,
    }


def _case(desk: Desk, case_id: int, wanted: Wanted, reader: str) -> dict[str, object] | None:
    with desk.database.read() as connection:
        row = connection.execute(select(CASES).where(CASES.c.id == case_id)).first()
        if row is None:
            return None
        own = verdicts.own(connection, case_id, reader)
        frames = worklist.of_file(connection, row.path, reader)
        near = {
            "before": worklist.neighbour(connection, wanted, reader, case_id, behind=False),
            "behind": worklist.neighbour(connection, wanted, reader, case_id, behind=True),
        }
        facts = {
            "id": case_id,
            "frames": [frame.id for frame in frames],
            "regions": json.loads(row.regions),
            "size": desk.folder.framing.size if desk.folder.framing else 0,
            "marks": json.loads(own.marks) if own else [],
        }
        others = verdicts.of_others(connection, case_id, reader, desk.blind)
        return {
            "case": row,
            "own": own,
            "facts": facts,
            "near": near,
            "others": others,
            "frames": frames,
            "patient": [image for image in worklist.of_unit(connection, row.unit, reader) if image.path != row.path],
            "progress": verdicts.progress(connection, reader),
        }
