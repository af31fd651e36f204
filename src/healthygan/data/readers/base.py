"""What all readers share: options, what a header tells, a decoded image, and how a fault is told."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from healthygan.common.errors import UnreadableImage
from healthygan.data.margins import Margins


class ReaderOptions(BaseModel):
    """What a file leaves open; saved with the model as part of its preprocessing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dicom_range: Literal["window", "full"] = Field(
        "window", description="DICOM: the window in the file where there is one | all that its bits can hold"
    )
    slice_axis: Literal["sagittal", "coronal", "axial"] = Field("axial", description="NIfTI: which slices")
    slice_range: tuple[float, float] = Field(
        (0.0, 1.0), description="NIfTI: first and last slice as fractions of the axis"
    )
    slice_step: int = Field(1, ge=1, description="NIfTI: take every n-th slice, 1 for all")
    percentiles: tuple[float, float] = Field(
        (0.5, 99.5), description="NIfTI: a volume's percentiles that become black and white"
    )
    max_pixels: int = Field(100_000_000, ge=1, description="pixels (voxels of a volume) above which to refuse")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not 0 <= self.slice_range[0] < self.slice_range[1] <= 1:
            raise ValueError(f"slice_range {self.slice_range} must ascend within 0 and 1")
        if not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise ValueError(f"percentiles {self.percentiles} must ascend within 0 and 100")
        return self


DEFAULTS = ReaderOptions()


@dataclass(frozen=True)
class ImageInfo:
    """What a header tells."""

    format: str
    height: int
    width: int
    channels: int
    bit_depth: int
    frames: tuple[int, ...]
    """Numbers of the frames (pages, slices) that ``read_frames`` gives."""


@dataclass(frozen=True)
class DecodedImage:
    """One frame in its native values."""

    pixels: NDArray[np.generic]
    """H x W, or H x W x 3 in red, green, blue."""
    low: float
    """The value that becomes black."""
    high: float
    """The value that becomes white."""
    frame: int = 0
    margins: Margins | None = None
    """Of the whole volume where this is one of its slices, which must all be cut alike."""


class Reader(Protocol):
    """A format: what its header tells, and its frames."""

    def probe(self, path: Path, options: ReaderOptions) -> ImageInfo: ...

    def frames(self, path: Path, options: ReaderOptions) -> Iterator[DecodedImage]: ...


def value_range(pixels: NDArray[np.generic]) -> tuple[float, float]:
    """Black and white of plain images.

    0 and 255 or 65,535 for 8 and 16 bits; signed or wider numbers fill their type so rarely that it says nothing,
    so for those and for floats the least and greatest finite value.
    """
    if pixels.dtype == np.bool_:
        return 0.0, 1.0
    if pixels.dtype in (np.uint8, np.uint16):
        return 0.0, float(2 ** (8 * pixels.dtype.itemsize) - 1)
    finite = pixels[np.isfinite(pixels)].astype(np.float64)
    return (float(finite.min()), float(finite.max())) if finite.size else (np.nan, np.nan)


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(352)
    except OSError:
        return b""


def _check_size(path: Path, pixels: int, options: ReaderOptions) -> None:
    if pixels > options.max_pixels:
        raise UnreadableImage(
            f"{path}: {pixels:,} pixels, more than preprocessing.reader.max_pixels={options.max_pixels:,}; "
            "raise it if the file is to be trusted"
        )


@contextmanager
def as_unreadable(path: Path) -> Iterator[None]:
    """Whatever a library raises on a bad file becomes one line that names the file."""
    try:
        yield
    except (UnreadableImage, MemoryError):
        raise
    except FileNotFoundError as error:
        raise UnreadableImage(f"{path}: no such file; correct the path") from error
    except IsADirectoryError as error:
        raise UnreadableImage(f"{path}: a folder, not an image; give its files") from error
    except PermissionError as error:
        raise UnreadableImage(f"{path}: may not be read; change its permissions") from error
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise UnreadableImage(f"{path}: damaged ({reason}); copy it again or leave it out") from error
