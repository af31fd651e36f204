"""``worklist.html``: the top of a ranked pile as one file that needs no server and loads nothing."""

import base64
import csv
import hashlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from healthygan.common.errors import InputError
from healthygan.common.files import write_text
from healthygan.common.score_names import map_stem
from healthygan.common.templates import encodable, templates_of
from healthygan.serving.pixels import Decoder, picture, thumbnail
from healthygan.serving.scored_folder import ScoredFolder, open_scored_folder

MOST = 200
"""Cases on it."""
COLUMNS = ("rank", "score", "p_value", "probability", "patient_id", "remark")


def write_worklist(scores: Path) -> Path:
    """Write ``worklist.html`` beside the table of a scored folder: the first 200 rows, their pictures inside.

    Verdicts are kept by the reader's browser, under the hash of the model; they come out as CSV, which ``review``
    takes in.

    Raises:
        InputError: no ranked pile is in the folder, or it cannot be written.
    """
    folder = open_scored_folder(scores)
    templates = templates_of("healthygan.serving")
    script = templates.get_template("offline.js").render()
    rows = list(_rows(folder))
    shown = [name for name in COLUMNS if any(row.get(name) for row in rows)]
    page = templates.get_template("offline.html").render(
        rows=rows,
        columns=shown,
        model=folder.model,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    path = folder.table.with_name("worklist.html")
    write_text(path, encodable(page))
    return path


def _rows(folder: ScoredFolder) -> Iterator[dict[str, Any]]:
    decoder = Decoder(folder.reader)
    with folder.table.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        for row in islice(csv.DictReader(file), MOST):
            path, frame = Path(row["path"]), int(row["frame"] or 0)
            yield {**row, "name": path.name, "picture": _picture(folder, decoder, path, frame)}


def _picture(folder: ScoredFolder, decoder: Decoder, path: Path, frame: int) -> str:
    """As an address that holds it; empty where there is neither a map nor the image."""
    made = folder.maps / f"{map_stem(path, frame)}.png"
    try:
        if made.is_file():
            with Image.open(made) as shown:
                jpeg = thumbnail(shown)
        else:
            jpeg = thumbnail(picture(decoder.frame(folder.locate(path), frame, sufficient=192)))
    except (InputError, OSError):
        return ""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
