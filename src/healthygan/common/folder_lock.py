"""One process at a time in a folder, and who it is."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from healthygan.common.errors import InputError
from healthygan.common.files import not_writable, write_json

LOCK = ".lock"
"""Stays in the folder, empty: to remove it while others look at it would let two in. The lock on it ends with its
process, whatever ends that."""
HOLDER = ".lock.json"
"""Who is in the folder, for those who are not let in; removed in the end."""
OWN = frozenset({LOCK, HOLDER})
"""Names in a folder that say nothing of what it holds."""


@contextmanager
def locked(folder: Path, work: str, wait: float = 0) -> Iterator[None]:
    """Keep other processes, and other threads, from the same work in ``folder``, which is made if need be.

    Args:
        work: what is done there, in a word, for messages.
        wait: seconds to wait for another one to end.

    Raises:
        InputError: another one is at work there (names it), or the folder cannot be written.
    """
    lock = FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=wait)
    except Timeout:
        raise InputError(f"{folder}: {_holder(folder)}; wait for it or choose another folder") from None
    except OSError as error:
        raise not_writable(folder / LOCK, error) from error
    try:
        since = datetime.now().astimezone().isoformat(" ", "seconds")
        write_json(folder / HOLDER, {"work": work, "pid": os.getpid(), "host": socket.gethostname(), "since": since})
        yield
    finally:
        (folder / HOLDER).unlink(missing_ok=True)
        lock.release()


def is_empty(folder: Path) -> bool:
    """Whether a folder is not there, or holds nothing but what a lock leaves."""
    return not folder.exists() or all(entry.name in OWN for entry in folder.iterdir())


def _holder(folder: Path) -> str:
    """Who holds a lock, in words."""
    try:
        told = json.loads((folder / HOLDER).read_bytes())
        return f"{told['work']} is at work there, process {told['pid']} on {told['host']} since {told['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process is at work there"
