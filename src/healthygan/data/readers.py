"""Reading image files: PNG, JPEG, BMP, TIFF, DICOM and NIfTI, told apart by their content, not their names.

A file is refused (``UnreadableImage``) rather than guessed at, and before decoding where its header says that
it would not fit into memory.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, Self

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field, model_validator

from healthygan.data.margins import Margins
from healthygan.errors import UnreadableImage

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".dcm", ".dicom", ".nii", ".nii.gz"})
"""What a scan of a folder collects; files without a suffix, or with a number for one, count if they are DICOM."""

Image.MAX_IMAGE_PIXELS = None  # the limit below is the user's, and checked before decoding
# What the libraries remark on odd headers helps no user. Once for the process and not around each file:
# files are read in threads, and Python's warning filters belong to all threads.
for _library in ("tifffile", "pydicom", "nibabel"):
    logging.getLogger(_library).setLevel(logging.CRITICAL)
for _library in ("PIL", "pydicom", "nibabel"):
    warnings.filterwarnings("ignore", module=rf"{_library}\b")


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
    slice_step: int = Field(1, ge=1, description="NIfTI: every how manieth slice")
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
GREY_MODES = ("1", "L", "LA", "I", "F", "I;16", "I;16L", "I;16B")
"""Pillow's modes of one channel."""
PLAIN_PHOTOMETRICS = (
    tifffile.PHOTOMETRIC.MINISWHITE,
    tifffile.PHOTOMETRIC.MINISBLACK,
    tifffile.PHOTOMETRIC.RGB,
    tifffile.PHOTOMETRIC.PALETTE,
)
JPEG_IN_TIFF = (tifffile.COMPRESSION.JPEG, tifffile.COMPRESSION.OJPEG)
"""Their decoder turns YCbCr into RGB."""


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


def probe(path: Path, options: ReaderOptions = DEFAULTS) -> ImageInfo:
    """Read the header alone.

    Raises:
        UnreadableImage: missing, empty, of no known format, damaged, or larger than ``options.max_pixels``.
    """
    with blaming(path):
        info = _reader_of(path).probe(path, options)
    _check_size(path, info.height * info.width, options)
    return info


def read_frames(path: Path, options: ReaderOptions = DEFAULTS, sufficient: int = 0) -> Iterator[DecodedImage]:
    """Decode a file frame by frame.

    Args:
        sufficient: pixels a side that are enough; a JPEG with at least twice as many is decoded at a half, a quarter
            or an eighth of its size, as its blocks of 8 x 8 allow for a fraction of the work. 0 wants all.

    Raises:
        UnreadableImage: as ``probe``, and where the pixels are damaged or hold no finite value.
    """
    probe(path, options)
    with blaming(path):
        for image in _reader_of(path, sufficient).frames(path, options):
            if not np.isfinite(image.low) or not np.isfinite(image.high) or image.high <= image.low:
                raise UnreadableImage(f"{path}: every pixel has the same value or none is finite; leave it out")
            yield image


def is_image_name(path: Path) -> bool:
    """Whether a scan of a folder should collect ``path``."""
    name = path.name.lower()
    if any(name.endswith(suffix) for suffix in IMAGE_SUFFIXES):
        return True
    # Files named by their UID, 1.2.840.10008, only seem to have a suffix.
    return (not path.suffix or path.suffix[1:].isdigit()) and _start(path)[128:132] == b"DICM"


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


def _reader_of(path: Path, sufficient: int = 0) -> Reader:
    # Here, not above: either module needs this one's types.
    from healthygan.data.dicom import DicomReader
    from healthygan.data.nifti import NiftiReader

    with path.open("rb") as file:
        start = file.read(352)
    if not start:
        raise UnreadableImage(f"{path}: empty file; copy it again or leave it out")
    if start[128:132] == b"DICM":
        return DicomReader()
    if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return TiffReader()
    if start[344:348] in (b"n+1\0", b"ni1\0") or start[:2] == b"\x1f\x8b":
        return NiftiReader()
    if start[:8] == b"\x89PNG\r\n\x1a\n" or start[:3] == b"\xff\xd8\xff" or start[:2] == b"BM":
        return PlainReader(sufficient)
    raise UnreadableImage(f"{path}: not PNG, JPEG, BMP, TIFF, DICOM or NIfTI; convert it or leave it out")


def _check_size(path: Path, pixels: int, options: ReaderOptions) -> None:
    if pixels > options.max_pixels:
        raise UnreadableImage(
            f"{path}: {pixels:,} pixels, more than preprocessing.reader.max_pixels={options.max_pixels:,}; "
            "raise it if the file is to be trusted"
        )


@contextmanager
def blaming(path: Path) -> Iterator[None]:
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


