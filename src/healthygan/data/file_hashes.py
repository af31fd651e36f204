"""Hashes of files by their content, each file read once for as long as it does not change; and where they are kept."""

import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path

from healthygan.common.errors import InputError
from healthygan.common.files import content_hash, write_json
from healthygan.common.processors import usable_cores
from healthygan.common.progress import Progress, silent

SETTLED = 2.0
"""Seconds after which a change to a file surely shows in its times."""
DAMAGED = (OSError, ValueError, TypeError)
"""What reading the notes of earlier calls raises where they are half written."""


def default_cache() -> Path:
    """Where stores go unless told otherwise."""
    if chosen := os.environ.get("HEALTHYGAN_CACHE"):
        return Path(chosen)
    return user_cache_path("healthygan", appauthor=False)


def file_hashes(
    paths: Sequence[Path],
    title: str = "images",
    progress: Progress = silent,
    *,
    home: Path | None = None,
    workers: int | None = None,
) -> list[str]:
    """Content hash of each file; empty where a file cannot be read, which whoever decodes it will tell.

    Files whose size and times have not changed since an earlier call are not read again.

    Args:
        home: folder that keeps what earlier calls hashed; by default ``default_cache``.
        workers: threads that read; by default one a core.
    """
    if not paths:
        return []
    home = home or default_cache()
    notes = home / "hashes.json"
    known: dict[str, list[int | str]] = {}
    with suppress(*DAMAGED):
        known = dict(json.loads(notes.read_text(encoding="utf-8")))
    now = time.time_ns()

    def note(path: Path) -> list[int | str]:
        try:
            status = path.stat()
            entry = known.get(str(path.absolute()), [])
            mark: list[int | str] = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
            return entry if entry[:3] == mark and len(entry) == 4 else [*mark, content_hash(path)]
        except OSError:
            return []

    with ThreadPoolExecutor(workers or usable_cores()) as pool, progress(f"{title}: reading", len(paths)) as advance:
        noted = []
        for entry in pool.map(note, paths):
            noted.append(entry)
            advance()
    fresh = {
        str(path.absolute()): entry
        for path, entry in zip(paths, noted, strict=True)
        if entry and now - max(int(entry[1]), int(entry[2])) > SETTLED * 1e9
    }
    if not fresh.items() <= known.items():
        with suppress(InputError):  # a cache that cannot be written is reported where it must be
            write_json(notes, known | fresh)
    return [str(entry[3]) if entry else "" for entry in noted]
