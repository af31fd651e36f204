"""What can go wrong in a way that the user can mend, and that training was asked to stop.

A message is a line of parts: plain text, and arguments or calls that mend it. Python reads them as Python; the
command line puts the flag or the command in their place.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Argument:
    """An argument of a public function, in a message: ``fdr=2``, or ``fdr`` alone where no value is to be shown."""

    name: str
    value: object = None

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}={self.value}"


@dataclass(frozen=True)
class Call:
    """A call that mends it: ``train`` goes on with the run in a folder, ``select`` measures it anew."""

    function: Literal["train", "select"]
    run: Path

    def __str__(self) -> str:
        return f"{self.function}({'folder' if self.function == 'train' else 'run'}={self.run})"


Part = str | Argument | Call


class InputError(Exception):
    """Something the user gave cannot be used. The message names it and says what to do, in one line.

    Args:
        parts: of the message, in order; ``args`` keeps them for whoever puts them in other words.
    """

    def __init__(self, *parts: Part) -> None:
        super().__init__(*parts)

    def __str__(self) -> str:
        return "".join(map(str, self.args))


class UnreadableImage(InputError):
    """One image file cannot be used: skipped and counted among many, fatal under ``strict``."""


class Stopped(Exception):
    """Training was asked to stop; everything needed to go on is saved, and the same call goes on."""
