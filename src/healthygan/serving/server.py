"""The server: where it listens, and what it demands of readers for that."""

import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from healthygan.common.errors import Argument, InputError
from healthygan.serving.app import build_app
from healthygan.serving.desk import open_desk
from healthygan.serving.exchange import named
from healthygan.serving.mixing import SHARE
from healthygan.serving.sessions import LEAST_PASSWORD, Sessions

HERE = ("127.0.0.1", "localhost", "::1")
PORT = 8731


def is_local(host: str) -> bool:
    """Whether only this machine can reach it."""
    return host in HERE


def serve(
    scores: Path,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    names: tuple[str, ...] = (),
    password: str | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    reader: str = "",
    blind: bool = False,
    share: float = SHARE,
    tell: Callable[[str], None] = lambda line: None,
) -> None:
    """Serve the page until it is stopped (Ctrl-C).

    Args:
        scores: what ``score`` wrote, or a run whose pile was ranked.
        host: address to listen at; any but this machine's own demands a password.
        port: 0 takes a free one.
        names: further names under which browsers reach it.
        certificate, key: PEM files; with them it speaks TLS.
        reader: a name that readers need not give.
        blind: readers see each other's verdicts on a case only after their own.
        share: of the cases to read that are drawn at random, in [0, 1).
        tell: is given lines for whoever started it.

    Raises:
        InputError: nothing to read, no password where one is needed, or the port is taken.
    """
    _check(host, password, share, certificate, key)
    sessions = Sessions(None if is_local(host) else password, named(reader))
    desk = open_desk(scores, blind=blind, share=share)
    listening = _listen(host, port)
    port = listening.getsockname()[1]
    scheme = "https" if certificate else "http"
    hosts = _hosts(host, port, names)
    shown = f"{scheme}://{names[0] if names else _bracketed(host)}:{port}"

    def entered() -> None:
        tell(f"for another browser: {shown}/enter?token={sessions.token}")

    app = build_app(desk, sessions, hosts, cookie=f"healthygan_review_{port}", scheme=scheme, on_entry=entered)
    tell(f"{desk.cases:,} images to read; verdicts are kept in {desk.folder.database}; stop with Ctrl-C")
    if sessions.wants_password:
        tell(f"open {shown}/login and give the password")
        if not certificate:
            tell("without TLS the password and the images travel in the clear: give a certificate and its key")
    else:
        tell(f"open {shown}/enter?token={sessions.token} (good once)")
    config = uvicorn.Config(
        app,
        access_log=False,
        log_level="error",
        server_header=False,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        timeout_graceful_shutdown=3,
    )
    try:
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        desk.database.close()
        listening.close()


def _check(host: str, password: str | None, share: float, certificate: Path | None, key: Path | None) -> None:
    if not 0 <= share < 1:
        raise InputError(Argument("share", share), ": must lie in 0 to below 1, such as 0.1")
    if (certificate is None) != (key is None):
        raise InputError(Argument("certificate"), " and ", Argument("key"), ": give both, as PEM files, or neither")
    if not is_local(host) and len(password or "") < LEAST_PASSWORD:
        raise InputError(
            Argument("host", host),
            f": others can reach it there, so set a password of {LEAST_PASSWORD} characters or more in the variable "
            "HEALTHYGAN_REVIEW_PASSWORD; for TLS give ",
            Argument("certificate"),
            " and ",
            Argument("key"),
            " or put a proxy with TLS before it",
        )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()  # before the link is shown: whoever is quick waits a moment
    except OSError as error:
        listening.close()
        raise InputError(
            Argument("port", port),
            f": cannot be used at {host} ({error.strerror}); choose another, or 0 for a free one",
        ) from error
    return listening


def _hosts(host: str, port: int, names: tuple[str, ...]) -> frozenset[str]:
    """What browsers may call it, by which other names' pages cannot reach it (DNS rebinding)."""
    known = {*HERE, *names} if is_local(host) else {host, *names, socket.gethostname(), socket.getfqdn()}
    bracketed = {_bracketed(name).lower() for name in known}
    return frozenset({*(f"{name}:{port}" for name in bracketed), *(bracketed if port in (80, 443) else ())})


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
