"""One way to show progress: a bar with an estimate on a terminal, a line now and then in a log file."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

SECONDS_BETWEEN_LINES = 30.0


class Advance(Protocol):
    """Called as work gets done: ``advance(3)``, ``advance(note="loss 0.12")``."""

    def __call__(self, steps: int = 1, note: str = "") -> None: ...


@contextmanager
def progress(title: str, total: int, done: int = 0) -> Iterator[Advance]:
    """Yield the function to call as work gets done; ``done`` is what an earlier run had finished already."""
    shown = _bar if sys.stderr.isatty() else _lines
    with shown(title, total, done) as advance:
        yield advance


@contextmanager
def _bar(title: str, total: int, done: int) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total, completed=done, note="")

        def advance(steps: int = 1, note: str = "") -> None:
            bar.advance(task, steps)
            if note:
                bar.update(task, note=note)

        yield advance


@contextmanager
def _lines(title: str, total: int, done: int) -> Iterator[Advance]:
    start = printed = time.monotonic()
    finished = done

    def advance(steps: int = 1, note: str = "") -> None:
        nonlocal finished, printed
        finished += steps
        now = time.monotonic()
        if now - printed >= SECONDS_BETWEEN_LINES:
            printed = now
            left = (now - start) / max(finished - done, 1) * (total - finished)
            print(f"{title}: {finished}/{total}, {left:.0f} s left {note}".rstrip(), file=sys.stderr, flush=True)

    yield advance
    if finished > done:
        print(f"{title}: {finished}/{total} in {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
