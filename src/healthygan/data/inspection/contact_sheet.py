"""The contact sheet: a row of images a split, as a detector sees them, in one PNG."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from healthygan.common.errors import UnreadableImage
from healthygan.common.files import atomic_path
from healthygan.data.cohort import CohortImage, Split
from healthygan.data.inspection.summary import Probed
from healthygan.data.preprocessing import Preprocessing
from healthygan.data.readers.reading import read_frames

IMAGES_IN_ROW = 8
TILE = 1.6  # inches; all lengths of the contact sheet are
GAP = 0.12
MARGIN = 0.35
HEADER = 0.75
ROW_TITLE = 0.32
CAPTION = 0.22
DOTS_PER_INCH = 160
CAPTION_LENGTH = 22


def draw_contact_sheet(
    name: str, probed: Sequence[Probed], preprocessing: Preprocessing, target: Path
) -> dict[Path, str]:
    """Write the sheet; return the reason for each picked file that could not be decoded."""
    rows = [[p for p in probed if p.image.split is split] for split in Split]
    picks = [_evenly_spaced(row) for row in rows if row]
    with ThreadPoolExecutor() as pool:
        tiles = [list(pool.map(lambda entry: _tile(entry, preprocessing), row)) for row in picks]
    width = 2 * MARGIN + IMAGES_IN_ROW * (TILE + GAP) - GAP
    row_height = ROW_TITLE + TILE + CAPTION + GAP
    height = 2 * MARGIN + HEADER + len(picks) * row_height
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, facecolor="white")
    sheet = _Sheet(figure, width, height)
    sheet.text(MARGIN, MARGIN, name, size=16, bold=True)
    sheet.text(MARGIN, MARGIN + 0.34, _geometry(preprocessing), size=9, color="0.4")
    for number, (row, row_tiles) in enumerate(zip(picks, tiles, strict=True)):
        top = MARGIN + HEADER + number * row_height
        split = row[0].image.split
        total = sum(p.image.split is split for p in probed)
        sheet.text(MARGIN, top, split, size=11, bold=True)
        sheet.text(MARGIN + 1.0, top + 0.02, f"{len(row)} of {total} images", size=9, color="0.4")
        for place, (entry, tile) in enumerate(zip(row, row_tiles, strict=True)):
            sheet.tile(MARGIN + place * (TILE + GAP), top + ROW_TITLE, tile, _caption(entry.image))
    with atomic_path(target) as temporary:
        figure.savefig(temporary, format="png")
    return {
        entry.image.path: tile
        for entry, tile in zip((e for row in picks for e in row), (t for row in tiles for t in row), strict=True)
        if isinstance(tile, str)
    }


@dataclass(frozen=True)
class _Sheet:
    """Places text and images by inches from the upper left corner."""

    figure: Figure
    width: float
    height: float

    def text(self, x: float, y: float, text: str, size: float, color: str = "black", bold: bool = False) -> None:
        self.figure.text(
            x / self.width,
            1 - y / self.height,
            text,
            va="top",
            ha="left",
            size=size,
            color=color,
            weight="bold" if bold else "normal",
            parse_math=False,  # a dollar sign in a file name stays one
        )

    def tile(self, x: float, y: float, tile: NDArray[np.uint8] | str, caption: str) -> None:
        axes = self.figure.add_axes(
            (x / self.width, 1 - (y + TILE) / self.height, TILE / self.width, TILE / self.height)
        )
        axes.set_axis_off()
        if isinstance(tile, str):
            self.text(x, y, "cannot be decoded", size=8, color="tab:red")
        else:
            axes.imshow(tile, cmap="gray", vmin=0, vmax=255, interpolation="lanczos")
        self.text(x, y + TILE + 0.04, caption, size=6, color="0.3")


def _evenly_spaced(entries: Sequence[Probed]) -> list[Probed]:
    count = min(IMAGES_IN_ROW, len(entries))
    return [entries[round(place)] for place in np.linspace(0, len(entries) - 1, count)]


def _tile(entry: Probed, preprocessing: Preprocessing) -> NDArray[np.uint8] | str:
    """The middle frame as a detector sees it, (size, size) or (size, size, 3); or why there is none."""
    try:
        middle = len(entry.info.frames) // 2
        image = next(islice(read_frames(entry.image.path, preprocessing.reader), middle, None))
    except UnreadableImage as error:
        return str(error)
    stored = (preprocessing(image) >> 8).astype(np.uint8)
    return stored[0] if preprocessing.channels == 1 else stored.transpose(1, 2, 0)


def _geometry(preprocessing: Preprocessing) -> str:
    size, colours = preprocessing.size, "grey" if preprocessing.channels == 1 else "colour"
    cut = f", upper {preprocessing.crop_top:.0%} cut off" if preprocessing.crop_top else ""
    cut += ", dark margins cut off" if preprocessing.trim else ""
    shapes = {"square": "central square", "pad": "padded to a square", "squash": "squashed to a square"}
    return f"As a detector sees them: {size} x {size} pixels, {colours}{cut}, {shapes[preprocessing.shape]}"


def _caption(image: CohortImage) -> str:
    """The file's name, shortened in its middle, and its label where looking at it does no harm."""
    name = image.path.name.encode(errors="replace").decode()
    if len(name) > CAPTION_LENGTH:
        half = (CAPTION_LENGTH - 1) // 2
        name = f"{name[:half]}…{name[-half:]}"
    labelled = image.label is not None and image.split in (Split.VALIDATION, Split.TEST)
    return f"{name}  {image.label}" if labelled else name
