"""What all readers share: options, what a header tells, a decoded image, and how a fault is told."""

import io
import math
import stat
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
    max_memory: int = Field(
        1_500_000_000, ge=1, description="bytes of memory that decoding a file may take at once, about; above it refuse"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not 0 <= self.slice_range[0] < self.slice_range[1] <= 1:
            raise ValueError(f"slice_range {self.slice_range} must ascend within 0 and 1")
        if not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise ValueError(f"percentiles {self.percentiles} must ascend within 0 and 100")
        return self


DEFAULTS = ReaderOptions()

START_BYTES = 544
"""Of a file, enough to tell every format: the header of NIfTI-2 is the longest."""
DENSEST = 200
"""Bytes of pixels a byte of the file that frames may come to where they exceed ``max_memory`` together.

Real series stay far below it even where lossy compression made them small; a file built to keep a reader busy
does not.
"""
FRAME_COST = 2**17
"""Bytes that a frame counts for at least: small ones cost too, once they are resized."""


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
    memory: int = 0
    """Bytes that decoding takes at once, about; frames are decoded one at a time."""


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
    full_size: tuple[int, int] | None = None
    """Height and width in the file, where it was decoded smaller."""

    @property
    def source_size(self) -> tuple[int, int]:
        """Height and width in the file, in pixels."""
        height, width = self.pixels.shape[:2]
        return self.full_size or (height, width)


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
    # No copy of the finite ones: a float image may be as large as memory allows.
    finite = np.isfinite(pixels)
    if not finite.any():
        return np.nan, np.nan
    if np.issubdtype(pixels.dtype, np.integer):
        return float(pixels.min()), float(pixels.max())
    return float(pixels.min(where=finite, initial=np.inf)), float(pixels.max(where=finite, initial=-np.inf))


class BoundedFile(io.BufferedReader):
    """A file that gives no more than it holds.

    Libraries ask for as many bytes as a length in the file says, and Python makes room for all of them first: for
    4 GB where the length is damaged.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """At most what is left."""
        if size is None or size < 0:
            return super().read()
        return super().read(min(size, max(0, self._size - self.tell())))


def read_start(path: Path) -> bytes:
    """The first bytes of a file. What is no plain file, such as a pipe, is not opened: that might wait for ever.

    Raises:
        OSError: missing, may not be read, or no plain file.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(path)
    if not stat.S_ISREG(mode):
        raise UnreadableImage(f"{path}: no plain file (a pipe, a socket or a device); give files")
    with path.open("rb") as file:
        return file.read(START_BYTES)


def check_size(path: Path, pixels: int, options: ReaderOptions) -> None:
    """Refuse a frame or volume of more than ``options.max_pixels``."""
    if pixels > options.max_pixels:
        raise UnreadableImage(
            f"{path}: {pixels:,} pixels, more than preprocessing.reader.max_pixels={options.max_pixels:,}; "
            "raise it if the file is to be trusted"
        )


def check_memory(path: Path, memory: int, options: ReaderOptions) -> None:
    """Refuse what would take more bytes at once than ``options.max_memory``."""
    if memory > options.max_memory:
        raise UnreadableImage(
            f"{path}: decoding takes {memory:,} bytes of memory, more than "
            f"preprocessing.reader.max_memory={options.max_memory:,}; raise it if the file is to be trusted"
        )


def check_cost(path: Path, info: ImageInfo, options: ReaderOptions) -> None:
    """Refuse by the header what no file of that size can honestly hold, or what would take too much.

    Raises:
        UnreadableImage: no pixels, too many of them, or too many bytes of them in one frame or in all frames.
    """
    if info.height < 1 or info.width < 1 or not info.frames:
        raise UnreadableImage(
            f"{path}: {len(info.frames)} frames of {info.width} x {info.height} pixels by its header; leave it out"
        )
    check_size(path, info.height * info.width, options)
    check_memory(path, info.memory, options)
    frame = max(info.height * info.width * info.channels * math.ceil(info.bit_depth / 8), FRAME_COST)
    allowed = max(options.max_memory, DENSEST * path.stat().st_size)
    if len(info.frames) > 1 and len(info.frames) * frame > allowed:
        raise UnreadableImage(
            f"{path}: {len(info.frames):,} frames of {info.width} x {info.height} pixels by its header, "
            "more than so small a file can hold; raise preprocessing.reader.max_memory if it is to be trusted"
        )


@contextmanager
def as_unreadable(path: Path) -> Iterator[None]:
    """Whatever a library raises on a bad file becomes one line that names the file.

    That includes what a library in Rust panics with, which Python code cannot catch as an ``Exception``.
    """
    try:
        yield
    except (UnreadableImage, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except FileNotFoundError as error:
        raise UnreadableImage(f"{path}: no such file; correct the path") from error
    except IsADirectoryError as error:
        raise UnreadableImage(f"{path}: a folder, not an image; give its files") from error
    except PermissionError as error:
        raise UnreadableImage(f"{path}: may not be read; change its permissions") from error
    except MemoryError as error:
        raise UnreadableImage(f"{path}: not enough memory to decode it; free some or leave it out") from error
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise UnreadableImage(f"{path}: damaged ({_reason(error)}); copy it again or leave it out") from error


def _reason(error: BaseException) -> str:
    """One printable line; libraries quote the bytes that they stumbled over."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return "".join(character if character.isprintable() else "?" for character in line[:160])
