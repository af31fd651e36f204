"""DICOM files: modality rescale, VOI window, MONOCHROME1, several frames and their functional groups."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi

from healthygan.common.errors import UnreadableImage
from healthygan.data.readers.base import DecodedImage, ImageInfo, ReaderOptions, check_size
from healthygan.data.readers.dicom_file import decoded_frames, number_of_frames, open_dicom

MINIMUM_WINDOW = 1.0
"""A linear window narrower than this shows nothing; the standard asks for at least 1."""
PIXEL_ELEMENTS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
VALUE_ELEMENTS = (
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "ModalityLUTSequence",
    "RescaleSlope",
    "RescaleIntercept",
    "VOILUTSequence",
    "VOILUTFunction",
    "WindowCenter",
    "WindowWidth",
)
"""What tells how a grey frame's values are to be shown."""
VALUE_GROUPS = ("PixelValueTransformationSequence", "FrameVOILUTSequence")
"""Where multi-frame objects keep the same, for all frames or for each: PS3.3, C.7.6.16.2.9 and C.7.6.16.2.10."""
GREY_BYTES = 12
"""Memory that a pixel takes while values are rescaled: 64 bits, and 32 of what is given."""
DECODING_COPIES = 3
COLOUR_COPIES = 12
"""Of the stored pixels while they are decoded; colours may be converted in floating point."""


class DicomReader:
    """Black and white are the ends of the file's own window, or of what its bits can hold."""

    def probe(self, path: Path, options: ReaderOptions) -> ImageInfo:
        """The header without the pixels."""
        header = open_dicom(path, options, pixels=False)
        if "Rows" not in header or "Columns" not in header:
            raise UnreadableImage(f"{path}: a DICOM file without pixels (a report or a plan?); leave it out")
        rows, columns, frames = int(header.Rows), int(header.Columns), number_of_frames(header)
        check_size(path, rows * columns, options)
        _check_room(path, header, frames)
        palette = header.get("PhotometricInterpretation") == "PALETTE COLOR"
        channels = 3 if palette else int(header.get("SamplesPerPixel", 1))
        depth, memory = int(header.get("BitsStored", 8)), _memory(header) + path.stat().st_size
        return ImageInfo("DICOM", rows, columns, channels, depth, tuple(range(frames)), memory)

    def frames(self, path: Path, options: ReaderOptions) -> Iterator[DecodedImage]:
        """Frame by frame, decoding one at a time."""
        dataset = open_dicom(path, options, pixels=True)
        if not any(name in dataset for name in PIXEL_ELEMENTS):
            raise UnreadableImage(f"{path}: a DICOM file without pixels; leave it out")
        for number, stored in enumerate(decoded_frames(path, dataset)):
            yield _shown(stored, _of_frame(dataset, number), options, number)


def _frame_bytes(header: pydicom.Dataset) -> int:
    """Of one frame as stored without compression."""
    values = int(header.Rows) * int(header.Columns) * int(header.get("SamplesPerPixel", 1))
    return values * int(header.get("BitsAllocated", 8)) // 8


def _check_room(path: Path, header: pydicom.Dataset, frames: int) -> None:
    """Refuse a file that is too small for what its header announces."""
    size = path.stat().st_size
    if not 0 < frames <= size:
        raise UnreadableImage(f"{path}: {frames:,} frames by its header, which it has no room for; leave it out")
    syntax = header.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated or syntax.is_deflated:
        return
    announced = frames * _frame_bytes(header)
    if header.get("PhotometricInterpretation") == "YBR_FULL_422":
        announced = announced * 2 // 3
    if announced > size:
        raise UnreadableImage(
            f"{path}: damaged ({announced:,} bytes of pixels by its header, {size:,} in all); "
            "copy it again or leave it out"
        )


def _memory(header: pydicom.Dataset) -> int:
    """Bytes that decoding and rescaling one frame takes, about."""
    if int(header.get("SamplesPerPixel", 1)) > 1 or header.get("PhotometricInterpretation") == "PALETTE COLOR":
        return COLOUR_COPIES * _frame_bytes(header)
    return DECODING_COPIES * _frame_bytes(header) + GREY_BYTES * int(header.Rows) * int(header.Columns)


def _of_frame(dataset: pydicom.Dataset, number: int) -> pydicom.Dataset:
    """The header as it holds for one frame: functional groups come before the file's own elements."""
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    each = dataset.get("PerFrameFunctionalGroupsSequence") or []
    groups = [*shared[:1], *each[number : number + 1]]
    macros = [macro for group in groups for name in VALUE_GROUPS for macro in (group.get(name) or [])[:1]]
    if not macros:
        return dataset
    header = pydicom.Dataset()
    for part in (dataset, *macros):
        for name in VALUE_ELEMENTS:
            if name in part:
                header[name] = part[name]
    return header


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
        np.subtract(low + high, values, out=values)
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
    values = stored.astype(np.float64)
    values *= slope  # in place, here and below: a copy costs as much as the file
    values += intercept
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
    return values.clip(low, high, out=values), low, high


def _first(value: object) -> float | None:
    """The first of one or several values; none if there is none."""
    if value is None or value == "":
        return None
    if isinstance(value, (list, pydicom.multival.MultiValue)):
        return float(value[0]) if len(value) else None
    return float(str(value))
