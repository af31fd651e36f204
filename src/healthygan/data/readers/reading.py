"""Reading image files: PNG, JPEG, BMP, TIFF, DICOM and NIfTI, told apart by their content, not their names.

A file is refused (``UnreadableImage``) rather than guessed at, and before decoding where its header says that
it would not fit into memory.
"""

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from healthygan.common.errors import UnreadableImage
from healthygan.data.readers.base import (
    DEFAULTS,
    DecodedImage,
    ImageInfo,
    Reader,
    ReaderOptions,
    _check_size,
    _start,
    as_unreadable,
)
from healthygan.data.readers.raster import PlainReader
from healthygan.data.readers.tiff import TiffReader

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".dcm", ".dicom", ".nii", ".nii.gz"})
"""What a scan of a folder collects; files without a suffix, or with a number for one, count if they are DICOM."""

Image.MAX_IMAGE_PIXELS = None  # the limit below is the user's, and checked before decoding
# What the libraries remark on odd headers helps no user. Once for the process and not around each file:
# files are read in threads, and Python's warning filters belong to all threads.
for _library in ("tifffile", "pydicom", "nibabel"):
    logging.getLogger(_library).setLevel(logging.CRITICAL)
for _library in ("PIL", "pydicom", "nibabel"):
    warnings.filterwarnings("ignore", module=rf"{_library}\b")


def probe(path: Path, options: ReaderOptions = DEFAULTS) -> ImageInfo:
    """Read the header alone.

    Raises:
        UnreadableImage: missing, empty, of no known format, damaged, or larger than ``options.max_pixels``.
    """
    with as_unreadable(path):
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
    with as_unreadable(path):
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


def _reader_of(path: Path, sufficient: int = 0) -> Reader:
    # Here, not above: either module needs this one's types.
    from healthygan.data.readers.dicom import DicomReader
    from healthygan.data.readers.nifti import NiftiReader

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
