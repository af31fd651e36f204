"""What all pages work on."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from healthygan.serving.database import CASES, Database
from healthygan.serving.indexing import index
from healthygan.serving.mixing import SHARE
from healthygan.serving.pixels import Decoder
from healthygan.serving.scored_folder import ScoredFolder, open_scored_folder


@dataclass(frozen=True)
class Desk:
    """One pile on the table, and how it is read."""

    folder: ScoredFolder
    database: Database
    decoder: Decoder
    cases: int
    blind: bool = False
    """Readers see each other's verdicts on a case only after their own."""
    share: float = SHARE
    """Of the cases read that are drawn at random."""

    def exists(self, case_id: int) -> bool:
        """Whether there is such a case."""
        with self.database.read() as connection:
            return connection.scalar(select(CASES.c.id).where(CASES.c.id == case_id)) is not None


def open_desk(path: Path, *, blind: bool = False, share: float = SHARE) -> Desk:
    """Lay out a scored folder; the first time its table is indexed.

    Raises:
        InputError: no ranked pile is in it, it is damaged, or it cannot be written.
    """
    folder = open_scored_folder(path)
    database = Database(folder.database)
    return Desk(folder, database, Decoder(folder.reader), index(folder, database), blind, share)
