"""The way in: links, the password, the reader's name; and the files that pages load."""

import asyncio
from collections.abc import Callable
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request
from starlette.responses import PlainTextResponse, Response

from healthygan.serving.exchange import named
from healthygan.serving.rendering import page, session_of, static_files
from healthygan.serving.sessions import Sessions

WAIT = 1.0
"""Seconds that a wrong password costs."""


def doors(sessions: Sessions, cookie: str, is_encrypted: bool, on_entry: Callable[[], None]) -> APIRouter:
    """Routes.

    Args:
        cookie: name of the session's cookie.
        on_entry: called when a link was used up.
    """
    router = APIRouter()

    def opened(request: Request, value: str) -> Response:
        # A page that leads on, not a redirect: after a link from elsewhere browsers would hold a strict cookie back.
        answer = page(request, "opened.html")
        answer.set_cookie(cookie, value, httponly=True, samesite="strict", secure=is_encrypted, path="/")
        return answer

    @router.get("/enter")
    def enter(request: Request, token: Annotated[str, Query(max_length=200)] = "") -> Response:
        value = sessions.enter(token)
        if value is None:
            return PlainTextResponse("this link was used or is wrong; the terminal shows the next one", 403)
        on_entry()
        return opened(request, value)

    @router.get("/login")
    def login(request: Request) -> Response:
        if not sessions.wants_password:
            return PlainTextResponse("open the link that the terminal shows", 404)
        return page(request, "login.html", {"wrong": False})

    @router.post("/login")
    async def log_in(request: Request) -> Response:
        if sessions.too_many_failures():
            return PlainTextResponse("too many wrong passwords; wait a minute", 429)
        fields = parse_qs((await request.body()).decode("utf-8", "replace"))
        value = sessions.log_in(fields.get("password", [""])[0])
        if value is None:
            await asyncio.sleep(WAIT)
            return page(request, "login.html", {"wrong": True}, 403)
        return opened(request, value)

    @router.post("/reader")
    async def reader(request: Request) -> Response:
        fields = parse_qs((await request.body()).decode("utf-8", "replace"))
        name = named(fields.get("name", [""])[0])
        session = session_of(request)
        if not name:
            return PlainTextResponse("give a name", 422)
        if session.reader and session.reader != name:
            return PlainTextResponse("this session has a reader; another one opens a link of their own", 409)
        session.reader = name
        return Response(status_code=204, headers={"HX-Redirect": "/"})

    @router.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in static_files():
            return PlainTextResponse("no such file", 404)
        content, kind = static_files()[name]
        return Response(content, media_type=kind, headers={"cache-control": "public, max-age=300"})

    return router
