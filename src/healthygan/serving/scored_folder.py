"""A folder with a ranked pile: what ``score`` or ``evaluate`` wrote, or a run whose pile was ranked."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from healthygan.common.errors import InputError
from healthygan.common.files import content_hash
from healthygan.common.score_names import SCORED_WITH
from healthygan.data.readers.base import ReaderOptions

TABLES = ("scores.csv", "contrast/mixed_scores.csv", "mixed_scores.csv")


class Framing(BaseModel):
    """Which part of an image a map shows; fields as of ``Preprocessing``."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    size: int
    crop_top: float = 0.0
    trim: bool = False
    shape: str = "square"


@dataclass(frozen=True)
class ScoredFolder:
    """Where everything lies that the page shows."""

    path: Path
    table: Path
    model: str
    """Hash of the model that scored; empty where it is not known."""
    reader: ReaderOptions = field(default_factory=ReaderOptions)
    framing: Framing | None = None
    """None where it is not known which part of an image its map shows."""
    map_top: float | None = None
    """Difference that the maps show at full strength."""
    threshold: float | None = None
    notes: tuple[str, ...] = ()
    """What the scores are made of, a sentence each."""

    @property
    def maps(self) -> Path:
        """The folder of maps, which need not be there."""
        return self.path / "maps"

    @property
    def database(self) -> Path:
        """The verdicts, and an index of the table."""
        return self.table.parent / "review.sqlite"

    def locate(self, path: Path) -> Path:
        """A file of the table: as it is named there, or beside the table where that is relative and not here."""
        return path if path.is_absolute() or path.exists() else self.table.parent / path


def open_scored_folder(path: Path) -> ScoredFolder:
    """Look what a folder holds.

    Raises:
        InputError: no ranked pile is in it, or a file that tells about it is damaged.
    """
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; name one that score wrote, or a run whose pile was ranked")
    table = next((path / name for name in TABLES if (path / name).is_file()), None)
    if table is None:
        raise InputError(f"{path}: holds no ranked pile ({', '.join(TABLES)}); score images into one first")
    try:
        return _of_run(path, table) if (path / "config.yaml").exists() else _of_scores(path, table)
    except (ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0][:160]
        raise InputError(f"{path}: its settings are damaged ({reason}); copy the folder again") from error


def _of_scores(path: Path, table: Path) -> ScoredFolder:
    mark = _json(path / "model.json")
    settings = _json(path / SCORED_WITH)
    shaping = settings.get("preprocessing")
    return ScoredFolder(
        path,
        table,
        model=str(mark.get("model", "")),
        reader=_reader(shaping),
        framing=None if shaping is None else Framing.model_validate(shaping),
        map_top=settings.get("map_top"),
        threshold=settings.get("threshold"),
        notes=tuple(map(str, settings.get("notes", ()))),
    )


def _of_run(path: Path, table: Path) -> ScoredFolder:
    shaping = yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8"))["preprocessing"]
    model, notes = table.parent / "model.pt", table.parent / "notes.json"
    return ScoredFolder(
        path,
        table,
        model=content_hash(model) if model.exists() else "",
        reader=_reader(shaping),
        framing=Framing.model_validate(shaping),
        notes=tuple(map(str, json.loads(notes.read_bytes()))) if notes.exists() else (),
    )


def _reader(shaping: dict[str, Any] | None) -> ReaderOptions:
    try:
        return ReaderOptions.model_validate((shaping or {}).get("reader", {}))
    except ValidationError:
        return ReaderOptions()


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_bytes())) if path.exists() else {}
