"""DICOM files: modality rescale, VOI window, MONOCHROME1, several frames, compressed pixels (pylibjpeg)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels import apply_rescale, apply_voi_lut, convert_color_space, iter_pixels

from healthygan.data.readers import DecodedImage, ImageInfo, ReaderOptions
from healthygan.errors import UnreadableImage

MINIMUM_WINDOW = 1.0
"""A window narrower than this shows nothing; the standard asks for at least 1."""


class DicomReader:
    """Black and white are the ends of the file's own window, or of what its bits can hold."""

    def probe(self, path: Path, options: ReaderOptions) -> ImageInfo:
        """The header without the pixels."""
        header = pydicom.dcmread(path, stop_before_pixels=True)
        if "Rows" not in header or "Columns" not in header:
            raise UnreadableImage(f"{path}: a DICOM file without pixels (a report or a plan?); leave it out")
        frames = int(header.get("NumberOfFrames", 1) or 1)
        channels = int(header.get("SamplesPerPixel", 1))
        depth = int(header.get("BitsStored", 8))
        return ImageInfo(
            "DICOM", int(header.Rows), int(header.Columns), channels, depth, tuple(range(frames))
        )

    def frames(self, path: Path, options: ReaderOptions) -> Iterator[DecodedImage]:
        """Frame by frame, decoding one at a time."""
        header = pydicom.dcmread(path, stop_before_pixels=True)
        count = 0
        for number, stored in enumerate(iter_pixels(path)):
            count += 1
            yield _shown(stored, header, options, number)
        if not count:
            raise UnreadableImage(f"{path}: a DICOM file without pixels; leave it out")


def _shown(
    stored: NDArray[np.generic], header: pydicom.Dataset, options: ReaderOptions, frame: int
) -> DecodedImage:
    if stored.ndim == 3:
        return _colour(stored, header, frame)
    values = np.asarray(apply_rescale(stored, header)).astype(np.float32)
    low, high = _full_range(header)
    if options.dicom_range == "window":
        values, low, high = _windowed(stored, values, header, (low, high))
    if header.PhotometricInterpretation == "MONOCHROME1":
        values = (low + high) - values
    return DecodedImage(values, low, high, frame)


def _colour(stored: NDArray[np.generic], header: pydicom.Dataset, frame: int) -> DecodedImage:
    """Three channels; ``iter_pixels`` has turned YBR into RGB."""
    if header.PhotometricInterpretation == "PALETTE COLOR":
        stored = np.asarray(convert_color_space(stored, "PALETTE COLOR", "RGB"))
    return DecodedImage(stored, 0.0, float(2 ** int(header.BitsStored) - 1), frame)


def _full_range(header: pydicom.Dataset) -> tuple[float, float]:
    """What BitsStored can hold, after the modality rescale."""
    bits = int(header.BitsStored)
    signed = int(header.get("PixelRepresentation", 0)) == 1
    stored = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    slope, intercept = (
        float(header.get("RescaleSlope", 1) or 1),
        float(header.get("RescaleIntercept", 0) or 0),
    )
    ends = sorted(value * slope + intercept for value in stored)
    return ends[0], ends[1]


def _windowed(
    stored: NDArray[np.generic],
    values: NDArray[np.float32],
    header: pydicom.Dataset,
    full: tuple[float, float],
) -> tuple[NDArray[np.float32], float, float]:
    """The first VOI lookup table or window in the file, else the full range."""
    if "VOILUTSequence" in header:
        table = header.VOILUTSequence[0]
        looked_up = np.asarray(
            apply_voi_lut(np.asarray(apply_rescale(stored, header)), header, prefer_lut=True)
        )
        return looked_up.astype(np.float32), 0.0, float(2 ** int(table.LUTDescriptor[2]) - 1)
    centre, width = _first(header.get("WindowCenter")), _first(header.get("WindowWidth"))
    if centre is None or width is None or width < MINIMUM_WINDOW:
        return values, *full
    # DICOM PS3.3 C.11.2.1.2: the linear window's ends.
    half = (width - 1) / 2
    low, high = centre - 0.5 - half, centre - 0.5 + half
    return values.clip(low, max(high, low + 1)), low, max(high, low + 1)


def _first(value: object) -> float | None:
    """The first of one or several values; none if there is none."""
    if value is None or value == "":
        return None
    if isinstance(value, (list, pydicom.multival.MultiValue)):
        return float(value[0]) if len(value) else None
    return float(str(value))
