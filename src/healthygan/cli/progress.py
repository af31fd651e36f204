"""Progress on the standard error: a bar with an estimate on a terminal, a line now and then elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from healthygan.common.progress import Advance, lines_to


def shown(title: str, total: int, done: int = 0) -> AbstractContextManager[Advance]:
    """The ``Progress`` of every verb."""
    return (_bar if sys.stderr.isatty() else lines_to(sys.stderr))(title, total, done)


@contextmanager
def _bar(title: str, total: int, done: int = 0) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total, completed=done, note="")

        def advance(steps: int = 1, note: str = "") -> None:
            bar.advance(task, steps)
            if note:
                bar.update(task, note=note)

        yield advance
