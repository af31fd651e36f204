"""Who may see the page: one-time links or a password, and then a session that a cookie names."""

import hashlib
import hmac
import secrets
import threading
import time
from collections import deque
from dataclasses import dataclass

LEAST_PASSWORD = 12
"""Characters."""
MOST_SESSIONS = 1_000
FAILURES, WITHIN = 10, 60.0
"""Wrong passwords in so many seconds, from whomever, after which none is looked at."""


@dataclass
class Session:
    """A browser that may see the page."""

    csrf: str
    """What each write must bring along, which another site cannot know."""
    reader: str = ""
    """Their name; empty until they gave it, and then it stays."""


class Sessions:
    """The sessions of one server; they end with it.

    Args:
        password: demanded instead of a link, where one is given.
        reader: name of a reader who is not asked for one.
    """

    def __init__(self, password: str | None = None, reader: str = "") -> None:
        self._password = None if password is None else _digest(password)
        self._reader = reader
        self._sessions: dict[bytes, Session] = {}
        self._token = secrets.token_urlsafe(32)
        self._failures: deque[float] = deque(maxlen=FAILURES)
        self._lock = threading.Lock()

    @property
    def wants_password(self) -> bool:
        """Whether links are good for nothing."""
        return self._password is not None

    @property
    def token(self) -> str:
        """Of the next link; good for one browser."""
        return self._token

    def enter(self, token: str) -> str | None:
        """Open a session with a link's token, which is used up by that; gives the cookie's value."""
        with self._lock:
            if self.wants_password or not _same(token, self._token):
                return None
            self._token = secrets.token_urlsafe(32)
        return self._open()

    def log_in(self, password: str) -> str | None:
        """Open a session with the password; gives the cookie's value."""
        if self._password is None or not hmac.compare_digest(_digest(password), self._password):
            with self._lock:
                self._failures.append(time.monotonic())
            return None
        return self._open()

    def too_many_failures(self) -> bool:
        """Whether so many passwords were wrong of late that somebody may be guessing."""
        with self._lock:
            return len(self._failures) == FAILURES and time.monotonic() - self._failures[0] < WITHIN

    def find(self, cookie: str) -> Session | None:
        """The session that a cookie names."""
        return self._sessions.get(_digest(cookie)) if cookie else None

    def _open(self) -> str:
        cookie = secrets.token_urlsafe(32)
        with self._lock:
            if len(self._sessions) >= MOST_SESSIONS:
                self._sessions.pop(next(iter(self._sessions)))
            self._sessions[_digest(cookie)] = Session(secrets.token_urlsafe(32), self._reader)
        return cookie


def is_csrf_token(session: Session, token: str) -> bool:
    """Whether a write brings along what its session was given."""
    return _same(token, session.csrf)


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
