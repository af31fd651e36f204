"""What a training run leaves to look at: log.csv, TensorBoard events and sample grids."""

import csv
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from healthygan.common.files import atomic_path, write_text
from healthygan.common.run_folder import Run

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TrainingLog:
    """Writes while training goes on; rows that a resumed run will write again are taken off first.

    Args:
        run: the folder.
        done: iterations finished before.
        enabled: false on all devices but the first.
    """

    def __init__(self, run: Run, done: int, *, enabled: bool) -> None:
        self._run = run
        self._enabled = enabled
        self._fields: list[str] = _cut(run, done) if enabled else []
        self._events = _events_of(run, done) if enabled else None

    def write(self, iteration: int, values: dict[str, float]) -> str:
        """Log one line of named values; gives a short text of the main ones for the progress bar."""
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(name, value, iteration)
            self._append({"iteration": iteration, **values})
        return " ".join(f"{name} {value:.3f}" for name, value in list(values.items())[:4])

    def picture(self, iteration: int, grid: NDArray[np.uint8]) -> None:
        """Keep a sample grid, H x W x 3."""
        if self._events is not None:
            with atomic_path(self._run.samples / f"iteration_{iteration:08d}.png") as temporary:
                Image.fromarray(grid).save(temporary)
            self._events.add_image("samples", grid, iteration, dataformats="HWC")

    def early_stopping_metric(self, iteration: int, value: float) -> None:
        """Log the average metric of the held-out healthy images."""
        if self._events is not None:
            self._events.add_scalar("early_stopping", value, iteration)

    def _append(self, row: dict[str, float]) -> None:
        self._widen([name for name in row if name not in self._fields])
        with self._run.log.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._fields, restval="", lineterminator="\n").writerow(row)

    def _widen(self, names: list[str]) -> None:
        """Add columns, behind those there are: later stages have other losses."""
        if names:
            rows = self._run.log.read_text(encoding="utf-8").splitlines()[1:] if self._fields else []
            self._fields += names
            lines = [",".join(self._fields), *(row + "," * len(names) for row in rows)]
            write_text(self._run.log, "".join(f"{line}\n" for line in lines))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._events is not None:
            self._events.close()


def _events_of(run: Run, done: int) -> "SummaryWriter":
    # Only training needs it, and it takes seconds to load.
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run.path / "tensorboard"), purge_step=done + 1)


def _cut(run: Run, done: int) -> list[str]:
    """Drop the rows after iteration ``done``; give the columns there are."""
    if not run.log.exists():
        return []
    header, *rows = run.log.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [row for row in rows if row.split(",", 1)[0].isdigit() and int(row.split(",", 1)[0]) <= done]
    write_text(run.log, header + "".join(kept))
    return header.strip().split(",")


def sample_grid(pictures: dict[str, NDArray[np.float32]]) -> NDArray[np.uint8]:
    """Tile named pictures, each N x C x H x W in [-1, 1]: a row an image, a column a name; H' x W' x 3."""
    columns = [np.moveaxis(np.concatenate(list(images), axis=1), 0, 2) for images in pictures.values()]
    grid = np.concatenate([np.repeat(column, 3 // column.shape[2], axis=2) for column in columns], axis=1)
    tiled: NDArray[np.uint8] = ((grid.clip(-1, 1) + 1) * 127.5).round().astype(np.uint8)
    return tiled
