"""DICOM's run-length encoding, PS3.5 annex G: a segment a byte of a sample, each packed as TIFF packs its bits."""

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels.processing import convert_color_space

HEADER_BYTES = 64


def decode_rle(frame: bytes, header: pydicom.Dataset) -> NDArray[np.generic]:
    """One frame, rows x columns or rows x columns x 3 in red, green, blue.

    Raises:
        ValueError: the segments are not those that the header announces.
    """
    rows, columns, samples = int(header.Rows), int(header.Columns), int(header.SamplesPerPixel)
    depth = int(header.BitsAllocated) // 8
    offsets = np.frombuffer(frame[:HEADER_BYTES], "<u4")
    if len(offsets) < 16 or offsets[0] != samples * depth or depth not in (1, 2, 4):
        raise ValueError(f"{samples * depth} segments expected, {offsets[0] if len(offsets) else 0} there")
    ends = [*offsets[2 : offsets[0] + 1].tolist(), len(frame)]
    planes = np.empty((samples, rows, columns, depth), np.uint8)
    for number, (start, end) in enumerate(zip(offsets[1 : offsets[0] + 1].tolist(), ends, strict=True)):
        plane = np.frombuffer(imagecodecs.packbits_decode(frame[start:end]), np.uint8)
        if plane.size < rows * columns:
            raise ValueError(f"a segment of {plane.size} bytes where {rows * columns} are announced")
        # The most significant byte comes first.
        planes[number // depth, :, :, depth - 1 - number % depth] = plane[: rows * columns].reshape(rows, columns)
    kind = "i" if int(header.PixelRepresentation) else "u"
    pixels = planes.view(f"<{kind}{depth}")[..., 0]
    return _coloured(np.moveaxis(pixels, 0, 2), header) if samples == 3 else pixels[0]


def _coloured(pixels: NDArray[np.generic], header: pydicom.Dataset) -> NDArray[np.generic]:
    colours = str(header.PhotometricInterpretation)
    if colours not in ("YBR_FULL", "YBR_FULL_422"):
        return pixels
    return np.asarray(convert_color_space(np.ascontiguousarray(pixels), colours, "RGB"))