class PlainReader:
    """PNG, JPEG and BMP; 8 and 16 bits, grey or colour; an alpha channel is dropped.

    Args:
        sufficient: as in ``read_frames``.
    """

    def __init__(self, sufficient: int = 0) -> None:
        self.sufficient = sufficient

    def probe(self, path: Path, options: ReaderOptions) -> ImageInfo:
        """The header, by Pillow."""
        try:
            with Image.open(path) as image:
                deep = self._deep_samples(path)
                depth = 16 if deep or image.mode.startswith(("I", "F")) else 8
                grey = deep <= 2 if deep else image.mode in GREY_MODES
                return ImageInfo(str(image.format), image.height, image.width, 1 if grey else 3, depth, (0,))
        except UnidentifiedImageError as error:
            raise UnreadableImage(f"{path}: damaged header; copy it again or leave it out") from error

    def frames(self, path: Path, options: ReaderOptions) -> Iterator[DecodedImage]:
        """The one frame."""
        pixels = self._deep(path) if self._deep_samples(path) else self._shallow(path)
        low, high = (0.0, 65535.0) if pixels.dtype == np.int32 else value_range(pixels)
        yield DecodedImage(pixels, low, high)

    def _deep_samples(self, path: Path) -> int:
        """Samples a pixel of a 16-bit PNG with several, which Pillow would cut down to 8 bits; else 0."""
        start = _start(path)
        if start[:4] != b"\x89PNG" or start[24] != 16:
            return 0
        return {2: 3, 4: 2, 6: 4}.get(start[25], 0)

    def _deep(self, path: Path) -> NDArray[np.generic]:
        pixels = np.asarray(imagecodecs.png_decode(path.read_bytes()))
        return pixels[..., 0] if pixels.shape[2] == 2 else pixels[..., :3]

    def _shallow(self, path: Path) -> NDArray[np.generic]:
        with Image.open(path) as image:
            if self.sufficient:
                image.draft(None, (self.sufficient, self.sufficient))  # JPEG alone has such a thing
            image.load()
            if image.mode in ("1", "LA"):
                return np.asarray(image.convert("L"))
            return np.asarray(image if image.mode in GREY_MODES else image.convert("RGB"))


class TiffReader:
    """TIFF with any compression, grey, RGB or palette; pages are frames."""

    def probe(self, path: Path, options: ReaderOptions) -> ImageInfo:
        """The first page's header and the number of pages."""
        with tifffile.TiffFile(path) as file:
            page = self._checked(path, file.pages[0], options)
            colour = page.samplesperpixel >= 3 or page.photometric == tifffile.PHOTOMETRIC.PALETTE
            frames = tuple(range(len(file.pages)))
            return ImageInfo("TIFF", page.imagelength, page.imagewidth, 3 if colour else 1, page.bitspersample, frames)

    def frames(self, path: Path, options: ReaderOptions) -> Iterator[DecodedImage]:
        """Page by page."""
        with tifffile.TiffFile(path) as file:
            for number, page in enumerate(file.pages):
                yield self._decoded(self._checked(path, page, options), number)

    def _checked(
        self, path: Path, page: tifffile.TiffPage | tifffile.TiffFrame, options: ReaderOptions
    ) -> tifffile.TiffPage:
        """A page small and plain enough to decode."""
        if not isinstance(page, tifffile.TiffPage):
            page = page.aspage()
        _check_size(path, page.imagelength * page.imagewidth, options)
        ends = (start + count for start, count in zip(page.dataoffsets, page.databytecounts, strict=True))
        if max(ends, default=0) > path.stat().st_size:
            raise UnreadableImage(f"{path}: damaged (cut off); copy it again or leave it out")
        if page.samplesperpixel > 4 or page.imagedepth != 1:
            raise UnreadableImage(
                f"{path}: {page.samplesperpixel} channels and {page.imagedepth} planes in a page; "
                "convert it to grey or RGB pages"
            )
        ycbcr = page.photometric == tifffile.PHOTOMETRIC.YCBCR and page.compression in JPEG_IN_TIFF
        if page.photometric not in PLAIN_PHOTOMETRICS and not ycbcr:
            raise UnreadableImage(
                f"{path}: colours are {getattr(page.photometric, 'name', page.photometric)}; convert it to grey or RGB"
            )
        return page

    def _decoded(self, page: tifffile.TiffPage, number: int) -> DecodedImage:
        pixels = np.asarray(page.asarray())
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE and page.colormap is not None:
            colours = np.moveaxis(np.asarray(page.colormap)[:, pixels], 0, 2)
            return DecodedImage(colours, *value_range(colours), number)
        if pixels.ndim == 3 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
            pixels = np.moveaxis(pixels, 0, 2)
        if pixels.ndim == 3:
            pixels = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., 0]
        low, high = value_range(pixels)
        if pixels.dtype in (np.uint8, np.uint16):  # which may hold 4 or 12 bits
            high = float(2**page.bitspersample - 1)
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            pixels = np.asarray(low + high - pixels.astype(np.float64)).astype(pixels.dtype)
        return DecodedImage(pixels, low, high, number)
