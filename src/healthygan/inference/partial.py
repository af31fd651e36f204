"""Scores of an unfinished list, kept in the output folder so that a stopped call goes on."""

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from healthygan.common.csv_text import CsvWriter, csv_rows
from healthygan.common.errors import InputError
from healthygan.common.files import atomic_path, content_hash, write_text
from healthygan.common.run_folder import Run

MODEL, VALUES = ("model", "config"), ("engine", "precision")
"""What makes scores other ones: what was trained, and how it is computed."""


class ScoredFrame(NamedTuple):
    """One row: a frame of a file, its score, and why not to trust it."""

    path: str
    frame: int
    score: float
    remark: str = ""


class FileState(NamedTuple):
    """What changes when a file is replaced: its size in bytes and the time of its last change in nanoseconds."""

    size: int
    changed: int

    @classmethod
    def of(cls, path: Path) -> "FileState":
        """Now; of a file that is not there, one that no file has."""
        try:
            status = os.stat(path)
        except OSError:
            return cls(-1, -1)
        return cls(status.st_size, status.st_mtime_ns)


class PartialScores:
    """Scores as they come, in a folder that holds those of one model alone.

    Args:
        output: the folder, which no other process may write to meanwhile.
        run: whose model scores.
        paths: the files to score. Whatever the folder holds of others, or of files replaced since, is dropped.
        settings: engine, precision, and which maps are written: kept with the scores.

    Raises:
        InputError: the folder holds scores of another model, engine or precision, or an unfinished list with other
            maps; or it cannot be written.
    """

    def __init__(self, output: Path, run: Run, paths: Sequence[Path], settings: Mapping[str, Any]) -> None:
        self.path = output / "scores.partial.csv"
        mark = {"model": content_hash(run.model), "config": content_hash(run.config), **settings}
        self._check_mark(output, mark)
        write_text(output / "model.json", json.dumps(mark))
        # Before any file is read: one that is replaced later is known by it.
        self._states = {str(path): FileState.of(path) for path in paths}
        self.done = self._read_done()
        """Files scored before."""

    def _check_mark(self, output: Path, mark: Mapping[str, Any]) -> None:
        if not (output / "model.json").exists():
            return
        try:
            before = dict(json.loads((output / "model.json").read_bytes()))
        except (OSError, ValueError, TypeError, RecursionError):
            before = {}
        if any(before.get(name) != mark[name] for name in MODEL):
            raise InputError(f"{output}: holds scores of another model; choose another folder")
        # Scores computed in two ways never stand in one list; which maps there are may differ from list to list.
        kept = mark if self.path.exists() else VALUES
        for name in kept:
            if before.get(name, mark[name]) != mark[name]:
                what = "scores" if name in VALUES else "an unfinished list"
                raise InputError(
                    f"{output}: holds {what} with {name}={before[name]}, not {mark[name]}; give the same or "
                    "choose another folder"
                )

    def _read_done(self) -> set[str]:
        """Files scored before; the last one may be incomplete and is scored again."""
        if not self.path.exists():
            return set()
        with self.path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            # A line cut off in its middle can only be the last.
            rows = [row for row in csv_rows(file) if len(row) == len(ScoredFrame._fields) + len(FileState._fields)]
        last = rows[-1][0] if rows else ""
        kept = [row for row in rows if row[0] != last and self._is_current(row)]
        with (
            atomic_path(self.path) as temporary,
            temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
        ):
            CsvWriter(file).writerows(kept)
        return {row[0] for row in kept}

    def _is_current(self, row: Sequence[str]) -> bool:
        """Whether a row is of a file of this call that has not changed since."""
        state = self._states.get(row[0])
        return state is not None and [*map(str, state)] == row[-2:]

    def rows(self) -> Iterator[ScoredFrame]:
        """Each frame so far."""
        with self.path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            try:
                for path, frame, value, remark, _, _ in csv_rows(file):
                    yield ScoredFrame(path, int(frame), float(value), remark)
            except (ValueError, csv.Error) as error:
                raise InputError(f"{self.path}: damaged ({error}); remove it to score anew") from error

    def keep(self, frames: Sequence[ScoredFrame]) -> None:
        """Append scores."""
        self._writer.writerows(
            (frame.path, frame.frame, repr(frame.score), frame.remark, *self._states[frame.path]) for frame in frames
        )
        self._file.flush()

    def remove(self) -> None:
        """The list is whole."""
        self.path.unlink()

    def __enter__(self) -> None:
        self._file = self.path.open("a", newline="", encoding="utf-8", errors="surrogateescape")
        self._writer = CsvWriter(self._file)

    def __exit__(self, *error: object) -> None:
        self._file.close()
