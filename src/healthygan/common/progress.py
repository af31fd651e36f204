"""How long work tells how far it is: functions take a ``Progress`` and are silent unless given one."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TextIO

SECONDS_BETWEEN_LINES = 30.0


class Advance(Protocol):
    """Called as work gets done: ``advance(3)``, ``advance(note="loss 0.12")``."""

    def __call__(self, steps: int = 1, note: str = "") -> None: ...


class Progress(Protocol):
    """Shows one piece of work while its context lasts.

    Called with a title, the number of steps in all, and how many an earlier run had finished already.
    """

    def __call__(self, title: str, total: int, done: int = 0) -> AbstractContextManager[Advance]: ...


@contextmanager
def silent(title: str, total: int, done: int = 0) -> Iterator[Advance]:
    """Show nothing: what every function does unless told otherwise."""

    def advance(steps: int = 1, note: str = "") -> None:
        pass

    yield advance


def lines_to(stream: TextIO) -> Progress:
    """A line now and then, as in a log file: how far, how long still, and how long it took in the end."""

    @contextmanager
    def lines(title: str, total: int, done: int = 0) -> Iterator[Advance]:
        start = printed = time.monotonic()
        finished = done

        def advance(steps: int = 1, note: str = "") -> None:
            nonlocal finished, printed
            finished += steps
            now = time.monotonic()
            if now - printed >= SECONDS_BETWEEN_LINES:
                printed = now
                left = (now - start) / max(finished - done, 1) * (total - finished)
                print(f"{title}: {finished}/{total}, {left:.0f} s left {note}".rstrip(), file=stream, flush=True)

        yield advance
        if finished > done:
            print(f"{title}: {finished}/{total} in {time.monotonic() - start:.0f} s", file=stream, flush=True)

    return lines
