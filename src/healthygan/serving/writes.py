"""What readers write: verdicts, undo, the next case; and verdicts as CSV, out and in."""

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import StreamingResponse
from sqlalchemy.exc import OperationalError
from starlette.responses import JSONResponse, Response

from healthygan.common.errors import InputError
from healthygan.serving import mixing, verdicts
from healthygan.serving.desk import Desk
from healthygan.serving.exchange import export_csv, import_csv
from healthygan.serving.rendering import session_of
from healthygan.serving.verdicts import Verdict


def named_reader(request: Request) -> str:
    """The reader, who must have given a name."""
    reader = session_of(request).reader
    if not reader:
        raise HTTPException(403, "give your name first")
    return reader


Reader = Annotated[str, Depends(named_reader)]


def writes(desk: Desk) -> APIRouter:
    """Routes; each answers once what it wrote is on the disk."""
    router = APIRouter()

    @router.post("/case/{case_id}/verdict", status_code=201)
    def judge(case_id: int, verdict: Verdict, reader: Reader) -> dict[str, int]:
        if not desk.exists(case_id):
            raise HTTPException(404, "no such case")
        try:
            with desk.database.write() as connection:
                return {"verdict": verdicts.record(connection, case_id, reader, verdict, desk.folder.model)}
        except OperationalError as error:
            raise HTTPException(503, "the verdict could not be written: the disk is full or locked") from error

    @router.post("/undo")
    def undo(reader: Reader) -> dict[str, int | None]:
        with desk.database.write() as connection:
            return {"case": verdicts.withdraw_last(connection, reader, desk.folder.model)}

    @router.post("/next")
    def following(reader: Reader) -> dict[str, int | None]:
        with desk.database.write() as connection:
            return {"case": mixing.next_case(connection, reader, desk.share)}

    @router.get("/verdicts.csv")
    def export(reader: Reader) -> Response:
        with desk.database.read() as connection:
            lines = list(export_csv(connection, reader, desk.blind))
        content = "".join(lines).encode("utf-8", "surrogateescape")
        disposition = {"content-disposition": 'attachment; filename="verdicts.csv"'}
        return StreamingResponse(iter([content]), media_type="text/csv; charset=utf-8", headers=disposition)

    @router.post("/verdicts/import")
    async def take_in(request: Request, reader: Reader) -> Response:
        content = (await request.body()).decode("utf-8-sig", "surrogateescape")
        try:
            with desk.database.write() as connection:
                added = import_csv(connection, content, reader, desk.folder.model)
        except InputError as error:
            return JSONResponse({"detail": str(error)}, 422)
        return JSONResponse({"added": added})

    return router
