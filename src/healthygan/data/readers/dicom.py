"""DICOM files: modality rescale, VOI window, MONOCHROME1, several frames, compressed pixels (pylibjpeg)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi
from pydicom.pixels.utils import iter_pixels

from healthygan.common.errors import UnreadableImage
from healthygan.data.readers.base import DecodedImage, ImageInfo, ReaderOptions

MINIMUM_WINDOW = 1.0
"""A linear window narrower than this shows nothing; the standard asks for at least 1."""
PIXEL_ELEMENTS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


class DicomReader:
    """Black and white are the ends of the file's own window, or of what its bits can hold."""

    def probe(self, path: Path, options: ReaderOptions) -> ImageInfo:
        """The header without the pixels."""
        header = pydicom.dcmread(path, stop_before_pixels=True)
        if "Rows" not in header or "Columns" not in header:
            raise UnreadableImage(f"{path}: a DICOM file without pixels (a report or a plan?); leave it out")
        frames = int(header.get("NumberOfFrames", 1) or 1)
        if not 0 < frames <= path.stat().st_size:
            raise UnreadableImage(f"{path}: {frames:,} frames by its header, which it has no room for; leave it out")
        palette = header.get("PhotometricInterpretation") == "PALETTE COLOR"
        channels = 3 if palette else int(header.get("SamplesPerPixel", 1))
        depth = int(header.get("BitsStored", 8))
        return ImageInfo("DICOM", int(header.Rows), int(header.Columns), channels, depth, tuple(range(frames)))

    def frames(self, path: Path, options: ReaderOptions) -> Iterator[DecodedImage]:
        """Frame by frame, decoding one at a time."""
        dataset = pydicom.dcmread(path)
        if not any(name in dataset for name in PIXEL_ELEMENTS):
            raise UnreadableImage(f"{path}: a DICOM file without pixels; leave it out")
        for number, stored in enumerate(iter_pixels(dataset)):
            yield _shown(stored, dataset, options, number)


def _shown(stored: NDArray[np.generic], header: pydicom.Dataset, options: ReaderOptions, frame: int) -> DecodedImage:
    if header.PhotometricInterpretation == "PALETTE COLOR":
        bits = int(header.RedPaletteColorLookupTableDescriptor[2])
        return DecodedImage(np.asarray(apply_color_lut(stored, header))[..., :3], 0.0, _largest(bits), frame)
    if stored.ndim == 3:  # ``iter_pixels`` has turned YBR into RGB
        return DecodedImage(stored, 0.0, _largest(int(header.BitsStored)), frame)
    values, low, high = _rescaled(stored, header)
    if options.dicom_range == "window":
        values, low, high = _windowed(values, header, (low, high))
    if header.PhotometricInterpretation == "MONOCHROME1":
        values = (low + high) - values
    return DecodedImage(values.astype(np.float32), low, high, frame)


def _largest(bits: int) -> float:
    return float(2**bits - 1)


def _rescaled(stored: NDArray[np.generic], header: pydicom.Dataset) -> tuple[NDArray[np.float64], float, float]:
    """Values after the modality table or rescale, and the ends of what they can be."""
    if header.get("ModalityLUTSequence"):
        bits = int(header.ModalityLUTSequence[0].LUTDescriptor[2])
        return np.asarray(apply_modality_lut(stored, header), dtype=np.float64), 0.0, _largest(bits)
    slope = _first(header.get("RescaleSlope"))
    slope, intercept = 1.0 if slope is None else slope, _first(header.get("RescaleIntercept")) or 0.0
    values = stored.astype(np.float64) * slope + intercept
    if "BitsStored" not in header or np.issubdtype(stored.dtype, np.floating):
        return values, float(values.min()), float(values.max())
    bits = int(header.BitsStored)
    signed = int(header.get("PixelRepresentation", 0)) == 1
    ends = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    low, high = sorted(end * slope + intercept for end in ends)
    return values, low, high


def _windowed(
    values: NDArray[np.float64], header: pydicom.Dataset, full: tuple[float, float]
) -> tuple[NDArray[np.float64], float, float]:
    """The first VOI lookup table or window in the file, else the full range. A sigmoid counts as linear."""
    if header.get("VOILUTSequence"):
        bits = int(header.VOILUTSequence[0].LUTDescriptor[2])
        indices = np.rint(values).astype(np.int64)
        return np.asarray(apply_voi(indices, header), dtype=np.float64), 0.0, _largest(bits)
    centre, width = _first(header.get("WindowCenter")), _first(header.get("WindowWidth"))
    exact = header.get("VOILUTFunction") == "LINEAR_EXACT"
    if centre is None or width is None or width <= 0 or (not exact and width < MINIMUM_WINDOW):
        return values, *full
    # DICOM PS3.3 C.11.2.1.2: the linear window's ends; C.11.2.1.3.2: the exact one's.
    middle, half = (centre, width / 2) if exact else (centre - 0.5, (width - 1) / 2)
    low, high = middle - half, middle + half
    if high <= low:  # a width of 1 is a threshold
        high = low + 1
    return values.clip(low, high), low, high


def _first(value: object) -> float | None:
    """The first of one or several values; none if there is none."""
    if value is None or value == "":
        return None
    if isinstance(value, (list, pydicom.multival.MultiValue)):
        return float(value[0]) if len(value) else None
    return float(str(value))
