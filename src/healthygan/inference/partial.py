"""Scores of an unfinished list, kept in the output folder so that a stopped call goes on."""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from healthygan.common.errors import InputError
from healthygan.common.files import atomic_path, content_hash, write_text
from healthygan.common.run_folder import Run


class ScoredFrame(NamedTuple):
    """One row: a frame of a file, its score, and why not to trust it."""

    path: str
    frame: int
    score: float
    remark: str = ""


class PartialScores:
    """Scores as they come, in a folder that holds those of one model alone.

    Args:
        output: the folder.
        run: whose model scores.

    Raises:
        InputError: the folder holds scores of another model, or cannot be written.
    """

    def __init__(self, output: Path, run: Run) -> None:
        self.path = output / "scores.partial.csv"
        self._model = output / "model.json"
        mark = json.dumps({"model": content_hash(run.model), "config": content_hash(run.config)})
        if self._model.exists() and self._model.read_bytes() != mark.encode():
            raise InputError(f"{output}: holds scores of another model; choose another folder")
        write_text(self._model, mark)
        self.done = self._read_done()
        """Files scored before."""

    def _read_done(self) -> set[str]:
        """Files scored before; the last one may be incomplete and is scored again."""
        if not self.path.exists():
            return set()
        with self.path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            # A line cut off in its middle can only be the last.
            rows = [row for row in csv.reader(file) if len(row) == len(ScoredFrame._fields)]
        last = rows[-1][0] if rows else ""
        kept = [row for row in rows if row[0] != last]
        with (
            atomic_path(self.path) as temporary,
            temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
        ):
            csv.writer(file).writerows(kept)
        return {row[0] for row in kept}

    def rows(self) -> Iterator[ScoredFrame]:
        """Each frame so far."""
        with self.path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            for row in csv.reader(file):
                try:
                    path, frame, value, remark = row
                    yield ScoredFrame(path, int(frame), float(value), remark)
                except ValueError as error:
                    raise InputError(f"{self.path}: damaged ({error}); remove it to score anew") from error

    def keep(self, frames: Sequence[ScoredFrame]) -> None:
        """Append scores."""
        self._writer.writerows((frame.path, frame.frame, repr(frame.score), frame.remark) for frame in frames)
        self._file.flush()

    def remove(self) -> None:
        """The list is whole."""
        self.path.unlink()

    def __enter__(self) -> None:
        self._file = self.path.open("a", newline="", encoding="utf-8", errors="surrogateescape")
        self._writer = csv.writer(self._file)

    def __exit__(self, *error: object) -> None:
        self._file.close()
