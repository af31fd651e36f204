"""Reading image files: PNG, JPEG, BMP, WebP, TIFF, DICOM and NIfTI, told apart by their content, not their names.

A file is refused (``UnreadableImage``) rather than guessed at, and before decoding where its header says that
it would not fit into memory.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from healthygan.common.errors import UnreadableImage
from healthygan.data.readers.base import (
    DEFAULTS,
    DecodedImage,
    ImageInfo,
    Reader,
    ReaderOptions,
    as_unreadable,
    check_cost,
    read_start,
)
from healthygan.data.readers.raster import PlainReader
from healthygan.data.readers.tiff import TiffReader

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".dcm", ".dicom", ".nii", ".nii.gz"}
)
"""What a scan of a folder collects; files without a suffix, or with a number for one, count if they are DICOM."""
DICOM_INDEX = "DICOMDIR"
"""The name that the standard (PS3.10, 8.6) gives the file that lists the others on a medium."""


def probe(path: Path, options: ReaderOptions = DEFAULTS) -> ImageInfo:
    """Read the header alone.

    Raises:
        UnreadableImage: missing, empty, of no known format, damaged, no image but another kind of file, or more
            than ``options`` or the file's own size allow for.
    """
    with as_unreadable(path):
        info = _reader_of(path).probe(path, options)
        check_cost(path, info, options)
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
    if path.suffix and not path.suffix[1:].isdigit():
        return False
    try:
        return is_dicom(read_start(path)) and path.name.upper() != DICOM_INDEX
    except (OSError, UnreadableImage):
        return False


def is_dicom(start: bytes) -> bool:
    """Whether a file that starts like this is DICOM: by the mark behind its preamble, or its first element.

    Older archives write neither preamble nor mark; their first element is of group 2 or 8, with a known kind of
    value or, where kinds are implicit, a short one.
    """
    if has_dicom_mark(start):
        return True
    if start[:2] not in (b"\x02\0", b"\x08\0") or start[3:4] != b"\0":
        return False
    return start[4:6] in (b"UL", b"CS", b"UI", b"DA", b"OB") or 0 < int.from_bytes(start[4:8], "little") <= 64


def has_dicom_mark(start: bytes) -> bool:
    """Whether ``start`` holds the mark behind the preamble."""
    return start[128:132] == b"DICM"


def _reader_of(path: Path, sufficient: int = 0) -> Reader:
    # Here, not above: what reads plain pictures alone need not load them.
    from healthygan.data.readers.dicom import DicomReader
    from healthygan.data.readers.nifti import NiftiReader

    start = read_start(path)
    if not start:
        raise UnreadableImage(f"{path}: empty file; copy it again or leave it out")
    if has_dicom_mark(start):  # first: what precedes the mark may be the start of a TIFF
        return DicomReader()
    if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return TiffReader()
    if start[:8] == b"\x89PNG\r\n\x1a\n" or start[:3] == b"\xff\xd8\xff" or start[:2] == b"BM":
        return PlainReader(sufficient)
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return PlainReader(sufficient)
    if start[344:348] in (b"n+1\0", b"ni1\0") or start[4:8] in (b"n+2\0", b"ni2\0") or start[:2] == b"\x1f\x8b":
        return NiftiReader()
    if is_dicom(start):
        return DicomReader()
    raise UnreadableImage(f"{path}: not PNG, JPEG, BMP, WebP, TIFF, DICOM or NIfTI; convert it or leave it out")
