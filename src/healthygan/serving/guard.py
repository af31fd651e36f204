"""What stands before every page: who is asked (Host), who asks, from where, how much they send; and what goes out."""

import logging
import traceback
from http.cookies import CookieError, SimpleCookie
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from healthygan.serving.sessions import Session, Sessions, is_csrf_token

LOG = logging.getLogger(__name__)
SMALL, LARGE = 256 << 10, 32 << 20
"""Bytes that a write may bring, and those that an import may."""
IMPORT = "/verdicts/import"
OPEN = ("/enter", "/login")
"""Pages that need no session."""
CSRF = "x-csrf-token"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}


class Guard:
    """Lets through to the app what is in order, with the session in ``scope["state"]["session"]``.

    Args:
        app: what is guarded.
        hosts: values of the header Host that are answered, with the port.
        cookie: name of the session's cookie.
        scheme: http or https, as browsers see it.
    """

    def __init__(self, app: ASGIApp, sessions: Sessions, hosts: frozenset[str], cookie: str, scheme: str) -> None:
        self.app, self.sessions, self.hosts, self.cookie, self.scheme = app, sessions, hosts, cookie, scheme

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        headers = Headers(scope=scope)
        session = self.sessions.find(_cookie(headers, self.cookie))
        scope.setdefault("state", {})["session"] = session
        send = _with_headers(send, self.scheme == "https")
        refusal = self._refusal(scope, headers, session)
        if refusal is not None:
            return await refusal(scope, receive, send)
        await self._answer(scope, _limited(receive, _limit(scope)), send)

    def _refusal(self, scope: Scope, headers: Headers, session: Session | None) -> Response | None:
        path, method = scope["path"], scope["method"]
        if headers.get("host", "").lower() not in self.hosts:
            return PlainTextResponse("this server does not answer to that name", 421)
        if method not in ("GET", "HEAD", "POST"):
            return PlainTextResponse("no such method", 405)
        if not (length := headers.get("content-length", "0")).isdigit() or int(length) > _limit(scope):
            return PlainTextResponse("too much at once", 413)
        if session is None and path not in OPEN and not path.startswith("/static/"):
            return self._without_session(path, method)
        if method == "POST":
            return self._foreign(path, headers, session)
        return None

    def _without_session(self, path: str, method: str) -> Response:
        if self.sessions.wants_password and method == "GET" and path == "/":
            return RedirectResponse("/login", 303)
        return PlainTextResponse("open the link that the terminal shows; each is good once", 401)

    def _foreign(self, path: str, headers: Headers, session: Session | None) -> Response | None:
        """What speaks against a write: it comes from another site, or does not know the session's token."""
        origin = headers.get("origin")
        if origin is not None and origin.lower() != f"{self.scheme}://{headers['host']}".lower():
            return PlainTextResponse("from another site", 403)
        if headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return PlainTextResponse("from another site", 403)
        if path == "/login":
            return None if origin is not None else PlainTextResponse("from nowhere", 403)
        if session is None or not is_csrf_token(session, headers.get(CSRF, "")):
            return PlainTextResponse("this page is out of date; load it again", 403)
        return None

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noting(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, noting)
        except TooLarge:
            if not started:
                await PlainTextResponse("too much at once", 413)(scope, receive, send)
        except Exception as error:
            # Neither the message nor the address: they may name a file or a patient.
            LOG.error("%s at %s", type(error).__name__, _places(error))
            if not started:
                await PlainTextResponse("the server failed; its terminal says where", 500)(scope, receive, send)


class TooLarge(HTTPException):
    """A body is longer than it may be."""

    def __init__(self) -> None:
        super().__init__(413, "too much at once")


def _limit(scope: Scope) -> int:
    return LARGE if scope["path"] == IMPORT else SMALL


def _limited(receive: Receive, limit: int) -> Receive:
    """What is received, as long as it is not too much; a length need not be announced, nor true."""
    received = 0

    async def limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise TooLarge
        return message

    return limited


def _with_headers(send: Send, is_encrypted: bool) -> Send:
    async def adding(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            if is_encrypted:
                headers["strict-transport-security"] = "max-age=31536000"
        await send(message)

    return adding


def _cookie(headers: Headers, name: str) -> str:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return "" if morsel is None else morsel.value


def _places(error: Exception) -> str:
    """Where it happened in this package, the innermost place last."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "healthygan" in frame.filename]
    return ", ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[-3:]) or "a library"
